//! What a pass is to do.

use std::collections::BTreeSet;

use canary_common::flows::{Key, Kind, Values};

/// How much of the table a pass reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Heads, and the bodies of what looks old.
    #[default]
    Heads,
    /// The bodies of connections too: who has how many.
    Counts,
    /// Every body: what names a row is found, and what has lost its partner.
    All,
}

/// Rows whose flows shall end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// Rows of `BACKENDS`.
    pub backends: BTreeSet<u32>,
    /// Rows of `FRONTENDS`.
    pub frontends: BTreeSet<u32>,
}

impl Rows {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.backends.is_empty() && self.frontends.is_empty()
    }

    /// Whether an entry names one of them.
    pub(super) fn named(&self, kind: Kind, values: &Values) -> bool {
        let has_backend = !matches!(kind, Kind::Foreign | Kind::Fragment);
        let has_frontend = match kind {
            Kind::Forward | Kind::Return => !values.has(Values::DIRECT),
            Kind::Foreign => true,
            _ => false,
        };
        has_backend && self.backends.contains(&values.backend)
            || has_frontend && self.frontends.contains(&values.frontend)
    }
}

/// What a pass does beside ageing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// How much it reads.
    pub depth: Depth,
    /// Rows that will be written anew: what names them is freed.
    pub free: Rows,
    /// Rows whose TCP connections end with their next packet; datagrams are freed.
    pub sever: Rows,
    /// Rows of `BACKENDS` that leave and come back, perhaps to another service: their datagrams'
    /// way forth is freed, and that of what is not answered yet.
    pub returning: BTreeSet<u32>,
    /// Interfaces that are gone: what came by them is freed.
    pub interfaces: BTreeSet<u32>,
}

impl Task {
    /// Whether it is to do nothing beside ageing.
    pub(super) fn is_plain(&self) -> bool {
        let Self { depth: _, free, sever, returning, interfaces } = self;
        free.is_empty() && sever.is_empty() && returning.is_empty() && interfaces.is_empty()
    }
}

/// Whoever knows what conntrack has.
pub trait Conntrack {
    /// Whether conntrack still has a connection from the key's source to its destination; `None`
    /// if it cannot be asked.
    fn has(&mut self, key: &Key) -> Option<bool>;
}
