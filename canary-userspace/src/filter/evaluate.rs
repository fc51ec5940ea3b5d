//! Filters evaluated: does this instance pass?

use super::check::{Question, Test};
use super::selector::Subject;
use crate::catalog::{Instance, Node};

/// Whether `test` holds for `instance` on `node`.
pub(super) fn holds(test: &Test, instance: &Instance, node: &Node) -> bool {
    match test {
        Test::Any(parts) => parts.iter().any(|part| holds(part, instance, node)),
        Test::All(parts) => parts.iter().all(|part| holds(part, instance, node)),
        Test::Not(part) => !holds(part, instance, node),
        Test::Compare { subject, question, wanted } => {
            answer(subject, question, instance, node) == *wanted
        }
    }
}

/// The answer to a question; no where the field is absent.
fn answer(subject: &Subject, question: &Question, instance: &Instance, node: &Node) -> bool {
    match subject {
        Subject::Text(text) => {
            text.of(instance, node).is_some_and(|text| answer_of_text(&text, question))
        }
        Subject::Key(map, key) => {
            map.of(instance, node).get(key).is_some_and(|text| answer_of_text(text, question))
        }
        Subject::Number(number) => {
            matches!(question, Question::Number(wanted) if number.of(instance) == Some(*wanted))
        }
        Subject::Truth(truth) => matches!(question, Question::Truth(wanted) if truth == wanted),
        Subject::Tags => match question {
            Question::Contains(tag) => instance.tags.contains(tag),
            Question::Empty => instance.tags.is_empty(),
            _ => false,
        },
        Subject::Map(map) => match question {
            Question::Contains(key) => map.of(instance, node).contains_key(key),
            Question::Empty => map.of(instance, node).is_empty(),
            _ => false,
        },
        Subject::Addresses => match question {
            Question::Contains(name) => instance.tagged_addresses.contains_key(name),
            Question::Empty => instance.tagged_addresses.is_empty(),
            _ => false,
        },
        Subject::Group => false,
    }
}

fn answer_of_text(text: &str, question: &Question) -> bool {
    match question {
        Question::Text(wanted) => text == wanted,
        Question::Contains(part) => text.contains(part.as_str()),
        // Where the key is absent this is never asked, so `matches` is false there, as in
        // newer releases of the library that Consul uses; in Consul itself it is true.
        Question::Matches(pattern) => pattern.is_match(text),
        Question::Number(_) | Question::Truth(_) | Question::Empty => false,
    }
}
