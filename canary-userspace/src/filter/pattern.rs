//! Regular expressions: Go's, for a library that means almost the same by them.
//!
//! The two differ in what a pattern says without saying so: `\d` is of ASCII here and of all of
//! Unicode there, `&&` in a class is two letters here and a set operation there. So a pattern is
//! read once, with Go's errors, and written again so that both mean the same by it.

use std::iter::Peekable;
use std::str::CharIndices;

use regex::{Regex, RegexBuilder};

use super::Mistake;

/// Bytes that a compiled regular expression may take.
const MAX_REGEX_LEN: usize = 1 << 20;

/// Most that a repetition counts to.
const MAX_REPEAT: u32 = 1_000;

/// Compiles a pattern; it matches anywhere in a text.
///
/// # Errors
///
/// Why it is none, in Go's words where the mistake is a common one.
pub(super) fn compile(text: &str) -> Result<Regex, Mistake> {
    let mistake = |reason: String| {
        Mistake::new(format!("Failed to compile regular expression {text:?}: {reason}"))
    };
    let pattern = Reader::new(text)
        .pattern()
        .map_err(|reason| mistake(format!("error parsing regexp: {reason}")))?;
    RegexBuilder::new(&pattern).size_limit(MAX_REGEX_LEN).build().map_err(|error| {
        // The last line is the reason; those before it draw the place.
        let error = error.to_string();
        let reason = error.lines().last().unwrap_or_default();
        mistake(reason.strip_prefix("error: ").unwrap_or(reason).to_owned())
    })
}

/// The members of a class that a letter stands for, and whether it stands for all others.
fn class(letter: char) -> Option<(&'static str, bool)> {
    let members = match letter.to_ascii_lowercase() {
        'd' => "0-9",
        'w' => "0-9A-Za-z_",
        's' => r"\t\n\x0C\r ",
        _ => return None,
    };
    Some((members, letter.is_ascii_uppercase()))
}

/// A pattern that is being read and written again.
struct Reader<'t> {
    text: &'t str,
    rest: Peekable<CharIndices<'t>>,
    out: String,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Self {
        Self { text, rest: text.char_indices().peekable(), out: String::new() }
    }

    fn pattern(mut self) -> Result<String, String> {
        let mut open = 0_usize;
        // Whether there is something to repeat, and where its own repetition began.
        let (mut repeatable, mut repeated) = (false, None);
        while let Some((at, character)) = self.rest.next() {
            let repetition = match character {
                '*' | '+' | '?' => true,
                '{' => self.is_count(at)?,
                _ => false,
            };
            if repetition {
                let start = repeated.unwrap_or(at);
                let end = self.repetition(character);
                let written = self.text.get(start..end).unwrap_or_default();
                if repeated.is_some() {
                    return Err(format!("invalid nested repetition operator: `{written}`"));
                }
                if !repeatable {
                    return Err(format!("missing argument to repetition operator: `{written}`"));
                }
                repeated = Some(at);
                continue;
            }
            (repeatable, repeated) = (true, None);
            match character {
                '\\' => self.escape(at)?,
                '[' => self.members(at)?,
                '(' => {
                    open = open.saturating_add(usize::from(self.group(at)?));
                    repeatable = false;
                }
                ')' => {
                    let Some(less) = open.checked_sub(1) else {
                        return Err(format!("unexpected ): `{}`", self.text));
                    };
                    open = less;
                    self.out.push(')');
                }
                '|' => {
                    self.out.push('|');
                    repeatable = false;
                }
                '{' | '}' => self.literal(character),
                other => self.out.push(other),
            }
        }
        if open > 0 {
            return Err(format!("missing closing ): `{}`", self.text));
        }
        Ok(self.out)
    }

    /// Takes a character if it is the next.
    fn take(&mut self, wanted: char) -> bool {
        self.rest.next_if(|(_, character)| *character == wanted).is_some()
    }

    /// Where the next character is.
    fn at(&mut self) -> usize {
        self.rest.peek().map_or(self.text.len(), |(at, _)| *at)
    }

    /// Takes everything through `last`.
    fn through(&mut self, last: char) {
        for (_, character) in self.rest.by_ref() {
            self.out.push(character);
            if character == last {
                break;
            }
        }
    }

    fn literal(&mut self, character: char) {
        self.out.push_str(&regex::escape(character.encode_utf8(&mut [0; 4])));
    }

    /// Whether the brace at `at` opens a count: any other is a letter.
    fn is_count(&self, at: usize) -> Result<bool, String> {
        let rest = self.text.get(at..).unwrap_or_default();
        let Some((inner, _)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) else {
            return Ok(false);
        };
        let (least, most) = inner.split_once(',').unwrap_or((inner, inner));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if least.is_empty() || !digits(least) || !digits(most) {
            return Ok(false);
        }
        let count = |text: &str| text.parse::<u32>().ok().filter(|count| *count <= MAX_REPEAT);
        let legal = match (count(least), count(most)) {
            (Some(_), None) => most.is_empty(),
            (Some(least), Some(most)) => least <= most,
            (None, _) => false,
        };
        if legal { Ok(true) } else { Err(format!("invalid repeat count: `{{{inner}}}`")) }
    }

    /// Takes a repetition, of which `first` is already taken, and gives its end.
    fn repetition(&mut self, first: char) -> usize {
        self.out.push(first);
        if first == '{' {
            self.through('}');
        }
        if self.take('?') {
            self.out.push('?');
        }
        self.at()
    }

    /// What a group begins with, which may be only Go's flags and names; whether it is open
    /// then, as it is not if it was only flags.
    fn group(&mut self, at: usize) -> Result<bool, String> {
        self.out.push('(');
        if !self.take('?') {
            return Ok(true);
        }
        self.out.push('?');
        if self.take('P') {
            self.out.push('P');
        }
        if self.take('<') {
            // A name; what looks behind is refused by what follows.
            self.out.push('<');
            let behind = matches!(self.rest.peek(), Some((_, '=' | '!')));
            return if behind { Err(self.perl(at, 4)) } else { Ok(true) };
        }
        for (_, character) in self.rest.by_ref() {
            match character {
                'i' | 'm' | 's' | 'U' | '-' => self.out.push(character),
                ')' | ':' => {
                    self.out.push(character);
                    return Ok(character == ':');
                }
                _ => break,
            }
        }
        let end = self.at();
        Err(self.perl(at, end.saturating_sub(at)))
    }

    fn perl(&self, at: usize, len: usize) -> String {
        let written = self.text.get(at..at.saturating_add(len)).unwrap_or_default();
        format!("invalid or unsupported Perl syntax: `{written}`")
    }

    /// What follows a backslash outside of classes.
    fn escape(&mut self, at: usize) -> Result<(), String> {
        let letter = self.escaped(at)?;
        match letter {
            'b' | 'B' => {
                self.out.push_str("(?-u:\\");
                self.out.push(letter);
                self.out.push(')');
            }
            'Q' => self.quoted(),
            _ => match class(letter) {
                Some((members, others)) => {
                    self.out.push_str(if others { "[^" } else { "[" });
                    self.out.push_str(members);
                    self.out.push(']');
                }
                None => self.same(letter),
            },
        }
        Ok(())
    }

    /// The character behind a backslash: one that means something to Go.
    fn escaped(&mut self, at: usize) -> Result<char, String> {
        let Some((_, letter)) = self.rest.next() else {
            return Err("trailing backslash at end of expression: ``".to_owned());
        };
        let known = match letter {
            'A' | 'B' | 'D' | 'P' | 'Q' | 'S' | 'W' => true,
            'a' | 'b' | 'd' | 'f' | 'n' | 'p' | 'r' | 's' | 't' | 'v' | 'w' | 'x' | 'z' => true,
            other => other.is_ascii_punctuation(),
        };
        if known {
            return Ok(letter);
        }
        let end = self.at();
        let written = self.text.get(at..end).unwrap_or_default();
        Err(format!("invalid escape sequence: `{written}`"))
    }

    /// An escape that means the same to both.
    fn same(&mut self, letter: char) {
        if letter.is_ascii_punctuation() {
            return self.literal(letter);
        }
        self.out.push('\\');
        self.out.push(letter);
        // What the braces of a class or a code hold is no count.
        if matches!(letter, 'p' | 'P' | 'x') && self.take('{') {
            self.out.push('{');
            self.through('}');
        }
    }

    /// Letters up to `\E`, or to the end.
    fn quoted(&mut self) {
        while let Some((at, character)) = self.rest.next() {
            if self.text.get(at..).is_some_and(|rest| rest.starts_with("\\E")) {
                self.rest.next();
                return;
            }
            self.literal(character);
        }
    }

    /// A class, behind its opening bracket.
    fn members(&mut self, at: usize) -> Result<(), String> {
        self.out.push('[');
        if self.take('^') {
            self.out.push('^');
        }
        let mut first = true;
        let mut dash = false;
        while let Some((place, character)) = self.rest.next() {
            match character {
                ']' if !first => {
                    self.out.push(']');
                    return Ok(());
                }
                '\\' => {
                    let letter = self.escaped(place)?;
                    match class(letter) {
                        Some((members, true)) => {
                            self.out.push_str("[^");
                            self.out.push_str(members);
                            self.out.push(']');
                        }
                        Some((members, false)) => self.out.push_str(members),
                        None => self.same(letter),
                    }
                }
                '[' if self.text.get(place..).is_some_and(|rest| rest.starts_with("[:")) => {
                    // A class by name, as both know it.
                    self.out.push('[');
                    self.through(']');
                }
                // At an end it is a letter, between two members a range.
                '-' => {
                    let last = matches!(self.rest.peek(), Some((_, ']')));
                    self.out.push_str(if first || dash || last { r"\-" } else { "-" });
                }
                '[' | ']' | '&' | '~' => self.literal(character),
                other => self.out.push(other),
            }
            first = false;
            dash = character == '-';
        }
        let written = self.text.get(at..).unwrap_or_default();
        Err(format!("missing closing ]: `{written}`"))
    }
}
