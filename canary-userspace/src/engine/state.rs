//! What is wanted, in two layers: files below, the store above. The store wins.
//!
//! The snapshot holds what is in force; what the store hides is kept beside it, so that deleting a
//! shadowing definition brings the file's back. A copy shares all that neither has changed since.

mod health;
mod lone;
mod rules;

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;

use super::brake::Braked;
use super::edit::Edit;
use crate::catalog::{Health, Instance, LoneCheck, Node, Origin, Registered, Sourced};
use crate::compile::Warning;
use crate::entry::Entry;
use crate::snapshot::Snapshot;
use crate::source::{
    DEFAULTS, Definitions, EntryKey, PROXY, RESOLVER, SPLITTER, SplitPlaces, key_of,
};

/// Both layers.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// What is in force.
    pub(crate) snapshot: Snapshot,
    /// Checks on their own in force, by id.
    pub(crate) checks: OrdMap<String, Arc<Sourced<LoneCheck>>>,
    /// Where what is written belongs: the store, or the source that is followed.
    pub(super) layer: Origin,
    /// What files define and the store hides, and the warnings of all files.
    hidden: Arc<Definitions>,
    /// Services of the instances in force, by instance id: with it one is found in the snapshot.
    services: OrdMap<String, String>,
    /// Services under the brake.
    pub(super) brakes: OrdMap<String, Arc<Braked>>,
}

impl State {
    /// Nothing is wanted yet on `node`; what is written belongs to `layer`.
    pub(crate) fn new(node: Node, layer: Origin) -> Self {
        Self {
            snapshot: Snapshot { node: Arc::new(node), ..Snapshot::default() },
            layer,
            checks: OrdMap::new(),
            hidden: Arc::default(),
            services: OrdMap::new(),
            brakes: OrdMap::new(),
        }
    }

    /// Performs `edit`.
    pub(crate) fn apply(&mut self, edit: Edit) {
        match edit {
            Edit::Entry(key, Some(entry)) => {
                let covered = self.put_entry(Sourced { value: *entry, origin: self.layer.clone() });
                if let Some(covered) = covered.filter(|covered| covered.origin.is_of_file()) {
                    Arc::make_mut(&mut self.hidden).entries.insert(key, covered);
                }
            }
            Edit::Entry(key, None) => {
                if self.entry(&key).is_some_and(|entry| !entry.origin.is_of_file()) {
                    self.take_entry(&key);
                    if let Some(below) =
                        uncover(&mut self.hidden, |hidden| &mut hidden.entries, &key)
                    {
                        self.put_entry(below);
                    }
                }
            }
            Edit::Instance(id, Some(instance)) => {
                let covered = self.take_instance(&id);
                self.put_instance(Sourced { value: *instance, origin: self.layer.clone() });
                if let Some(covered) = covered.filter(|covered| covered.origin.is_of_file()) {
                    let Registered { instance, origin, .. } = Arc::unwrap_or_clone(covered);
                    let covered = Sourced { value: instance, origin };
                    Arc::make_mut(&mut self.hidden).instances.insert(id, covered);
                }
            }
            Edit::Instance(id, None) => {
                if self.instance(&id).is_some_and(|instance| !instance.origin.is_of_file()) {
                    self.take_instance(&id);
                    let below = uncover(&mut self.hidden, |hidden| &mut hidden.instances, &id);
                    if let Some(below) = below {
                        self.put_instance(below);
                    }
                }
            }
            Edit::Check(id, Some(check)) => self.put_check(id, check),
            Edit::Check(id, None) => self.take_check(&id),
            Edit::Dismiss(id) => _ = self.take_instance(&id),
            Edit::Files(files) => self.replace_files(files),
            Edit::Instances(service, instances) => self.replace_instances_of(&service, instances),
            Edit::Brake(service, Some(brake)) => self.put_brake(&service, *brake),
            Edit::Brake(service, None) => self.end_brake(&service),
            Edit::Datacenter(datacenter) => {
                let node = &mut self.snapshot.node;
                if node.datacenter != datacenter {
                    Arc::make_mut(node).datacenter = datacenter;
                }
            }
        }
    }

    /// Puts `new` in the place of all that files define.
    fn replace_files(&mut self, new: Definitions) {
        self.hidden = Arc::new(Definitions { warnings: new.warnings, ..Definitions::default() });
        for entry in self.entries() {
            let key = key_of(&entry.value);
            if entry.origin.is_of_file() && !new.entries.contains_key(&key) {
                self.take_entry(&key);
            }
        }
        for (key, entry) in new.entries {
            match self.entry(&key) {
                Some(there) if there == entry => {}
                Some(there) if !there.origin.is_of_file() => {
                    Arc::make_mut(&mut self.hidden).entries.insert(key, entry);
                }
                Some(_) | None => _ = self.put_entry(entry),
            }
        }
        self.replace_checks(new.checks);
        self.replace_instances(new.instances);
    }

    /// All at once, for one by one would move the rest each time.
    ///
    /// What is equal before and after stays where it is in memory: a reload of ten thousand
    /// instances would otherwise leave a hole for each.
    fn replace_instances(&mut self, new: BTreeMap<String, Sourced<Instance>>) {
        let (stored, of_files): (Vec<_>, Vec<_>) =
            Arc::unwrap_or_clone(std::mem::take(&mut self.snapshot.instances))
                .into_iter()
                .partition(|registered| !registered.origin.is_of_file());
        let keyed = |registered: Arc<Registered>| (registered.instance.id.clone(), registered);
        let mut before: BTreeMap<String, Arc<Registered>> =
            of_files.into_iter().map(keyed).collect();
        for id in before.keys().filter(|id| !new.contains_key(*id)) {
            self.services.remove(id);
        }
        let mut instances = stored;
        for (id, instance) in new {
            if let Some(known) = before.remove(&id) {
                let same = known.instance == instance.value && known.origin == instance.origin;
                if known.instance.service != instance.value.service {
                    self.services.insert(id, instance.value.service.clone());
                }
                instances.push(if same { known } else { self.registered(instance) });
            } else if self.services.contains_key(&id) {
                Arc::make_mut(&mut self.hidden).instances.insert(id, instance);
            } else {
                self.services.insert(id, instance.value.service.clone());
                instances.push(self.registered(instance));
            }
        }
        instances.sort_by(|a, b| order(&a.instance).cmp(&order(&b.instance)));
        self.snapshot.instances = Arc::new(instances);
    }

    /// Makes `instances`, sorted by id, all that there are of `service`.
    fn replace_instances_of(&mut self, service: &str, instances: Vec<Registered>) {
        let all = Arc::make_mut(&mut self.snapshot.instances);
        let start = all.partition_point(|old| old.instance.service.as_str() < service);
        let end = all.partition_point(|old| old.instance.service.as_str() <= service);
        all.splice(start..end, instances.into_iter().map(Arc::new));
    }

    /// The entry in force.
    pub(crate) fn entry(&self, (kind, name): &EntryKey) -> Option<Sourced<Entry>> {
        let Snapshot { resolvers, defaults, proxies, .. } = &self.snapshot;
        match kind.as_str() {
            RESOLVER => resolvers.get(name).map(|entry| wrap(entry, Entry::Resolver)),
            SPLITTER => self.written_splitter(name).map(|entry| wrap(entry, Entry::Splitter)),
            DEFAULTS => defaults.get(name).map(|entry| wrap(entry, Entry::Defaults)),
            PROXY => proxies.get(name).map(|entry| wrap(entry, Entry::Proxy)),
            _ => None,
        }
    }

    /// All entries in force, by kind and name.
    pub(crate) fn entries(&self) -> Vec<Sourced<Entry>> {
        let Snapshot { resolvers, splitters, defaults, proxies, .. } = &self.snapshot;
        let defaults = defaults.values().map(|entry| wrap(entry, Entry::Defaults));
        let resolvers = resolvers.values().map(|entry| wrap(entry, Entry::Resolver));
        let splitters = splitters.keys().filter_map(|service| self.written_splitter(service));
        let splitters = splitters.map(|entry| wrap(entry, Entry::Splitter));
        let proxies = proxies.values().map(|entry| wrap(entry, Entry::Proxy));
        proxies.chain(defaults).chain(resolvers).chain(splitters).collect()
    }

    /// The file's entry that the store hides.
    pub(crate) fn hidden_entry(&self, key: &EntryKey) -> Option<&Sourced<Entry>> {
        self.hidden.entries.get(key)
    }

    /// What was found when the files were read.
    pub(crate) fn file_warnings(&self) -> &[Warning] {
        &self.hidden.warnings
    }

    /// All that files define and the store hides: what it is called, and where.
    pub(crate) fn hidden(&self) -> impl Iterator<Item = (String, String, &Origin)> {
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
    pub(crate) fn instance(&self, id: &str) -> Option<&Arc<Registered>> {
        self.snapshot.instances.get(self.position(id)?)
    }

    /// The instance in force, to be changed.
    pub(crate) fn instance_mut(&mut self, id: &str) -> Option<&mut Registered> {
        let position = self.position(id)?;
        Arc::make_mut(&mut self.snapshot.instances).get_mut(position).map(Arc::make_mut)
    }

    /// The service of the instance that files define and the store hides.
    pub(crate) fn hidden_service_of(&self, id: &str) -> Option<&str> {
        self.hidden.instances.get(id).map(|hidden| hidden.value.service.as_str())
    }

    /// The service of the instance in force.
    pub(crate) fn service_of(&self, id: &str) -> Option<&str> {
        self.services.get(id).map(String::as_str)
    }

    fn position(&self, id: &str) -> Option<usize> {
        let service = self.services.get(id)?.as_str();
        let instances = &self.snapshot.instances;
        instances.binary_search_by(|other| order(&other.instance).cmp(&(service, id))).ok()
    }

    fn put_entry(&mut self, Sourced { value, origin }: Sourced<Entry>) -> Option<Sourced<Entry>> {
        let key = key_of(&value);
        let covered = self.entry(&key);
        self.heed_brake(&key, Some(&value));
        let Snapshot { resolvers, splitters, defaults, proxies, .. } = &mut self.snapshot;
        let (_, name) = key;
        match value {
            Entry::Resolver(value) => {
                resolvers.insert(name, Arc::new(Sourced { value, origin }));
            }
            Entry::Splitter(value) => {
                let splitter = Arc::new(Sourced { value, origin });
                match self.brakes.get_mut(&name) {
                    // The same entry as before, read again.
                    Some(braked) => Arc::make_mut(braked).written = Some(splitter),
                    None => _ = splitters.insert(name, splitter),
                }
            }
            Entry::Defaults(value) => {
                defaults.insert(name, Arc::new(Sourced { value, origin }));
            }
            Entry::Proxy(value) => {
                proxies.insert(name, Arc::new(Sourced { value, origin }));
            }
        }
        covered
    }

    fn take_entry(&mut self, key: &EntryKey) -> Option<Sourced<Entry>> {
        let old = self.entry(key)?;
        self.heed_brake(key, None);
        let Snapshot { resolvers, splitters, defaults, proxies, .. } = &mut self.snapshot;
        let (kind, name) = key;
        match kind.as_str() {
            RESOLVER => _ = resolvers.remove(name),
            SPLITTER => _ = splitters.remove(name),
            DEFAULTS => _ = defaults.remove(name),
            PROXY => _ = proxies.remove(name),
            _ => {}
        }
        Some(old)
    }

    fn put_instance(&mut self, instance: Sourced<Instance>) {
        let new = self.registered(instance);
        self.services.insert(new.instance.id.clone(), new.instance.service.clone());
        let instances = Arc::make_mut(&mut self.snapshot.instances);
        let at = instances.partition_point(|old| order(&old.instance) < order(&new.instance));
        instances.insert(at, new);
    }

    fn take_instance(&mut self, id: &str) -> Option<Arc<Registered>> {
        let position = self.position(id)?;
        self.services.remove(id);
        Some(Arc::make_mut(&mut self.snapshot.instances).remove(position))
    }

    /// As it enters the snapshot: its checks are asked next.
    fn registered(
        &self,
        Sourced { value: instance, origin }: Sourced<Instance>,
    ) -> Arc<Registered> {
        let node = Arc::clone(&self.snapshot.node);
        let checks = Box::default();
        Arc::new(Registered { node, checks, instance, origin, health: Health::Critical })
    }

    /// Leaves the places of splitters that are in force from files: the store hides the others.
    pub(crate) fn retain_of_files(&self, places: &mut SplitPlaces) {
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

fn wrap<T: Clone>(sourced: &Sourced<T>, into: fn(T) -> Entry) -> Sourced<Entry> {
    sourced.clone().map(into)
}

/// What the store hid, where it hides it no longer.
fn uncover<K: Ord, T>(
    hidden: &mut Arc<Definitions>,
    kind: impl FnOnce(&mut Definitions) -> &mut BTreeMap<K, T>,
    key: &K,
) -> Option<T> {
    kind(Arc::make_mut(hidden)).remove(key)
}
