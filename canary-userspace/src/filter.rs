//! Consul's filter language: which instances belong to a subset.
//!
//! A filter goes through three steps: `grammar` reads it, `check` types it against what an
//! instance is made of, `evaluate` answers for one instance. A filter may be right by grammar
//! and wrong by type: Consul accepts that when it is written, and so does this agent; such a
//! filter matches nothing and [`Filter::check`] says why.

//!
//! Subsets are filtered by fields of [`Registered`]; the lists of the API are filtered as JSON
//! documents of a [`Shape`], by [`ListFilter`].

mod check;
mod cursor;
mod documents;
mod evaluate;
mod grammar;
mod hint;
mod literal;
mod mistake;
mod pattern;
mod schema;
mod selector;
mod shapes;
mod why;

use crate::catalog::Registered;
use crate::error::ConfigError;
use check::Test;
use grammar::Expression;
use mistake::Mistake;
use selector::Subject;

pub use documents::ListFilter;
pub use shapes::Shape;
pub use why::why;

/// Bytes that a filter may have.
pub const MAX_LEN: usize = 4_096;

/// Parentheses that may be open at once.
pub const MAX_DEPTH: usize = 64;

/// A filter that has been read and checked.
#[derive(Clone, Debug)]
pub struct Filter {
    /// `None` for the empty filter, which every instance passes.
    test: Option<Result<Test, Mistake>>,
}

impl Filter {
    /// Reads a filter. The empty text is the filter that every instance passes.
    ///
    /// # Errors
    ///
    /// The mistake in the words and with the place of Consul's own parser.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let expression = read(text)?;
        Ok(Self { test: expression.map(|expression| check::check(&expression, &Subject::of)) })
    }

    /// Whether the filter can be evaluated.
    ///
    /// # Errors
    ///
    /// Why it cannot, and so matches no instance.
    pub fn check(&self) -> Result<(), ConfigError> {
        match &self.test {
            Some(Err(reason)) => Err(reason.clone().into()),
            _ => Ok(()),
        }
    }

    /// Whether `registered` passes.
    #[must_use]
    pub fn matches(&self, registered: &Registered) -> bool {
        match &self.test {
            None => true,
            Some(Ok(test)) => evaluate::holds(test, registered),
            Some(Err(_)) => false,
        }
    }
}

/// Reads an expression; `None` is the empty text.
fn read(text: &str) -> Result<Option<Expression>, ConfigError> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() > MAX_LEN {
        return Err(ConfigError::new(format!("longer than {MAX_LEN} bytes")));
    }
    grammar::parse(text).map(Some).map_err(|fault| ConfigError {
        hint: hint::of(text, fault.at),
        ..ConfigError::new(fault.text)
    })
}

/// Reads `text` as a filter of everything and asks it of `document`: for fuzzing, nothing that
/// is in them may panic or take long.
pub fn exercise(text: &str, document: &serde_json::Value) {
    _ = Filter::parse(text).map(|filter| filter.check().is_ok());
    for shape in Shape::ALL {
        _ = ListFilter::parse(text, shape).map(|filter| filter.matches(document));
    }
}

#[cfg(test)]
mod tests;
