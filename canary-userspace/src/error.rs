//! Places in files, and errors that name them.

use std::fmt;

/// A place in a text: both numbers count from 1, the column in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

/// What is wrong with a piece of configuration, and where.
///
/// Shown as `FILE:LINE:COL: TEXT (HINT)`, as far as each is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The file's path as the user gave it; `None` for what came over the API.
    pub file: Option<String>,
    /// Where in the file.
    pub position: Option<Position>,
    /// What is wrong: Consul's words where Consul has some.
    pub text: String,
    /// What may help, in our own words: the API leaves it out where Consul has none.
    pub hint: Option<String>,
    /// It could be read and breaks a rule; otherwise it could not even be read.
    pub is_rule: bool,
}

impl ConfigError {
    /// An error without a place.
    pub fn new(text: impl Into<String>) -> Self {
        Self { file: None, position: None, text: text.into(), hint: None, is_rule: false }
    }

    /// An error at a place in a text.
    pub fn at(position: Position, text: impl Into<String>) -> Self {
        Self { position: Some(position), ..Self::new(text) }
    }

    /// The same error, of something that could be read.
    #[must_use]
    pub fn of_rule(self) -> Self {
        Self { is_rule: true, ..self }
    }

    /// The same error, known to be at `position`.
    #[must_use]
    pub fn placed(self, position: Position) -> Self {
        Self { position: Some(position), ..self }
    }

    /// The same error with other words.
    #[must_use]
    pub fn in_words(self, words: impl FnOnce(&str) -> String) -> Self {
        Self { text: words(&self.text), ..self }
    }

    /// The same error, known to be in `file`.
    #[must_use]
    pub fn in_file(self, file: impl Into<String>) -> Self {
        Self { file: Some(file.into()), ..self }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
        }
        if let Some(Position { line, column }) = self.position {
            write!(f, "{line}:{column}:")?;
        }
        if self.file.is_some() || self.position.is_some() {
            f.write_str(" ")?;
        }
        f.write_str(&self.text)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}
