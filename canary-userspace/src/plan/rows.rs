//! Rows of the tables that are in use.

use std::collections::BTreeMap;

use canary_common::backend::{Backend, State};
use canary_common::endpoint::Endpoint;
use canary_common::service::Record;

use super::Write;
use crate::compile::{DesiredBackend, SplitKey};

/// A service in force.
#[derive(Clone, Debug)]
pub(super) struct ServiceRow {
    pub(super) id: u32,
    pub(super) record: u32,
    pub(super) slices: BTreeMap<SplitKey, Slice>,
    /// The record as tables that were adopted had it, until this agent writes one.
    pub(super) found: Option<Box<Record>>,
}

/// Where the healthy backends of a split are.
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

/// A frontend: in force, leaving (of [`NOWHERE`]), or only remembered as some backend's home.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrontendRow {
    pub(super) id: u32,
    pub(super) generation: u16,
    pub(super) service: u32,
    /// `ENDPOINTS` leads here.
    pub(super) listed: bool,
    /// Backends whose home this is.
    pub(super) homes: u32,
}

/// A backend: in force or draining.
#[derive(Clone, Copy, Debug)]
pub(super) struct BackendRow {
    pub(super) id: u32,
    pub(super) generation: u16,
    pub(super) state: State,
    /// [`Backend::HAS_RETURNS`] or 0.
    pub(super) flags: u32,
    pub(super) home: Endpoint,
    /// Services in force that answers from here may be of; 0 until this agent has said which.
    pub(super) users: u32,
}

impl BackendRow {
    /// The store that makes the table say so.
    pub(super) fn status(&self) -> Write {
        let status = Backend::status_of(self.state, self.flags, self.generation);
        Write::BackendStatus { id: self.id, status }
    }
}

/// Counters of a split; they are its own for as long as the tables exist.
#[derive(Clone, Copy, Debug)]
pub(super) struct StatisticsRow {
    pub(super) id: u16,
    pub(super) histogram: Option<u32>,
}
