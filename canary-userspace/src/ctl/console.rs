//! Where a verb writes: data to one side, words to the other.

use std::env;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;

use super::failure::Failure;
use super::paint::{Color, Paint};

/// Standard output and standard error, or what stands for them.
pub struct Console<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    /// It is this process's own output.
    process: bool,
    /// Output goes to a screen that can be redrawn.
    pub screen: bool,
    /// A person reads the words, who may want to know what to do next.
    pub hints: bool,
    /// How data is painted.
    pub paint: Paint,
    /// How words are painted.
    pub word_paint: Paint,
}

impl<'a> Console<'a> {
    /// A console over two writers: no screen, no colours.
    pub fn new(out: &'a mut dyn Write, err: &'a mut dyn Write) -> Self {
        let paint = Paint::default();
        Self { out, err, process: false, screen: false, hints: false, paint, word_paint: paint }
    }

    /// The same console, knowing whether the process writes to a screen.
    #[must_use]
    pub fn detect(self) -> Self {
        let dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
        let screen = io::stdout().is_terminal() && !dumb;
        let plain = dumb || env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let paint = Paint { on: screen && !plain };
        let hints = io::stderr().is_terminal();
        let word_paint = Paint { on: hints && !plain };
        Self { process: true, screen, hints, paint, word_paint, ..self }
    }

    /// Whether whoever read the data has left, which otherwise only the next write would tell.
    #[must_use]
    pub fn left(&self) -> bool {
        let stdout = io::stdout();
        let mut files = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
        let polled = self.process && poll(&mut files, PollTimeout::ZERO).is_ok();
        let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
        let [file] = files;
        polled && file.revents().is_some_and(|found| found.intersects(gone))
    }

    /// Paints as was asked for, whatever was detected.
    pub fn choose(&mut self, color: Color) {
        let on = match color {
            Color::Auto => return,
            Color::Always => true,
            Color::Never => false,
        };
        (self.paint, self.word_paint) = (Paint { on }, Paint { on });
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
        let mark = self.word_paint.yellow("WARNING:");
        warnings.into_iter().try_for_each(|warning| self.say(format_args!("{mark} {warning}")))
    }

    /// Says what to do next, if a person is there.
    ///
    /// # Errors
    ///
    /// [`Failure::Output`]
    pub fn hint(&mut self, hint: impl Display) -> Result<(), Failure> {
        if !self.hints {
            return Ok(());
        }
        let line = self.word_paint.faint(format_args!("  hint: {hint}"));
        self.say(line)
    }
}
