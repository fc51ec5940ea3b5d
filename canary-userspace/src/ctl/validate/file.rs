//! Every mistake of one file: what is wrong is cut out and the rest read again.

use super::{Finding, hints};
use crate::content;
use crate::content::FileContent;
use crate::error::{ConfigError, Position};
use crate::syntax::{self, Data, Item, Value};

/// Mistakes of a file that are told at most.
const MAX_ERRORS: usize = 20;

/// What a file holds, if it is right, and all that is wrong with it.
pub(super) fn read(text: &[u8]) -> (Option<FileContent>, Vec<Finding>) {
    let mut root = match syntax::parse_set(text) {
        Ok(root) => root,
        // After a slip of syntax nothing that follows means anything.
        Err(error) => return (None, vec![error.into()]),
    };
    let mut errors: Vec<Finding> = Vec::new();
    let mut patched = false;
    while errors.len() < MAX_ERRORS {
        let error = match content::of(&root) {
            Ok(content) if errors.is_empty() => return (Some(content), errors),
            Ok(_) => break,
            Err(error) => first_of_many(error),
        };
        // What misses something that was cut out is no mistake of the file.
        if patched && error.is_rule || errors.iter().any(|known| known.error == error) {
            break;
        }
        let hint = hints::of(&error, &root);
        let cut = error.position.and_then(|position| cut(&mut root, position, &error));
        patched |= hint.is_some() || cut == Some(Cut::Value);
        errors.push(Finding { error, hint });
        if cut.is_none() {
            break;
        }
    }
    (None, errors)
}

/// Unknown keys come all at once, at the place of the first: that one alone.
fn first_of_many(error: ConfigError) -> ConfigError {
    let many = error.text.contains("errors occurred:");
    match error.text.split_once("\n\t* ").filter(|_| many) {
        Some((_, list)) => {
            let text = list.split("\n\t* ").next().unwrap_or(list).to_owned();
            ConfigError { text, ..error }
        }
        None => error,
    }
}

/// What was cut out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// A key that means nothing: the rest stands without it.
    Key,
    /// A part that the rest may need.
    Value,
    /// A text was emptied, which is always right.
    Text,
}

/// Cuts what is wrong out of `root`; `None` if what is left would make no sense.
fn cut(root: &mut Value, position: Position, error: &ConfigError) -> Option<Cut> {
    let Data::Object(items) = &mut root.data else { return None };
    if hints::is_unknown_key(error) {
        return remove(items, position).then_some(Cut::Key);
    }
    if items.iter().any(is_service) {
        return cut_service(items, position).then_some(Cut::Value);
    }
    if error.is_rule {
        return empty(items, position).then_some(Cut::Text);
    }
    let is_kind = |item: &Item| item.key.eq_ignore_ascii_case("kind");
    let names_kind = items.iter().any(|item| is_kind(item) && item.value.position == position);
    (!names_kind && remove(items, position)).then_some(Cut::Value)
}

fn is_service(item: &Item) -> bool {
    ["service", "services"].iter().any(|name| item.key.eq_ignore_ascii_case(name))
}

/// Removes the item whose key or value is at `position`, the innermost if there are several.
fn remove(items: &mut Vec<Item>, position: Position) -> bool {
    if items.iter_mut().any(|item| remove_within(&mut item.value, position)) {
        return true;
    }
    let before = items.len();
    items.retain(|item| item.position != position && item.value.position != position);
    items.len() < before
}

fn remove_within(value: &mut Value, position: Position) -> bool {
    match &mut value.data {
        Data::Object(items) => remove(items, position),
        Data::List(elements) => {
            if elements.iter_mut().any(|element| remove_within(element, position)) {
                return true;
            }
            let before = elements.len();
            elements.retain(|element| element.position != position);
            elements.len() < before
        }
        _ => false,
    }
}

/// Removes the service that `position` is in, unless it is the last one.
fn cut_service(items: &mut Vec<Item>, position: Position) -> bool {
    let starts = items.iter().filter(|item| is_service(item)).flat_map(|item| {
        let elements = match &item.value.data {
            Data::List(elements) => elements.as_slice(),
            _ => std::slice::from_ref(&item.value),
        };
        elements.iter().map(|element| element.position)
    });
    let starts: Vec<_> = starts.collect();
    let within = starts.iter().filter(|start| **start <= position).max();
    within.is_some_and(|start| starts.len() > 1 && remove(items, *start))
}

/// Empties a filter or a default subset at `position`: without it an entry is still one.
fn empty(items: &mut [Item], position: Position) -> bool {
    items.iter_mut().any(|item| {
        let key = item.key.replace('_', "").to_lowercase();
        let Value { position: at, data } = &mut item.value;
        match data {
            Data::String(text) if *at == position && !text.is_empty() => {
                let wanted = ["filter", "defaultsubset"].contains(&key.as_str());
                if wanted {
                    text.clear();
                }
                wanted
            }
            Data::Object(items) => empty(items, position),
            Data::List(elements) => elements.iter_mut().any(|element| match &mut element.data {
                Data::Object(items) => empty(items, position),
                _ => false,
            }),
            _ => false,
        }
    })
}
