//! `import`: files of entries and services into the agent's store.

use super::applied;
use super::args::Import;
use super::client::{Client, with_query};
use super::console::Console;
use super::excerpt;
use super::failure::Failure;
use super::paint::Paint;
use super::validate::collect;
use crate::document;
use crate::error::{ConfigError, Position};
use crate::store::SourceFile;
use crate::syntax;

/// Imports files as one change, and says what is different.
///
/// # Errors
///
/// [`Failure::Invalid`] with file, line and column; nothing changed then.
pub async fn run(
    options: &Import,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let files = collect(&options.paths)?;
    let paint = console.word_paint;
    let documents = files.iter().map(|file| document(file, paint)).collect::<Result<_, _>>()?;
    let body = serde_json::to_string(&document::Import { files: documents })
        .map_err(|error| Failure::Error(error.to_string()))?;
    let replace = options.replace.then(|| "replace".to_owned());
    let path = with_query("/v1/canary/import", [replace, options.dry_run.parameter()]);
    let answer = client.put(&path, body).await?.accepted().map_err(|failure| match failure {
        Failure::Invalid(text) => Failure::Invalid(with_lines(&text, &files, paint)),
        other => other,
    })?;
    applied::print("Imported", "Would import", &answer, console)
}

/// What is no text has its place told here, for no document can carry it to the agent.
fn document(file: &SourceFile, paint: Paint) -> Result<document::File, Failure> {
    let SourceFile { path, content } = file;
    match (String::from_utf8(content.clone()), syntax::parse(content)) {
        (Ok(content), _) => Ok(document::File { path: path.clone(), content }),
        (Err(_), Err(error)) => {
            Err(Failure::Invalid(excerpt::with_line(&error.in_file(path), content, paint)))
        }
        (Err(error), Ok(_)) => Err(Failure::Invalid(format!("{path}: {error}"))),
    }
}

/// An agent's refusal, each of its lines with that of the file which it is about.
fn with_lines(text: &str, files: &[SourceFile], paint: Paint) -> String {
    let shown = |line: &str| {
        let placed = files.iter().find_map(|file| Some((placed(line, &file.path)?, file)));
        match placed {
            Some((error, file)) => excerpt::with_line(&error, &file.content, paint),
            None => line.to_owned(),
        }
    };
    text.lines().map(shown).collect::<Vec<_>>().join("\n")
}

/// The error that a line names as one of the file at `path`.
fn placed(line: &str, path: &str) -> Option<ConfigError> {
    let (number, rest) = line.strip_prefix(path)?.strip_prefix(':')?.split_once(':')?;
    let (column, text) = rest.split_once(": ")?;
    let position = Position { line: number.parse().ok()?, column: column.parse().ok()? };
    Some(ConfigError::at(position, text).in_file(path))
}
