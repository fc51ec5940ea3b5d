//! One change: apply, compile, store, publish. Whatever fails, the state before is in force.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use super::Agent;
use super::ledger::Ledger;
use super::refusal::Refusal;
use super::start::UNTIL_IMPORT;
use super::state::Edit;
use crate::audit::{Action, Altered, Intent};
use crate::catalog::Sourced;
use crate::compile::{Compiled, DesiredService, compile, only_weights};
use crate::entry::Entry;
use crate::source::{EntryKey, KINDS, SplitPlaces};

/// Config entries of some services.
pub(super) type Entries = BTreeMap<EntryKey, Sourced<Entry>>;

/// Services that a change is about; `None` for any.
type Scope = Option<BTreeSet<String>>;

/// Edits to perform as one, for whom and as what.
#[derive(Debug)]
pub(super) struct Change {
    /// What was asked for.
    pub(super) action: Action,
    /// Who asked, and whether it is to be made.
    pub(super) intent: Intent,
    /// What to do, in this order.
    pub(super) edits: Vec<Edit>,
    /// Where the splits of the edits are, if they come from files.
    pub(super) places: SplitPlaces,
}

impl Change {
    /// A change whose edits come from no file.
    pub(super) fn new(action: Action, intent: &Intent, edits: Vec<Edit>) -> Self {
        Self { action, intent: intent.clone(), edits, places: SplitPlaces::default() }
    }
}

/// What is put in force.
enum Next {
    /// Other shares of some services.
    Shares(Vec<DesiredService>),
    /// All of it.
    Whole(Compiled),
}

impl Agent {
    /// Puts `change` in force and on disk, or leaves everything as it was; `report` says what
    /// there is to say of the state after it. Where nothing may change, that is all that happens.
    ///
    /// # Errors
    ///
    /// The [`Refusal`].
    pub(super) fn change<T>(
        &mut self,
        change: Change,
        report: impl FnOnce(&Self, &[Altered]) -> T,
    ) -> Result<T, Refusal> {
        let Change { action, intent, edits, mut places } = change;
        let files = edits.iter().any(|edit| matches!(edit, Edit::Files(_)));
        let mends = files || (self.store_lost && action == Action::Import);
        if let Some(reason) = self.frozen.as_ref().filter(|_| !mends) {
            return Err(Refusal::failed(format!(
                "nothing can be changed until the configuration is mended and reloaded: {reason}"
            )));
        }
        let instances = edits.iter().any(|edit| !matches!(edit, Edit::Entry(..)));
        let touched = self.services_of(&edits);
        let scope = scope(&edits);
        let before = self.entries_in(&scope);
        let mut inverses: Vec<Edit> =
            edits.into_iter().filter_map(|edit| self.state.apply(edit)).collect();
        if instances {
            self.refresh_health();
        }

        if files {
            self.state.retain_of_files(&mut places);
        }

        let dry_run = intent.dry_run;
        let fits = if files { self.check_new_files() } else { Ok(()) };
        let result = fits.and_then(|()| self.check(instances, &places)).and_then(|()| {
            let after = self.entries_in(&scope);
            let mut ledger = self.ledger(&before, &after, &inverses);
            if dry_run {
                return self.pretend(|agent| report(agent, &ledger.altered));
            }
            let next = match self.reweighed(&before, &after, &scope) {
                Some(services) => Next::Shares(services),
                None => Next::Whole(self.compile()?),
            };
            ledger.sign(action, intent.author, self.revision_with(&next));
            let altered = self.put_in_force(next, ledger)?;
            self.thaw();
            if instances {
                self.watch_checks();
            }
            Ok(report(self, &altered))
        });
        if result.is_err() || dry_run {
            while let Some(inverse) = inverses.pop() {
                self.state.apply(inverse);
            }
            if instances {
                self.refresh_health();
            }
        } else if instances {
            self.announce_instances(touched.as_ref());
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

    /// Services whose instances `edits` may change; `None` for any.
    fn services_of(&self, edits: &[Edit]) -> Scope {
        let mut services = BTreeSet::new();
        for edit in edits {
            match edit {
                Edit::Entry(..) => {}
                Edit::Instance(id, new) => {
                    let old = self.state.instance(id).map(|old| &old.instance);
                    let both = [old, new.as_deref()].into_iter().flatten();
                    services.extend(both.map(|instance| instance.service.clone()));
                }
                Edit::Dismiss(id) => {
                    let old = self.state.instance(id);
                    services.extend(old.map(|old| old.instance.service.clone()));
                }
                Edit::Recall(instance) => {
                    services.insert(instance.value.service.clone());
                }
                // Of any service: one of the node is a check of all its instances.
                Edit::Check(..) | Edit::Files(_) => return None,
            }
        }
        Some(services)
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

    /// Looks at the state as it has been edited as if it were in force.
    fn pretend<T>(&mut self, report: impl FnOnce(&Self) -> T) -> Result<T, Refusal> {
        let compiled = self.compile()?;
        self.datapath.check(&compiled.desired)?;
        let in_force = mem::replace(&mut self.in_force, compiled);
        let said = report(self);
        self.in_force = in_force;
        Ok(said)
    }

    /// The tables hold what is wanted again.
    fn thaw(&mut self) {
        if self.frozen.take().is_some() {
            self.store_lost = false;
            self.remarks.retain(|remark| remark != UNTIL_IMPORT);
        }
    }

    /// The revision that is in force once `next` is.
    fn revision_with(&self, next: &Next) -> u64 {
        let moves = match next {
            Next::Shares(_) => true,
            Next::Whole(compiled) => {
                self.late.is_some()
                    || self.frozen.is_some()
                    || compiled.desired != self.in_force.desired
            }
        };
        self.datapath.revision().saturating_add(u64::from(moves))
    }

    /// Stores and publishes; what is different is returned.
    fn put_in_force(&mut self, next: Next, mut ledger: Ledger) -> Result<Vec<Altered>, Refusal> {
        if ledger.writes.is_empty() {
            self.put(next)?;
            return Ok(Vec::new());
        }
        let undo = mem::take(&mut ledger.undo);
        let stored = self.store.commit(ledger.index, &ledger.writes).map_err(Refusal::from);
        if let Err(refusal) = stored.and_then(|()| self.put(next)) {
            self.store.take_back(self.index, undo);
            return Err(refusal);
        }
        Ok(self.record(ledger))
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

    /// Entries in force of the services in `scope`.
    pub(super) fn entries_in(&self, scope: &Scope) -> Entries {
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
