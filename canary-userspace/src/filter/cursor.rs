//! A place in the text of a filter, and what could have come at the furthest one reached.

use std::collections::BTreeSet;

/// Why a choice did not lead on.
pub(super) enum Stop {
    /// Another one may.
    Mismatch,
    /// None will: the text is wrong.
    Error(Fault),
}

/// What is wrong with a text, and at which of its bytes.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) text: String,
}

pub(super) type Step<T> = Result<T, Stop>;

const BLANK: &str = r"[ \t\r\n]";

/// The text with the place that has been reached.
pub(super) struct Cursor<'t> {
    pub(super) text: &'t str,
    pub(super) at: usize,
    /// Parentheses that are open.
    pub(super) depth: usize,
    furthest: usize,
    expected: BTreeSet<&'static str>,
    /// Bytes looked at, each as often as it was: what shows that time is linear.
    pub(super) work: usize,
}

impl<'t> Cursor<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0, depth: 0, furthest: 0, expected: BTreeSet::new(), work: 0 }
    }

    /// Runs `step`; where it does not match, nothing is taken.
    pub(super) fn maybe<T>(&mut self, step: impl FnOnce(&mut Self) -> Step<T>) -> Step<Option<T>> {
        let start = self.at;
        match step(self) {
            Ok(value) => Ok(Some(value)),
            Err(Stop::Mismatch) => {
                self.at = start;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Takes characters while they are `wanted`.
    pub(super) fn run(&mut self, wanted: impl Fn(char) -> bool) -> &str {
        let start = self.at;
        let len = self.rest().find(|c| !wanted(c)).unwrap_or(self.rest().len());
        self.count(len);
        self.at = start.saturating_add(len);
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// Takes `word`, or notes that `shown` could have come here.
    pub(super) fn word(&mut self, shown: &'static str, word: &str) -> Step<()> {
        self.count(word.len());
        if self.rest().starts_with(word) {
            self.at = self.at.saturating_add(word.len());
            return Ok(());
        }
        self.expect(shown);
        Err(Stop::Mismatch)
    }

    /// Takes blanks, if there are any.
    pub(super) fn blanks(&mut self) {
        self.run(|c| matches!(c, ' ' | '\t' | '\r' | '\n'));
        self.expect(BLANK);
    }

    /// Takes one blank or more.
    pub(super) fn space(&mut self) -> Step<()> {
        let start = self.at;
        self.blanks();
        if self.at == start { Err(Stop::Mismatch) } else { Ok(()) }
    }

    /// Notes what could have come here.
    pub(super) fn expect(&mut self, shown: &'static str) {
        if self.at > self.furthest {
            self.furthest = self.at;
            self.expected.clear();
        }
        if self.at == self.furthest {
            self.expected.insert(shown);
        }
    }

    pub(super) fn error(&self, rule: &str, text: &str) -> Stop {
        self.fault(format!("{}: rule {rule:?}: {text}", self.place(self.at)))
    }

    pub(super) fn fault(&self, text: String) -> Stop {
        Stop::Error(Fault { at: self.at, text })
    }

    fn count(&mut self, bytes: usize) {
        self.work = self.work.saturating_add(bytes).saturating_add(1);
    }

    pub(super) fn no_match(&self) -> Fault {
        let mut expected: Vec<_> =
            self.expected.iter().copied().filter(|shown| *shown != "EOF").collect();
        if self.expected.contains("EOF") {
            expected.push("EOF");
        }
        let list = match expected.as_slice() {
            [] => String::new(),
            [only] => (*only).to_owned(),
            [others @ .., last] => format!("{} or {last}", others.join(", ")),
        };
        let text = format!("{}: no match found, expected: {list}", self.place(self.furthest));
        Fault { at: self.furthest, text }
    }

    /// `LINE:COLUMN (OFFSET)`.
    pub(super) fn place(&self, at: usize) -> String {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.matches('\n').count().saturating_add(1);
        let last = before.rsplit('\n').next().unwrap_or_default();
        format!("{line}:{} ({at})", last.chars().count().saturating_add(1))
    }
}
