//! Quoted strings and heredocs of HCL.

use winnow::Parser;
use winnow::stream::{Location, Stream};
use winnow::token::{any, literal, take_while};

use super::scan::Text;
use super::{Fault, Parsed};

/// A quoted string, unquoted.
///
/// `${ ... }` is kept as written, quotes and newlines in it included: Consul evaluates nothing.
pub(super) fn string(input: &mut Text<'_>) -> Parsed<String> {
    let start = input.current_token_start();
    literal("\"").void().parse_next(input)?;
    let mut value = String::new();
    loop {
        let at = input.current_token_start();
        match input.next_token() {
            Some('"') => return Ok(value),
            None | Some('\n') => return Fault::cut(start, "literal not terminated"),
            Some('\0') => return Fault::cut(at, "unexpected null character (0x00)"),
            Some('\\') => value.push(escape(input, at)?),
            Some('$') if input.as_ref().starts_with('{') => {
                value.push('$');
                template(input, start, &mut value)?;
            }
            Some(character) => value.push(character),
        }
    }
}

/// The `{ ... }` of a `${ ... }`, with the braces in it.
fn template(input: &mut Text<'_>, start: usize, value: &mut String) -> Parsed<()> {
    let mut depth = 0_usize;
    loop {
        let Some(character) = input.next_token() else {
            return Fault::cut(start, "literal not terminated");
        };
        value.push(character);
        match character {
            '{' => depth = depth.saturating_add(1),
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return Ok(());
        }
    }
}

/// What follows a backslash.
fn escape(input: &mut Text<'_>, start: usize) -> Parsed<char> {
    let code = match input.next_token() {
        Some('a') => return Ok('\u{07}'),
        Some('b') => return Ok('\u{08}'),
        Some('f') => return Ok('\u{0c}'),
        Some('n') => return Ok('\n'),
        Some('r') => return Ok('\r'),
        Some('t') => return Ok('\t'),
        Some('v') => return Ok('\u{0b}'),
        Some(same @ ('\\' | '"')) => return Ok(same),
        Some(first @ '0'..='7') => {
            let rest: Parsed<&str> = take_while(2..=2, '0'..='7').parse_next(input);
            rest.ok().map(|rest| (format!("{first}{rest}"), 8))
        }
        Some('x') => hexadecimal(input, 2),
        Some('u') => hexadecimal(input, 4),
        Some('U') => hexadecimal(input, 8),
        _ => None,
    };
    // A single byte above 0x7f would not be UTF-8 by itself: it means the character of that
    // number here, for texts hold characters only.
    code.and_then(|(digits, radix)| u32::from_str_radix(&digits, radix).ok())
        .and_then(char::from_u32)
        .map_or_else(|| Fault::cut(start, "illegal char escape"), Ok)
}

/// Exactly `count` hexadecimal digits.
fn hexadecimal(input: &mut Text<'_>, count: usize) -> Option<(String, u32)> {
    let digits: Parsed<&str> =
        take_while(count..=count, |c: char| c.is_ascii_hexdigit()).parse_next(input);
    digits.ok().map(|digits| (digits.to_owned(), 16))
}

/// A heredoc from its `<<` to the line of its anchor.
pub(super) fn heredoc(input: &mut Text<'_>) -> Parsed<String> {
    let start = input.current_token_start();
    literal("<").void().parse_next(input)?;
    let second = input.current_token_start();
    if input.next_token() != Some('<') {
        return Fault::cut(second, "heredoc expected second '<', didn't see it");
    }
    let indented = input.as_ref().starts_with('-');
    if indented {
        any.void().parse_next(input)?;
    }
    let anchor = take_while(0.., |c: char| c == '_' || c.is_alphanumeric()).parse_next(input)?;
    let body: &str = input.as_ref();
    let body = body.strip_prefix('\r').unwrap_or(body);
    let Some(body) = body.strip_prefix('\n') else {
        let reason = if body.is_empty() {
            "heredoc not terminated"
        } else {
            "invalid characters in heredoc anchor"
        };
        return Fault::cut(input.current_token_start(), reason);
    };
    if anchor.is_empty() {
        return Fault::cut(start, "zero-length heredoc anchor");
    }
    let Some((text, blanks, after)) = split_at_anchor(body, anchor) else {
        return Fault::cut(start, "heredoc not terminated");
    };
    // The newline behind the anchor stays: it is blank to what comes next.
    let consumed = input.as_ref().len().saturating_sub(after);
    input.next_slice(consumed);
    Ok(if indented { unindent(text, blanks) } else { format!("{text}{blanks}") })
}

/// The lines before the anchor's, the blanks in front of it, and the length of what follows it.
fn split_at_anchor<'t>(body: &'t str, anchor: &str) -> Option<(&'t str, &'t str, usize)> {
    let mut start = 0_usize;
    for line in body.split_inclusive('\n') {
        let next = start.saturating_add(line.len());
        // Without a newline behind it, the anchor is no anchor.
        if let Some(line) = line.strip_suffix('\n') {
            let word = line.trim_start_matches([' ', '\t', '\r', '\u{0b}', '\u{0c}']);
            if word.trim_end_matches('\r') == anchor {
                let blanks = line.get(..line.len().saturating_sub(word.len()))?;
                return Some((body.get(..start)?, blanks, body.len().saturating_sub(next)));
            }
        }
        start = next;
    }
    None
}

/// Takes the anchor's blanks off every line, if every line starts with them.
fn unindent(text: &str, blanks: &str) -> String {
    let lines: Option<Vec<_>> =
        text.split_inclusive('\n').map(|line| line.strip_prefix(blanks)).collect();
    lines.map_or_else(|| text.to_owned(), |lines| lines.concat())
}
