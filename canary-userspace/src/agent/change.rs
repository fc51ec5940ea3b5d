//! One change: apply, compile, store, publish. Whatever fails, the state before is in force.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::Instant;

use super::ledger::Ledger;
use super::refusal::Refusal;
use super::start::UNTIL_IMPORT;
use super::state::Edit;
use super::{Agent, RETRY};
use crate::audit::{Action, Altered, Intent};
use crate::catalog::Sourced;
use crate::compile::{Compiler, Names};
use crate::datapath::PublishError;
use crate::entry::Entry;
use crate::source::{EntryKey, KINDS, PROXY, SplitPlaces};

/// Config entries of some services.
pub(super) type Entries = BTreeMap<EntryKey, Sourced<Entry>>;

/// Services whose entries or instances a change may change; `None` for any.
pub(super) type Scope = Option<Names>;

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

/// What is to be put in force.
pub(super) enum Next {
    /// These services, as the agent's compiler has them now.
    Services(Names),
    /// All of it.
    Whole(Box<Compiler>),
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
        if self.followed.is_some() {
            return self.plan_change(change, report);
        }
        let Change { action, intent, edits, mut places } = change;
        let files = edits.iter().any(|edit| matches!(edit, Edit::Files(_)));
        let mends = files || (self.store_lost && action == Action::Import);
        if let Some(refusal) = self.refusal_while_frozen().filter(|_| !mends) {
            return Err(refusal);
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

        if files {
            self.state.retain_of_files(&mut places);
        }

        let dry_run = intent.dry_run;
        let was_behind = self.is_behind();
        let fits = if files { self.check_new_files() } else { Ok(()) };
        let fits = fits.and_then(|()| if instances { self.check_checks() } else { Ok(()) });
        let result = fits.and_then(|()| self.check(scope.as_ref(), &places)).and_then(|()| {
            let after = self.entries_in(&scope);
            let mut ledger = self.ledger(&before, &after, &inverses);
            let next = self.compile(scope.as_ref())?;
            if dry_run {
                return self.pretend(next, |agent| report(agent, &ledger.altered));
            }
            ledger.sign(action, intent.author, self.revision_with(&next));
            let altered = self.put_in_force(next, ledger)?;
            self.thaw();
            if instances {
                self.watch_checks(scope.as_ref());
            }
            Ok(report(self, &altered))
        });
        if result.is_err() || dry_run {
            while let Some(inverse) = inverses.pop() {
                self.state.apply(inverse);
            }
            if instances {
                self.refresh_health(scope.as_ref());
            }
            if let Some(scope) = scope.filter(|_| !was_behind) {
                self.compiler.update(&self.state.snapshot, &scope);
            }
        } else if instances {
            self.announce_instances(scope.as_ref());
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

    /// Checks the rules that hold between checks.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub(super) fn check_checks(&self) -> Result<(), Refusal> {
        self.state.check_checks().map_err(Refusal::invalid)
    }

    /// Checks the rules that hold between definitions: those that the services of `scope` may
    /// break, or all.
    ///
    /// # Errors
    ///
    /// What is wrong, with its place if it is one of `places`.
    pub(super) fn check(&self, scope: Option<&Names>, places: &SplitPlaces) -> Result<(), Refusal> {
        self.state.check_instances(scope).map_err(Refusal::invalid)?;
        let names: Option<BTreeSet<&str>> = scope.map(|names| {
            let own = names.iter().map(String::as_str);
            own.chain(names.iter().flat_map(|name| self.compiler.readers(name))).collect()
        });
        let checked = self.state.check_graph(names.as_ref(), places);
        checked.map_err(|error| Refusal::invalid(error.to_string()))
    }

    /// Looks at the state as it has been edited and compiled as if it were in force.
    fn pretend<T>(&mut self, next: Next, report: impl FnOnce(&Self) -> T) -> Result<T, Refusal> {
        let in_force = match next {
            Next::Whole(compiler) => Some(mem::replace(&mut self.compiler, *compiler)),
            Next::Services(_) => None,
        };
        let fits = self.datapath.check(&self.compiler.compiled().desired);
        let said = report(self);
        if let Some(compiler) = in_force {
            self.compiler = compiler;
        }
        Ok(fits.map(|()| said)?)
    }

    /// Why nothing can be changed, while the tables hold what the agent cannot read.
    pub(super) fn refusal_while_frozen(&self) -> Option<Refusal> {
        let reason = self.frozen.as_ref()?;
        Some(Refusal::failed(format!(
            "nothing can be changed until the configuration is mended and reloaded: {reason}"
        )))
    }

    /// The tables hold what is wanted again.
    fn thaw(&mut self) {
        if self.frozen.take().is_some() {
            self.store_lost = false;
            self.remarks.retain(|remark| remark != UNTIL_IMPORT);
        }
    }

    /// Whether the tables hold something else than what was compiled last.
    fn is_behind(&self) -> bool {
        self.late.is_some() || self.frozen.is_some()
    }

    /// The revision that is in force once `next` is.
    fn revision_with(&self, next: &Next) -> u64 {
        let moves = match next {
            Next::Services(names) => !names.is_empty(),
            Next::Whole(compiler) => {
                let (new, old) = (compiler.compiled(), self.compiler.compiled());
                self.is_behind() || new.desired != old.desired
            }
        };
        self.datapath.revision().saturating_add(u64::from(moves))
    }

    /// Stores and publishes; what is different is returned.
    fn put_in_force(&mut self, next: Next, mut ledger: Ledger) -> Result<Vec<Altered>, Refusal> {
        if ledger.writes.is_empty() {
            self.publish(next)?;
            return Ok(Vec::new());
        }
        let undo = mem::take(&mut ledger.undo);
        let stored = self.store.commit(ledger.index, &ledger.writes).map_err(Refusal::from);
        if let Err(refusal) = stored.and_then(|()| self.publish(next)) {
            self.store.take_back(self.index, undo);
            return Err(refusal);
        }
        Ok(self.record(ledger))
    }

    /// Compiles the state, which differs from what was compiled last in the services of `scope`.
    ///
    /// # Errors
    ///
    /// Why a service of it cannot be served, in Consul's words.
    pub(super) fn compile(&mut self, scope: Option<&Names>) -> Result<Next, Refusal> {
        let snapshot = &self.state.snapshot;
        // Tables that are behind lack more than this change.
        let next = match scope.filter(|_| !self.is_behind()) {
            Some(names) => Next::Services(self.compiler.update(snapshot, names)),
            None => Next::Whole(Box::new(Compiler::new(snapshot, &self.datapath.claims()))),
        };
        let compiled = match &next {
            Next::Services(_) => self.compiler.compiled(),
            Next::Whole(compiler) => compiler.compiled(),
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
    /// The datapath's reason; what it had stays in force or, where the kernel may have taken a
    /// part, is put in force again.
    pub(super) fn publish(&mut self, next: Next) -> Result<(), Refusal> {
        let published = match &next {
            Next::Services(names) => {
                self.datapath.publish_some(&self.compiler.compiled().desired, names)
            }
            Next::Whole(compiler) => self.datapath.publish(&compiler.compiled().desired),
        };
        let revision = published.map_err(|error| {
            let is_torn = matches!(error, PublishError::Kernel(_));
            let refusal = Refusal::from(error);
            if is_torn {
                self.late = Some((refusal.text.clone(), Instant::now() + RETRY));
            }
            refusal
        })?;
        if let Next::Whole(compiler) = next {
            self.compiler = *compiler;
        }
        tracing::debug!(revision, "published");
        self.compiler.in_force();
        self.late = None;
        Ok(())
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
                Edit::Check(id, new) => {
                    let old = self.state.checks.get(id).map(|old| &old.value);
                    for lone in [old, new.as_ref()].into_iter().flatten() {
                        // A check of the node is one of every instance.
                        if lone.of_node() {
                            return None;
                        }
                        names.extend(self.state.service_of(&lone.service_id).map(str::to_owned));
                    }
                }
                Edit::Dismiss(id) => names.extend(self.state.service_of(id).map(str::to_owned)),
                Edit::Recall(instance) => _ = names.insert(instance.value.service.clone()),
                Edit::Files(_) => return None,
            }
        }
        Some(names)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::memory::Memory;
    use crate::agent::start::Started;
    use crate::audit::Author;
    use crate::catalog::parse_registration;
    use crate::entry;
    use crate::settings::Settings;
    use crate::store::Store;

    #[tokio::test]
    async fn a_refused_change_that_the_kernel_took_in_part_is_taken_out_of_the_tables() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        std::fs::create_dir(path("etc")).unwrap();
        let arguments = ["canary-agent", "--config-dir", &path("etc"), "--data-dir", &path("data")];
        let settings = Settings::from_args(arguments).unwrap();
        let memory = Memory::default();
        let opened = Store::open(&settings.data_dir).unwrap();
        let Started { mut agent, .. } =
            Agent::start(&settings, opened, Box::new(memory.clone())).unwrap();
        let intent = Intent::of(Author::Agent);
        let body = br#"name = "web" id = "a" port = 1 address = "10.0.0.1"
            tagged_addresses { virtual { address = "10.9.9.9" port = 80 } }"#;
        agent.register(&intent, parse_registration(body).unwrap(), false).unwrap();
        let before = memory.get().published.clone();
        assert_eq!(before.services.len(), 1);

        let resolver = r#"{"Kind": "service-resolver", "Name": "web", "DefaultSubset": "old",
            "Subsets": {"old": {"Filter": "Service.Meta.version == old"}}}"#;
        let resolver = entry::parse(resolver.as_bytes()).unwrap().entry;
        memory.get().torn = Some("no memory");
        let refusal = agent.write_entry(&intent, resolver.clone(), None).unwrap_err();

        assert_eq!(refusal.text, "no memory");
        assert_eq!(agent.compiler.compiled().desired, before);
        assert_ne!(memory.get().published, before);
        agent.late.as_mut().expect("to be put in force again").1 = Instant::now();
        agent.tick();
        assert_eq!(memory.get().published, before);
        assert!(agent.late.is_none());
        agent.write_entry(&intent, resolver, None).unwrap();
        assert_eq!(memory.shares("web"), [("old".to_owned(), 10_000)]);
    }
}
