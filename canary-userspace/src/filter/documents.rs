//! Filters of lists: the same language over JSON documents.

use serde_json::Value;

use super::check::{Question, Test, check};
use super::evaluate::{of_number, of_text};
use super::read;
use super::schema::{self, Step, Type};
use super::shapes::Shape;
use crate::error::ConfigError;
use crate::syntax::parse_duration;

/// A filter of the elements of a list.
#[derive(Clone, Debug)]
pub struct ListFilter {
    /// `None` for the empty filter, which every element passes.
    test: Option<Test<Path>>,
}

/// A field of a document.
#[derive(Clone, Debug)]
struct Path {
    steps: Vec<Step>,
    of: &'static Type,
}

impl ListFilter {
    /// Reads a filter for documents of `shape`. The empty text is the filter that all pass.
    ///
    /// # Errors
    ///
    /// Why it cannot be read or not be evaluated, in Consul's words, perhaps with a hint.
    pub fn parse(text: &str, shape: Shape) -> Result<Self, ConfigError> {
        let Some(expression) = read(text)? else { return Ok(Self { test: None }) };
        let find = |selector: &[String]| {
            let found = schema::find(shape, selector)?;
            Ok((Path { steps: found.steps, of: found.of }, found.of))
        };
        Ok(Self { test: Some(check(&expression, &find)?) })
    }

    /// Whether everything passes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.test.is_none()
    }

    /// Whether `document` passes.
    #[must_use]
    pub fn matches(&self, document: &Value) -> bool {
        self.test.as_ref().is_none_or(|test| holds(test, document))
    }
}

fn holds(test: &Test<Path>, document: &Value) -> bool {
    match test {
        Test::Any(parts) => parts.iter().any(|part| holds(part, document)),
        Test::All(parts) => parts.iter().all(|part| holds(part, document)),
        Test::Not(part) => !holds(part, document),
        Test::Compare { subject, question, wanted } => {
            compare(document, &subject.steps, subject.of, question, *wanted)
        }
    }
}

/// Whether the field that `steps` lead to answers as `wanted`.
fn compare(value: &Value, steps: &[Step], of: &Type, question: &Question, wanted: bool) -> bool {
    let Some((step, rest)) = steps.split_first() else {
        return answer(value, of, question) == wanted;
    };
    match step {
        // What a document leaves out is zero, as what it says is `null`.
        Step::Field(name) => {
            compare(value.get(name).unwrap_or(&Value::Null), rest, of, question, wanted)
        }
        Step::Key(key) => match value.get(key) {
            Some(value) => compare(value, rest, of, question, wanted),
            // An absent key holds nothing.
            None => matches!(question, Question::Empty) == wanted,
        },
        Step::Each => value
            .as_array()
            .into_iter()
            .flatten()
            .any(|element| compare(element, rest, of, question, wanted)),
    }
}

/// The answer of a field to a question.
fn answer(value: &Value, of: &Type, question: &Question) -> bool {
    match of {
        Type::Text => of_text(value.as_str().unwrap_or_default(), question),
        Type::Whole | Type::Natural => of_number(value.as_i64().unwrap_or_default(), question),
        Type::Nanoseconds => of_number(nanoseconds(value), question),
        Type::Real => matches!(question, Question::Real(wanted) if real(value).eq(wanted)),
        Type::Truth => {
            let truth = value.as_bool().unwrap_or_default();
            matches!(question, Question::Truth(wanted) if truth == *wanted)
        }
        Type::Words | Type::List(_) => {
            let elements = value.as_array().map(Vec::as_slice).unwrap_or_default();
            match question {
                Question::Contains(word) => elements.iter().any(|element| element == word),
                Question::Empty => elements.is_empty(),
                _ => false,
            }
        }
        Type::Names | Type::Map(_) => match (question, value.as_object()) {
            (Question::Contains(key), Some(map)) => map.contains_key(key),
            (Question::Empty, map) => map.is_none_or(serde_json::Map::is_empty),
            _ => false,
        },
        Type::Record(_) => false,
    }
}

/// A number with a fraction, in the 32 bits that Consul has for it.
fn real(value: &Value) -> f32 {
    value.as_number().and_then(|number| number.to_string().parse().ok()).unwrap_or_default()
}

/// A time: a number is of nanoseconds already.
fn nanoseconds(value: &Value) -> i64 {
    let written = || parse_duration(value.as_str()?).ok()?.as_nanos().try_into().ok();
    value.as_i64().or_else(written).unwrap_or_default()
}
