//! `config validate`: files as one set, without an agent.

mod file;
mod hints;
mod set;

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::args::ConfigValidate;
use super::console::Console;
use super::excerpt;
use super::failure::Failure;
use super::input;
use crate::content::FileContent;
use crate::error::{ConfigError, Position};
use crate::source::files;
use crate::store::SourceFile;

/// Something to tell about a file.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    error: ConfigError,
    /// What was likely meant.
    hint: Option<String>,
}

impl From<ConfigError> for Finding {
    fn from(error: ConfigError) -> Self {
        Self { error, hint: None }
    }
}

/// What was found.
#[derive(Debug, Default)]
struct Findings {
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
    entries: usize,
    services: usize,
}

/// Checks the files and tells what is wrong with them: every mistake of every file.
///
/// # Errors
///
/// [`Failure::Invalid`] if an agent would refuse the set.
pub fn run(options: &ConfigValidate, console: &mut Console<'_>) -> Result<(), Failure> {
    let files = collect(&options.paths)?;
    let mut found = examine(&files);
    if files.is_empty() {
        found.warnings.push(ConfigError::new("no *.hcl and *.json file is there to check").into());
    }
    let valid = found.errors.is_empty();
    if options.json {
        let list = |list: &[Finding]| list.iter().map(document).collect::<Value>();
        console.json(&json!({
            "valid": valid,
            "errors": list(&found.errors),
            "warnings": list(&found.warnings),
        }))?;
    } else {
        print(&found, &files, console)?;
    }
    let of = count(files.len(), "file", "files");
    if !valid {
        let errors = count(found.errors.len(), "error", "errors");
        return Err(Failure::Invalid(format!("{errors} in {of}")));
    }
    if options.json {
        return Ok(());
    }
    let entries = count(found.entries, "config entry", "config entries");
    console.data(format_args!(
        "Valid: {of}, {entries}, {}",
        count(found.services, "instance", "instances")
    ))
}

fn print(found: &Findings, files: &[SourceFile], console: &mut Console<'_>) -> Result<(), Failure> {
    let paint = console.word_paint;
    let shown = |finding: &Finding| {
        let Finding { error, hint } = finding;
        let file = files.iter().find(|file| Some(&file.path) == error.file.as_ref());
        let content = file.map(|file| file.content.as_slice()).unwrap_or_default();
        let text = excerpt::with_line(error, content, paint);
        match hint {
            Some(hint) => format!("{text}\n  hint: {hint}"),
            None => text,
        }
    };
    console.warn(found.warnings.iter().map(shown))?;
    found.errors.iter().try_for_each(|error| console.say(shown(error)))
}

/// `1 file`, `2 files`
pub(super) fn count(count: usize, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

/// Files as they are named, and of directories what an agent would read; each once.
pub(super) fn collect(paths: &[PathBuf]) -> Result<Vec<SourceFile>, Failure> {
    let mut all: Vec<SourceFile> = Vec::new();
    for path in paths {
        let found = if fs::metadata(path).is_ok_and(|meta| meta.is_dir()) {
            files::read(std::slice::from_ref(path))?
        } else {
            vec![SourceFile { path: path.display().to_string(), content: input::load(path)? }]
        };
        for file in found {
            if !all.iter().any(|known| known.path == file.path) {
                all.push(file);
            }
        }
    }
    Ok(all)
}

fn examine(files: &[SourceFile]) -> Findings {
    let mut found = Findings::default();
    let mut places = set::Places::default();
    let mut sound = Vec::new();
    for file in files {
        let (content, errors) = file::read(&file.content);
        if errors.is_empty() {
            sound.push(file.clone());
        }
        found.errors.extend(errors.into_iter().map(|finding| finding.in_file(&file.path)));
        let mut warn = |warning: ConfigError| {
            found.warnings.push(warning.in_file(&file.path).into());
        };
        for part in content.into_iter().flat_map(FileContent::parts) {
            match part {
                FileContent::Entry(decoded) => {
                    found.entries += 1;
                    decoded.warnings.into_iter().for_each(&mut warn);
                    places.add(&file.path, &decoded.entry, decoded.places);
                }
                FileContent::Services(services) => found.services += services.instances.len(),
                FileContent::Skipped(reason) => warn(reason),
                FileContent::Many(_) | FileContent::Nothing => {}
            }
        }
    }
    match files::decode(&sound) {
        // What a broken file defines would seem to be missing.
        Ok(_) if !found.errors.is_empty() => {}
        Ok(set) => set::check(set, &places, &mut found),
        Err(errors) => found.errors.extend(errors.into_iter().map(Finding::from)),
    }
    found
}

impl Finding {
    fn in_file(self, file: &str) -> Self {
        Self { error: self.error.in_file(file), ..self }
    }
}

fn document(Finding { error, hint }: &Finding) -> Value {
    let Position { line, column } = error.position.unwrap_or_default();
    let place = |number: u32| error.position.map(|_| number);
    json!({
        "file": error.file,
        "line": place(line),
        "column": place(column),
        "text": error.text,
        "hint": hint,
    })
}

#[cfg(test)]
mod tests;
