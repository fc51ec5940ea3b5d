//! One change: apply, compile, store, publish. Whatever fails, the state before is in force.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::refusal::Refusal;
use super::state::Edit;
use super::{Agent, Indices};
use crate::catalog::{Origin, Sourced};
use crate::compile::{Compiled, DesiredService, compile, only_weights};
use crate::entry::{self, Entry};
use crate::source::{EntryKey, KINDS, SplitPlaces};
use crate::store::{Past, StoredEntry, Write};

/// Config entries of some services.
type Entries = BTreeMap<EntryKey, Sourced<Entry>>;

/// Services that a change is about; `None` for any.
type Scope = Option<BTreeSet<String>>;

/// Edits to perform as one, and the registrations that belong to them.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// What to do, in this order.
    pub(super) edits: Vec<Edit>,
    /// Registrations to keep or, with `None`, to forget, as the store holds them.
    pub(super) registrations: Vec<(String, Option<Value>)>,
    /// Checks on their own to keep or to forget, likewise.
    pub(super) checks: Vec<(String, Option<Value>)>,
}

/// What is put in force.
enum Next {
    /// Other shares of some services.
    Shares(Vec<DesiredService>),
    /// All of it.
    Whole(Compiled),
}

/// What a change means for the store and for the agent's records.
#[derive(Default)]
struct Ledger {
    writes: Vec<Write>,
    /// Takes `writes` back.
    undo: Vec<Write>,
    indices: Vec<(EntryKey, Option<Indices>)>,
    past: Vec<(String, Past)>,
}

impl Agent {
    /// Puts `change` in force and on disk, or leaves everything as it was.
    ///
    /// # Errors
    ///
    /// The [`Refusal`].
    pub(super) fn change(&mut self, change: Change) -> Result<(), Refusal> {
        let Change { mut edits, registrations, checks } = change;
        let places = edits.iter_mut().find_map(Edit::take_places);
        if let Some(reason) = self.frozen.as_ref().filter(|_| places.is_none()) {
            return Err(Refusal::failed(format!(
                "nothing can be changed until the configuration is mended and reloaded: {reason}"
            )));
        }
        let instances = edits.iter().any(|edit| !matches!(edit, Edit::Entry(..)));
        let scope = scope(&edits);
        let before = self.entries_in(&scope);
        let mut inverses: Vec<Edit> =
            edits.into_iter().filter_map(|edit| self.state.apply(edit)).collect();
        if instances {
            self.refresh_health();
        }

        let files = if places.is_some() { self.check_new_files() } else { Ok(()) };
        let result = files
            .and_then(|()| self.check(instances, &places.unwrap_or_default()))
            .and_then(|()| self.rewrites(registrations, checks))
            .and_then(|rewrites| self.put_in_force(&before, &scope, rewrites, instances));
        if result.is_err() {
            while let Some(inverse) = inverses.pop() {
                self.state.apply(inverse);
            }
            if instances {
                self.refresh_health();
            }
        }
        result
    }

    /// Checks the rules that hold between files and what they refer to.
    ///
    /// # Errors
    ///
    /// What is wrong, with its place.
    pub(super) fn check_new_files(&self) -> Result<(), Refusal> {
        self.state.check_check_services().map_err(Refusal::invalid)
    }

    /// Checks the rules that hold between definitions.
    ///
    /// # Errors
    ///
    /// What is wrong, with its place if it is at one of `places`.
    pub(super) fn check(&self, instances: bool, places: &SplitPlaces) -> Result<(), Refusal> {
        if instances {
            self.state.check_instances().map_err(Refusal::invalid)?;
            self.state.check_checks().map_err(Refusal::invalid)?;
        }
        self.state.check_graph(places).map_err(|error| Refusal::invalid(error.to_string()))
    }

    /// What the store is to hold of registrations and checks, and what it holds.
    fn rewrites(
        &self,
        registrations: Vec<(String, Option<Value>)>,
        checks: Vec<(String, Option<Value>)>,
    ) -> Result<Vec<(Write, Write)>, Refusal> {
        let mut rewrites = Vec::new();
        for (id, value) in registrations {
            let old = Write::Registration(id.clone(), self.store.registration(&id)?);
            rewrites.push((Write::Registration(id, value), old));
        }
        for (id, value) in checks {
            let old = Write::Check(id.clone(), self.store.check(&id)?);
            rewrites.push((Write::Check(id, value), old));
        }
        Ok(rewrites)
    }

    /// Compiles, stores and publishes the state as it has been edited.
    fn put_in_force(
        &mut self,
        before: &Entries,
        scope: &Scope,
        rewrites: Vec<(Write, Write)>,
        instances: bool,
    ) -> Result<(), Refusal> {
        let after = self.entries_in(scope);
        let next = match self.reweighed(before, &after, scope) {
            Some(services) => Next::Shares(services),
            None => Next::Whole(self.compile()?),
        };
        let mut ledger = self.ledger(before, &after);
        for (write, undo) in rewrites {
            ledger.writes.push(write);
            ledger.undo.push(undo);
        }

        let index = self.index.saturating_add(1);
        if !ledger.writes.is_empty() {
            self.store.commit(index, &ledger.writes)?;
        }
        if let Err(error) = self.put(next) {
            if !ledger.undo.is_empty() {
                self.store.commit(self.index, &ledger.undo)?;
            }
            return Err(error);
        }
        if !ledger.writes.is_empty() || !ledger.indices.is_empty() {
            self.index = index;
        }
        self.record(ledger);
        if instances {
            self.watch_checks();
        }
        Ok(())
    }

    /// Compiles the state.
    ///
    /// # Errors
    ///
    /// Why a service of it cannot be served, in Consul's words.
    pub(super) fn compile(&self) -> Result<Compiled, Refusal> {
        let compiled = compile(&self.state.snapshot, &self.datapath.claims());
        match compiled.refused.first() {
            Some(refused) => Err(Refusal::invalid(refused.text.clone())),
            None => Ok(compiled),
        }
    }

    /// Publishes what was compiled.
    ///
    /// # Errors
    ///
    /// The datapath's reason; what it had stays in force.
    pub(super) fn publish(&mut self, compiled: Compiled) -> Result<(), Refusal> {
        let revision = self.datapath.publish(&compiled.desired)?;
        tracing::debug!(revision, "published");
        self.in_force = compiled;
        self.late = None;
        Ok(())
    }

    fn put(&mut self, next: Next) -> Result<(), Refusal> {
        let services = match next {
            Next::Whole(compiled) => return self.publish(compiled),
            Next::Shares(services) => services,
        };
        let before = self.in_force.replace(services);
        if let Err(error) = self.datapath.publish(&self.in_force.desired) {
            self.in_force.replace(before);
            return Err(error.into());
        }
        tracing::debug!(revision = self.datapath.revision(), "published new shares");
        Ok(())
    }

    /// What is to be published where weights are all that a change changes: with a thousand other
    /// services, compiling the whole takes a hundred times as long.
    fn reweighed(
        &self,
        before: &Entries,
        after: &Entries,
        scope: &Scope,
    ) -> Option<Vec<DesiredService>> {
        // Only with a scope are these all the entries there are; late tables lack other changes.
        if scope.is_none() || self.late.is_some() || before.len() != after.len() {
            return None;
        }
        let others = before
            .iter()
            .zip(after)
            .filter(|((key, old), (other, new))| (key, &old.value) != (other, &new.value));
        let mut changed = others.map(|((_, old), (_, new))| (&old.value, &new.value));
        let (Entry::Splitter(old), Entry::Splitter(new)) = changed.next()? else { return None };
        if changed.next().is_some() || !only_weights(old, new) {
            return None;
        }
        self.in_force.reweighed(&self.state.snapshot, &new.name)
    }

    /// What is different after a change, entry by entry.
    fn ledger(&self, before: &Entries, after: &Entries) -> Ledger {
        let index = self.index.saturating_add(1);
        let mut ledger = Ledger::default();
        let mut services = BTreeSet::new();
        let keys: BTreeSet<&EntryKey> = before.keys().chain(after.keys()).collect();
        for key in keys {
            let (old, new) = (before.get(key), after.get(key));
            if old == new {
                continue;
            }
            let known = self.indices.get(key).copied();
            let create = known.map_or(index, |known| known.create);
            let indices = new.map(|_| Indices { create, modify: index });
            ledger.indices.push((key.clone(), indices));
            if [old, new].into_iter().flatten().any(|entry| entry.origin == Origin::Store) {
                ledger.writes.push(stored(key, new, indices));
                ledger.undo.push(stored(key, old, known));
            }
            if old.map(|entry| &entry.value) != new.map(|entry| &entry.value) {
                services.insert(key.1.as_str());
            }
        }
        for service in services {
            let past = past(service, before);
            let known = self.past.get(service).cloned();
            ledger.writes.push(Write::Past(service.to_owned(), Some(past.clone())));
            ledger.undo.push(Write::Past(service.to_owned(), known));
            ledger.past.push((service.to_owned(), past));
        }
        ledger
    }

    fn record(&mut self, ledger: Ledger) {
        for (key, indices) in ledger.indices {
            match indices {
                Some(indices) => self.indices.insert(key, indices),
                None => self.indices.remove(&key),
            };
        }
        self.past.extend(ledger.past);
    }

    /// Entries in force of the services in `scope`.
    fn entries_in(&self, scope: &Scope) -> Entries {
        let keyed = |entry: Sourced<Entry>| (crate::source::key_of(&entry.value), entry);
        match scope {
            None => self.state.entries().into_iter().map(keyed).collect(),
            Some(services) => services
                .iter()
                .flat_map(|service| KINDS.map(|kind| (kind.to_owned(), service.clone())))
                .filter_map(|key| self.state.entry(&key))
                .map(keyed)
                .collect(),
        }
    }
}

fn scope(edits: &[Edit]) -> Scope {
    let names = edits.iter().map(|edit| match edit {
        Edit::Entry((_, name), _) => Some(Some(name.clone())),
        Edit::Instance(..) | Edit::Check(..) | Edit::Dismiss(_) | Edit::Recall(_) => Some(None),
        Edit::Files(_) => None,
    });
    names.collect::<Option<Vec<_>>>().map(|names| names.into_iter().flatten().collect())
}

/// The write that makes the store hold what `entry` is, if it is the store's.
fn stored(key: &EntryKey, entry: Option<&Sourced<Entry>>, indices: Option<Indices>) -> Write {
    let (kind, name) = key.clone();
    let of_store = entry.filter(|entry| entry.origin == Origin::Store);
    let value = of_store.zip(indices).map(|(entry, Indices { create, modify })| StoredEntry {
        json: entry::to_json(&entry.value),
        create_index: create,
        modify_index: modify,
    });
    Write::Entry(kind, name, value)
}

fn past(service: &str, before: &Entries) -> Past {
    let of_kind = |kind: &str| {
        let entry = before.get(&(kind.to_owned(), service.to_owned()));
        (kind.to_owned(), entry.map_or(Value::Null, |entry| entry::to_json(&entry.value)))
    };
    KINDS.into_iter().map(of_kind).collect()
}
