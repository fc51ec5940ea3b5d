//! What a change of many definitions did, one a line.

use super::client::Answer;
use super::console::Console;
use super::failure::Failure;
use super::table::{Column, Table};
use crate::audit::REGISTRATION;
use crate::document::Applied;

/// Prints how much is different, what, and the agent's warnings; `would` begins where nothing
/// was done.
///
/// # Errors
///
/// [`Failure`]
pub fn print(
    done: &str,
    would: &str,
    answer: &Answer,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let applied: Applied = answer.json()?;
    console.data(line(if applied.dry_run { would } else { done }, &applied))?;
    console.raw(&list(&applied))?;
    console.warn(applied.warnings.iter().map(|warning| match warning.service.as_str() {
        "" => warning.text.clone(),
        service => format!("{service}: {}", warning.text),
    }))
}

/// `Imported: 2 new, 1 changed, 0 gone (revision 12 -> 13)`
fn line(done: &str, applied: &Applied) -> String {
    let [new, changed, gone] = ["new", "changed", "gone"]
        .map(|how| applied.changes.iter().filter(|change| change.how == how).count());
    let revision = if applied.dry_run {
        format!("dry run: revision {} stays", applied.revision)
    } else {
        format!("revision {} -> {}", applied.revision_before, applied.revision)
    };
    format!("{done}: {new} new, {changed} changed, {gone} gone ({revision})")
}

fn list(applied: &Applied) -> String {
    if applied.changes.is_empty() {
        return String::new();
    }
    let heads = ["SERVICE", "HOW", "WHAT"];
    let mut table = Table::new(heads.map(Column::left));
    for change in &applied.changes {
        let what = match change.kind.as_str() {
            REGISTRATION => format!("instance {}", change.name),
            kind => kind.to_owned(),
        };
        table.row([&change.service, &change.how, &what]);
    }
    table.to_string()
}
