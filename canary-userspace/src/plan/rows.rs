//! Rows of the tables that are in use.

use std::collections::BTreeMap;

use canary_common::backend::{Backend, State};
use canary_common::service::Record;

use super::Write;
use crate::compile::{DesiredBackend, SplitKey};

/// A service in force.
#[derive(Clone, Debug)]
pub(super) struct ServiceRow {
    pub(super) id: u32,
    pub(super) record: u32,
    pub(super) slices: Slices,
    /// The record as tables that were adopted had it, until this agent writes one.
    pub(super) found: Option<Box<Record>>,
}

/// Where the backends of each split are, for clients of IPv4, then for those of IPv6.
pub(super) type Slices = BTreeMap<SplitKey, [Slice; 2]>;

/// Where the healthy backends of a split are that have addresses of one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Slice {
    /// First row of `SLOTS`, or the one backend's id.
    pub(super) start: u32,
    /// Rows; 1 means one backend and no rows, 0 none.
    pub(super) length: u32,
    /// What it was made for; `None` in tables that were adopted.
    pub(super) backends: Option<Vec<DesiredBackend>>,
    /// What tables that were adopted have there, until this agent knows what it is for.
    pub(super) found: Vec<u32>,
}

impl Slice {
    /// Whether both are the same rows.
    pub(super) fn is_at(&self, other: &Self) -> bool {
        (self.start, self.length) == (other.start, other.length)
    }
}

/// A frontend: in force, or leaving (of [`NOWHERE`](super::NOWHERE)).
#[derive(Clone, Copy, Debug)]
pub(super) struct FrontendRow {
    pub(super) id: u32,
    pub(super) service: u32,
    /// `ENDPOINTS` leads here.
    pub(super) listed: bool,
}

/// A backend: in force or draining.
#[derive(Clone, Copy, Debug)]
pub(super) struct BackendRow {
    pub(super) id: u32,
    pub(super) state: State,
    /// Services in force that have it; 0 until this agent has said which.
    pub(super) users: u32,
}

impl BackendRow {
    /// The store that makes the table say so.
    pub(super) fn state(&self) -> Write {
        Write::BackendState { id: self.id, state: Backend::word_of(self.state) }
    }
}

/// Counters of a split; they are its own for as long as the tables exist.
#[derive(Clone, Copy, Debug)]
pub(super) struct StatisticsRow {
    pub(super) id: u16,
    pub(super) histogram: Option<u32>,
}
