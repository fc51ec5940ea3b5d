//! What a change of weights moved, in one line.

use std::fmt::Write;

use super::client::Answer;
use super::console::Console;
use super::failure::Failure;
use super::sever;
use crate::document::{Changed, Moved};

/// Prints the line and the agent's warnings; `would` begins it where nothing was done.
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
    let changed: Changed = answer.json()?;
    console.data(line(if changed.dry_run { would } else { done }, &changed))?;
    if let Some(severing) = &changed.severing {
        console.data(sever::line(severing))?;
    }
    console.warn(&answer.warnings)?;
    console.warn(changed.warnings.iter().map(|warning| &warning.text))
}

/// Prints what would move beside an answer whose body is as Consul's, and the agent's warnings.
///
/// # Errors
///
/// [`Failure::Error`] if the agent does not say what would change: then it may have changed it.
pub fn print_aside(answer: &Answer, console: &mut Console<'_>) -> Result<(), Failure> {
    let changed = answer.changed.as_deref().map(serde_json::from_str::<Changed>);
    match changed {
        Some(Ok(changed)) if changed.dry_run => console.data(line("Would move", &changed))?,
        _ => return Err(Failure::Error("the agent does not know --dry-run".to_owned())),
    }
    console.warn(&answer.warnings)
}

/// `Rolled back: payments blue 50 -> 100, green 50 -> 0 (revision 12 -> 13)`
#[must_use]
pub fn line(done: &str, changed: &Changed) -> String {
    let moves = if changed.weights.is_empty() {
        "no weight moved".to_owned()
    } else {
        moves(&changed.weights)
    };
    let mut line = format!("{done}: {} {moves}", changed.service);
    // Writing to a string cannot fail.
    _ = if changed.dry_run {
        write!(line, " (dry run: revision {} stays)", changed.revision)
    } else {
        write!(line, " (revision {} -> {})", changed.revision_before, changed.revision)
    };
    line
}

/// `blue 50 -> 100, green 50 -> 0`
#[must_use]
pub fn moves(weights: &[Moved]) -> String {
    weights.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn one(moved: &Moved) -> String {
    let side =
        |weight: Option<f64>| weight.map_or_else(|| "none".to_owned(), |weight| weight.to_string());
    format!("{} {} -> {}", moved.subset, side(moved.before), side(moved.after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(weights: &[(&str, Option<f64>, Option<f64>)]) -> Changed {
        let moved = |&(subset, before, after): &(&str, _, _)| Moved {
            subset: subset.to_owned(),
            before,
            after,
        };
        Changed {
            service: "payments".to_owned(),
            weights: weights.iter().map(moved).collect(),
            revision_before: 12,
            revision: 13,
            dry_run: false,
            warnings: Vec::new(),
            severing: None,
        }
    }

    #[test]
    fn a_rollback_reads_as_people_know_it() {
        let changed =
            changed(&[("blue", Some(50.0), Some(100.0)), ("green", Some(50.0), Some(0.0))]);

        assert_eq!(
            line("Rolled back", &changed),
            "Rolled back: payments blue 50 -> 100, green 50 -> 0 (revision 12 -> 13)"
        );
    }

    #[test]
    fn hundredths_and_splits_that_come_and_go_are_shown() {
        let changed = changed(&[("blue", Some(99.99), None), ("green", None, Some(0.01))]);

        assert_eq!(
            line("Undone", &changed),
            "Undone: payments blue 99.99 -> none, green none -> 0.01 (revision 12 -> 13)"
        );
    }
}
