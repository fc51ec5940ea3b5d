//! `config diff`: what files would change at the running agent.

mod fields;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::args::ConfigDiff;
use super::client::Client;
use super::config::kind_path;
use super::console::Console;
use super::excerpt;
use super::failure::Failure;
use super::paint::Paint;
use super::{status, validate};
use crate::content::{FileContent, parse_file};
use crate::document::Status;
use crate::entry::{self, Entry};
use crate::source::{EntryKey, KINDS, SPLITTER, key_of};
use fields::Field;

/// What is different.
#[derive(Debug, Serialize)]
struct Report {
    same: bool,
    entries: Vec<Difference>,
    /// Entries that only the agent has, where they are no difference.
    only_in_agent: Vec<Named>,
}

/// An entry that is different.
#[derive(Debug, Serialize)]
struct Difference {
    #[serde(flatten)]
    entry: Named,
    /// `new`, `changed` or `gone`.
    change: &'static str,
    fields: Vec<Field>,
}

/// Which entry.
#[derive(Debug, Serialize)]
struct Named {
    kind: String,
    name: String,
}

impl Named {
    fn of((kind, name): &EntryKey) -> Self {
        Self { kind: kind.clone(), name: name.clone() }
    }
}

/// Shows what is different.
///
/// # Errors
///
/// [`Failure::Differs`] if something is; every other failure has the exit code 2, as with `diff`.
pub async fn run(
    options: &ConfigDiff,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    match compare(options, client, console).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::Differs),
        Err(failure @ Failure::Output(_)) => Err(failure),
        Err(failure) => Err(Failure::Usage(failure.to_string())),
    }
}

/// Shows what is different; whether nothing is.
async fn compare(
    options: &ConfigDiff,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<bool, Failure> {
    let wanted = wanted(options, console)?;
    let mut present = present(client).await?;
    let mut entries = Vec::new();
    for (key, new) in &wanted {
        let old = present.remove(key);
        let fields = fields::of(old.as_ref(), Some(new));
        let change = if old.is_some() { "changed" } else { "new" };
        if old.is_none() || !fields.is_empty() {
            entries.push(Difference { entry: Named::of(key), change, fields });
        }
    }
    let mut only_in_agent = Vec::new();
    for (key, old) in &present {
        if options.prune {
            let fields = fields::of(Some(old), None);
            entries.push(Difference { entry: Named::of(key), change: "gone", fields });
        } else {
            only_in_agent.push(Named::of(key));
        }
    }
    let report = Report { same: entries.is_empty(), entries, only_in_agent };
    if options.json {
        console.json(&report)?;
        return Ok(report.same);
    }
    print(&report, client, console).await?;
    Ok(report.same)
}

/// The entries of the files, by kind and name.
fn wanted(
    options: &ConfigDiff,
    console: &mut Console<'_>,
) -> Result<BTreeMap<EntryKey, Entry>, Failure> {
    let mut wanted = BTreeMap::new();
    let mut services = 0_usize;
    for file in validate::collect(&options.paths)? {
        let refused = |error: crate::error::ConfigError| {
            let error = error.in_file(&file.path);
            Failure::Invalid(excerpt::with_line(&error, &file.content, console.word_paint))
        };
        for part in parse_file(&file.content).map_err(refused)?.parts() {
            match part {
                FileContent::Entry(decoded) => {
                    let key = key_of(&decoded.entry);
                    let twice = format!("{}: {}/{} is defined twice", file.path, key.0, key.1);
                    if wanted.insert(key, decoded.entry).is_some() {
                        return Err(Failure::Invalid(twice));
                    }
                }
                FileContent::Services(found) => {
                    services = services.saturating_add(found.instances.len());
                }
                FileContent::Skipped(_) | FileContent::Many(_) | FileContent::Nothing => {}
            }
        }
    }
    if services > 0 {
        console
            .say(format_args!("service definitions are not compared: {services} of these files"))?;
    }
    Ok(wanted)
}

/// The entries in force, by kind and name.
async fn present(client: &Client) -> Result<BTreeMap<EntryKey, Entry>, Failure> {
    let mut present = BTreeMap::new();
    for kind in KINDS {
        let entries: Vec<Value> = client.get(&kind_path(kind)).await?.ok()?.json()?;
        for json in entries {
            let decoded = entry::parse(json.to_string().as_bytes())?;
            present.insert(key_of(&decoded.entry), decoded.entry);
        }
    }
    Ok(present)
}

async fn print(report: &Report, client: &Client, console: &mut Console<'_>) -> Result<(), Failure> {
    let status = async { client.get(status::PATH).await?.ok()?.json::<Status>() }.await.ok();
    for difference in &report.entries {
        let Named { kind, name } = &difference.entry;
        let what = match difference.change {
            "new" => " (new)",
            "gone" => " (not in these files)",
            _ => "",
        };
        console.data(console.paint.bold(format_args!("{kind}/{name}{what}")))?;
        for field in &difference.fields {
            let count =
                if kind == SPLITTER { endpoints(status.as_ref(), name, field) } else { None };
            for line in lines(field, count.as_deref(), console.paint) {
                console.data(line)?;
            }
        }
    }
    let named = |Named { kind, name }: &Named| format!("{kind}/{name}");
    let only: Vec<_> = report.only_in_agent.iter().map(named).collect();
    if !only.is_empty() {
        console
            .say(format_args!("only the agent has: {} (--prune counts them)", only.join(", ")))?;
    }
    Ok(())
}

/// The endpoints that a split has as it is in force.
fn endpoints(status: Option<&Status>, service: &str, field: &Field) -> Option<String> {
    let target = field.split.as_deref()?;
    let (to, subset) = target.split_once('/').unwrap_or((service, target));
    let found = status?.services.iter().find(|found| found.service == service)?;
    let split = found.splits.iter().find(|split| split.service == to && split.subset == subset)?;
    Some(format!("   ({} of {} healthy)", split.backends.healthy, split.backends.total))
}

/// A line for what was, and one for what would be.
fn lines(field: &Field, count: Option<&str>, paint: Paint) -> Vec<String> {
    let shown = |value: &Value| match (&field.split, value.as_f64()) {
        (Some(split), Some(weight)) => format!("   {split} {weight:>6.2}"),
        _ => format!("   {}  {value}", field.path),
    };
    let count = count.unwrap_or_default();
    let before = field.before.iter().map(|value| paint.red(format_args!("-{}", shown(value))));
    let after =
        field.after.iter().map(|value| paint.green(format_args!("+{}{count}", shown(value))));
    before.chain(after).collect()
}

#[cfg(test)]
mod tests;
