//! `import`: files of entries and services into the agent's store.

use super::applied;
use super::args::Import;
use super::client::{Client, with_query};
use super::console::Console;
use super::failure::Failure;
use super::validate::collect;
use crate::api::document;
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
    let files = collect(&options.paths)?.into_iter().map(text).collect::<Result<_, _>>()?;
    let body = serde_json::to_string(&document::Import { files })
        .map_err(|error| Failure::Error(error.to_string()))?;
    let replace = options.replace.then(|| "replace".to_owned());
    let path = with_query("/v1/canary/import", [replace, options.dry_run.parameter()]);
    let answer = client.put(&path, body).await?.accepted()?;
    applied::print("Imported", "Would import", &answer, console)
}

fn text(SourceFile { path, content }: SourceFile) -> Result<document::File, Failure> {
    // What is no text has its place told here, for no document can carry it to the agent.
    String::from_utf8(content)
        .map(|content| document::File { path: path.clone(), content })
        .map_err(|error| match syntax::parse(error.as_bytes()) {
            Err(error) => error.in_file(path).into(),
            Ok(_) => Failure::Invalid(format!("{path}: {error}")),
        })
}
