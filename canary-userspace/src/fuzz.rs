//! What must hold for any input whatever: the bodies of the fuzz targets.
//!
//! The crate `fuzz/` hands them the inputs of libFuzzer, the tests here those of proptest, so
//! that both keep the same promises. Each takes what a stranger may send, and panics if the
//! promise is broken.

mod near;

use crate::catalog;
use crate::content::{self, FileContent};
use crate::entry::{self, Entry};
use crate::error::{ConfigError, Position};
use crate::filter::{Filter, ListFilter, Shape};

/// A file of the configuration directory.
///
/// # Panics
///
/// If an error has no place in the text, or an entry that is accepted does not read back from
/// what is shown of it.
pub fn file(text: &[u8]) {
    match content::parse_file(text) {
        Ok(content) => {
            for part in content.parts() {
                if let FileContent::Entry(decoded) = part {
                    decoded.warnings.iter().for_each(|warning| check_place(text, warning));
                    check_shown(&decoded.entry);
                }
            }
        }
        Err(error) => check_place(text, &error),
    }
}

/// A body of the HTTP API: an entry or a registration.
///
/// # Panics
///
/// As [`file`].
pub fn body(text: &[u8]) {
    match entry::parse(text) {
        Ok(decoded) => check_shown(&decoded.entry),
        Err(error) => check_place(text, &error),
    }
    if let Err(error) = catalog::parse_registration(text) {
        check_place(text, &error);
    }
}

/// A file that is nearly right: `choices` says where it leaves the straight way.
///
/// # Panics
///
/// As [`file`] and [`body`].
pub fn entry(choices: &[u8]) {
    let text = near::text(choices);
    file(text.as_bytes());
    body(text.as_bytes());
}

/// A filter of a subset or of a list.
///
/// # Panics
///
/// If an error says nothing, or reading it twice gives two answers.
pub fn filter(text: &str) {
    let once = Filter::parse(text).and_then(|filter| filter.check());
    let twice = Filter::parse(text).and_then(|filter| filter.check());
    assert_eq!(once, twice, "a filter means one thing");
    if let Err(error) = once {
        assert!(!error.text.is_empty(), "an error says what is wrong");
    }
    for shape in [Shape::Instance, Shape::CatalogService, Shape::Resolver, Shape::Splitter] {
        _ = ListFilter::parse(text, shape);
    }
}

/// What is shown of an entry, as JSON and as HCL, is the entry.
fn check_shown(entry: &Entry) {
    for shown in [entry::to_json(entry).to_string(), entry::to_hcl(entry)] {
        let again = entry::parse(shown.as_bytes()).map(|decoded| decoded.entry);
        assert_eq!(again.as_ref(), Ok(entry), "{shown}");
    }
}

/// An error's place is one of the text, or just behind a line of it.
fn check_place(text: &[u8], error: &ConfigError) {
    assert!(error.position.is_some(), "without a place: {error}");
    let Position { line, column } = error.position.unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    let of_text = text.split('\n').nth(usize::try_from(line).unwrap_or_default().saturating_sub(1));
    let columns = of_text.map_or(0, |line| line.chars().count().saturating_add(1));
    let column = usize::try_from(column).unwrap_or_default();
    assert!((1..=columns).contains(&column), "no such place: {error}");
}

#[cfg(test)]
mod tests;
