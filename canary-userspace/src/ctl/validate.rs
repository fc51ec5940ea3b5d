//! `config validate`: files as one set, without an agent.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::args::ConfigValidate;
use super::console::Console;
use super::failure::Failure;
use super::input;
use crate::catalog::{FileContent, Health, Registered, Snapshot, Sourced, parse_file};
use crate::compile::{Claims, compile};
use crate::entry::{Entry, Places, Resolver, Splitter, Subset, check_graph};
use crate::error::{ConfigError, Position};
use crate::source::Definitions;
use crate::source::files;
use crate::store::SourceFile;

/// What was found.
#[derive(Debug, Default)]
struct Findings {
    errors: Vec<ConfigError>,
    warnings: Vec<ConfigError>,
    entries: usize,
    services: usize,
}

/// Where a splitter and the targets of its splits are.
struct Place {
    file: String,
    places: Places,
}

/// Checks the files and tells what is wrong with them.
///
/// # Errors
///
/// [`Failure::Invalid`] if an agent would refuse the set.
pub fn run(options: &ConfigValidate, console: &mut Console<'_>) -> Result<(), Failure> {
    let files = collect(&options.paths)?;
    let found = examine(&files);
    let valid = found.errors.is_empty();
    if options.json {
        let list = |list: &[ConfigError]| list.iter().map(document).collect::<Value>();
        console.json(&json!({
            "valid": valid,
            "errors": list(&found.errors),
            "warnings": list(&found.warnings),
        }))?;
    } else {
        console.warn(&found.warnings)?;
        found.errors.iter().try_for_each(|error| console.say(error))?;
    }
    let count = |count: usize, one: &str, more: &str| {
        format!("{count} {}", if count == 1 { one } else { more })
    };
    let of = count(files.len(), "file", "files");
    if !valid {
        return Err(Failure::Invalid(format!(
            "{} in {of}",
            count(found.errors.len(), "error", "errors")
        )));
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

/// Files as they are named, and of directories what an agent would read.
fn collect(paths: &[PathBuf]) -> Result<Vec<SourceFile>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if fs::metadata(path).is_ok_and(|meta| meta.is_dir()) {
            files.extend(files::read(std::slice::from_ref(path))?);
        } else {
            files
                .push(SourceFile { path: path.display().to_string(), content: input::load(path)? });
        }
    }
    Ok(files)
}

fn examine(files: &[SourceFile]) -> Findings {
    let mut found = Findings::default();
    let mut splitters = BTreeMap::new();
    for file in files {
        // What is wrong with a file is found again with the whole set.
        match parse_file(&file.content) {
            Ok(FileContent::Entry(decoded)) => {
                found.entries += 1;
                found.warnings.extend(
                    decoded.warnings.into_iter().map(|warning| warning.in_file(&file.path)),
                );
                if let Entry::Splitter(splitter) = decoded.entry {
                    splitters.insert(
                        splitter.name,
                        Place { file: file.path.clone(), places: decoded.places },
                    );
                }
            }
            Ok(FileContent::Services(services)) => found.services += services.instances.len(),
            Ok(FileContent::Skipped(reason)) => found.warnings.push(reason.in_file(&file.path)),
            Ok(FileContent::Nothing) | Err(_) => {}
        }
    }
    match files::decode(files) {
        Ok(set) => check_set(set, &splitters, &mut found),
        Err(errors) => found.errors.extend(errors),
    }
    found
}

/// Checks what only shows between entries.
fn check_set(set: Definitions, places: &BTreeMap<String, Place>, found: &mut Findings) {
    let snapshot = snapshot(set);
    let splitters: Vec<_> = snapshot.splitters.values().map(|splitter| &splitter.value).collect();
    let resolvers = snapshot.resolvers.values().map(|resolver| &resolver.value);
    let elsewhere = resolvers_elsewhere(&snapshot, &splitters, places, found);
    if let Err(error) = check_graph(resolvers.chain(&elsewhere), splitters) {
        found.errors.push(at(places.get(&error.splitter), Some(error.split), error.text));
        return;
    }
    // Entries alone are a set too; only with instances is it known who is missing.
    if snapshot.instances.is_empty() {
        return;
    }
    let compiled = compile(&snapshot, &Claims::new());
    let sentence = |service: &str, text: &str| ConfigError::new(format!("{service}: {text}"));
    found
        .errors
        .extend(compiled.refused.iter().map(|refused| sentence(&refused.service, &refused.text)));
    found
        .warnings
        .extend(compiled.warnings.iter().map(|warning| sentence(&warning.service, &warning.text)));
}

/// Stands in for the resolvers that splits need and the set does not hold, and warns of each.
fn resolvers_elsewhere(
    snapshot: &Snapshot,
    splitters: &[&Splitter],
    places: &BTreeMap<String, Place>,
    found: &mut Findings,
) -> Vec<Resolver> {
    let mut elsewhere: BTreeMap<&str, Resolver> = BTreeMap::new();
    for splitter in splitters {
        let mut told = BTreeSet::new();
        for (split, index) in splitter.splits.iter().zip(0..) {
            let service = if split.service.is_empty() { &splitter.name } else { &split.service };
            if split.service_subset.is_empty() || snapshot.resolvers.contains_key(service) {
                continue;
            }
            let resolver = elsewhere
                .entry(service)
                .or_insert_with(|| Resolver { name: service.clone(), ..Resolver::default() });
            resolver.subsets.insert(split.service_subset.clone(), Subset::default());
            if told.insert(service) {
                let text = format!(
                    "service-resolver/{service} is not among these files: its subsets are not checked"
                );
                found.warnings.push(at(places.get(&splitter.name), Some(index), text));
            }
        }
    }
    elsewhere.into_values().collect()
}

fn at(place: Option<&Place>, split: Option<usize>, text: String) -> ConfigError {
    let Some(Place { file, places }) = place else { return ConfigError::new(text) };
    let position = split.and_then(|split| places.splits.get(split)).unwrap_or(&places.name);
    ConfigError::at(*position, text).in_file(file)
}

/// The set as a picture of a node on which all is well.
fn snapshot(set: Definitions) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for ((_, name), sourced) in set.entries {
        let origin = sourced.origin;
        match sourced.value {
            Entry::Resolver(value) => {
                snapshot.resolvers.insert(name, Sourced { value, origin });
            }
            Entry::Splitter(value) => {
                snapshot.splitters.insert(name, Sourced { value, origin });
            }
            Entry::Defaults(value) => {
                snapshot.defaults.insert(name, Sourced { value, origin });
            }
            Entry::Proxy(value) => {
                snapshot.proxies.insert(name, Sourced { value, origin });
            }
        }
    }
    let registered = |sourced: Sourced<_>| Registered {
        node: Arc::default(),
        checks: Box::default(),
        instance: sourced.value,
        origin: sourced.origin,
        health: Health::Passing,
    };
    snapshot.instances = set.instances.into_values().map(registered).collect();
    snapshot.instances.sort_by(|a, b| {
        (&a.instance.service, &a.instance.id).cmp(&(&b.instance.service, &b.instance.id))
    });
    snapshot
}

fn document(error: &ConfigError) -> Value {
    let Position { line, column } = error.position.unwrap_or_default();
    let place = |number: u32| error.position.map(|_| number);
    json!({"file": error.file, "line": place(line), "column": place(column), "text": error.text})
}

#[cfg(test)]
mod tests;
