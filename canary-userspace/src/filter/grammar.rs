//! The grammar of filters: text to an expression.
//!
//! The language is defined by a grammar of ordered choices, and its error names what could have
//! come at the furthest place that any choice reached. So this parser tries the same choices in
//! the same order and remembers that place, but keeps what it has read: every step takes time
//! in proportion to the text.

use super::MAX_DEPTH;
use super::cursor::{Cursor, Fault, Step, Stop};

/// A filter as written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    /// One of them holds.
    Any(Vec<Self>),
    /// All of them hold.
    All(Vec<Self>),
    /// It does not hold.
    Not(Box<Self>),
    /// A comparison.
    Match(Match),
}

/// A comparison: a selector, an operator, and a literal where the operator takes one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Match {
    pub(super) selector: Vec<String>,
    pub(super) operator: Operator,
    pub(super) value: String,
}

/// The operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    In,
    NotIn,
    IsEmpty,
    IsNotEmpty,
    Matches,
    NotMatches,
}

/// Parses a whole filter.
pub(super) fn parse(text: &str) -> Result<Expression, Fault> {
    Cursor::new(text).whole()
}

impl Cursor<'_> {
    pub(super) fn whole(&mut self) -> Result<Expression, Fault> {
        self.input().map_err(|stop| match stop {
            Stop::Error(fault) => fault,
            Stop::Mismatch => self.no_match(),
        })
    }

    fn input(&mut self) -> Step<Expression> {
        self.blanks();
        let expression = self.either()?;
        self.blanks();
        if self.rest().is_empty() {
            return Ok(expression);
        }
        self.expect("EOF");
        Err(Stop::Mismatch)
    }

    /// Comparisons joined by `or`.
    fn either(&mut self) -> Step<Expression> {
        self.joined("\"or\"", "or", Expression::Any, Self::both)
    }

    /// Comparisons joined by `and`.
    fn both(&mut self) -> Step<Expression> {
        self.joined("\"and\"", "and", Expression::All, Self::negation)
    }

    /// Parts joined by a word; a word without a part behind it is left for others to refuse.
    fn joined(
        &mut self,
        shown: &'static str,
        word: &str,
        join: impl FnOnce(Vec<Expression>) -> Expression,
        part: impl Fn(&mut Self) -> Step<Expression>,
    ) -> Step<Expression> {
        let first = part(self)?;
        let mut parts = vec![first];
        loop {
            let start = self.at;
            match self.spaced(&[(shown, word)]).and_then(|()| part(self)) {
                Ok(next) => parts.push(next),
                Err(Stop::Mismatch) => {
                    self.at = start;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        match parts.len() {
            1 => parts.pop().ok_or(Stop::Mismatch),
            _ => Ok(join(parts)),
        }
    }

    /// `not ...`, where `not` is no selector itself.
    ///
    /// All `not`s are taken first. If what follows them is nothing, the last of them may be a
    /// selector: the one before it was taken for good then, so each is tried once.
    fn negation(&mut self) -> Step<Expression> {
        let mut starts = Vec::new();
        loop {
            let start = self.at;
            if self.word("\"not\"", "not").and_then(|()| self.space()).is_err() {
                self.at = start;
                break;
            }
            starts.push(start);
        }
        let mut negated = starts.len();
        let mut result = self.parenthesis();
        while let (Err(Stop::Mismatch), Some(start)) = (&result, starts.pop()) {
            self.at = start;
            negated = starts.len();
            result = self.parenthesis();
        }
        let expression = result?;
        // Two in a row say nothing.
        Ok(if negated % 2 == 1 { Expression::Not(Box::new(expression)) } else { expression })
    }

    fn parenthesis(&mut self) -> Step<Expression> {
        if self.word("\"(\"", "(").is_err() {
            return self.comparison();
        }
        if self.depth >= MAX_DEPTH {
            return Err(self.fault(format!("nested deeper than {MAX_DEPTH} parentheses")));
        }
        self.depth = self.depth.saturating_add(1);
        self.blanks();
        let inner = self.either();
        self.depth = self.depth.saturating_sub(1);
        let inner = inner?;
        self.blanks();
        match self.word("\")\"", ")") {
            Ok(()) => Ok(inner),
            Err(_) => Err(self.error("grouping", "Unmatched parentheses")),
        }
    }

    fn comparison(&mut self) -> Step<Expression> {
        let start = self.at;
        if let Some(selector) = self.maybe(Self::selector)? {
            let behind = self.at;
            if let Some(operator) = self.maybe(Self::binary)?
                && let Some(value) = self.maybe(Self::value)?
            {
                return Ok(Expression::Match(Match { selector, operator, value }));
            }
            self.at = behind;
            if let Some(operator) = self.maybe(Self::emptiness)? {
                let value = String::new();
                return Ok(Expression::Match(Match { selector, operator, value }));
            }
            self.at = start;
        }
        let value = self.value()?;
        let operator = self.membership()?;
        match self.maybe(Self::selector)? {
            Some(selector) => Ok(Expression::Match(Match { selector, operator, value })),
            None => Err(self.error("match", "Invalid selector")),
        }
    }

    /// `==`, `!=`, `contains`, `matches` and the last two's opposites.
    fn binary(&mut self) -> Step<Operator> {
        let start = self.at;
        self.blanks();
        for (shown, sign, operator) in
            [("\"==\"", "==", Operator::Equal), ("\"!=\"", "!=", Operator::NotEqual)]
        {
            if self.word(shown, sign).is_ok() {
                self.blanks();
                return Ok(operator);
            }
        }
        self.at = start;
        self.choose(&[
            (&[("\"contains\"", "contains")], Operator::In),
            (&[("\"not\"", "not"), ("\"contains\"", "contains")], Operator::NotIn),
            (&[("\"matches\"", "matches")], Operator::Matches),
            (&[("\"not\"", "not"), ("\"matches\"", "matches")], Operator::NotMatches),
        ])
    }

    /// `is empty` and `is not empty`, with nothing behind them.
    fn emptiness(&mut self) -> Step<Operator> {
        self.space()?;
        self.word("\"is\"", "is")?;
        self.space()?;
        let start = self.at;
        if self.word("\"empty\"", "empty").is_ok() {
            return Ok(Operator::IsEmpty);
        }
        self.at = start;
        self.word("\"not\"", "not")?;
        self.space()?;
        self.word("\"empty\"", "empty")?;
        Ok(Operator::IsNotEmpty)
    }

    /// `in` and `not in`.
    fn membership(&mut self) -> Step<Operator> {
        self.choose(&[
            (&[("\"in\"", "in")], Operator::In),
            (&[("\"not\"", "not"), ("\"in\"", "in")], Operator::NotIn),
        ])
    }

    /// The first of the operators whose words are here, with blanks around each.
    fn choose(&mut self, choices: &[(&[(&'static str, &str)], Operator)]) -> Step<Operator> {
        let start = self.at;
        for (words, operator) in choices {
            if self.spaced(words).is_ok() {
                return Ok(*operator);
            }
            self.at = start;
        }
        Err(Stop::Mismatch)
    }

    /// Words with blanks before, between and behind them.
    fn spaced(&mut self, words: &[(&'static str, &str)]) -> Step<()> {
        self.space()?;
        for (shown, word) in words {
            self.word(shown, word)?;
            self.space()?;
        }
        Ok(())
    }
}
