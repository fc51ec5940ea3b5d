//! One change: apply, compile, store, publish. Whatever fails, the state before is in force.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::refusal::Refusal;
use super::state::Edit;
use super::{Agent, Indices};
use crate::catalog::{Origin, Sourced};
use crate::compile::{Compiler, Names};
use crate::entry::{self, Entry};
use crate::source::{EntryKey, KINDS, PROXY, SplitPlaces};
use crate::store::{Past, StoredEntry, Write};

/// Config entries of some services.
type Entries = BTreeMap<EntryKey, Sourced<Entry>>;

/// Services whose entries or instances a change may change; `None` for any.
type Scope = Option<Names>;

/// Edits to perform as one, and the registrations that belong to them.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// What to do, in this order.
    pub(super) edits: Vec<Edit>,
    /// Registrations to keep or, with `None`, to forget, as the store holds them.
    pub(super) registrations: Vec<(String, Option<Value>)>,
}

/// What is to be put in force.
pub(super) enum Next {
    /// These services, as the agent's compiler has them now.
    Services(Names),
    /// All of it.
    Whole(Box<Compiler>),
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
        let Change { mut edits, registrations } = change;
        let places = edits.iter_mut().find_map(Edit::take_places);
        if let Some(reason) = self.frozen.as_ref().filter(|_| places.is_none()) {
            return Err(Refusal::failed(format!(
                "nothing can be changed until the configuration is mended and reloaded: {reason}"
            )));
        }
        let instances = edits.iter().any(|edit| !matches!(edit, Edit::Entry(..)));
        let mut scope = self.scope(&edits);
        let before = self.entries_in(&scope);
        let ids: Vec<String> = edits.iter().filter_map(Edit::instance).map(str::to_owned).collect();
        let mut inverses: Vec<Edit> =
            edits.into_iter().filter_map(|edit| self.state.apply(edit)).collect();
        if let Some(scope) = &mut scope {
            // What the store covered may come back, as another service.
            scope.extend(ids.iter().filter_map(|id| self.state.service_of(id)).map(str::to_owned));
        }
        if instances {
            self.refresh_health(scope.as_ref());
        }

        let result = self
            .check(scope.as_ref(), places.as_ref())
            .and_then(|()| self.put_in_force(&before, &scope, registrations, instances));
        if result.is_err() {
            while let Some(inverse) = inverses.pop() {
                self.state.apply(inverse);
            }
            if instances {
                self.refresh_health(scope.as_ref());
            }
            if let Some(scope) = scope.filter(|_| self.late.is_none()) {
                self.compiler.update(&self.state.snapshot, &scope);
            }
        }
        result
    }

    /// Checks the rules that hold between definitions: those that the services of `scope` may
    /// break, or all.
    ///
    /// # Errors
    ///
    /// What is wrong, with its place if `places` are known.
    pub(super) fn check(
        &self,
        scope: Option<&Names>,
        places: Option<&SplitPlaces>,
    ) -> Result<(), Refusal> {
        self.state.check_instances(scope).map_err(Refusal::invalid)?;
        let names: Option<BTreeSet<&str>> = scope.map(|names| {
            let own = names.iter().map(String::as_str);
            own.chain(names.iter().flat_map(|name| self.compiler.readers(name))).collect()
        });
        let checked = self.state.check_graph(names.as_ref(), places);
        checked.map_err(|error| Refusal::invalid(error.to_string()))
    }

    /// Compiles, stores and publishes the state as it has been edited.
    fn put_in_force(
        &mut self,
        before: &Entries,
        scope: &Scope,
        registrations: Vec<(String, Option<Value>)>,
        instances: bool,
    ) -> Result<(), Refusal> {
        let after = self.entries_in(scope);
        let next = self.compile(scope.as_ref())?;
        let mut ledger = self.ledger(before, &after);
        for (id, value) in registrations {
            ledger.undo.push(Write::Registration(id.clone(), self.store.registration(&id)?));
            ledger.writes.push(Write::Registration(id, value));
        }

        let index = self.index.saturating_add(1);
        if !ledger.writes.is_empty() {
            self.store.commit(index, &ledger.writes)?;
        }
        if let Err(error) = self.publish(next) {
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

    /// Compiles the state, which differs from what was compiled last in the services of `scope`.
    ///
    /// # Errors
    ///
    /// Why a service of it cannot be served, in Consul's words.
    pub(super) fn compile(&mut self, scope: Option<&Names>) -> Result<Next, Refusal> {
        let snapshot = &self.state.snapshot;
        // Tables that are behind lack more than this change.
        let (next, compiled) = match scope.filter(|_| self.late.is_none()) {
            Some(names) => {
                let changed = self.compiler.update(snapshot, names);
                (Next::Services(changed), self.compiler.compiled())
            }
            None => {
                let compiler = Box::new(Compiler::new(snapshot, &self.datapath.claims()));
                let refused = compiler.compiled().refused.first();
                if let Some(refused) = refused {
                    return Err(Refusal::invalid(refused.text.clone()));
                }
                return Ok(Next::Whole(compiler));
            }
        };
        match compiled.refused.first() {
            Some(refused) => Err(Refusal::invalid(refused.text.clone())),
            None => Ok(next),
        }
    }

    /// Publishes what was compiled.
    ///
    /// # Errors
    ///
    /// The datapath's reason; what it had stays in force.
    pub(super) fn publish(&mut self, next: Next) -> Result<(), Refusal> {
        let revision = match next {
            Next::Services(names) => {
                self.datapath.publish_some(&self.compiler.compiled().desired, &names)?
            }
            Next::Whole(compiler) => {
                let revision = self.datapath.publish(&compiler.compiled().desired)?;
                self.compiler = *compiler;
                revision
            }
        };
        tracing::debug!(revision, "published");
        self.compiler.in_force();
        self.late = None;
        Ok(())
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

    /// The services that `edits` are about, before they are made.
    fn scope(&self, edits: &[Edit]) -> Scope {
        let mut names = Names::new();
        for edit in edits {
            match edit {
                // Defaults of all services.
                Edit::Entry((kind, _), _) if kind == PROXY => return None,
                Edit::Entry((_, name), _) => _ = names.insert(name.clone()),
                Edit::Instance(id, new) => {
                    names.extend(self.state.service_of(id).map(str::to_owned));
                    names.extend(new.iter().map(|instance| instance.service.clone()));
                }
                Edit::Files(_) => return None,
            }
        }
        Some(names)
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
