//! JSON text to values (RFC 8259).

use std::collections::HashMap;

use winnow::Parser;
use winnow::combinator::{alt, opt};
use winnow::error::ErrMode;
use winnow::stream::{Location, Stream};
use winnow::token::{literal, one_of, take_while};

use super::hcl::too_deep;
use super::places::Places;
use super::scan::Text;
use super::{Data, Fault, Item, MAX_DEPTH, Parsed, Value};

/// Parses a whole text.
pub(super) fn document(text: &str, places: &Places<'_>) -> Result<Value, Fault> {
    let mut input = Text::new(text);
    let parser = Json { places };
    parser.whole(&mut input).map_err(Fault::of)
}

/// The parser: the text is its input, the places its only state.
struct Json<'p> {
    places: &'p Places<'p>,
}

impl Json<'_> {
    /// One value and nothing behind it.
    fn whole(&self, input: &mut Text<'_>) -> Parsed<Value> {
        let value = self.value(input, 0)?;
        blank(input)?;
        if input.as_ref().is_empty() {
            Ok(value)
        } else {
            unexpected(input, "after top-level value")
        }
    }

    /// Any value, with the blanks in front of it.
    fn value(&self, input: &mut Text<'_>, depth: usize) -> Parsed<Value> {
        blank(input)?;
        let start = input.current_token_start();
        if depth > MAX_DEPTH {
            return too_deep(start);
        }
        let data = match input.as_ref().chars().next() {
            Some('{') => Data::Object(self.object(input, depth.saturating_add(1))?),
            Some('[') => Data::List(self.list(input, depth.saturating_add(1))?),
            Some('"') => Data::String(string(input)?),
            Some('-' | '0'..='9') => number(input)?,
            Some('t' | 'f' | 'n') => word(input)?,
            _ => return unexpected(input, "looking for beginning of value"),
        };
        Ok(Value { position: self.places.at(start), data })
    }

    /// An object; of a repeated key the last item counts.
    fn object(&self, input: &mut Text<'_>, depth: usize) -> Parsed<Vec<Item>> {
        literal("{").void().parse_next(input)?;
        let mut items: Vec<Item> = Vec::new();
        let mut seen = HashMap::new();
        blank(input)?;
        if opt("}").parse_next(input)?.is_some() {
            return Ok(items);
        }
        loop {
            blank(input)?;
            let start = input.current_token_start();
            if !input.as_ref().starts_with('"') {
                return unexpected(input, "looking for beginning of object key string");
            }
            let key = string(input)?;
            blank(input)?;
            if opt(":").parse_next(input)?.is_none() {
                return unexpected(input, "after object key");
            }
            let value = self.value(input, depth)?;
            let earlier = seen.insert(key.clone(), items.len());
            if let Some(earlier) = earlier.and_then(|index| items.get_mut(index)) {
                earlier.replaced = true;
            }
            let position = self.places.at(start);
            items.push(Item { key, position, value, replaced: false });
            blank(input)?;
            match opt(one_of([',', '}'])).parse_next(input)? {
                Some('}') => return Ok(items),
                Some(_) => {}
                None => return unexpected(input, "after object key:value pair"),
            }
        }
    }

    /// A list.
    fn list(&self, input: &mut Text<'_>, depth: usize) -> Parsed<Vec<Value>> {
        literal("[").void().parse_next(input)?;
        let mut elements = Vec::new();
        blank(input)?;
        if opt("]").parse_next(input)?.is_some() {
            return Ok(elements);
        }
        loop {
            elements.push(self.value(input, depth)?);
            blank(input)?;
            match opt(one_of([',', ']'])).parse_next(input)? {
                Some(']') => return Ok(elements),
                Some(_) => {}
                None => return unexpected(input, "after array element"),
            }
        }
    }
}

/// Blanks; JSON has no comments.
fn blank(input: &mut Text<'_>) -> Parsed<()> {
    take_while(0.., [' ', '\t', '\r', '\n']).void().parse_next(input)
}

/// The error for what is next, in the words of Go's decoder.
fn unexpected<T>(input: &Text<'_>, place: &str) -> Parsed<T> {
    let start = input.current_token_start();
    match input.as_ref().chars().next() {
        None => Fault::cut(start, "unexpected end of JSON input"),
        Some(character) => Fault::cut(start, format!("invalid character {character:?} {place}")),
    }
}

/// `true`, `false` or `null`.
fn word(input: &mut Text<'_>) -> Parsed<Data> {
    let word = alt((
        literal("true").value(Data::Bool(true)),
        literal("false").value(Data::Bool(false)),
        literal("null").value(Data::Null),
    ));
    match opt(word).parse_next(input)? {
        Some(data) => Ok(data),
        None => unexpected(input, "looking for beginning of value"),
    }
}

/// A number; one that no float of 64 bits holds is refused.
fn number(input: &mut Text<'_>) -> Parsed<Data> {
    let start = input.current_token_start();
    let digits = || take_while(1.., '0'..='9');
    let whole = alt(("0".void(), (one_of('1'..='9'), take_while(0.., '0'..='9')).void()));
    let fraction = opt((".", digits()));
    let exponent = opt((one_of(['e', 'E']), opt(one_of(['+', '-'])), digits()));
    let text: Option<&str> = opt((opt("-"), whole, fraction, exponent).take()).parse_next(input)?;
    let Some(text) = text else { return unexpected(input, "in numeric literal") };
    if let Ok(integer) = text.parse() {
        return Ok(Data::Integer(integer));
    }
    match text.parse::<f64>() {
        Ok(float) if float.is_finite() => Ok(Data::Float(float)),
        _ => Fault::cut(start, format!("cannot hold number {text} in 64 bits")),
    }
}

/// A string, unquoted.
fn string(input: &mut Text<'_>) -> Parsed<String> {
    literal("\"").void().parse_next(input)?;
    let mut value = String::new();
    loop {
        let at = input.current_token_start();
        match input.next_token() {
            Some('"') => return Ok(value),
            Some('\\') => value.push(escape(input, at)?),
            None => return Fault::cut(at, "unexpected end of JSON input"),
            Some(control) if control < ' ' => {
                return Fault::cut(at, format!("invalid character {control:?} in string literal"));
            }
            Some(character) => value.push(character),
        }
    }
}

/// What follows a backslash.
fn escape(input: &mut Text<'_>, start: usize) -> Parsed<char> {
    let bad = || {
        ErrMode::Cut(Fault { offset: start, text: "invalid escape in string literal".to_owned() })
    };
    match input.next_token() {
        Some(same @ ('"' | '\\' | '/')) => Ok(same),
        Some('b') => Ok('\u{08}'),
        Some('f') => Ok('\u{0c}'),
        Some('n') => Ok('\n'),
        Some('r') => Ok('\r'),
        Some('t') => Ok('\t'),
        Some('u') => {
            let high = unit(input).ok_or_else(bad)?;
            if let 0xd800..=0xdbff = high {
                return Ok(low_half(input, high).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Ok(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER))
        }
        _ => Err(bad()),
    }
}

/// The character of a surrogate pair; where the second half is missing nothing is taken.
fn low_half(input: &mut Text<'_>, high: u32) -> Option<char> {
    let checkpoint = input.checkpoint();
    let escaped: Parsed<Option<&str>> = opt("\\u").parse_next(input);
    let low = escaped.ok().flatten().and_then(|_| unit(input));
    let Some(low @ 0xdc00..=0xdfff) = low else {
        input.reset(&checkpoint);
        return None;
    };
    let top = high.wrapping_sub(0xd800).wrapping_mul(0x400);
    char::from_u32(top.wrapping_add(low.wrapping_sub(0xdc00)).wrapping_add(0x1_0000))
}

/// Four hexadecimal digits.
fn unit(input: &mut Text<'_>) -> Option<u32> {
    let digits: Parsed<&str> = take_while(4..=4, |c: char| c.is_ascii_hexdigit()).parse_next(input);
    u32::from_str_radix(digits.ok()?, 16).ok()
}
