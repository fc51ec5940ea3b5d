//! Where a verb writes: data to one side, words to the other.

use std::env;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::failure::Failure;

/// Standard output and standard error, or what stands for them.
pub struct Console<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    /// Output goes to a screen that can be redrawn.
    pub screen: bool,
    /// Colours are wanted.
    pub colour: bool,
}

impl<'a> Console<'a> {
    /// A console over two writers: no screen, no colours.
    pub fn new(out: &'a mut dyn Write, err: &'a mut dyn Write) -> Self {
        Self { out, err, screen: false, colour: false }
    }

    /// The same console, knowing whether the process writes to a screen.
    #[must_use]
    pub fn detect(self) -> Self {
        let dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
        let screen = io::stdout().is_terminal() && !dumb;
        let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { screen, colour: screen && !plain, ..self }
    }

    /// Writes a line of data.
    ///
    /// # Errors
    ///
    /// [`Failure::Output`]
    pub fn data(&mut self, line: impl Display) -> Result<(), Failure> {
        writeln!(self.out, "{line}")?;
        Ok(self.out.flush()?)
    }

    /// Writes text of data as it is.
    ///
    /// # Errors
    ///
    /// [`Failure::Output`]
    pub fn raw(&mut self, text: &str) -> Result<(), Failure> {
        self.out.write_all(text.as_bytes())?;
        Ok(self.out.flush()?)
    }

    /// Writes a document for programs, indented for the people who look at it.
    ///
    /// # Errors
    ///
    /// [`Failure::Output`], or [`Failure::Error`] if the value is no document.
    pub fn json<T: Serialize + ?Sized>(&mut self, document: &T) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(document)
            .map_err(|error| Failure::Error(error.to_string()))?;
        self.data(text)
    }

    /// Writes a line of words.
    ///
    /// # Errors
    ///
    /// [`Failure::Output`]
    pub fn say(&mut self, line: impl Display) -> Result<(), Failure> {
        Ok(writeln!(self.err, "{line}")?)
    }

    /// Writes warnings, a line each.
    ///
    /// # Errors
    ///
    /// [`Failure::Output`]
    pub fn warn<T: Display>(
        &mut self,
        warnings: impl IntoIterator<Item = T>,
    ) -> Result<(), Failure> {
        warnings.into_iter().try_for_each(|warning| self.say(format_args!("WARNING: {warning}")))
    }
}
