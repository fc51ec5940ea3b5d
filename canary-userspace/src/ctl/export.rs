//! `export`: the store's entries, registrations, checks and maintenance modes, a file each.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::args::Export;
use super::client::{Client, escape, reason};
use super::console::Console;
use super::failure::Failure;
use super::validate::count;
use crate::audit::{CHECK, REGISTRATION};
use crate::document;

/// What files of maintenance modes begin with.
const MAINTENANCE: &str = "maintenance";

/// Writes what the agent's store defines.
///
/// # Errors
///
/// [`Failure::Error`] if a file is there already or cannot be written.
pub async fn run(
    options: &Export,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let path = if options.all { "/v1/canary/export?all" } else { "/v1/canary/export" };
    let export: document::Export = client.get(path).await?.ok()?.json()?;
    let directory = &options.directory;
    let files = files(&export)?;
    fs::create_dir_all(directory).map_err(|error| failed(directory, &error))?;
    if !options.force {
        let there = files.keys().find(|name| directory.join(name).exists());
        if let Some(name) = there {
            let path = directory.join(name);
            let text = format!("{} is there already: --force overwrites it", path.display());
            return Err(Failure::Error(text));
        }
    }
    for (name, text) in &files {
        write(&directory.join(name), text, options.force)?;
    }
    console.data(format_args!("Exported: {} to {}", counts(&export), directory.display()))?;
    let others = others(directory, &files).map_err(|error| failed(directory, &error))?;
    let others = others
        .iter()
        .map(|name| format!("{} is of nothing that was exported", directory.join(name).display()));
    console.warn(others)
}

/// What was exported; of checks and maintenance modes only what is there.
fn counts(export: &document::Export) -> String {
    let document::Export { entries, services, checks, maintenance } = export;
    let mut told = count(entries.len(), "config entry", "config entries");
    let rest = [
        (services, true, "instance", "instances"),
        (checks, false, "check", "checks"),
        (maintenance, false, "maintenance mode", "maintenance modes"),
    ];
    for (list, always, one, more) in rest {
        if always || !list.is_empty() {
            told = format!("{told}, {}", count(list.len(), one, more));
        }
    }
    told
}

/// Text by file name. No two have one name: a kind has no dot.
fn files(export: &document::Export) -> Result<BTreeMap<String, String>, Failure> {
    let entry = |entry: &Value| {
        let name = file_name(text(entry, "Kind")?, text(entry, "Name")?);
        Some((name, format!("{entry:#}\n")))
    };
    let service = |service: &Value| {
        let name = file_name(REGISTRATION, text(service, "ID")?);
        Some((name, format!("{:#}\n", json!({"service": service}))))
    };
    let check = |check: &Value| {
        let name = file_name(CHECK, text(check, "ID")?);
        Some((name, format!("{:#}\n", json!({"check": check}))))
    };
    let maintenance = |mode: &Value| {
        let name = match text(mode, "ServiceID") {
            Some(id) => file_name(MAINTENANCE, id),
            None => format!("{MAINTENANCE}.json"),
        };
        Some((name, format!("{:#}\n", json!({MAINTENANCE: mode}))))
    };
    let entries = export.entries.iter().map(entry);
    let registrations = export.services.iter().map(service).chain(export.checks.iter().map(check));
    entries
        .chain(registrations)
        .chain(export.maintenance.iter().map(maintenance))
        .collect::<Option<_>>()
        .ok_or_else(|| Failure::Error("the agent's export has a part without a name".to_owned()))
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}

fn file_name(kind: &str, name: &str) -> String {
    format!("{kind}.{}.json", escape(name))
}

/// A file that is there is replaced whole or not at all.
fn write(path: &Path, text: &str, force: bool) -> Result<(), Failure> {
    let target = if force { path.with_extension("json.new") } else { path.to_owned() };
    let written = OpenOptions::new()
        .write(true)
        .create(force)
        .create_new(!force)
        .truncate(force)
        .open(&target)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| if force { fs::rename(&target, path) } else { Ok(()) });
    written.map_err(|error| failed(path, &error))
}

/// Files that an import of the directory would read and that were not written.
fn others(directory: &Path, files: &BTreeMap<String, String>) -> io::Result<Vec<String>> {
    let mut others = Vec::new();
    for found in fs::read_dir(directory)? {
        let name = found?.file_name().to_string_lossy().into_owned();
        let read = Path::new(&name).extension().is_some_and(|e| e == "json" || e == "hcl");
        if read && !name.starts_with('.') && !files.contains_key(&name) {
            others.push(name);
        }
    }
    others.sort();
    Ok(others)
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::Error(format!("{}: {}", path.display(), reason(error)))
}
