//! Where configuration comes from. A source yields definitions and never touches the datapath.

pub mod files;

use std::collections::BTreeMap;

use crate::catalog::{Instance, Sourced};
use crate::entry::Entry;

/// Identity of a config entry: kind, then name.
pub type EntryKey = (String, String);

/// The kind of resolvers.
pub const RESOLVER: &str = "service-resolver";
/// The kind of splitters.
pub const SPLITTER: &str = "service-splitter";
/// The kind of service defaults.
pub const DEFAULTS: &str = "service-defaults";
/// Every kind that is served.
pub const KINDS: [&str; 3] = [DEFAULTS, RESOLVER, SPLITTER];

/// The identity of `entry`.
#[must_use]
pub fn key_of(entry: &Entry) -> EntryKey {
    let (kind, name) = match entry {
        Entry::Resolver(resolver) => (RESOLVER, &resolver.name),
        Entry::Splitter(splitter) => (SPLITTER, &splitter.name),
        Entry::Defaults(defaults) => (DEFAULTS, &defaults.name),
    };
    (kind.to_owned(), name.clone())
}

/// One consistent set of definitions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Definitions {
    /// Config entries.
    pub entries: BTreeMap<EntryKey, Sourced<Entry>>,
    /// Instances by id.
    pub instances: BTreeMap<String, Sourced<Instance>>,
}
