//! Filters evaluated: does this instance pass?

use super::check::{Question, Test};
use super::selector::{CheckField, Subject};
use crate::catalog::{CheckState, Registered};

/// Whether `test` holds for `registered`.
pub(super) fn holds(test: &Test, registered: &Registered) -> bool {
    match test {
        Test::Any(parts) => parts.iter().any(|part| holds(part, registered)),
        Test::All(parts) => parts.iter().all(|part| holds(part, registered)),
        Test::Not(part) => !holds(part, registered),
        Test::Compare { subject, question, wanted } => match subject {
            Subject::OfChecks(field) => registered
                .checks
                .iter()
                .any(|check| answer_of_check(*field, check, question, registered) == *wanted),
            Subject::OfNone => false,
            _ => answer(subject, question, registered) == *wanted,
        },
    }
}

/// The answer to a question; no where a key is absent.
fn answer(subject: &Subject, question: &Question, registered: &Registered) -> bool {
    let instance = &registered.instance;
    match subject {
        Subject::Text(text) => text.of(registered).is_some_and(|text| of_text(&text, question)),
        Subject::Key(map, key) => {
            map.of(registered).get(key).is_some_and(|text| of_text(text, question))
        }
        Subject::Number(number) => {
            number.of(registered).is_some_and(|number| of_number(number, question))
        }
        Subject::Truth(truth) => matches!(question, Question::Truth(wanted) if truth == wanted),
        Subject::Tags => of_tags(&instance.tags, question),
        Subject::Map(map) => match question {
            Question::Contains(key) => map.of(registered).contains_key(key),
            Question::Empty => map.of(registered).is_empty(),
            _ => false,
        },
        Subject::Addresses => match question {
            Question::Contains(name) => instance.tagged_addresses.contains_key(name),
            Question::Empty => instance.tagged_addresses.is_empty(),
            _ => false,
        },
        Subject::Checks => matches!(question, Question::Empty) && registered.checks.is_empty(),
        Subject::NoList => matches!(question, Question::Empty),
        Subject::OfChecks(_) | Subject::OfNone => false,
    }
}

fn answer_of_check(
    field: CheckField,
    check: &CheckState,
    question: &Question,
    registered: &Registered,
) -> bool {
    match field {
        CheckField::ServiceTags if check.of_node => of_tags(&[], question),
        CheckField::ServiceTags => of_tags(&registered.instance.tags, question),
        CheckField::Port => of_number(0, question),
        _ => of_text(field.text(check, registered), question),
    }
}

/// The answer of a text.
pub(super) fn of_text(text: &str, question: &Question) -> bool {
    match question {
        Question::Text(wanted) => text == wanted,
        Question::Contains(part) => text.contains(part.as_str()),
        // Where the key is absent this is never asked, so `matches` is false there, as in
        // newer releases of the library that Consul uses; in Consul itself it is true.
        Question::Matches(pattern) => pattern.is_match(text),
        Question::Number(_) | Question::Real(_) | Question::Truth(_) | Question::Empty => false,
    }
}

/// The answer of a whole number.
pub(super) fn of_number(number: i64, question: &Question) -> bool {
    matches!(question, Question::Number(wanted) if number == *wanted)
}

fn of_tags(tags: &[String], question: &Question) -> bool {
    match question {
        Question::Contains(tag) => tags.contains(tag),
        Question::Empty => tags.is_empty(),
        _ => false,
    }
}
