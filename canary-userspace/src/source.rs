//! Where configuration comes from. A source yields definitions and never touches the datapath.

pub mod files;

use std::collections::BTreeMap;

use crate::catalog::{Instance, LoneCheck, Sourced};
use crate::compile::Warning;
use crate::entry::Entry;
use crate::error::Position;

/// Identity of a config entry: kind, then name.
pub type EntryKey = (String, String);

/// The kind of resolvers.
pub const RESOLVER: &str = "service-resolver";
/// The kind of splitters.
pub const SPLITTER: &str = "service-splitter";
/// The kind of service defaults.
pub const DEFAULTS: &str = "service-defaults";
/// The kind of defaults of all services.
pub const PROXY: &str = "proxy-defaults";
/// Every kind that is served.
pub const KINDS: [&str; 4] = [PROXY, DEFAULTS, RESOLVER, SPLITTER];

/// The identity of `entry`.
#[must_use]
pub fn key_of(entry: &Entry) -> EntryKey {
    (entry.kind().to_owned(), entry.name().to_owned())
}

/// Where the splits of each splitter are, by service.
pub type SplitPlaces = BTreeMap<String, SplitPlace>;

/// Where the splits of one splitter are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SplitPlace {
    /// Path of the file.
    pub path: String,
    /// Where each split is in it.
    pub splits: Vec<Position>,
}

/// One consistent set of definitions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Definitions {
    /// Config entries.
    pub entries: BTreeMap<EntryKey, Sourced<Entry>>,
    /// Instances by id.
    pub instances: BTreeMap<String, Sourced<Instance>>,
    /// Checks on their own, by id.
    pub checks: BTreeMap<String, Sourced<LoneCheck>>,
    /// Where the splits are, for errors that show only beside other entries.
    pub splits: SplitPlaces,
    /// What people should know of what was accepted.
    pub warnings: Vec<Warning>,
}
