//! What a change means for the store: rows, indices, and the record of the change.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::checks::to_stored;
use super::split::{moves, weights_of};
use super::{Agent, Topics};
use crate::audit::{Action, Altered, Author, CHECK, REGISTRATION, Record};
use crate::catalog::{Instance, LoneCheck, Origin, Sourced, to_definition};
use crate::engine::{Entries, State, Touched};
use crate::entry::{self, Entry};
use crate::source::{EntryKey, Indices, KINDS};
use crate::store::{Contents, Past, Stored, Write};

/// What a change means for the store and for the agent's records.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Index of the change.
    pub(super) index: u64,
    /// Number of the change.
    number: u64,
    /// What to write; nothing where nothing is different.
    pub(super) writes: Vec<Write>,
    entries: Vec<(EntryKey, Option<Indices>)>,
    instances: Vec<(String, Option<Indices>)>,
    checks: Vec<(String, Option<Indices>)>,
    past: Vec<(String, Past)>,
    /// What is different.
    pub(super) altered: Vec<Altered>,
    weights: BTreeMap<String, Vec<crate::document::Moved>>,
    record: Option<Record>,
}

impl Ledger {
    /// Adds the record of the change, if something is different.
    pub(super) fn sign(&mut self, action: Action, author: Author, revision: u64) {
        if self.altered.is_empty() {
            return;
        }
        let record = Record {
            number: self.number,
            time_ms: now_ms(),
            author,
            action,
            index: self.index,
            revision,
            changes: std::mem::take(&mut self.altered),
            weights: std::mem::take(&mut self.weights),
            severed: None,
        };
        self.writes.push(Write::Record(Box::new(record.clone())));
        self.record = Some(record);
    }

    /// Leaves entries and their indices to the source that has them: only the change is kept.
    pub(super) fn of_source(&mut self) {
        self.writes.retain(|write| matches!(write, Write::Past(..)));
        self.entries.clear();
    }

    /// Leaves the rows alone: what is found at the very first start is no change to anything.
    pub(super) fn forget_before(&mut self) {
        self.writes.retain(|write| !matches!(write, Write::Past(..)));
        self.past.clear();
        self.altered.clear();
    }

    fn change_entry(
        &mut self,
        key: &EntryKey,
        old: Option<&Sourced<Entry>>,
        new: Option<&Sourced<Entry>>,
        known: Option<Indices>,
    ) {
        let differs = old.map(|entry| &entry.value) != new.map(|entry| &entry.value);
        let indices = match (new, known) {
            (None, _) => None,
            (Some(_), Some(known)) if !differs => Some(known),
            (Some(_), known) => Some(Indices {
                create: known.map_or(self.index, |known| known.create),
                modify: self.index,
            }),
        };
        for of_store in [true, false] {
            let write = |row: Option<Stored>| {
                let (kind, name) = key.clone();
                if of_store {
                    Write::Entry(kind, name, row)
                } else {
                    Write::FileEntry(kind, name, row)
                }
            };
            let row = |entry: Option<&Sourced<Entry>>, indices: Option<Indices>| {
                let entry = entry.filter(|e| (e.origin == Origin::Store) == of_store);
                entry.zip(indices).map(|(e, indices)| stored(entry::to_json(&e.value), indices))
            };
            let (before, after) = (row(old, known), row(new, indices));
            if before != after {
                self.writes.push(write(after));
            }
        }
        if differs {
            self.entries.push((key.clone(), indices));
            let json = |entry: Option<&Sourced<Entry>>| {
                entry.map_or(Value::Null, |entry| entry::to_json(&entry.value))
            };
            self.altered.push(Altered {
                service: key.1.clone(),
                kind: key.0.clone(),
                name: key.1.clone(),
                before: json(old),
                after: json(new),
            });
        }
    }

    /// A check on its own, as the store had it and has it.
    fn change_check(
        &mut self,
        id: &str,
        service: String,
        [old, new]: [Option<&LoneCheck>; 2],
        known: Indices,
    ) {
        if old == new {
            return;
        }
        let create = if old.is_some() { known.create } else { self.index };
        let indices = new.map(|_| Indices { create, modify: self.index });
        let row = |lone: Option<&LoneCheck>, indices: Option<Indices>| {
            lone.zip(indices).map(|(lone, indices)| stored(to_stored(lone), indices))
        };
        self.writes.push(Write::Check(id.to_owned(), row(new, indices)));
        self.checks.push((id.to_owned(), indices));
        self.altered.push(Altered {
            service,
            kind: CHECK.to_owned(),
            name: id.to_owned(),
            before: old.map_or(Value::Null, to_stored),
            after: new.map_or(Value::Null, to_stored),
        });
    }

    /// An instance as it was in force and is, and as the store had it and has it.
    fn change_instance(
        &mut self,
        id: &str,
        [before, after]: [Option<&Instance>; 2],
        [stored_before, stored_after]: [Option<&Instance>; 2],
        known: Indices,
    ) {
        let differs = before != after;
        let indices = match (before, after) {
            (_, None) => None,
            (Some(_), Some(_)) if !differs => Some(known),
            (Some(_), Some(_)) => Some(Indices { create: known.create, modify: self.index }),
            (None, Some(_)) => Some(Indices { create: self.index, modify: self.index }),
        };
        let row = |instance: Option<&Instance>, indices: Option<Indices>| {
            instance.zip(indices).map(|(i, indices)| stored(to_definition(i), indices))
        };
        let (old, new) = (row(stored_before, Some(known)), row(stored_after, indices));
        if old != new {
            self.writes.push(Write::Registration(id.to_owned(), new));
        }
        if !differs {
            return;
        }
        self.instances.push((id.to_owned(), indices));
        let of = |service: &str, before: Option<&Instance>, after: Option<&Instance>| Altered {
            service: service.to_owned(),
            kind: REGISTRATION.to_owned(),
            name: id.to_owned(),
            before: before.map_or(Value::Null, to_definition),
            after: after.map_or(Value::Null, to_definition),
        };
        match (before, after) {
            // Gone from one service's history, and new in the other's.
            (Some(old), Some(new)) if old.service != new.service => {
                self.altered.push(of(&old.service, before, None));
                self.altered.push(of(&new.service, None, after));
            }
            _ => {
                let service = after.or(before).map_or("", |instance| &instance.service);
                self.altered.push(of(service, before, after));
            }
        }
    }
}

/// Indices, and what else is remembered of changes that were made.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) indices: BTreeMap<EntryKey, Indices>,
    /// Of instances that changed since the start.
    pub(super) instances: BTreeMap<String, Indices>,
    pub(super) checks: BTreeMap<String, Indices>,
    /// Index after the start: that of every instance since.
    pub(super) index_at_start: u64,
    pub(super) past: BTreeMap<String, Past>,
    /// Index of the last change that queries see.
    pub(super) index: u64,
    /// The index up to which the store has promised that none is given twice.
    pub(super) reserved: u64,
    pub(super) topics: Topics,
    /// Number of the last change in the log.
    pub(super) last_change: u64,
}

impl Books {
    /// Nothing is remembered but what the store has.
    pub(super) fn new(contents: &Contents) -> Self {
        // One further: nobody knows what changed while no agent ran.
        let index = contents.index.saturating_add(1);
        Self {
            indices: BTreeMap::new(),
            instances: BTreeMap::new(),
            checks: BTreeMap::new(),
            index_at_start: 1,
            past: contents.past.clone(),
            index,
            reserved: 0,
            topics: Topics::new(index),
            last_change: contents.last_change,
        }
    }

    /// What a change means that makes one set of `entries` and one state another.
    pub(super) fn compare(
        &self,
        entries: &[Entries; 2],
        [before, after]: [&State; 2],
        touched: &Touched,
    ) -> Ledger {
        let mut ledger = self.compare_entries(entries);
        for id in touched.instances(before, after) {
            let in_force = [before, after].map(|state| Some(&state.instance(&id)?.instance));
            let stored = [before, after].map(|state| state.stored_instance(&id));
            ledger.change_instance(&id, in_force, stored, self.of_instance(&id));
        }
        for id in &touched.checks {
            let known = self.checks.get(id).copied().unwrap_or_default();
            let stored = [before, after].map(|state| state.stored_check(id));
            let lone = stored.iter().rev().find_map(|check| *check);
            let service = lone.map(|lone| after.service_of_check(lone)).unwrap_or_default();
            ledger.change_check(id, service, stored, known);
        }
        ledger
    }

    /// What a change of entries alone means.
    pub(super) fn compare_entries(&self, [before, after]: &[Entries; 2]) -> Ledger {
        let mut ledger = Ledger {
            index: self.index.saturating_add(1),
            number: self.last_change.saturating_add(1),
            writes: Vec::new(),
            entries: Vec::new(),
            instances: Vec::new(),
            checks: Vec::new(),
            past: Vec::new(),
            altered: Vec::new(),
            weights: BTreeMap::new(),
            record: None,
        };
        let keys: BTreeSet<&EntryKey> = before.keys().chain(after.keys()).collect();
        for key in keys {
            let known = self.indices.get(key).copied();
            ledger.change_entry(key, before.get(key), after.get(key), known);
        }
        let services: BTreeSet<String> =
            ledger.altered.iter().map(|altered| altered.service.clone()).collect();
        for service in services {
            let past = past(&service, before);
            ledger.writes.push(Write::Past(service.clone(), Some(past.clone())));
            let moved =
                moves(&service, &weights_of(&service, before), &weights_of(&service, after));
            if !moved.is_empty() {
                ledger.weights.insert(service.clone(), moved);
            }
            ledger.past.push((service, past));
        }
        ledger
    }

    /// When this node was first seen: it does not change while the agent runs.
    pub(super) fn of_node(&self) -> Indices {
        Indices { create: self.index_at_start, modify: self.index_at_start }
    }

    /// When an instance was registered and last changed: at the start, if not since then.
    pub(super) fn of_instance(&self, id: &str) -> Indices {
        self.instances.get(id).copied().unwrap_or_else(|| self.of_node())
    }

    /// When an entry was made and last changed; zeros if it is not there.
    pub(super) fn of_entry(&self, key: &EntryKey) -> Indices {
        self.indices.get(key).copied().unwrap_or_default()
    }
}

impl Agent {
    /// Remembers what is in force now, and returns what is different.
    pub(super) fn record(&mut self, ledger: Ledger) -> Vec<Altered> {
        let books = &mut self.books;
        let keys = ledger.entries.iter().map(|(key, _)| key.clone());
        books.topics.touch_entries(keys, ledger.index);
        for (key, indices) in ledger.entries {
            put(&mut books.indices, key, indices);
        }
        for (id, indices) in ledger.instances {
            put(&mut books.instances, id, indices);
        }
        for (id, indices) in ledger.checks {
            put(&mut books.checks, id, indices);
        }
        books.past.extend(ledger.past);
        if !ledger.writes.is_empty() {
            self.move_index(ledger.index);
        }
        let Some(record) = ledger.record else { return Vec::new() };
        self.books.last_change = record.number;
        record.changes
    }

    /// When this node was first seen: it does not change while the agent runs.
    #[must_use]
    pub fn node_indices(&self) -> Indices {
        self.books.of_node()
    }

    /// When an instance was registered and last changed: at the start, if not since then.
    #[must_use]
    pub fn instance_indices(&self, id: &str) -> Indices {
        self.books.of_instance(id)
    }
}

fn put<K: Ord>(indices: &mut BTreeMap<K, Indices>, key: K, value: Option<Indices>) {
    match value {
        Some(value) => indices.insert(key, value),
        None => indices.remove(&key),
    };
}

pub(super) fn stored(json: Value, Indices { create, modify }: Indices) -> Stored {
    Stored { json, create_index: create, modify_index: modify }
}

fn past(service: &str, before: &Entries) -> Past {
    let of_kind = |kind: &str| {
        let entry = before.get(&(kind.to_owned(), service.to_owned()));
        (kind.to_owned(), entry.map_or(Value::Null, |entry| entry::to_json(&entry.value)))
    };
    KINDS.into_iter().map(of_kind).collect()
}

/// Milliseconds since 1970 UTC.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
