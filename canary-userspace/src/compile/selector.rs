//! A subset's filter, read once and asked of every instance.

use crate::catalog::{Instance, Node};

/// Decides who is in a subset.
pub(super) enum Selector {
    /// No filter: everybody.
    All,
    /// One key of the meta must have one value.
    Meta(String, String),
}

impl Selector {
    /// Reads a filter as written.
    ///
    /// # Errors
    ///
    /// Why it cannot be evaluated.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::All);
        }
        let (key, value) = text.split_once("==").ok_or("not an equality")?;
        let key = key.trim().strip_prefix("Service.Meta.").ok_or("not of the meta")?;
        Ok(Self::Meta(key.to_owned(), value.trim().trim_matches('"').to_owned()))
    }

    /// Whether `instance` on `node` is in.
    pub(super) fn matches(&self, instance: &Instance, _node: &Node) -> bool {
        match self {
            Self::All => true,
            Self::Meta(key, value) => instance.meta.get(key) == Some(value),
        }
    }
}
