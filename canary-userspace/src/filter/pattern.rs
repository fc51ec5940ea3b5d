//! Regular expressions: Go's, by a library that means almost the same by them.

use regex::{Regex, RegexBuilder};

use super::Mistake;

/// Bytes that a compiled regular expression may take.
const MAX_REGEX_LEN: usize = 1 << 20;

/// Compiles a pattern; it matches anywhere in a text.
///
/// # Errors
///
/// Why it is none.
pub(super) fn compile(text: &str) -> Result<Regex, Mistake> {
    RegexBuilder::new(text).size_limit(MAX_REGEX_LEN).build().map_err(|error| {
        // The last line is the reason; those before it draw the place.
        let error = error.to_string();
        let reason = error.lines().last().unwrap_or_default();
        let reason = reason.strip_prefix("error: ").unwrap_or(reason);
        Mistake::new(format!("Failed to compile regular expression {text:?}: {reason}"))
    })
}
