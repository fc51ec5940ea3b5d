//! Types: which operator a field takes, and its literal as the field's type.

use regex::{Regex, RegexBuilder};

use super::grammar::{Expression, Match, Operator};
use super::selector::Subject;
use crate::syntax::based_integer;

/// Bytes that a compiled regular expression may take.
const MAX_REGEX_LEN: usize = 1 << 20;

/// A filter that can be evaluated.
#[derive(Clone, Debug)]
pub(super) enum Test {
    /// One of them holds.
    Any(Vec<Self>),
    /// All of them hold.
    All(Vec<Self>),
    /// It does not hold.
    Not(Box<Self>),
    /// A field compared.
    Compare {
        /// The field.
        subject: Subject,
        /// What is asked of it.
        question: Question,
        /// The answer wanted: a field that is absent answers every question with no.
        wanted: bool,
    },
}

/// What can be asked of a field.
#[derive(Clone, Debug)]
pub(super) enum Question {
    /// Is it this text?
    Text(String),
    /// Is it this number?
    Number(i64),
    /// Is it this truth?
    Truth(bool),
    /// Does it contain this: as a part of a text, an element of a list, a key of a map?
    Contains(String),
    /// Has it no element?
    Empty,
    /// Does this match anywhere in it?
    Matches(Regex),
}

/// Checks a filter.
///
/// # Errors
///
/// The first mistake, in Consul's words.
pub(super) fn check(expression: &Expression) -> Result<Test, String> {
    Ok(match expression {
        Expression::Any(parts) => Test::Any(parts.iter().map(check).collect::<Result<_, _>>()?),
        Expression::All(parts) => Test::All(parts.iter().map(check).collect::<Result<_, _>>()?),
        Expression::Not(part) => Test::Not(Box::new(check(part)?)),
        Expression::Match(comparison) => compare(comparison)?,
    })
}

fn compare(comparison: &Match) -> Result<Test, String> {
    let Match { selector, operator, value } = comparison;
    let subject = Subject::of(selector)?;
    let wanted = !matches!(
        operator,
        Operator::NotEqual | Operator::NotIn | Operator::IsNotEmpty | Operator::NotMatches
    );
    let coerce = |reason: String| {
        format!("Failed to coerce value {value:?} for selector {:?}: {reason}", selector.join("."))
    };
    let question = match (operator, &subject) {
        (Operator::Equal | Operator::NotEqual, Subject::Text(_) | Subject::Key(..)) => {
            Question::Text(value.clone())
        }
        (Operator::Equal | Operator::NotEqual, Subject::Number(_)) => {
            let number = based_integer(value).ok_or_else(|| {
                coerce(format!("strconv.ParseInt: parsing {value:?}: invalid syntax"))
            })?;
            Question::Number(number)
        }
        (Operator::Equal | Operator::NotEqual, Subject::Truth(_)) => {
            Question::Truth(truth(value).ok_or_else(|| {
                coerce(format!("strconv.ParseBool: parsing {value:?}: invalid syntax"))
            })?)
        }
        (
            Operator::In | Operator::NotIn,
            Subject::Text(_)
            | Subject::Key(..)
            | Subject::Tags
            | Subject::Map(_)
            | Subject::Addresses,
        ) => Question::Contains(value.clone()),
        (
            Operator::IsEmpty | Operator::IsNotEmpty,
            Subject::Tags | Subject::Map(_) | Subject::Addresses,
        ) => Question::Empty,
        (Operator::Matches | Operator::NotMatches, Subject::Text(_) | Subject::Key(..)) => {
            Question::Matches(pattern(value)?)
        }
        _ => {
            let (name, selector) = (name(*operator), selector.join("."));
            return Err(format!("Invalid match operator {name:?} for selector {selector:?}"));
        }
    };
    Ok(Test::Compare { subject, question, wanted })
}

/// A truth as Go writes it.
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn pattern(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text).size_limit(MAX_REGEX_LEN).build().map_err(|error| {
        // The last line is the reason; those before it draw the place.
        let error = error.to_string();
        let reason = error.lines().last().unwrap_or_default();
        let reason = reason.strip_prefix("error: ").unwrap_or(reason);
        format!("Failed to compile regular expression {text:?}: {reason}")
    })
}

/// The operator as Consul's messages name it.
fn name(operator: Operator) -> &'static str {
    match operator {
        Operator::Equal => "Equal",
        Operator::NotEqual => "Not Equal",
        Operator::In => "In",
        Operator::NotIn => "Not In",
        Operator::IsEmpty => "Is Empty",
        Operator::IsNotEmpty => "Is Not Empty",
        Operator::Matches => "Matches",
        Operator::NotMatches => "Not Matches",
    }
}
