//! `config write`, `config read`, `config list` and `config delete`.

mod change;

use std::fs;

use serde_json::{Serializer, Value, ser::PrettyFormatter};

use super::args::{Cas, ConfigDelete, ConfigList, ConfigRead, ConfigWrite, DryRun, EntryFormat};
use super::client::{Answer, Client, escape, with_query};
use super::console::Console;
use super::excerpt;
use super::failure::Failure;
use super::table::{Column, Table};
use super::{input, moved, near};
use crate::entry;
use crate::error::ConfigError;
use crate::filter::{ListFilter, Shape};
use crate::source::KINDS;

/// Writes an entry.
///
/// # Errors
///
/// [`Failure::Invalid`] with file, line and column, or with the agent's reason;
/// [`Failure::Conflict`] if it changed since `--modify-index`.
pub async fn write(
    options: &ConfigWrite,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let file = &options.file;
    if fs::metadata(file).is_ok_and(|meta| meta.is_dir()) {
        return Err(Failure::Usage(format!(
            "{} is a directory, and this verb writes one entry: `canaryctl import` writes a whole \
             set, all of it or nothing",
            file.display()
        )));
    }
    let bytes = input::load(file)?;
    let paint = console.word_paint;
    let refused = |error: ConfigError| Failure::Invalid(excerpt::with_line(&error, &bytes, paint));
    let document = input::decode(file, &bytes).map_err(refused)?;
    let before = change::before(&document.kind, &document.name, client).await;
    let answer = put(&document.json, options.cas, options.dry_run, client).await?;
    let answer = match answer.accepted() {
        Err(Failure::Invalid(text)) => {
            let hint = near::subset_hint(&text, client).await;
            let shown = refused(document.refused(file, text));
            return Err(Failure::Invalid(format!("{shown}{hint}")));
        }
        answer => answer?,
    };
    let which = format!("{}/{}", document.kind, document.name);
    if missed(&answer, options.cas) {
        return Err(Failure::Conflict(format!("Config entry not updated: {which}")));
    }
    if options.dry_run.wanted {
        console.data(format_args!("Would write config entry: {which}"))?;
        console.warn(&document.warnings)?;
        return moved::print_aside(&answer, console);
    }
    console.data(format_args!("Config entry written: {which}"))?;
    if let Some(entry) = document.entry() {
        let lines = change::lines(&before, entry, client, paint).await;
        lines.into_iter().try_for_each(|line| console.say(line))?;
    }
    console.warn(&document.warnings)?;
    // The agent reads the same entry, but only here is it known where in the file it is odd.
    let told = |text: &&String| document.warnings.iter().any(|warning| warning.text == **text);
    console.warn(answer.warnings.iter().filter(|text| !told(text)))?;
    console.hint(format_args!("canaryctl status {} --watch", document.name))
}

/// Prints an entry: JSON as Consul does, or HCL.
///
/// # Errors
///
/// [`Failure::NotFound`] if there is none; [`Failure::Error`] if it is no entry that can be shown
/// as HCL.
pub async fn read(
    options: &ConfigRead,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let answer = client.get(&path(&options.entry.kind, &options.entry.name)).await?.ok()?;
    match options.format {
        EntryFormat::Json => console.data(indented(&answer)?),
        EntryFormat::Hcl => {
            let decoded = entry::parse(answer.body.as_bytes())
                .map_err(|error| Failure::Error(format!("the agent's answer: {error}")))?;
            console.raw(&entry::to_hcl(&decoded.entry))
        }
    }
}

/// Prints the names of a kind's entries.
///
/// # Errors
///
/// [`Failure::Usage`] if the filter is none for what is listed.
pub async fn list(
    options: &ConfigList,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let ConfigList { kind, filter, json } = options;
    let kinds = kind.as_deref().map_or(KINDS.to_vec(), |kind| vec![kind]);
    for kind in kinds.iter().filter(|kind| KINDS.contains(kind)) {
        // The agent says the same, but not what may have been meant.
        let shape = Shape::of_entries(kind);
        let parsed = filter.as_ref().map(|filter| ListFilter::parse(filter, shape)).transpose();
        parsed.map_err(|error| Failure::Usage(format!("--filter: {kind}: {error}")))?;
    }
    let filter = filter.as_deref();
    let Some(kind) = kind else { return list_all(filter, *json, client, console).await };
    let answer = client.get(&list_path(kind, filter)).await?.accepted()?;
    if *json {
        return console.json(&answer.json::<Value>()?);
    }
    names(&answer)?.into_iter().try_for_each(|name| console.data(name))
}

/// Every kind's entries: with several kinds a name alone is not enough.
async fn list_all(
    filter: Option<&str>,
    json: bool,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let mut entries: Vec<Value> = Vec::new();
    for kind in KINDS {
        let answer = client.get(&list_path(kind, filter)).await?.accepted()?;
        entries.extend(answer.json::<Vec<Value>>()?);
    }
    if json {
        return console.json(&entries);
    }
    let text = |entry: &Value, key: &str| {
        entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let mut table = Table::new([Column::left("KIND"), Column::left("NAME")]);
    for entry in &entries {
        table.row([&text(entry, "Kind"), &text(entry, "Name")]);
    }
    console.raw(&table.to_string())
}

/// Deletes an entry.
///
/// # Errors
///
/// [`Failure::Conflict`] if it changed since `--modify-index`; the agent's reason otherwise.
pub async fn delete(
    options: &ConfigDelete,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let (kind, name) = (&options.entry.kind, &options.entry.name);
    let answer = remove(kind, name, options.cas, options.dry_run, client).await?.accepted()?;
    if missed(&answer, options.cas) {
        return Err(Failure::Conflict(format!("Config entry not deleted: {kind}/{name}")));
    }
    if options.dry_run.wanted {
        console.data(format_args!("Would delete config entry: {kind}/{name}"))?;
        return moved::print_aside(&answer, console);
    }
    console.data(format_args!("Config entry deleted: {kind}/{name}"))?;
    console.warn(&answer.warnings)
}

/// Puts an entry's JSON.
pub(super) async fn put(
    json: &str,
    cas: Cas,
    dry_run: DryRun,
    client: &Client,
) -> Result<Answer, Failure> {
    let path = with_query("/v1/config", [cas.parameter(), dry_run.parameter()]);
    client.put(&path, json.to_owned()).await
}

/// Deletes an entry.
pub(super) async fn remove(
    kind: &str,
    name: &str,
    cas: Cas,
    dry_run: DryRun,
    client: &Client,
) -> Result<Answer, Failure> {
    let parameters = [cas.parameter(), dry_run.parameter()];
    client.delete(&with_query(&path(kind, name), parameters)).await
}

/// Whether a change did not happen since the entry was at another index.
pub(super) fn missed(answer: &Answer, cas: Cas) -> bool {
    cas.cas && answer.body.trim() == "false"
}

pub(super) fn path(kind: &str, name: &str) -> String {
    format!("{}/{}", kind_path(kind), escape(name))
}

pub(super) fn kind_path(kind: &str) -> String {
    format!("/v1/config/{}", escape(kind))
}

/// The list of a kind's entries: those that `filter` lets through.
pub(super) fn list_path(kind: &str, filter: Option<&str>) -> String {
    let filter = filter.filter(|filter| !filter.is_empty());
    with_query(&kind_path(kind), [filter.map(|filter| format!("filter={}", escape(filter)))])
}

/// The names in a list of entries.
pub(super) fn names(answer: &Answer) -> Result<Vec<String>, Failure> {
    let entries: Vec<Value> = answer.json()?;
    let name = |entry: &Value| entry.get("Name").and_then(Value::as_str).map(str::to_owned);
    Ok(entries.iter().filter_map(name).collect())
}

/// JSON as Consul prints it: four blanks a level.
pub(super) fn indented(answer: &Answer) -> Result<String, Failure> {
    let entry: Value = answer.json()?;
    let mut text = Vec::new();
    let mut serializer =
        Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"    "));
    serde::Serialize::serialize(&entry, &mut serializer)
        .map_err(|error| Failure::Error(error.to_string()))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_indented_as_consul_does_and_keep_their_order() {
        let body = r#"{"Kind":"service-splitter","Name":"payments","Splits":[{"Weight":50}],"CreateIndex":3}"#;
        let answer = Answer { status: 200, body: body.to_owned(), ..Answer::default() };

        assert_eq!(
            indented(&answer).unwrap(),
            "{\n    \"Kind\": \"service-splitter\",\n    \"Name\": \"payments\",\n    \"Splits\": [\n        \
             {\n            \"Weight\": 50\n        }\n    ],\n    \"CreateIndex\": 3\n}"
        );
    }
}
