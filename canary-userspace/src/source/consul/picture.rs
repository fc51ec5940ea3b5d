//! What Consul says and what the agent has of it: the difference is what goes on.
//!
//! Entries go on once the instances of every service they lead to are known, for a share that goes
//! to a service whose answer is under way would be refused by the datapath.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::body::Bytes;

use super::answers::{self, Entries, Instances, Listed};
use super::client::Fault;
use super::question::{Content, Topic};
use super::references::References;
use super::{Kept, bytes, entry_row, health_row};
use crate::catalog::Registered;
use crate::compile::Warning;
use crate::source::{EntryKey, KINDS, Row, Update};

/// Both sides.
#[derive(Debug, Default)]
pub(super) struct Picture {
    /// The newest answers; of services also what was kept of them.
    kinds: BTreeMap<&'static str, Arc<Entries>>,
    services: BTreeMap<String, Arc<Instances>>,
    /// What the agent has.
    entries: BTreeMap<EntryKey, Arc<Listed>>,
    given: BTreeMap<String, Arc<Instances>>,
    /// Texts of services' answers that the agent does not have yet.
    texts: BTreeMap<String, Bytes>,
}

impl Picture {
    /// Takes in the entries of `kind`; `true` once every kind is known.
    pub(super) fn learn_entries(&mut self, kind: &'static str, entries: Arc<Entries>) -> bool {
        self.kinds.insert(kind, entries);
        KINDS.iter().all(|kind| self.kinds.contains_key(kind))
    }

    /// Takes in the instances of `service`.
    pub(super) fn learn_instances(
        &mut self,
        service: String,
        instances: Arc<Instances>,
        text: Bytes,
    ) {
        self.services.insert(service.clone(), instances);
        self.texts.insert(service, text);
    }

    /// Whether an answer lacks what the agent has.
    pub(super) fn loses(&self, topic: &Topic, content: &Content) -> bool {
        match (topic, content) {
            (Topic::Kind(kind), Content::Entries(new)) => {
                let own = self.entries.keys().filter(|(of, _)| of == kind);
                own.into_iter().any(|(_, name)| !new.contains_key(name))
            }
            (Topic::Service(name), Content::Instances(new)) => {
                let id = |found: &Registered| found.instance.id.clone();
                let new: BTreeSet<String> = new.registered.iter().map(id).collect();
                let own = self.given.get(name).into_iter().flat_map(|given| &given.registered);
                own.map(id).any(|id| !new.contains(&id))
            }
            _ => false,
        }
    }

    /// Forgets the services that are not `wanted` any more.
    pub(super) fn keep_only(&mut self, wanted: &BTreeSet<String>) {
        self.services.retain(|name, _| wanted.contains(name));
        self.texts.retain(|name, _| wanted.contains(name));
    }

    /// Takes what was kept as what Consul said last, and gives it for the agent.
    pub(super) fn restore(&mut self, kept: &Kept) -> Update {
        let mut update = Update::default();
        for (key, value) in kept {
            if let Err(error) = self.restore_row(key, value, &mut update) {
                tracing::warn!(%key, error = %error.text, "kept by another version: left out");
            }
        }
        update
    }

    fn restore_row(&mut self, key: &str, value: &[u8], update: &mut Update) -> Result<(), Fault> {
        if let Some(service) = key.strip_prefix("health/") {
            let instances = Arc::new(answers::instances(service, value)?);
            update.instances.insert(service.to_owned(), instances.registered.clone());
            self.given.insert(service.to_owned(), Arc::clone(&instances));
            self.services.insert(service.to_owned(), instances);
        } else if let Some((kind, _)) = key.strip_prefix("entry/").and_then(|k| k.split_once('/')) {
            let (name, listed) = answers::entry(kind, &String::from_utf8_lossy(value))?;
            let entry = listed.entry.clone().map_err(Fault::garbage)?;
            let key = (kind.to_owned(), name);
            update.entries.insert(key.clone(), Some((entry, listed.indices)));
            self.entries.insert(key, Arc::new(listed));
        }
        Ok(())
    }

    /// The services to follow: those of entries, of Consul as of the agent, and the named ones.
    pub(super) fn wanted(&self, named: &[String]) -> BTreeSet<String> {
        let of_consul = self.kinds.values().flat_map(|entries| entries.values()).map(AsRef::as_ref);
        let of_agent = self.entries.values().map(AsRef::as_ref);
        let all = of_consul.chain(of_agent);
        let entries = all.filter_map(|listed: &Listed| listed.entry.as_ref().ok());
        let references = References::of(entries);
        references.services().chain(named).cloned().collect()
    }

    /// Adds the entries that are other than the agent has, and can be.
    pub(super) fn pass_entries(&mut self, update: &mut Update) {
        let target = self.target();
        let references =
            References::of(target.values().filter_map(|listed| listed.entry.as_ref().ok()));
        let keys: BTreeSet<&EntryKey> = target.keys().chain(self.entries.keys()).collect();
        let mut passed = BTreeMap::new();
        for key in keys {
            let (old, new) = (self.entries.get(key), target.get(key));
            let is_ready = |service: &str| self.services.contains_key(service);
            let waits =
                references.has(&key.1) && !references.reach(&key.1).into_iter().all(is_ready);
            let keep = if waits { old } else { new };
            let Some(listed) = keep else {
                if old.is_some() {
                    update.entries.insert(key.clone(), None);
                    update.rows.push(row(key, None));
                }
                continue;
            };
            let is_news = !waits && old.is_none_or(|old| !same(old, listed));
            if let (true, Ok(entry)) = (is_news, &listed.entry) {
                update.entries.insert(key.clone(), Some((entry.clone(), listed.indices)));
                update.rows.push(row(key, Some(listed)));
            }
            passed.insert(key.clone(), Arc::clone(listed));
        }
        self.entries = passed;
    }

    /// The entries as Consul has them; where one of them cannot be served, the one before.
    fn target(&self) -> BTreeMap<EntryKey, Arc<Listed>> {
        let mut target = BTreeMap::new();
        for kind in KINDS {
            let Some(entries) = self.kinds.get(kind) else {
                let before = self.entries.iter().filter(|((of, _), _)| of == kind);
                target.extend(before.map(|(key, listed)| (key.clone(), Arc::clone(listed))));
                continue;
            };
            for (name, listed) in entries.iter() {
                let key = (kind.to_owned(), name.clone());
                let served =
                    if listed.entry.is_ok() { Some(listed) } else { self.entries.get(&key) };
                if let Some(served) = served {
                    target.insert(key, Arc::clone(served));
                }
            }
        }
        target
    }

    /// Adds the instances that are other than the agent has.
    pub(super) fn pass_instances(&mut self, update: &mut Update) {
        let wanted: BTreeSet<&String> = self.services.keys().collect();
        let gone: Vec<String> =
            self.given.keys().filter(|name| !wanted.contains(name)).cloned().collect();
        for service in gone {
            self.given.remove(&service);
            let key = health_row(&service);
            update.rows.push(Row { service: service.clone(), key, value: None });
            update.instances.insert(service, Vec::new());
        }
        for (service, text) in std::mem::take(&mut self.texts) {
            let Some(instances) = self.services.get(&service) else { continue };
            update.rows.push(Row {
                service: service.clone(),
                key: health_row(&service),
                value: Some(text),
            });
            let old = self.given.insert(service.clone(), Arc::clone(instances));
            if old.is_none_or(|old| old.registered != instances.registered) {
                update.instances.insert(service, instances.registered.clone());
            }
        }
    }

    /// Everything that people should know of what Consul says.
    pub(super) fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        for (kind, entries) in &self.kinds {
            for (name, listed) in entries.iter() {
                let warning = |text: String| Warning { service: name.clone(), text };
                warnings.extend(listed.warnings.iter().cloned().map(warning));
                let before = self.entries.get(&((*kind).to_owned(), name.clone()));
                match &listed.entry {
                    Err(text) => {
                        let rest = match before {
                            Some(_) => "the one before stays in force",
                            None => "it is left out",
                        };
                        warnings.push(warning(format!("{kind}/{name} is refused, {rest}: {text}")));
                    }
                    Ok(_) if before.is_none_or(|before| !same(before, listed)) => warnings.push(
                        warning(format!("{kind}/{name} waits for the instances it leads to")),
                    ),
                    Ok(_) => {}
                }
            }
        }
        warnings.extend(self.given.values().flat_map(|instances| instances.warnings.clone()));
        warnings
    }
}

/// Whether the agent need not hear of the difference.
fn same(old: &Arc<Listed>, new: &Arc<Listed>) -> bool {
    Arc::ptr_eq(old, new) || (old.indices == new.indices && old.entry == new.entry)
}

fn row((kind, name): &EntryKey, listed: Option<&Arc<Listed>>) -> Row {
    Row {
        service: name.clone(),
        key: entry_row(kind, name),
        value: listed.map(|listed| bytes(&listed.json)),
    }
}
