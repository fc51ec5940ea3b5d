//! Tokens to values: the grammar of HCL, version 1.

use winnow::Parser;
use winnow::combinator::{opt, peek};
use winnow::stream::TokenSlice;
use winnow::token::{any, one_of};

use super::places::Places;
use super::scan::{self, Kind, Token};
use super::{Data, Fault, Item, MAX_DEPTH, Parsed, Value};

/// What the parser reads from.
type Tokens<'s, 't> = TokenSlice<'s, Token<'t>>;

/// Parses a whole text.
pub(super) fn document(text: &str, places: &Places<'_>) -> Result<Value, Fault> {
    let tokens = scan::tokens(text);
    let mut input = TokenSlice::new(&tokens);
    let parser = Hcl { places };
    let items = parser.items(&mut input, &Kind::End, 0).map_err(Fault::of)?;
    Ok(Value { position: places.at(0), data: Data::Object(items) })
}

/// The parser: the tokens are its input, the places its only state.
struct Hcl<'p> {
    places: &'p Places<'p>,
}

/// Where a block with labels keeps its name and its labels.
struct Key {
    name: String,
    start: usize,
}

impl Hcl<'_> {
    /// Items up to the token `close`, which is taken too.
    fn items(&self, input: &mut Tokens<'_, '_>, close: &Kind, depth: usize) -> Parsed<Vec<Item>> {
        let mut items = Vec::new();
        loop {
            let next = peek(any).parse_next(input)?;
            if next.kind == *close {
                any.void().parse_next(input)?;
                return Ok(items);
            }
            if next.kind == Kind::End {
                return Fault::cut(next.start, "object expected closing RBRACE got: EOF");
            }
            items.push(self.item(input, depth)?);
            opt(one_of(|token: &Token<'_>| token.kind == Kind::Comma)).parse_next(input)?;
        }
    }

    /// `key = value`, or `key "label" { ... }`.
    fn item(&self, input: &mut Tokens<'_, '_>, depth: usize) -> Parsed<Item> {
        let mut keys: Vec<Key> = Vec::new();
        loop {
            let token: &Token<'_> = any.parse_next(input)?;
            match (&token.kind, keys.len()) {
                (Kind::Ident, _) => {
                    keys.push(Key { name: token.text.to_owned(), start: token.start });
                }
                (Kind::String(name), _) => {
                    keys.push(Key { name: name.clone(), start: token.start });
                }
                (Kind::Assign, 1) => {
                    let value = self.value(input, depth)?;
                    return self.labelled(keys, value, depth);
                }
                (Kind::Assign, 0) => {
                    return Fault::cut(token.start, "expected to find at least one object key");
                }
                (Kind::Assign, _) => {
                    return Fault::cut(token.start, "nested object expected: LBRACE got: ASSIGN");
                }
                (Kind::LeftBrace, 1..) => {
                    let deeper = depth.saturating_add(keys.len());
                    let value = self.object(input, token, deeper)?;
                    return self.labelled(keys, value, depth);
                }
                (Kind::LeftBrace, 0) => {
                    return Fault::cut(token.start, "expected: IDENT | STRING got: LBRACE");
                }
                (Kind::Illegal(fault), _) => {
                    return Err(winnow::error::ErrMode::Cut(fault.clone()));
                }
                (_, 0) => {
                    let text =
                        format!("expected: IDENT | STRING | ASSIGN | LBRACE got: {}", token.name());
                    return Fault::cut(token.start, text);
                }
                _ => {
                    let names: Vec<_> = keys.iter().map(|key| key.name.as_str()).collect();
                    let text = format!(
                        "key '{}' expected start of object ('{{') or assignment ('=')",
                        names.join(" ")
                    );
                    return Fault::cut(token.start, text);
                }
            }
        }
    }

    /// A value under its keys: each label is an object around what follows.
    fn labelled(&self, keys: Vec<Key>, value: Value, depth: usize) -> Parsed<Item> {
        if let Some(key) = keys.first().filter(|_| depth.saturating_add(keys.len()) > MAX_DEPTH) {
            return too_deep(key.start);
        }
        let mut inner = value;
        let mut keys = keys.into_iter();
        let Some(first) = keys.next() else { return Fault::cut(0, "no object keys found!") };
        for key in keys.rev() {
            let position = self.places.at(key.start);
            let item = Item { key: key.name, position, value: inner, replaced: false };
            inner = Value { position, data: Data::Object(vec![item]) };
        }
        let position = self.places.at(first.start);
        Ok(Item { key: first.name, position, value: inner, replaced: false })
    }

    /// The value behind a `=`.
    fn value(&self, input: &mut Tokens<'_, '_>, depth: usize) -> Parsed<Value> {
        let token: &Token<'_> = any.parse_next(input)?;
        match &token.kind {
            Kind::LeftBrace => self.object(input, token, depth.saturating_add(1)),
            Kind::LeftBracket => self.list(input, token, depth.saturating_add(1)),
            Kind::Illegal(fault) => Err(winnow::error::ErrMode::Cut(fault.clone())),
            _ => self.scalar(token).map_or_else(
                || {
                    let text = format!("Unknown token: {} {}", token.name(), token.text);
                    Fault::cut(token.start, text.trim_end())
                },
                Ok,
            ),
        }
    }

    /// A token that is a value by itself.
    fn scalar(&self, token: &Token<'_>) -> Option<Value> {
        let data = match &token.kind {
            Kind::Number(number) => Data::Integer(*number),
            Kind::Float(number) => Data::Float(*number),
            Kind::Bool(truth) => Data::Bool(*truth),
            Kind::String(text) | Kind::Heredoc(text) => Data::String(text.clone()),
            _ => return None,
        };
        Some(Value { position: self.places.at(token.start), data })
    }

    /// What follows an opening brace.
    fn object(&self, input: &mut Tokens<'_, '_>, open: &Token<'_>, depth: usize) -> Parsed<Value> {
        if depth > MAX_DEPTH {
            return too_deep(open.start);
        }
        let items = self.items(input, &Kind::RightBrace, depth)?;
        Ok(Value { position: self.places.at(open.start), data: Data::Object(items) })
    }

    /// What follows an opening bracket. Commas stand between elements; spare ones are let be.
    fn list(&self, input: &mut Tokens<'_, '_>, open: &Token<'_>, depth: usize) -> Parsed<Value> {
        if depth > MAX_DEPTH {
            return too_deep(open.start);
        }
        let mut elements = Vec::new();
        let mut comma_due = false;
        loop {
            let token: &Token<'_> = any.parse_next(input)?;
            match &token.kind {
                Kind::RightBracket => {
                    let position = self.places.at(open.start);
                    return Ok(Value { position, data: Data::List(elements) });
                }
                Kind::Comma => {
                    comma_due = false;
                    continue;
                }
                Kind::Illegal(fault) => return Err(winnow::error::ErrMode::Cut(fault.clone())),
                _ if comma_due => {
                    let name = token.name();
                    let text =
                        format!("error parsing list, expected comma or list end, got: {name}");
                    return Fault::cut(token.start, text);
                }
                Kind::LeftBrace => {
                    elements.push(self.object(input, token, depth.saturating_add(1))?);
                }
                Kind::LeftBracket => {
                    elements.push(self.list(input, token, depth.saturating_add(1))?);
                }
                _ => {
                    let Some(value) = self.scalar(token) else {
                        let text = format!("unexpected token while parsing list: {}", token.name());
                        return Fault::cut(token.start, text);
                    };
                    elements.push(value);
                }
            }
            comma_due = true;
        }
    }
}

/// The error for input that nests beyond [`MAX_DEPTH`].
pub(super) fn too_deep<T>(start: usize) -> Parsed<T> {
    Fault::cut(start, format!("nested deeper than {MAX_DEPTH} levels"))
}
