//! What is wanted, in two layers: files below, the store above. The store wins.
//!
//! The snapshot holds what is in force; what the store hides is kept beside it, so that deleting a
//! shadowing definition brings the file's back. Every edit has an inverse: a refused change is
//! taken back edit by edit.

mod followed;
mod lone;
mod moves;
mod rules;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Place;
use std::sync::Arc;

use crate::catalog::{Health, Instance, LoneCheck, Node, Origin, Registered, Sourced};
use crate::compile::Warning;
use crate::entry::Entry;
use crate::snapshot::Snapshot;
use crate::source::{
    DEFAULTS, Definitions, EntryKey, PROXY, RESOLVER, SPLITTER, SplitPlaces, key_of,
};

pub(super) use self::moves::InstanceMove;

/// A step of a change to what is wanted.
#[derive(Debug)]
pub(super) enum Edit {
    /// Puts a config entry into the store's layer or, with `None`, takes it out.
    Entry(EntryKey, Option<Box<Entry>>),
    /// Puts an instance into the store's layer or, with `None`, takes it out.
    Instance(String, Option<Box<Instance>>),
    /// Puts a check on its own into the store's layer or, with `None`, takes it out.
    Check(String, Option<LoneCheck>),
    /// Takes an instance of the files out until they are read again.
    Dismiss(String),
    /// Takes a dismissal back.
    Recall(Box<Sourced<Instance>>),
    /// Replaces the layer of files.
    Files(Definitions),
}

impl Edit {
    /// The id of the instance that the edit is about.
    pub(super) fn instance(&self) -> Option<&str> {
        match self {
            Self::Instance(id, _) => Some(id),
            Self::Entry(..)
            | Self::Check(..)
            | Self::Dismiss(_)
            | Self::Recall(_)
            | Self::Files(_) => None,
        }
    }
}

/// Both layers.
#[derive(Debug)]
pub(super) struct State {
    /// What is in force.
    pub(super) snapshot: Snapshot,
    /// Checks on their own in force, by id.
    pub(super) checks: BTreeMap<String, Sourced<LoneCheck>>,
    /// Where what is written belongs: the store, or the source that is followed.
    layer: Origin,
    /// What files define and the store hides, and the warnings of all files.
    hidden: Definitions,
    /// Services of the instances in force, by instance id: with it one is found in the snapshot.
    services: BTreeMap<String, String>,
}

impl State {
    /// Nothing is wanted yet on `node`; what is written belongs to `layer`.
    pub(super) fn new(node: Node, layer: Origin) -> Self {
        Self {
            snapshot: Snapshot { node: Arc::new(node), ..Snapshot::default() },
            layer,
            checks: BTreeMap::new(),
            hidden: Definitions::default(),
            services: BTreeMap::new(),
        }
    }

    /// Performs `edit` and returns the edit that takes it back; `None` if it changed nothing.
    pub(super) fn apply(&mut self, edit: Edit) -> Option<Edit> {
        match edit {
            Edit::Entry(key, Some(entry)) => {
                let covered = self.put_entry(Sourced { value: *entry, origin: self.layer.clone() });
                let old = covered.and_then(|old| keep_stored(&mut self.hidden.entries, &key, old));
                Some(Edit::Entry(key, old.map(Box::new)))
            }
            Edit::Entry(key, None) => {
                self.entry(&key).filter(|entry| !entry.origin.is_of_file())?;
                let old = self.take_entry(&key)?;
                if let Some(below) = self.hidden.entries.remove(&key) {
                    self.put_entry(below);
                }
                Some(Edit::Entry(key, Some(Box::new(old.value))))
            }
            Edit::Instance(id, Some(instance)) => {
                let covered = self.take_instance(&id);
                self.put_instance(Sourced { value: *instance, origin: self.layer.clone() });
                let old = covered.and_then(|old| keep_stored(&mut self.hidden.instances, &id, old));
                Some(Edit::Instance(id, old.map(Box::new)))
            }
            Edit::Instance(id, None) => {
                self.instance(&id).filter(|instance| !instance.origin.is_of_file())?;
                let old = self.take_instance(&id)?;
                if let Some(below) = self.hidden.instances.remove(&id) {
                    self.put_instance(below);
                }
                Some(Edit::Instance(id, Some(Box::new(old.value))))
            }
            Edit::Check(id, Some(check)) => Some(self.put_check(id, check)),
            Edit::Check(id, None) => self.take_check(id),
            Edit::Dismiss(id) => self.take_instance(&id).map(Box::new).map(Edit::Recall),
            Edit::Recall(instance) => {
                let id = instance.value.id.clone();
                self.put_instance(*instance);
                Some(Edit::Dismiss(id))
            }
            Edit::Files(files) => Some(Edit::Files(self.replace_files(files))),
        }
    }

    /// Puts `new` in the place of all that files define, and returns what they defined.
    fn replace_files(&mut self, new: Definitions) -> Definitions {
        let mut old = std::mem::take(&mut self.hidden);
        self.hidden.warnings = new.warnings;
        for entry in self.entries() {
            if entry.origin.is_of_file() {
                let key = key_of(&entry.value);
                self.take_entry(&key);
                old.entries.insert(key, entry);
            }
        }
        for (key, entry) in new.entries {
            if self.entry(&key).is_some() {
                self.hidden.entries.insert(key, entry);
            } else {
                self.put_entry(entry);
            }
        }
        self.replace_checks(new.checks, &mut old.checks);
        self.replace_instances(new.instances, &mut old.instances);
        old
    }

    /// All at once, for one by one would move the rest each time.
    ///
    /// What is equal before and after stays where it is in memory: a reload of ten thousand
    /// instances would otherwise leave a hole for each.
    fn replace_instances(
        &mut self,
        new: BTreeMap<String, Sourced<Instance>>,
        old: &mut BTreeMap<String, Sourced<Instance>>,
    ) {
        let (stored, of_files): (Vec<_>, Vec<_>) = std::mem::take(&mut self.snapshot.instances)
            .into_iter()
            .partition(|registered| !registered.origin.is_of_file());
        let keyed = |Registered { instance, origin, .. }| {
            (String::clone(&instance.id), Sourced { value: instance, origin })
        };
        let mut before: BTreeMap<String, Sourced<Instance>> =
            of_files.into_iter().map(keyed).collect();
        for id in before.keys().filter(|id| !new.contains_key(*id)) {
            self.services.remove(id);
        }
        self.snapshot.instances = stored;
        for (id, mut instance) in new {
            if let Some(known) = before.get_mut(&id) {
                if known.value.service != instance.value.service {
                    self.services.insert(id, instance.value.service.clone());
                }
                if *known == instance {
                    std::mem::swap(known, &mut instance);
                }
                self.snapshot.instances.push(registered(&self.snapshot.node, instance));
                continue;
            }
            match self.services.entry(id) {
                Place::Occupied(stored) => {
                    self.hidden.instances.insert(stored.key().clone(), instance);
                }
                Place::Vacant(place) => {
                    place.insert(instance.value.service.clone());
                    self.snapshot.instances.push(registered(&self.snapshot.node, instance));
                }
            }
        }
        self.snapshot.instances.sort_by(|a, b| order(&a.instance).cmp(&order(&b.instance)));
        old.append(&mut before);
    }

    /// The entry in force.
    pub(super) fn entry(&self, (kind, name): &EntryKey) -> Option<Sourced<Entry>> {
        let Snapshot { resolvers, splitters, defaults, proxies, .. } = &self.snapshot;
        match kind.as_str() {
            RESOLVER => wrap(resolvers.get(name).cloned(), Entry::Resolver),
            SPLITTER => wrap(splitters.get(name).cloned(), Entry::Splitter),
            DEFAULTS => wrap(defaults.get(name).cloned(), Entry::Defaults),
            PROXY => wrap(proxies.get(name).cloned(), Entry::Proxy),
            _ => None,
        }
    }

    /// All entries in force, by kind and name.
    pub(super) fn entries(&self) -> Vec<Sourced<Entry>> {
        let Snapshot { resolvers, splitters, defaults, proxies, .. } = &self.snapshot;
        let defaults = defaults.values().cloned().map(|e| e.map(Entry::Defaults));
        let resolvers = resolvers.values().cloned().map(|e| e.map(Entry::Resolver));
        let splitters = splitters.values().cloned().map(|e| e.map(Entry::Splitter));
        let proxies = proxies.values().cloned().map(|e| e.map(Entry::Proxy));
        proxies.chain(defaults).chain(resolvers).chain(splitters).collect()
    }

    /// The file's entry that the store hides.
    pub(super) fn hidden_entry(&self, key: &EntryKey) -> Option<&Sourced<Entry>> {
        self.hidden.entries.get(key)
    }

    /// What was found when the files were read.
    pub(super) fn file_warnings(&self) -> &[Warning] {
        &self.hidden.warnings
    }

    /// All that files define and the store hides: what it is called, and where.
    pub(super) fn hidden(&self) -> impl Iterator<Item = (String, String, &Origin)> {
        let entries =
            self.hidden.entries.iter().map(|((kind, name), entry)| {
                (name.clone(), format!("{kind}/{name}"), &entry.origin)
            });
        let instances = self.hidden.instances.iter().map(|(id, instance)| {
            (instance.value.service.clone(), format!("service id {id:?}"), &instance.origin)
        });
        entries.chain(instances).chain(self.hidden_checks())
    }

    /// The instance in force.
    pub(super) fn instance(&self, id: &str) -> Option<&Registered> {
        self.snapshot.instances.get(self.position(id)?)
    }

    /// The instance in force, to be changed.
    pub(super) fn instance_mut(&mut self, id: &str) -> Option<&mut Registered> {
        let position = self.position(id)?;
        self.snapshot.instances.get_mut(position)
    }

    /// The service of the instance in force.
    pub(super) fn service_of(&self, id: &str) -> Option<&str> {
        self.services.get(id).map(String::as_str)
    }

    fn position(&self, id: &str) -> Option<usize> {
        let service = self.services.get(id)?.as_str();
        let instances = &self.snapshot.instances;
        instances.binary_search_by(|other| order(&other.instance).cmp(&(service, id))).ok()
    }

    fn put_entry(&mut self, entry: Sourced<Entry>) -> Option<Sourced<Entry>> {
        let Snapshot { resolvers, splitters, defaults, proxies, .. } = &mut self.snapshot;
        let Sourced { value, origin } = entry;
        let (_, name) = key_of(&value);
        match value {
            Entry::Resolver(value) => {
                wrap(resolvers.insert(name, Sourced { value, origin }), Entry::Resolver)
            }
            Entry::Splitter(value) => {
                wrap(splitters.insert(name, Sourced { value, origin }), Entry::Splitter)
            }
            Entry::Defaults(value) => {
                wrap(defaults.insert(name, Sourced { value, origin }), Entry::Defaults)
            }
            Entry::Proxy(value) => {
                wrap(proxies.insert(name, Sourced { value, origin }), Entry::Proxy)
            }
        }
    }

    fn take_entry(&mut self, (kind, name): &EntryKey) -> Option<Sourced<Entry>> {
        let Snapshot { resolvers, splitters, defaults, proxies, .. } = &mut self.snapshot;
        match kind.as_str() {
            RESOLVER => wrap(resolvers.remove(name), Entry::Resolver),
            SPLITTER => wrap(splitters.remove(name), Entry::Splitter),
            DEFAULTS => wrap(defaults.remove(name), Entry::Defaults),
            PROXY => wrap(proxies.remove(name), Entry::Proxy),
            _ => None,
        }
    }

    fn put_instance(&mut self, instance: Sourced<Instance>) {
        let new = registered(&self.snapshot.node, instance);
        self.services.insert(new.instance.id.clone(), new.instance.service.clone());
        let instances = &mut self.snapshot.instances;
        let at = instances.partition_point(|old| order(&old.instance) < order(&new.instance));
        instances.insert(at, new);
    }

    fn take_instance(&mut self, id: &str) -> Option<Sourced<Instance>> {
        let position = self.position(id)?;
        self.services.remove(id);
        let Registered { instance, origin, .. } = self.snapshot.instances.remove(position);
        Some(Sourced { value: instance, origin })
    }

    /// Leaves the places of splitters that are in force from files: the store hides the others.
    pub(super) fn retain_of_files(&self, places: &mut SplitPlaces) {
        let splitters = &self.snapshot.splitters;
        places.retain(|service, _| {
            splitters.get(service).is_some_and(|splitter| splitter.origin.is_of_file())
        });
    }
}

/// Where an instance stands in the snapshot.
fn order(instance: &Instance) -> (&str, &str) {
    (&instance.service, &instance.id)
}

/// As it enters the snapshot: its checks are asked next.
fn registered(node: &Arc<Node>, instance: Sourced<Instance>) -> Registered {
    let Sourced { value: instance, origin } = instance;
    let node = Arc::clone(node);
    Registered { node, checks: Box::default(), instance, origin, health: Health::Critical }
}

fn wrap<T>(sourced: Option<Sourced<T>>, into: fn(T) -> Entry) -> Option<Sourced<Entry>> {
    sourced.map(|sourced| sourced.map(into))
}

/// Keeps what a file defined and the store has covered; what the store itself had is returned.
fn keep_stored<K: Ord + Clone, T>(
    hidden: &mut BTreeMap<K, Sourced<T>>,
    key: &K,
    covered: Sourced<T>,
) -> Option<T> {
    if !covered.origin.is_of_file() {
        return Some(covered.value);
    }
    hidden.insert(key.clone(), covered);
    None
}
