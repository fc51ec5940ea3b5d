//! What a followed source says, in the snapshot: there is no layer below or above it.

use crate::catalog::{Registered, Sourced};
use crate::entry::Entry;
use crate::source::EntryKey;

use super::State;

impl State {
    /// Puts in or, with `None`, takes out an entry of the source.
    pub(in crate::agent) fn follow_entry(&mut self, key: &EntryKey, entry: Option<Entry>) {
        match entry {
            Some(value) => self.put_entry(Sourced { value, origin: self.layer.clone() }),
            None => self.take_entry(key),
        };
    }

    /// Makes `instances`, sorted by id, all that there are of `service`.
    pub(in crate::agent) fn follow_instances(&mut self, service: &str, instances: Vec<Registered>) {
        let all = &mut self.snapshot.instances;
        let start = all.partition_point(|old| old.instance.service.as_str() < service);
        let end = all.partition_point(|old| old.instance.service.as_str() <= service);
        all.splice(start..end, instances);
    }
}
