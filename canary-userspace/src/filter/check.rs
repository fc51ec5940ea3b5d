//! Types: which operator a field takes, and its literal as the field's type.

use regex::Regex;

use super::grammar::{Expression, Match, Operator};
use super::schema::Type;
use super::selector::Subject;
use super::{Mistake, pattern};
use crate::syntax::based_integer;

/// A filter that can be evaluated; `S` is how a field is found.
#[derive(Clone, Debug)]
pub(super) enum Test<S = Subject> {
    /// One of them holds.
    Any(Vec<Self>),
    /// All of them hold.
    All(Vec<Self>),
    /// It does not hold.
    Not(Box<Self>),
    /// A field compared.
    Compare {
        /// The field.
        subject: S,
        /// What is asked of it.
        question: Question,
        /// The answer wanted: a key that is absent answers every question with no.
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
    /// Is it this number with a fraction?
    Real(f32),
    /// Is it this truth?
    Truth(bool),
    /// Does it contain this: as a part of a text, an element of a list, a key of a map?
    Contains(String),
    /// Has it no element?
    Empty,
    /// Does this match anywhere in it?
    Matches(Regex),
}

/// Checks a filter whose fields `find` finds.
///
/// # Errors
///
/// The first mistake, in Consul's words.
pub(super) fn check<S>(
    expression: &Expression,
    find: &impl Fn(&[String]) -> Result<(S, &'static Type), Mistake>,
) -> Result<Test<S>, Mistake> {
    let all = |parts: &[Expression]| {
        parts.iter().map(|part| check(part, find)).collect::<Result<Vec<_>, _>>()
    };
    Ok(match expression {
        Expression::Any(parts) => Test::Any(all(parts)?),
        Expression::All(parts) => Test::All(all(parts)?),
        Expression::Not(part) => Test::Not(Box::new(check(part, find)?)),
        Expression::Match(comparison) => {
            let (subject, of) = find(&comparison.selector)?;
            let wanted = !matches!(
                comparison.operator,
                Operator::NotEqual | Operator::NotIn | Operator::IsNotEmpty | Operator::NotMatches
            );
            Test::Compare { subject, question: question(comparison, of)?, wanted }
        }
    })
}

/// What a comparison asks of a field of type `of`.
fn question(comparison: &Match, of: &Type) -> Result<Question, Mistake> {
    let Match { selector, operator, value } = comparison;
    let coerce = |reason: String| {
        let selector = selector.join(".");
        Mistake::new(format!(
            "Failed to coerce value {value:?} for selector {selector:?}: {reason}"
        ))
    };
    Ok(match (operator, of) {
        (Operator::Equal | Operator::NotEqual, Type::Text) => Question::Text(value.clone()),
        (Operator::Equal | Operator::NotEqual, Type::Whole | Type::Nanoseconds) => {
            Question::Number(integer(value, "ParseInt").map_err(coerce)?)
        }
        (Operator::Equal | Operator::NotEqual, Type::Natural) => {
            Question::Number(integer(value, "ParseUint").map_err(coerce)?)
        }
        (Operator::Equal | Operator::NotEqual, Type::Real) => Question::Real(
            value.parse().map_err(|_| coerce(unparsable("ParseFloat", value, "invalid syntax")))?,
        ),
        (Operator::Equal | Operator::NotEqual, Type::Truth) => Question::Truth(
            truth(value).ok_or_else(|| coerce(unparsable("ParseBool", value, "invalid syntax")))?,
        ),
        (Operator::In | Operator::NotIn, Type::Text | Type::Words | Type::Names | Type::Map(_)) => {
            Question::Contains(value.clone())
        }
        (
            Operator::IsEmpty | Operator::IsNotEmpty,
            Type::Words | Type::Names | Type::Map(_) | Type::List(_),
        ) => Question::Empty,
        (Operator::Matches | Operator::NotMatches, Type::Text) => {
            Question::Matches(pattern::compile(value)?)
        }
        _ => {
            let (name, selector) = (name(*operator), selector.join("."));
            let text = format!("Invalid match operator {name:?} for selector {selector:?}");
            return Err(Mistake::new(text).hint(other_operator(*operator, of)));
        }
    })
}

/// What does what an impossible operator may have been meant to do.
fn other_operator(operator: Operator, of: &Type) -> Option<String> {
    let hint = match (operator, of) {
        (Operator::Equal | Operator::NotEqual, Type::Words) => "a list is asked with `X in LIST`",
        (Operator::Equal | Operator::NotEqual, Type::Map(_) | Type::Names) => {
            "a map is asked with `KEY in MAP`, its values with `MAP.KEY == X`"
        }
        (Operator::IsEmpty | Operator::IsNotEmpty, Type::Text) => {
            "an empty text is asked for with `== \"\"`, a key of a map with `KEY in MAP`"
        }
        (_, Type::Record(_)) => "only its fields can be compared",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// A whole number as Go reads it; `function` is what its errors are called by.
fn integer(text: &str, function: &str) -> Result<i64, String> {
    let signed = function == "ParseInt";
    match based_integer(text) {
        Some(number) if signed || !text.starts_with(['-', '+']) => Ok(number),
        None if is_decimal(text, signed) => Err(unparsable(function, text, "value out of range")),
        _ => Err(unparsable(function, text, "invalid syntax")),
    }
}

/// Whether these are digits, so that only their number can be wrong.
fn is_decimal(text: &str, signed: bool) -> bool {
    let digits = if signed { text.strip_prefix(['-', '+']).unwrap_or(text) } else { text };
    !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.starts_with('0')
}

fn unparsable(function: &str, text: &str, reason: &str) -> String {
    format!("strconv.{function}: parsing {text:?}: {reason}")
}

/// A truth as Go writes it.
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
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
