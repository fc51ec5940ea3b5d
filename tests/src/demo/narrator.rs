//! Tells the story to people.

use std::io::{self, Write};

use anyhow::Result;

/// Where the story goes.
#[derive(Clone, Copy, Debug)]
pub struct Narrator {
    aside: bool,
}

impl Narrator {
    /// Tells it on standard output, or `aside` on standard error.
    #[must_use]
    pub fn new(aside: bool) -> Self {
        Self { aside }
    }

    /// A line of the story.
    ///
    /// # Errors
    ///
    /// If nobody reads it.
    pub fn say(&self, text: &str) -> Result<()> {
        let line = format!("{text}\n");
        if self.aside {
            io::stderr().write_all(line.as_bytes())?;
        } else {
            io::stdout().write_all(line.as_bytes())?;
        }
        Ok(())
    }

    /// The head of a step.
    ///
    /// # Errors
    ///
    /// If nobody reads it.
    pub fn step(&self, name: &str, text: &str) -> Result<()> {
        self.say(&format!("\n{name}: {text}"))
    }

    /// A command that is run.
    ///
    /// # Errors
    ///
    /// If nobody reads it.
    pub fn command(&self, line: &str) -> Result<()> {
        self.say(&format!("  $ {line}"))
    }

    /// What a command printed.
    ///
    /// # Errors
    ///
    /// If nobody reads it.
    pub fn quote(&self, output: &str) -> Result<()> {
        output.lines().try_for_each(|line| self.say(&format!("    {line}")))
    }

    /// What was measured.
    ///
    /// # Errors
    ///
    /// If nobody reads it.
    pub fn measured(&self, text: &str) -> Result<()> {
        self.say(&format!("  {text}"))
    }
}
