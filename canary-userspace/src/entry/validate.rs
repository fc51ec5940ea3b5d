//! Consul's rules for entries, in its order and words, and after them what this agent cannot do.

mod balancer;
mod failover;
mod redirect;
mod resolver;
mod splitter;
mod target;
mod weights;

use std::collections::BTreeMap;

use crate::error::{ConfigError, Position};

pub(super) use balancer::{BalancerDraft, CookieDraft, HashDraft};
pub(super) use failover::FailoverDraft;
pub(super) use redirect::RedirectDraft;
pub(super) use resolver::{ResolverDraft, SubsetDraft};
pub(super) use splitter::{SplitDraft, SplitterDraft};
pub(super) use target::TargetDraft;
pub use weights::{WEIGHT_RANGE, check_sum, units_of};

/// Pairs that a meta may have, and bytes of a key and a value.
const MAX_META: (usize, usize, usize) = (64, 128, 512);

/// What all entries have.
pub(super) struct Head {
    pub(super) name: String,
    pub(super) position: Position,
    pub(super) meta: BTreeMap<String, String>,
    pub(super) meta_position: Position,
}

impl Head {
    /// A name must be there.
    pub(super) fn check_name(&self) -> Result<(), ConfigError> {
        if self.name.is_empty() {
            return Err(ConfigError::at(self.position, "Name is required"));
        }
        Ok(())
    }

    /// Limits of a meta.
    pub(super) fn check_meta(&self) -> Result<(), ConfigError> {
        let (count, key_len, value_len) = MAX_META;
        let broken = |text: String| Err(ConfigError::at(self.meta_position, text));
        if self.meta.len() > count {
            return broken(format!("Meta exceeds maximum element count {count}"));
        }
        for (key, value) in &self.meta {
            if key.len() > key_len {
                return broken(format!("Meta key {key:?} exceeds maximum length {key_len}"));
            }
            if value.len() > value_len {
                let text = format!("Meta value for key {key:?} exceeds maximum length {value_len}");
                return broken(text);
            }
        }
        Ok(())
    }
}
