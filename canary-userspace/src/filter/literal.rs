//! Selectors, numbers and strings of filters.

use super::cursor::{Cursor, Step, Stop};

impl Cursor<'_> {
    /// Names joined by dots or in brackets.
    pub(super) fn selector(&mut self) -> Step<Vec<String>> {
        let mut parts = vec![self.identifier()?];
        loop {
            let start = self.at;
            if self.word("\".\"", ".").is_ok()
                && let Some(part) = self.maybe(Self::identifier)?
            {
                parts.push(part);
                continue;
            }
            self.at = start;
            match self.maybe(Self::index)? {
                Some(part) => parts.push(part),
                None => return Ok(parts),
            }
        }
    }

    fn index(&mut self) -> Step<String> {
        self.word("\"[\"", "[")?;
        self.blanks();
        let Some(key) = self.maybe(Self::string)? else {
            return Err(self.error("index", "Invalid index"));
        };
        self.blanks();
        match self.word("\"]\"", "]") {
            Ok(()) => Ok(key),
            Err(_) => Err(self.error("index", "Unclosed index expression")),
        }
    }

    fn identifier(&mut self) -> Step<String> {
        if !self.rest().starts_with(|c: char| c.is_ascii_alphabetic()) {
            self.expect("[a-zA-Z]");
            return Err(Stop::Mismatch);
        }
        let word = self.run(|c| c.is_ascii_alphanumeric() || c == '_').to_owned();
        self.expect("[a-zA-Z0-9_]");
        Ok(word)
    }

    /// A literal as it is written: bare words, a number or a string.
    pub(super) fn value(&mut self) -> Step<String> {
        if let Some(parts) = self.maybe(Self::selector)? {
            return Ok(parts.join("."));
        }
        if let Some(number) = self.maybe(Self::numeral)? {
            return Ok(number);
        }
        self.string()
    }

    fn numeral(&mut self) -> Step<String> {
        let start = self.at;
        _ = self.word("\"-\"", "-");
        if self.word("\"0\"", "0").is_err() {
            if !self.rest().starts_with(|c: char| c.is_ascii_digit()) {
                self.expect("[1-9]");
                self.at = start;
                return Err(Stop::Mismatch);
            }
            self.run(|c| c.is_ascii_digit());
        }
        let whole = self.at;
        if self.word("\".\"", ".").is_ok() && self.run(|c| c.is_ascii_digit()).is_empty() {
            self.at = whole;
        }
        let next = self.rest().chars().next();
        if next.is_some_and(|c| !matches!(c, ' ' | '\t' | '\r' | '\n' | ')')) {
            return Err(self.error("number", "Invalid number literal"));
        }
        Ok(self.text.get(start..self.at).unwrap_or_default().to_owned())
    }

    fn string(&mut self) -> Step<String> {
        let start = self.at;
        let quote = if self.word("\"`\"", "`").is_ok() {
            '`'
        } else if self.word("\"\\\"\"", "\"").is_ok() {
            '"'
        } else {
            return Err(Stop::Mismatch);
        };
        let inner = self.run(|c| c != quote).to_owned();
        if self.rest().is_empty() {
            return Err(self.error("string", "Unterminated string literal"));
        }
        self.at = self.at.saturating_add(1);
        if quote == '`' {
            // Go takes carriage returns out of raw strings.
            return Ok(inner.replace('\r', ""));
        }
        if let Some(text) = unquote(&inner) {
            return Ok(text);
        }
        self.at = start;
        Err(self.error("string", "invalid syntax"))
    }
}

/// What is between double quotes, by Go's rules.
fn unquote(inner: &str) -> Option<String> {
    let mut value = String::new();
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        let code = match character {
            '\n' => return None,
            '\\' => match characters.next()? {
                'a' => 0x07,
                'b' => 0x08,
                'f' => 0x0c,
                'n' => 0x0a,
                'r' => 0x0d,
                't' => 0x09,
                'v' => 0x0b,
                '\\' => 0x5c,
                'x' => digits(&mut characters, 2, 16)?,
                'u' => digits(&mut characters, 4, 16)?,
                'U' => digits(&mut characters, 8, 16)?,
                first @ '0'..='7' => {
                    let high = first.to_digit(8)?.checked_mul(64)?;
                    let code = high.checked_add(digits(&mut characters, 2, 8)?)?;
                    if code > 255 {
                        return None;
                    }
                    code
                }
                _ => return None,
            },
            _ => {
                value.push(character);
                continue;
            }
        };
        value.push(char::from_u32(code)?);
    }
    Some(value)
}

/// A number of exactly `count` digits.
fn digits(characters: &mut std::str::Chars<'_>, count: usize, radix: u32) -> Option<u32> {
    let mut value = 0_u32;
    for _ in 0..count {
        let digit = characters.next()?.to_digit(radix)?;
        value = value.checked_mul(radix)?.checked_add(digit)?;
    }
    Some(value)
}
