//! Entries to HCL, in the form that people write.
//!
//! The layout is hcl-rs's. Texts are quoted here: hcl-rs doubles the `$` of a `${`, which is how
//! the second version of HCL keeps one, while the first, which Consul reads, knows no such rule.
//! A `\u0024` in its place means the same to both.

use std::fmt::Write;

use hcl::Identifier;
use hcl::expr::{Expression, ObjectKey, TemplateExpr, Variable};
use hcl::format::{Format, Formatter};
use hcl::structure::Attribute;
use serde_json::{Map, Value};

use super::{Entry, to_json};

/// Keys with free names below them: the names of subsets, and a pair's key.
const NAMED: [&str; 2] = ["Subsets", "Failover"];

/// The entry as HCL with Consul's `snake_case` keys. Reading it again gives the same entry.
#[must_use]
pub fn to_hcl(entry: &Entry) -> String {
    let Value::Object(fields) = to_json(entry) else { return String::new() };
    // Only the two small kinds have fields that are known one by one.
    let known = matches!(entry, Entry::Resolver(_) | Entry::Splitter(_));
    let mut text = String::new();
    for (key, value) in &fields {
        let ours =
            known || matches!(key.as_str(), "Kind" | "Name" | "Protocol" | "Config" | "Meta");
        let name = if ours { snake(key) } else { key.clone() };
        let value = if known { field(key, value) } else { raw(value) };
        let attribute = Attribute::new(Identifier::unchecked(key_text(&name)), value);
        // A split fits on a line, and is easier to compare there.
        let layout = Formatter::builder().compact_objects(key == "Splits");
        let mut bytes = Vec::new();
        // Writing to memory does not fail.
        if attribute.format(&mut layout.build(&mut bytes)).is_ok() {
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
    text
}

/// A value of the field `key`, whose own keys are fields too unless the field says otherwise.
fn field(key: &str, value: &Value) -> Expression {
    let named = NAMED.contains(&key);
    match value {
        Value::Object(fields) if key != "Meta" => {
            let item = |(key, value): (&String, &Value)| {
                let name = if named { key.clone() } else { snake(key) };
                (object_key(&name), field(if named { "" } else { key }, value))
            };
            Expression::Object(fields.iter().map(item).collect())
        }
        Value::Array(elements) => {
            Expression::Array(elements.iter().map(|element| field("", element)).collect())
        }
        other => raw(other),
    }
}

/// A value whose keys stay as they are.
fn raw(value: &Value) -> Expression {
    match value {
        Value::Null => quoted(""),
        Value::Bool(truth) => (*truth).into(),
        Value::Number(number) => number_of(number),
        Value::String(text) => quoted(text),
        Value::Array(elements) => Expression::Array(elements.iter().map(raw).collect()),
        Value::Object(map) => raw_object(map),
    }
}

fn raw_object(map: &Map<String, Value>) -> Expression {
    let item = |(key, value): (&String, &Value)| (object_key(key), raw(value));
    Expression::Object(map.iter().map(item).collect())
}

fn number_of(number: &serde_json::Number) -> Expression {
    // hcl-rs writes a float without fraction as an integer, which Consul's HCL holds to 64 bits:
    // as a word it stays what it is.
    let word = || Expression::Variable(Variable::unchecked(number.to_string()));
    number.as_i64().map_or_else(word, Expression::from)
}

fn quoted(text: &str) -> Expression {
    TemplateExpr::QuotedString(escaped(text)).into()
}

fn object_key(name: &str) -> ObjectKey {
    if is_plain(name) {
        ObjectKey::Identifier(Identifier::unchecked(name))
    } else {
        ObjectKey::Expression(quoted(name))
    }
}

/// A key as it is written in front of a `=`.
fn key_text(name: &str) -> String {
    if is_plain(name) { name.to_owned() } else { format!("\"{}\"", escaped(name)) }
}

/// Whether a key needs no quotes in either version of HCL.
fn is_plain(name: &str) -> bool {
    let word = |c: char| c == '_' || c.is_ascii_alphanumeric();
    name.chars().all(word)
        && name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic())
        && !matches!(name, "true" | "false" | "null" | "for")
}

/// The inside of a quoted text.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '"' => escaped.push_str("\\\""),
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            '$' | '%' if rest.peek() == Some(&'{') => code(&mut escaped, character),
            control if control.is_control() => code(&mut escaped, control),
            plain => escaped.push(plain),
        }
    }
    escaped
}

fn code(escaped: &mut String, character: char) {
    _ = write!(escaped, "\\u{:04x}", u32::from(character));
}

/// A field's alias: `SourceIP` is `source_ip`.
fn snake(canonical: &str) -> String {
    let mut alias = String::with_capacity(canonical.len().saturating_add(4));
    let mut before = None;
    let mut rest = canonical.chars().peekable();
    while let Some(character) = rest.next() {
        let starts_word = character.is_ascii_uppercase()
            && before.is_some_and(|before: char| {
                before.is_ascii_lowercase() || rest.peek().is_some_and(char::is_ascii_lowercase)
            });
        if starts_word {
            alias.push('_');
        }
        alias.push(character.to_ascii_lowercase());
        before = Some(character);
    }
    alias
}
