//! `?filter=`: parts of lists.

use super::answer::Error;
use crate::agent::Refusal;
use crate::filter::{ListFilter, Shape};

/// Reads the filter of a list of `shape`; without a text everything passes.
///
/// # Errors
///
/// 400 with Consul's words: of a list that cannot be filtered nothing is answered.
pub(super) fn read(text: Option<&str>, shape: Shape) -> Result<ListFilter, Error> {
    ListFilter::parse(text.unwrap_or_default(), shape).map_err(|error| {
        let text = format!("Failed to create boolean expression evaluator: {}", error.text);
        Error(Refusal::bad_request(text))
    })
}
