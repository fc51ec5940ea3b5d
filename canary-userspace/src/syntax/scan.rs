//! HCL text to tokens.
//!
//! An error of this stage becomes a token too: the parser then reports whichever mistake comes
//! first in the text.

use winnow::Parser;
use winnow::combinator::{opt, peek, repeat};
use winnow::error::ErrMode;
use winnow::stream::{LocatingSlice, Location, Stream};
use winnow::token::{any, literal, one_of, take_till, take_while};

use super::{Fault, Parsed, text};

/// What the scanner reads from.
pub(super) type Text<'t> = LocatingSlice<&'t str>;

/// A piece of HCL.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token<'t> {
    /// Offset of its first byte.
    pub(super) start: usize,
    /// Its text as written.
    pub(super) text: &'t str,
    /// What it is.
    pub(super) kind: Kind,
}

/// The kinds of token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Ident,
    Number(i64),
    Float(f64),
    Bool(bool),
    String(String),
    Heredoc(String),
    LeftBracket,
    RightBracket,
    LeftBrace,
    RightBrace,
    Comma,
    Assign,
    Period,
    Add,
    Sub,
    /// What is no token at all, and why.
    Illegal(Fault),
    End,
}

impl Token<'_> {
    /// The kind as Consul's messages name it.
    pub(super) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Ident => "IDENT",
            Kind::Number(_) => "NUMBER",
            Kind::Float(_) => "FLOAT",
            Kind::Bool(_) => "BOOL",
            Kind::String(_) => "STRING",
            Kind::Heredoc(_) => "HEREDOC",
            Kind::LeftBracket => "LBRACK",
            Kind::RightBracket => "RBRACK",
            Kind::LeftBrace => "LBRACE",
            Kind::RightBrace => "RBRACE",
            Kind::Comma => "COMMA",
            Kind::Assign => "ASSIGN",
            Kind::Period => "PERIOD",
            Kind::Add => "ADD",
            Kind::Sub => "SUB",
            Kind::Illegal(_) => "ILLEGAL",
            Kind::End => "EOF",
        }
    }
}

impl Location for Token<'_> {
    fn previous_token_end(&self) -> usize {
        self.start.saturating_add(self.text.len())
    }

    fn current_token_start(&self) -> usize {
        self.start
    }
}

/// All tokens of `text`; the last one is [`Kind::End`] or [`Kind::Illegal`].
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut input = Text::new(text);
    let mut tokens = Vec::new();
    loop {
        let token = blank.parse_next(&mut input).and_then(|()| token.parse_next(&mut input));
        let token = token.unwrap_or_else(|error| {
            let fault = Fault::of(error);
            Token { start: fault.offset, text: "", kind: Kind::Illegal(fault) }
        });
        let last = matches!(token.kind, Kind::End | Kind::Illegal(_));
        tokens.push(token);
        if last {
            return tokens;
        }
    }
}

/// Blanks and comments.
fn blank(input: &mut Text<'_>) -> Parsed<()> {
    loop {
        let _: &str = take_while(0.., [' ', '\t', '\r', '\n']).parse_next(input)?;
        match opt(peek(one_of(['#', '/']))).parse_next(input)? {
            Some(_) => comment.parse_next(input)?,
            None => return Ok(()),
        }
    }
}

/// One comment: `#` and `//` to the end of the line, `/*` to the first `*/`.
fn comment(input: &mut Text<'_>) -> Parsed<()> {
    let start = input.current_token_start();
    if opt("/*").parse_next(input)?.is_some() {
        let body = input.as_ref();
        let Some(end) = body.find("*/") else {
            return Fault::cut(start, "comment not terminated");
        };
        input.next_slice(end.saturating_add(2));
        return Ok(());
    }
    if opt(winnow::combinator::alt(("#", "//"))).parse_next(input)?.is_none() {
        return Fault::cut(start, "expected '/' for comment");
    }
    take_till(0.., '\n').void().parse_next(input)
}

/// The next token.
fn token<'t>(input: &mut Text<'t>) -> Parsed<Token<'t>> {
    let start = input.current_token_start();
    let rest: &'t str = input.as_ref();
    let kind = match rest.chars().next() {
        None => Kind::End,
        Some(first) if first == '_' || first.is_alphabetic() => {
            match identifier.parse_next(input)? {
                "true" => Kind::Bool(true),
                "false" => Kind::Bool(false),
                _ => Kind::Ident,
            }
        }
        Some('"') => Kind::String(text::string(input)?),
        Some('<') => Kind::Heredoc(text::heredoc(input)?),
        Some('0'..='9' | '-' | '.') => number_or_sign(input)?,
        Some(_) => punctuation(input)?,
    };
    let len = input.current_token_start().saturating_sub(start);
    Ok(Token { start, text: rest.get(..len).unwrap_or_default(), kind })
}

/// A name: letters, digits, `_`, and behind the first character also `-` and `.`.
fn identifier<'t>(input: &mut Text<'t>) -> Parsed<&'t str> {
    take_while(1.., |c: char| c == '_' || c == '-' || c == '.' || c.is_alphanumeric())
        .parse_next(input)
}

/// A token of one character.
fn punctuation(input: &mut Text<'_>) -> Parsed<Kind> {
    let start = input.current_token_start();
    Ok(match any.parse_next(input)? {
        '[' => Kind::LeftBracket,
        ']' => Kind::RightBracket,
        '{' => Kind::LeftBrace,
        '}' => Kind::RightBrace,
        ',' => Kind::Comma,
        '=' => Kind::Assign,
        '+' => Kind::Add,
        '\0' => return Fault::cut(start, "unexpected null character (0x00)"),
        _ => return Fault::cut(start, "illegal character"),
    })
}

/// A number, or the lone sign it could have begun with.
fn number_or_sign(input: &mut Text<'_>) -> Parsed<Kind> {
    let rest = input.as_ref().as_bytes();
    let second = rest.get(1).is_some_and(u8::is_ascii_digit);
    match rest.first() {
        Some(b'-') if !second => literal("-").value(Kind::Sub).parse_next(input),
        Some(b'.') if !second => literal(".").value(Kind::Period).parse_next(input),
        _ => number(input),
    }
}

/// An integer (decimal, octal with a leading 0, hexadecimal) or a float.
fn number(input: &mut Text<'_>) -> Parsed<Kind> {
    let start = input.current_token_start();
    let before: &str = input.as_ref();
    let sign = opt("-").parse_next(input)?.unwrap_or_default();
    if opt(winnow::combinator::alt(("0x", "0X"))).parse_next(input)?.is_some() {
        let digits: &str = take_while(0.., |c: char| c.is_ascii_hexdigit()).parse_next(input)?;
        if digits.is_empty() {
            return Fault::cut(start, "illegal hexadecimal number");
        }
        return integer(start, sign, digits, 16);
    }
    let digits = digits(input)?;
    let fraction = opt((".", take_while(0.., '0'..='9')).take()).parse_next(input)?;
    let exponent =
        opt((one_of(['e', 'E']), opt(one_of(['+', '-'])), take_while(0.., '0'..='9')).take())
            .parse_next(input)?;
    if fraction.is_none() && exponent.is_none() {
        return match digits.strip_prefix('0') {
            Some(octal) if octal.contains(['8', '9']) => Fault::cut(start, "illegal octal number"),
            Some(octal) if !octal.is_empty() => integer(start, sign, octal, 8),
            _ => integer(start, sign, digits, 10),
        };
    }
    let len = input.current_token_start().saturating_sub(start);
    float(start, before.get(..len).unwrap_or_default())
}

/// Decimal digits; none in front of a leading dot.
fn digits<'t>(input: &mut Text<'t>) -> Parsed<&'t str> {
    repeat::<_, _, (), _, _>(0.., one_of('0'..='9')).take().parse_next(input)
}

/// An integer of 64 bits, or what Go's parser says of it.
fn integer(start: usize, sign: &str, digits: &str, radix: u32) -> Parsed<Kind> {
    i64::from_str_radix(&format!("{sign}{digits}"), radix).map(Kind::Number).map_err(|_| {
        let prefix = match radix {
            16 => "0x",
            8 => "0",
            _ => "",
        };
        let text = format!("{sign}{prefix}{digits}");
        ErrMode::Cut(Fault {
            offset: start,
            text: format!("strconv.ParseInt: parsing {text:?}: value out of range"),
        })
    })
}

/// A float of 64 bits, or what Go's parser says of it.
fn float(start: usize, text: &str) -> Parsed<Kind> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(Kind::Float(value)),
        Ok(_) => {
            Fault::cut(start, format!("strconv.ParseFloat: parsing {text:?}: value out of range"))
        }
        Err(_) => {
            Fault::cut(start, format!("strconv.ParseFloat: parsing {text:?}: invalid syntax"))
        }
    }
}
