//! One way through the agent: a change is prepared on a copy, kept, and put in force.

use super::Agent;
use super::ledger::Ledger;
use super::notice::Notice;
use super::source::Destination;
use crate::audit::{Action, Altered, Author, Intent};
use crate::engine::{Edit, Prepared, Scope, Touched};
use crate::refusal::Refusal;
use crate::source::SplitPlaces;
use crate::store::{SourceFile, Write};

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
    /// The files that the edits come from, to be kept for a start at which they cannot be used.
    pub(super) files: Option<Vec<SourceFile>>,
}

impl Change {
    /// A change whose edits come from no file.
    pub(super) fn new(action: Action, intent: &Intent, edits: Vec<Edit>) -> Self {
        let places = SplitPlaces::default();
        Self { action, intent: intent.clone(), edits, places, files: None }
    }
}

/// A change that is prepared, and what it means for the store.
pub(super) struct Transaction {
    pub(super) prepared: Prepared,
    pub(super) ledger: Ledger,
    scope: Scope,
    /// It is about instances or their checks.
    instances: bool,
}

impl Agent {
    /// Makes `change`: puts it into the store and in force, or has it written where the source
    /// takes writes. `report` says what there is to say of the state after it; where nothing may
    /// change, that is all that happens.
    ///
    /// # Errors
    ///
    /// The [`Refusal`]; nothing has changed then.
    pub(super) fn change<T>(
        &mut self,
        change: Change,
        report: impl FnOnce(&Self, &[Altered]) -> T,
    ) -> Result<T, Refusal> {
        let Change { action, intent, edits, places, files } = change;
        self.source.permit(&edits)?;
        let mends =
            edits.iter().any(Edit::is_of_files) || (self.store_lost && action == Action::Import);
        if let Some(refusal) = self.refusal_while_frozen().filter(|_| !mends) {
            return Err(refusal);
        }
        let destination = self.source.destination();
        let writes = match destination {
            Destination::Store => Vec::new(),
            Destination::Source => self.plan_writes(action, &intent.author, &edits),
        };
        let transaction = self.prepare(edits, places)?;
        self.engine.verify(&transaction.prepared)?;
        if intent.dry_run {
            return Ok(self.as_if(transaction, report));
        }
        match destination {
            Destination::Source => {
                self.propose(writes)?;
                Ok(self.as_if(transaction, report))
            }
            Destination::Store => {
                let altered = self.commit(transaction, action, intent.author, files)?;
                Ok(report(self, &altered))
            }
        }
    }

    /// Performs `edits` on a copy of what is wanted, checks it and compiles it.
    ///
    /// # Errors
    ///
    /// A rule that it breaks, unless the source has judged already.
    pub(super) fn prepare(
        &self,
        edits: Vec<Edit>,
        mut places: SplitPlaces,
    ) -> Result<Transaction, Refusal> {
        let before = self.engine.state();
        let touched = Touched::of(&edits);
        let scope = before.scope(&edits);
        let files = edits.iter().any(Edit::is_of_files);
        let instances = edits.iter().any(Edit::is_of_instances);
        let mut next = before.clone();
        for edit in edits {
            next.apply(edit);
        }
        if self.engine.is_adopting() && self.source.destination() == Destination::Store {
            // What the tables say that no entry does.
            for edit in self.found_brakes(&next, None) {
                next.apply(edit);
            }
        }
        if instances {
            next.refresh_health(&self.checks, scope.as_ref());
        }
        if self.source.destination() == Destination::Store {
            if files {
                next.retain_of_files(&mut places);
                next.check_check_services().map_err(Refusal::invalid)?;
            }
            if instances {
                next.check_checks().map_err(Refusal::invalid)?;
            }
            self.engine.check(&next, scope.as_ref(), &places)?;
        }
        let entries = [before.entries_in(&scope), next.entries_in(&scope)];
        let ledger = self.books.compare(&entries, [before, &next], &touched);
        let prepared = self.engine.prepare(next, scope.as_ref());
        Ok(Transaction { prepared, ledger, scope, instances })
    }

    /// Says of a change what there is to say, as if it were in force.
    fn as_if<T>(
        &mut self,
        transaction: Transaction,
        report: impl FnOnce(&Self, &[Altered]) -> T,
    ) -> T {
        let Transaction { prepared, ledger, .. } = transaction;
        let now = self.engine.exchange(prepared);
        let said = report(self, &ledger.altered);
        self.engine.restore(now);
        said
    }

    /// Puts a change into the store and in force, and returns what differs. Once it is stored it
    /// stands: what the kernel refuses of it is late.
    fn commit(
        &mut self,
        transaction: Transaction,
        action: Action,
        author: Author,
        files: Option<Vec<SourceFile>>,
    ) -> Result<Vec<Altered>, Refusal> {
        let Transaction { prepared, mut ledger, scope, instances } = transaction;
        ledger.sign(action, author, self.engine.revision_with(&prepared));
        let moves = !ledger.writes.is_empty();
        ledger.writes.extend(files.filter(|files| !self.keeps(files)).map(Write::LastGood));
        let stored = match ledger.writes.as_slice() {
            [] => Ok(()),
            writes => self.store.commit(ledger.index, writes),
        };
        self.notices.retain(|notice| !matches!(notice, Notice::FilesNotKept(_)));
        match stored {
            Err(error) if moves => return Err(error.into()),
            // Nothing that was acknowledged is lost: a restart reads the files themselves.
            Err(error) => self.note_not_kept(&error),
            Ok(()) => {}
        }
        self.put_in_force(prepared, &scope, instances);
        let altered = self.record(ledger);
        if instances {
            self.announce_instances(scope.as_ref());
        }
        Ok(altered)
    }

    /// Publishes what is prepared, and has its checks run.
    pub(super) fn put_in_force(&mut self, prepared: Prepared, scope: &Scope, instances: bool) {
        self.engine.publish(prepared);
        if self.engine.thaw() {
            self.store_lost = false;
            self.notices.retain(|notice| *notice != Notice::UntilImport);
            self.remember_debts();
        }
        if instances {
            self.watch_checks(scope.as_ref());
        }
        self.settle_brakes();
    }

    /// Why nothing can be changed, while the tables hold what the agent cannot read.
    pub(super) fn refusal_while_frozen(&self) -> Option<Refusal> {
        let reason = self.engine.frozen()?;
        Some(Refusal::failed(format!(
            "nothing can be changed until the configuration is mended and reloaded: {reason}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::agent::memory::{Memory, reload};
    use crate::audit::Author;
    use crate::catalog::parse_registration;
    use crate::entry;
    use crate::settings::Settings;
    use crate::store::Store;

    const WEB: &str = r#"name = "web" id = "a" port = 1 address = "10.0.0.1"
        tagged_addresses { virtual { address = "10.9.9.9" port = 80 } }"#;

    fn start(directory: &Path, memory: &Memory) -> (Settings, Agent) {
        let path = |name: &str| directory.join(name).display().to_string();
        std::fs::create_dir_all(path("etc")).unwrap();
        let arguments = ["canary-agent", "--config-dir", &path("etc"), "--data-dir", &path("data")];
        let settings = Settings::from_args(arguments).unwrap();
        let opened = Store::open(&settings.data_dir).unwrap();
        let started = Agent::start(&settings, opened, Box::new(memory.clone())).unwrap();
        (settings, started.agent)
    }

    #[tokio::test]
    async fn a_change_that_is_not_made_leaves_the_very_same_state() {
        let directory = tempfile::tempdir().unwrap();
        let memory = Memory::default();
        let (_, mut agent) = start(directory.path(), &memory);
        let intent = Intent::of(Author::Agent);
        let web = || parse_registration(WEB.as_bytes()).unwrap();
        agent.register(&intent, web(), false).unwrap();
        let before = agent.engine.state().clone();
        let [index, revision] = [agent.books.index, memory.get().revision];

        let dry_run = Intent { dry_run: true, ..intent.clone() };
        let mut moved = web();
        moved.port = 2;
        agent.register(&dry_run, moved, false).unwrap();
        agent.deregister(&dry_run, "a").unwrap();
        reload(&mut agent, &dry_run).unwrap();
        agent.maintain(&dry_run, "a", true, "").unwrap();
        let mut twin = web();
        twin.id = "b".to_owned();
        agent.register(&intent, twin, false).unwrap_err();
        memory.get().limit = Some(0);
        let mut full = web();
        full.port = 3;
        agent.register(&intent, full, false).unwrap_err();

        let after = agent.engine.state();
        assert!(before.snapshot.resolvers.ptr_eq(&after.snapshot.resolvers));
        assert!(Arc::ptr_eq(&before.snapshot.instances, &after.snapshot.instances));
        assert_eq!([agent.books.index, memory.get().revision], [index, revision]);
    }

    #[tokio::test]
    async fn what_the_kernel_refuses_after_it_is_stored_stands_and_is_tried_until_it_is_done() {
        let directory = tempfile::tempdir().unwrap();
        let memory = Memory::default();
        let (settings, mut agent) = start(directory.path(), &memory);
        let intent = Intent::of(Author::Agent);
        agent.register(&intent, parse_registration(WEB.as_bytes()).unwrap(), false).unwrap();
        let resolver = r#"{"Kind": "service-resolver", "Name": "web", "DefaultSubset": "old",
            "Subsets": {"old": {"Filter": "Service.Meta.version == old"}}}"#;
        let resolver = entry::parse(resolver.as_bytes()).unwrap().entry;

        memory.get().broken = Some("no memory");
        let changed = agent.write_entry(&intent, resolver, None).unwrap().unwrap();

        let late = "stored; not in force yet: no memory";
        assert!(changed.warnings.iter().any(|warning| warning.text == late), "{changed:?}");
        assert_eq!(memory.shares("web"), [(String::new(), 10_000)]);
        // Not due yet, and then refused again: nothing is forgotten.
        agent.engine.catch_up(Instant::now());
        agent.engine.catch_up(Instant::now() + Duration::from_secs(60));
        assert_eq!(agent.engine.late(), Some("no memory"));
        memory.get().broken = None;
        agent.engine.catch_up(Instant::now() + Duration::from_secs(60));
        assert_eq!(agent.engine.late(), None);
        assert_eq!(memory.shares("web"), [("old".to_owned(), 10_000)]);
        drop(agent);
        let contents = Store::open(&settings.data_dir).unwrap().contents;
        assert_eq!(contents.entries.len(), 1);
    }
}
