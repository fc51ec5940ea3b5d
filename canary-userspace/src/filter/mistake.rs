//! What is wrong with a filter, in Consul's words, and what may have been meant.

use std::fmt::Write;

use super::schema;
use super::shapes::Shape;
use crate::error::ConfigError;

/// Why a filter cannot be evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    /// Consul's words.
    text: String,
    /// What may have been meant.
    hint: Option<String>,
}

impl Mistake {
    /// A mistake that needs no hint.
    pub(super) fn new(text: String) -> Self {
        Self { text, hint: None }
    }

    /// The same mistake with what may help.
    pub(super) fn hint(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }

    /// A selector that names nothing in documents of `shape`; its first `len` parts do not.
    pub(super) fn selector(shape: Shape, selector: &[String], len: usize) -> Self {
        let wrong = selector.get(..len).unwrap_or(selector).join(".");
        Self::new(format!("Selector {wrong:?} is not valid"))
            .hint(meant(shape, selector).map(|meant| format!("did you mean {meant}?")))
    }
}

impl From<Mistake> for ConfigError {
    fn from(mistake: Mistake) -> Self {
        Self { hint: mistake.hint, ..Self::new(mistake.text) }
    }
}

/// The selector that somebody may have meant: of another kind of document, in other letters,
/// or with a dot that belongs to a key.
fn meant(shape: Shape, selector: &[String]) -> Option<String> {
    let parts: Vec<&str> = selector.iter().map(String::as_str).collect();
    let mut candidates = vec![parts.clone()];
    let (first, rest) = parts.split_first()?;
    for outer in ["Service", "Node", "Checks"] {
        let inside = |name| [&[outer, name], rest].concat();
        candidates.push(inside(first));
        match first.strip_prefix(outer) {
            Some("") => candidates.push(rest.to_vec()),
            Some(inner) => {
                candidates.push(inside(inner));
                candidates.push([&[inner], rest].concat());
            }
            None => {}
        }
    }
    let mut candidates: Vec<Vec<String>> = candidates
        .iter()
        .map(|parts| parts.iter().map(|part| (*part).to_owned()).collect())
        .collect();
    // `/v1/catalog/service` has its fields in one row.
    if let (outer @ ("Service" | "Node"), [inner, rest @ ..]) = (*first, rest) {
        let flat = [format!("{outer}{inner}")].into_iter();
        candidates.push(flat.chain(rest.iter().map(|part| (*part).to_owned())).collect());
    }
    candidates.push(
        [format!("Service{first}")]
            .into_iter()
            .chain(rest.iter().map(|part| (*part).to_owned()))
            .collect(),
    );
    candidates.iter().find_map(|candidate| {
        let named = schema::respell(shape, candidate)?;
        Some(written(&named))
    })
}

/// A selector as one writes it: keys that are no words in brackets.
fn written(selector: &[String]) -> String {
    let mut text = String::new();
    for part in selector {
        let plain = part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        _ = match (plain, text.is_empty()) {
            (true, true) => write!(text, "{part}"),
            (true, false) => write!(text, ".{part}"),
            (false, _) => write!(text, "[{part:?}]"),
        };
    }
    text
}
