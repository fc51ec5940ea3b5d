//! The weak typing of Consul's decoder: a number may stand for its text, a text for its number.

use std::time::Duration;

use super::{Data, Value, parse_nanoseconds};
use crate::error::ConfigError;

/// The one element of a list, or the value itself.
fn lone(value: &Value) -> &Value {
    match &value.data {
        Data::List(elements) => match elements.as_slice() {
            [only] => only,
            _ => value,
        },
        _ => value,
    }
}

/// The error for a value that no rule turns into `wanted`.
pub(super) fn unconvertible(value: &Value, path: &str, wanted: &str) -> ConfigError {
    let kind = value.kind();
    let text = format!("'{path}' expected type '{wanted}', got unconvertible type '{kind}'");
    ConfigError::at(value.position, text)
}

/// A string; numbers become their text, `true` becomes `1`.
pub(crate) fn string(value: &Value, path: &str) -> Result<String, ConfigError> {
    let value = lone(value);
    match &value.data {
        Data::String(text) => Ok(text.clone()),
        Data::Integer(number) => Ok(number.to_string()),
        Data::Float(number) => Ok(number.to_string()),
        Data::Bool(truth) => Ok(u8::from(*truth).to_string()),
        Data::Null => Ok(String::new()),
        _ => Err(unconvertible(value, path, "string")),
    }
}

/// A number with fraction.
pub(super) fn number(value: &Value, path: &str) -> Result<f64, ConfigError> {
    let value = lone(value);
    match &value.data {
        #[expect(
            clippy::as_conversions,
            clippy::cast_precision_loss,
            reason = "Consul's decoder makes a float of it too; no weight is beyond 2^53"
        )]
        Data::Integer(number) => Ok(*number as f64),
        Data::Float(number) => Ok(*number),
        Data::Bool(truth) => Ok(f64::from(u8::from(*truth))),
        Data::Null => Ok(0.0),
        Data::String(text) if text.is_empty() => Ok(0.0),
        Data::String(text) => {
            text.parse().map_err(|_| unparsable(value, path, "float", "ParseFloat", text))
        }
        _ => Err(unconvertible(value, path, "float32")),
    }
}

/// A whole number; one with a fraction is refused rather than cut.
pub(super) fn integer(value: &Value, path: &str) -> Result<i64, ConfigError> {
    let value = lone(value);
    match &value.data {
        Data::Integer(number) => Ok(*number),
        Data::Bool(truth) => Ok(i64::from(*truth)),
        Data::Null => Ok(0),
        Data::Float(number) => number.to_string().parse().map_err(|_| {
            ConfigError::at(value.position, format!("'{path}' is not a whole number: {number}"))
        }),
        Data::String(text) if text.is_empty() => Ok(0),
        Data::String(text) => {
            based(text).ok_or_else(|| unparsable(value, path, "int", "ParseInt", text))
        }
        _ => Err(unconvertible(value, path, "int")),
    }
}

/// A number in Go's base 0: decimal, `0x`, `0o` or `0` for octal, `0b`.
pub(crate) fn based(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (digits, radix) = if let Some(digits) = lower.strip_prefix("0x") {
        (digits, 16)
    } else if let Some(digits) = lower.strip_prefix("0b") {
        (digits, 2)
    } else if let Some(digits) = lower.strip_prefix("0o") {
        (digits, 8)
    } else if let Some(digits) = lower.strip_prefix('0').filter(|digits| !digits.is_empty()) {
        (digits, 8)
    } else {
        (lower.as_str(), 10)
    };
    // `from_str_radix` would take a second sign.
    if digits.starts_with(['+', '-']) {
        return None;
    }
    i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()
}

/// A count of zero or more, of at most 64 bits.
pub(super) fn count(value: &Value, path: &str, bits: u32) -> Result<u64, ConfigError> {
    let value = lone(value);
    let number = match &value.data {
        Data::String(text) if !text.is_empty() => {
            based(text).ok_or_else(|| unparsable(value, path, "uint", "ParseUint", text))?
        }
        _ => integer(value, path)?,
    };
    let count = u64::try_from(number).map_err(|_| {
        ConfigError::at(value.position, format!("cannot parse '{path}', {number} overflows uint"))
    })?;
    if bits < u64::BITS && count >> bits > 0 {
        let text = format!("cannot parse '{path}', {number} overflows uint{bits}");
        return Err(ConfigError::at(value.position, text));
    }
    Ok(count)
}

/// `true` or `false`; a number is true unless it is 0, a text is read as Go reads it.
pub(super) fn boolean(value: &Value, path: &str) -> Result<bool, ConfigError> {
    let value = lone(value);
    match &value.data {
        Data::Bool(truth) => Ok(*truth),
        Data::Integer(number) => Ok(*number != 0),
        Data::Float(number) => Ok(*number != 0.0),
        Data::Null => Ok(false),
        Data::String(text) => match text.as_str() {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
            "" | "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
            _ => Err(unparsable(value, path, "bool", "ParseBool", text)),
        },
        _ => Err(unconvertible(value, path, "bool")),
    }
}

/// A duration that may be below zero: Go's text, or nanoseconds.
pub(super) fn nanoseconds(value: &Value, path: &str) -> Result<i64, ConfigError> {
    let value = lone(value);
    match &value.data {
        Data::String(text) if text.is_empty() => Ok(0),
        Data::String(text) => parse_nanoseconds(text).map_err(|text| {
            ConfigError::at(value.position, format!("error decoding '{path}': {text}"))
        }),
        _ => integer(value, path),
    }
}

/// A duration: Go's text, or nanoseconds.
pub(super) fn duration(value: &Value, path: &str) -> Result<Duration, ConfigError> {
    let number = nanoseconds(value, path)?;
    u64::try_from(number).map(Duration::from_nanos).map_err(|_| {
        let text = format!("error decoding '{path}': negative duration {:?}", written(value));
        ConfigError::at(value.position, text)
    })
}

/// A duration's text, for messages.
fn written(value: &Value) -> String {
    match &lone(value).data {
        Data::String(text) => text.clone(),
        Data::Integer(number) => format!("{number}ns"),
        _ => String::new(),
    }
}

/// The error for a text that is not the wanted thing's, in the words of Go's parsers.
fn unparsable(value: &Value, path: &str, wanted: &str, parser: &str, text: &str) -> ConfigError {
    let text = format!(
        "cannot parse '{path}' as {wanted}: strconv.{parser}: parsing {text:?}: invalid syntax"
    );
    ConfigError::at(value.position, text)
}
