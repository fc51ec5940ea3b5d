//! Where configuration comes from. A source yields definitions and never touches the datapath.
//!
//! Files are read when the agent wants them. Any other source runs beside the agent and says what
//! is new: [`Following`] is all that the loop knows of it.

pub mod consul;
pub mod directory;
pub mod files;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use tokio::task::AbortHandle;

use crate::catalog::{Instance, LoneCheck, Registered, Sourced};
use crate::compile::Warning;
use crate::entry::Entry;
use crate::error::Position;

/// Identity of a config entry: kind, then name.
pub type EntryKey = (String, String);

/// When a config entry was made and last changed, as indices of writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Indices {
    /// Index of the write that made it.
    pub create: u64,
    /// Index of the last change.
    pub modify: u64,
}

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

/// A source that runs beside the agent; dropping it ends it.
#[derive(Debug)]
pub struct Following {
    /// What `status` calls it.
    pub kind: &'static str,
    /// What it said before the agent was started anew; `None` if nothing is known of that.
    pub last: Option<Update>,
    /// Where writes of config entries go.
    pub writes: Arc<consul::Writer>,
    tasks: Vec<AbortHandle>,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Something that a followed source says, in order: the first [`News::Changed`] makes the picture
/// whole.
#[derive(Debug)]
pub enum News {
    /// What is other than before: one unit, to be put in force as a whole.
    Changed(Update),
    /// How the source is.
    Condition(Condition),
}

/// What is other than before. What is not named is as it was.
#[derive(Debug, Default)]
pub struct Update {
    /// Config entries with the source's indices; `None` for one that is gone.
    pub entries: BTreeMap<EntryKey, Option<(Entry, Indices)>>,
    /// All the instances of some services, each service's sorted by id and node.
    pub instances: BTreeMap<String, Vec<Registered>>,
    /// What people should know: all of it.
    pub warnings: Vec<Warning>,
    /// What the source wants to have in `last` after a restart.
    pub rows: Vec<Row>,
    /// The newest index of the source.
    pub index: u64,
    /// The datacenter, once it is known.
    pub datacenter: Option<String>,
}

/// A piece of what a source said, in a form of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The service it is about.
    pub service: String,
    /// What it is.
    pub key: String,
    /// Its content; `None` if it is gone.
    pub value: Option<Bytes>,
}

/// How a followed source is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Who is asked.
    pub address: String,
    /// What is wrong, and since when.
    pub error: Option<(String, Instant)>,
}
