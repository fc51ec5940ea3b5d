//! What is wanted, what it compiles to, and what of it is in force.
//!
//! A change is a value beside it: [`Engine::prepare`] compiles it on a copy that shares what is
//! unchanged. Dropped, it is nothing; [`Engine::publish`] puts it in force. After the first store
//! into a table nothing is undone: what the kernel refuses is late, and tried until it is done.

mod brake;
mod difference;
mod edit;
mod state;
mod unserved;

use std::collections::BTreeSet;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use self::brake::Brake;
pub(crate) use self::difference::{Entries, Touched};
pub(crate) use self::edit::{Edit, Scope};
pub(crate) use self::state::State;
use self::unserved::Unserved;
use crate::compile::{Compiled, Compiler, DesiredService, Names, Refused, Warning};
use crate::datapath::{Datapath, PublishError};
use crate::refusal::Refusal;
use crate::source::SplitPlaces;

/// Time before a publication that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What is wanted and what it compiles to; a copy shares all that neither has changed since.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    pub(crate) state: State,
    compiler: Compiler,
    unserved: Unserved,
}

impl Picture {
    /// What the state compiles to.
    pub(crate) fn compiled(&self) -> &Compiled {
        self.compiler.compiled()
    }

    /// Services that stay as they were, for they cannot be served as they are wanted.
    pub(crate) fn unserved(&self) -> &Unserved {
        &self.unserved
    }

    /// Every service that is served, or that has entries.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Arc<DesiredService>> {
        let compiled = self.compiled();
        // What does not fit is in force as it was before, or not at all.
        let fits =
            |service: &&Arc<DesiredService>| !self.unserved.is_left_out(service.name.as_str());
        let served = compiled.desired.services.iter().chain(&compiled.idle).filter(fits);
        served.chain(self.unserved.services())
    }
}

/// A change that is checked and compiled, and not in force.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// What would be in force.
    next: Picture,
    /// The services that the tables must hold differently; `None` for any.
    moved: Scope,
}

/// Why the tables are behind what is wanted, and when to try again.
#[derive(Debug)]
struct Late {
    error: String,
    due: Instant,
}

/// What is wanted and in force, and the tables that say it.
pub(crate) struct Engine {
    now: Picture,
    datapath: Box<dyn Datapath>,
    late: Option<Late>,
    /// Something was published: the tables are no longer those of an earlier agent.
    begun: bool,
    /// Why only a reload may change something: the tables hold what the agent cannot read.
    frozen: Option<String>,
}

impl Engine {
    /// Nothing is compiled yet of `state`; the tables may hold what an earlier agent published.
    pub(crate) fn new(state: State, datapath: Box<dyn Datapath>) -> Self {
        let (compiler, unserved) = (Compiler::default(), Unserved::default());
        let now = Picture { state, compiler, unserved };
        Self { now, datapath, late: None, begun: false, frozen: None }
    }

    /// What is wanted and what it compiles to.
    pub(crate) fn now(&self) -> &Picture {
        &self.now
    }

    /// What is wanted.
    pub(crate) fn state(&self) -> &State {
        &self.now.state
    }

    /// What is wanted, for what compiles to the same: how checks are, beside the health they give.
    pub(crate) fn state_mut(&mut self) -> &mut State {
        &mut self.now.state
    }

    /// The tables.
    pub(crate) fn datapath(&self) -> &dyn Datapath {
        &*self.datapath
    }

    /// The tables, for what does not change what they say.
    pub(crate) fn datapath_mut(&mut self) -> &mut dyn Datapath {
        &mut *self.datapath
    }

    /// Why the tables are behind what is wanted.
    pub(crate) fn late(&self) -> Option<&str> {
        self.late.as_ref().map(|late| late.error.as_str())
    }

    /// Why only a reload may change something.
    pub(crate) fn frozen(&self) -> Option<&String> {
        self.frozen.as_ref()
    }

    /// Whether the tables are those of an earlier agent.
    pub(crate) fn is_adopting(&self) -> bool {
        self.frozen.is_some() || !self.begun
    }

    /// Leaves the tables as they are until a change mends what is wrong.
    pub(crate) fn freeze(&mut self, reason: String) {
        self.frozen = Some(reason);
    }

    /// Lets the tables be changed again; whether they could not be.
    pub(crate) fn thaw(&mut self) -> bool {
        self.frozen.take().is_some()
    }

    /// Checks the rules that hold between definitions: those that the services of `scope` may
    /// break, or all.
    ///
    /// # Errors
    ///
    /// What is wrong, with its place if it is one of `places`.
    pub(crate) fn check(
        &self,
        next: &State,
        scope: Option<&Names>,
        places: &SplitPlaces,
    ) -> Result<(), Refusal> {
        next.check_instances(scope).map_err(Refusal::invalid)?;
        let names: Option<BTreeSet<&str>> = scope.map(|names| self.affected(names));
        let checked = next.check_graph(names.as_ref(), places);
        checked.map_err(|error| Refusal::invalid(error.to_string()))
    }

    /// `names`, and the services that must be looked at again with them.
    fn affected<'a>(&'a self, names: &'a Names) -> BTreeSet<&'a str> {
        let readers = names.iter().flat_map(|name| self.now.compiler.readers(name));
        names.iter().map(String::as_str).chain(readers).collect()
    }

    /// Compiles `next`, which differs from what is wanted in the services of `scope`. What cannot
    /// be served of it stays as it was.
    pub(crate) fn prepare(&self, next: State, scope: Option<&Names>) -> Prepared {
        let mut unserved = self.now.unserved.clone();
        let before = &self.now.compiled().desired;
        let scope = scope.filter(|_| self.frozen.is_none());
        let (before, compiler, moved) = if let Some(names) = scope {
            let affected = self.affected(names).into_iter();
            let before = affected.filter_map(|name| before.shared(name)).cloned().collect();
            let mut compiler = self.now.compiler.clone();
            let moved = compiler.update(&next.snapshot, names);
            (before, compiler, Some(moved))
        } else {
            let compiler = Compiler::new(&next.snapshot, &self.datapath.claims());
            (before.services.clone(), compiler, None)
        };
        unserved.learn(before, &compiler.compiled().refused);
        Prepared { next: Picture { state: next, compiler, unserved }, moved }
    }

    /// Says what a person must hear who asks for the change.
    ///
    /// # Errors
    ///
    /// A service that can be served now could not be, in Consul's words where it has some, or does
    /// not fit into the tables.
    pub(crate) fn verify(&mut self, prepared: &Prepared) -> Result<(), Refusal> {
        let next = &prepared.next;
        let known = |refused: &&Refused| self.now.unserved.contains(&refused.service);
        if let Some(refused) = next.compiled().refused.iter().find(|new| !known(new)) {
            return Err(Refusal::invalid(refused.text.clone()));
        }
        let moved = prepared.moved.as_ref().filter(|_| self.late.is_none());
        match (next.unserved.with(next.compiled()), moved) {
            (None, Some(moved)) => self.datapath.check_some(&next.compiled().desired, moved)?,
            (None, None) => self.datapath.check(&next.compiled().desired)?,
            (Some(mixed), _) => self.datapath.check(&mixed)?,
        }
        Ok(())
    }

    /// What the tables hold otherwise than `prepared` says: a service, a frontend or a share.
    pub(crate) fn differs_from_tables(&self, prepared: &Prepared) -> Option<String> {
        let desired = &prepared.next.compiled().desired;
        let (found, wanted) = (self.datapath.claims(), desired.claims());
        let mut holders = found.iter().filter(|(at, service)| wanted.get(at) != Some(*service));
        if let Some((_, service)) = holders.next() {
            return Some(format!("the tables have a frontend of {service:?} otherwise"));
        }
        let differs = desired.services.iter().find(|service| {
            let mut shares: Vec<_> = (service.splits_with_share().into_iter())
                .map(|split| (split.key.clone(), split.share))
                .collect();
            let mut found = self.datapath.found_shares(&service.name).unwrap_or_default();
            found.retain(|(_, share)| *share > 0);
            shares.sort();
            found.sort();
            shares != found
        });
        differs.map(|service| format!("the tables have {:?} otherwise", service.name))
    }

    /// The revision that is in force once `prepared` is.
    pub(crate) fn revision_with(&self, prepared: &Prepared) -> u64 {
        let moves = prepared.moved.as_ref().map_or_else(
            || self.is_behind() || prepared.next.compiled().desired != self.now.compiled().desired,
            |names| !names.is_empty(),
        );
        self.datapath.revision().saturating_add(u64::from(moves))
    }

    /// Whether the tables hold something else than what was compiled last.
    fn is_behind(&self) -> bool {
        self.late.is_some() || self.frozen.is_some()
    }

    /// Takes `prepared` as what is wanted, and leaves the tables alone.
    pub(crate) fn want(&mut self, prepared: Prepared) {
        self.now = prepared.next;
    }

    /// Puts `prepared` in force. What the kernel refuses is late.
    pub(crate) fn publish(&mut self, prepared: Prepared) {
        self.now = prepared.next;
        self.put(prepared.moved.as_ref());
    }

    /// Puts all that is wanted in force, whatever the tables hold.
    pub(crate) fn publish_all(&mut self) {
        self.put(None);
    }

    /// Tries again what is late, where that is due.
    pub(crate) fn catch_up(&mut self, now: Instant) {
        if self.frozen.is_none() && self.late.as_ref().is_some_and(|late| now >= late.due) {
            self.put(None);
        }
    }

    fn put(&mut self, moved: Option<&Names>) {
        // Tables that are behind lack more than this.
        let moved = moved.filter(|_| self.late.is_none());
        match self.try_put(moved) {
            Ok(()) => self.late = None,
            Err(error) => {
                let error = Refusal::from(error).text;
                tracing::error!(%error, "what is wanted could not be published");
                self.late = Some(Late { error, due: Instant::now() + RETRY });
            }
        }
    }

    fn try_put(&mut self, moved: Option<&Names>) -> Result<(), PublishError> {
        let Picture { compiler, unserved, .. } = &mut self.now;
        let compiled = compiler.compiled();
        loop {
            let published = match (unserved.with(compiled), moved) {
                (None, Some(moved)) => self.datapath.publish_some(&compiled.desired, moved),
                (None, None) => self.datapath.publish(&compiled.desired),
                (Some(mixed), _) => self.datapath.publish(&mixed),
            };
            match published {
                Ok(revision) => {
                    tracing::debug!(revision, "published");
                    break;
                }
                // Without it there may be room for the others, and for what it was before.
                Err(PublishError::Full { service, table, limit, setting }) => {
                    let error =
                        PublishError::Full { service: service.clone(), table, limit, setting };
                    if !unserved.learn_full(&service, error.to_string()) {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        unserved.in_force();
        compiler.in_force();
        self.begun = true;
        Ok(())
    }

    /// Puts `prepared` in the place of what is wanted, and returns what was there.
    pub(crate) fn exchange(&mut self, prepared: Prepared) -> Picture {
        mem::replace(&mut self.now, prepared.next)
    }

    /// Puts back what [`Engine::exchange`] returned.
    pub(crate) fn restore(&mut self, picture: Picture) {
        self.now = picture;
    }

    /// What people should know of services that stay as they were.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = Warning> {
        self.now.unserved.warnings()
    }
}
