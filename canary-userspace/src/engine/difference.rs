//! What differs between two states: what a change did to entries, instances and checks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::edit::{Edit, Scope};
use super::state::State;
use crate::catalog::{Instance, Registered, Sourced};
use crate::entry::Entry;
use crate::source::{EntryKey, KINDS, key_of};

/// Config entries of some services.
pub(crate) type Entries = BTreeMap<EntryKey, Sourced<Entry>>;

/// The instances and checks that edits are about, to be compared before and after.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    /// Ids of instances, in the order of the edits.
    instances: Vec<String>,
    /// Ids of checks on their own, in the order of the edits.
    pub(crate) checks: Vec<String>,
    /// All instances of files are.
    files: bool,
}

impl Touched {
    /// What `edits` are about.
    pub(crate) fn of(edits: &[Edit]) -> Self {
        let mut touched = Self::default();
        for edit in edits {
            touched.files |= edit.is_of_files();
            if let Some(id) = edit.instance().filter(|id| !has(&touched.instances, id)) {
                touched.instances.push(id.to_owned());
            }
            if let Edit::Check(id, _) = edit
                && !has(&touched.checks, id)
            {
                touched.checks.push(id.clone());
            }
        }
        touched
    }

    /// The ids of the instances that may differ.
    pub(crate) fn instances(&self, before: &State, after: &State) -> Vec<String> {
        let mut ids = self.instances.clone();
        if !self.files {
            return ids;
        }
        let of_file = |registered: &&Arc<Registered>| registered.origin.is_of_file();
        let id = |registered: &Arc<Registered>| registered.instance.id.clone();
        for registered in after.snapshot.instances.iter().filter(of_file) {
            let old = before.instance(&registered.instance.id);
            if old.is_none_or(|old| old.instance != registered.instance) {
                ids.push(id(registered));
            }
        }
        let gone = before.snapshot.instances.iter().filter(of_file);
        let gone = gone.filter(|old| after.instance(&old.instance.id).is_none());
        ids.extend(gone.map(id).collect::<BTreeSet<_>>());
        ids
    }
}

fn has(ids: &[String], id: &str) -> bool {
    ids.iter().any(|known| known == id)
}

impl State {
    /// Entries in force of the services in `scope`.
    pub(crate) fn entries_in(&self, scope: &Scope) -> Entries {
        let keyed = |entry: Sourced<Entry>| (key_of(&entry.value), entry);
        match scope {
            None => self.entries().into_iter().map(keyed).collect(),
            Some(services) => services
                .iter()
                .flat_map(|service| KINDS.map(|kind| (kind.to_owned(), service.clone())))
                .filter_map(|key| self.entry(&key))
                .map(keyed)
                .collect(),
        }
    }

    /// The instance `id` as it was written over the API.
    pub(crate) fn stored_instance(&self, id: &str) -> Option<&Instance> {
        let found = self.instance(id).filter(|registered| !registered.origin.is_of_file());
        found.map(|registered| &registered.instance)
    }
}
