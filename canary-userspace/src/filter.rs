//! Consul's filter language: which instances belong to a subset.
//!
//! A filter goes through three steps: `grammar` reads it, `check` types it against what an
//! instance is made of, `evaluate` answers for one instance. A filter may be right by grammar
//! and wrong by type: Consul accepts that when it is written, and so does this agent; such a
//! filter matches nothing and [`Filter::check`] says why.

mod check;
mod cursor;
mod evaluate;
mod grammar;
mod literal;
mod selector;

use crate::catalog::Registered;
use crate::error::ConfigError;
use check::Test;

/// Bytes that a filter may have.
pub const MAX_LEN: usize = 4_096;

/// Parentheses that may be open at once.
pub const MAX_DEPTH: usize = 64;

/// A filter that has been read and checked.
#[derive(Clone, Debug)]
pub struct Filter {
    /// `None` for the empty filter, which every instance passes.
    test: Option<Result<Test, String>>,
}

impl Filter {
    /// Reads a filter. The empty text is the filter that every instance passes.
    ///
    /// # Errors
    ///
    /// The mistake in the words and with the place of Consul's own parser.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        if text.is_empty() {
            return Ok(Self { test: None });
        }
        if text.len() > MAX_LEN {
            let text = format!("longer than {MAX_LEN} bytes");
            return Err(ConfigError::new(text));
        }
        let expression = grammar::parse(text).map_err(ConfigError::new)?;
        Ok(Self { test: Some(check::check(&expression)) })
    }

    /// Whether the filter can be evaluated.
    ///
    /// # Errors
    ///
    /// Why it cannot, and so matches no instance.
    pub fn check(&self) -> Result<(), String> {
        match &self.test {
            Some(Err(reason)) => Err(reason.clone()),
            _ => Ok(()),
        }
    }

    /// Whether `registered` passes.
    #[must_use]
    pub fn matches(&self, registered: &Registered) -> bool {
        match &self.test {
            None => true,
            Some(Ok(test)) => evaluate::holds(test, &registered.instance, &registered.node),
            Some(Err(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests;
