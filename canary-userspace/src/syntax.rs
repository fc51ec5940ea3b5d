//! Consul's configuration language: HCL and JSON to one tree, with a place on every part.
//!
//! The text is never edited before it is read. What it means is up to the rooms that use it:
//! a repeated key stays repeated here, for whether the last one wins or all are merged depends
//! on what the key is for ([`Fields`] knows).

mod duration;
mod fields;
mod hcl;
mod json;
mod places;
mod scan;
mod text;
mod weak;

use winnow::error::{ErrMode, ParserError};
use winnow::stream::{Location, Stream};

pub use duration::{format_duration, format_nanoseconds, parse_duration, parse_nanoseconds};
pub use fields::{Fields, Placed, Remarks};
pub(crate) use weak::{based as based_integer, string as weak_string};

use crate::error::{ConfigError, Position};
use places::Places;

/// How deep objects and lists may nest.
///
/// Consul's own files stay under 10; the limit keeps hostile input from the stack's end.
pub const MAX_DEPTH: usize = 100;

/// A value of a configuration text.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Where it starts.
    pub position: Position,
    /// What it is.
    pub data: Data,
}

/// The kinds of value that HCL and JSON have.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// JSON's `null`; HCL has none.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number without fraction and exponent.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// A string, or a heredoc.
    String(String),
    /// Values in order.
    List(Vec<Value>),
    /// Keys with values, as written: a key may come more than once.
    Object(Vec<Item>),
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The key, unquoted.
    pub key: String,
    /// Where the key starts.
    pub position: Position,
    /// Its value.
    pub value: Value,
    /// A later item of the same object takes its place: JSON's rule for a repeated key.
    pub replaced: bool,
}

impl Value {
    /// The items of an object; `None` for everything else.
    #[must_use]
    pub fn items(&self) -> Option<&[Item]> {
        match &self.data {
            Data::Object(items) => Some(items),
            _ => None,
        }
    }

    /// The kind in the words of Consul's messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.data {
            Data::Null => "nil",
            Data::Bool(_) => "bool",
            Data::Integer(_) => "int",
            Data::Float(_) => "float64",
            Data::String(_) => "string",
            Data::List(_) => "slice",
            Data::Object(_) => "map",
        }
    }
}

/// Parses a configuration text: JSON if its first non-blank character is `{`, HCL otherwise.
///
/// # Errors
///
/// Where and why the text is neither, in Consul's words where it has some.
pub fn parse(text: &[u8]) -> Result<Value, ConfigError> {
    parse_as(text, |start| start == '{')
}

/// Parses a configuration text that may also be a JSON list of what it would be otherwise.
///
/// # Errors
///
/// As [`parse`].
pub fn parse_set(text: &[u8]) -> Result<Value, ConfigError> {
    parse_as(text, |start| matches!(start, '{' | '['))
}

fn parse_as(text: &[u8], is_json: impl Fn(char) -> bool) -> Result<Value, ConfigError> {
    let text = match str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => {
            let valid = text.get(..error.valid_up_to()).unwrap_or_default();
            let before = str::from_utf8(valid).unwrap_or_default();
            return Err(ConfigError::at(Places::new(before).end(), "illegal UTF-8 encoding"));
        }
    };
    let places = Places::new(text);
    let parsed = if text.trim_start().starts_with(is_json) {
        json::document(text, &places)
    } else {
        hcl::document(text, &places)
    };
    parsed.map_err(|fault| ConfigError::at(places.at(fault.offset), fault.text))
}

/// A syntax error while its place is still an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fault {
    offset: usize,
    text: String,
}

/// What the parsers of this room return.
type Parsed<T> = Result<T, ErrMode<Fault>>;

impl Fault {
    /// A fault that no other way of reading can heal.
    fn cut<T>(offset: usize, text: impl Into<String>) -> Parsed<T> {
        Err(ErrMode::Cut(Self { offset, text: text.into() }))
    }

    /// The fault of a parser that has returned for good.
    fn of(error: ErrMode<Self>) -> Self {
        match error {
            ErrMode::Backtrack(fault) | ErrMode::Cut(fault) => fault,
            // Only partial input asks for more, and no input here is partial.
            ErrMode::Incomplete(_) => Self { offset: 0, text: "unexpected end".to_owned() },
        }
    }
}

impl<I: Stream + Location> ParserError<I> for Fault {
    type Inner = Self;

    fn from_input(input: &I) -> Self {
        Self { offset: input.current_token_start(), text: "illegal character".to_owned() }
    }

    fn into_inner(self) -> Result<Self::Inner, Self> {
        Ok(self)
    }
}

#[cfg(test)]
mod tests;
