//! Colours, where they are wanted.

use std::fmt::Display;

use clap::ValueEnum;

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal that is not `dumb`, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Also into files and pipes.
    Always,
    /// Nowhere.
    Never,
}

/// Paints text, or leaves it as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paint {
    /// Colours are wanted.
    pub on: bool,
}

const RESET: &str = "\x1b[0m";

impl Paint {
    /// What is well.
    #[must_use]
    pub fn green(self, text: impl Display) -> String {
        self.with("\x1b[32m", text)
    }

    /// What is not.
    #[must_use]
    pub fn red(self, text: impl Display) -> String {
        self.with("\x1b[31m", text)
    }

    /// What should be looked at.
    #[must_use]
    pub fn yellow(self, text: impl Display) -> String {
        self.with("\x1b[33m", text)
    }

    /// What names something.
    #[must_use]
    pub fn bold(self, text: impl Display) -> String {
        self.with("\x1b[1m", text)
    }

    /// What may be overlooked.
    #[must_use]
    pub fn faint(self, text: impl Display) -> String {
        self.with("\x1b[2m", text)
    }

    fn with(self, code: &str, text: impl Display) -> String {
        if self.on { format!("{code}{text}{RESET}") } else { text.to_string() }
    }
}

/// A text of somebody else, as one line that cannot steer the terminal.
#[must_use]
pub fn harmless(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim();
    line.chars()
        .map(|letter| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_painted_only_where_that_is_wanted() {
        assert_eq!(Paint { on: true }.red("x"), "\x1b[31mx\x1b[0m");
        assert_eq!(Paint::default().red("x"), "x");
    }
}
