//! Health checks of the files source: one task a check, changes to whoever listens.

mod grpc;
mod http;
mod memory;
mod names;
mod prober;
mod tally;
mod tcp;
mod trust;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

pub use self::memory::Remembered;
use self::prober::Prober;
use crate::catalog::{Check, CheckState, Health, Probe};

/// Changes that may wait for the agent before probes wait for it.
const CHANGES_WAITING: usize = 1024;
/// Time before a deregistration that failed is tried again.
const DEREGISTER_AGAIN: Duration = Duration::from_secs(30);

/// A check came to another result than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its id.
    pub id: Arc<str>,
    /// Which run of the check found it: one that was ended meanwhile has nothing to say.
    run: u64,
    /// Its state.
    pub status: Health,
    /// What the probe said.
    pub output: Box<str>,
}

/// A change that was taken note of.
#[derive(Clone, Debug)]
pub struct Noted {
    /// Id of the instance; empty for the whole node.
    pub service_id: Box<str>,
    /// The check as it stands.
    pub state: Arc<CheckState>,
    /// Its state before.
    pub before: Health,
    /// What to remember of it.
    pub remembered: Remembered,
}

/// Why a check's state cannot be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSet {
    /// There is no such check.
    Unknown,
    /// It is no `ttl` check.
    NoTtl,
}

/// The running checks and what they last said.
#[derive(Debug)]
pub struct Checks {
    running: BTreeMap<Arc<str>, Running>,
    /// States from before a restart, of checks that were not started since.
    remembered: BTreeMap<String, Remembered>,
    /// When instances of checks that are critical are to be deregistered, by check.
    doomed: BTreeMap<Arc<str>, Instant>,
    prober: Arc<Prober>,
    runs: u64,
}

#[derive(Debug)]
struct Running {
    check: Arc<Check>,
    service_id: Box<str>,
    state: Arc<CheckState>,
    run: u64,
    /// `None` where there is nothing to wait for.
    task: Option<AbortHandle>,
    /// When a `ttl` check lapses, by the clock that a restart leaves alone.
    expires: Option<SystemTime>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Checks {
    /// No checks yet; `remembered` stands for those that ran before a restart.
    #[must_use]
    pub fn new(remembered: BTreeMap<String, Remembered>) -> (Self, mpsc::Receiver<Change>) {
        let (changes, receiver) = mpsc::channel(CHANGES_WAITING);
        let checks = Self {
            running: BTreeMap::new(),
            remembered,
            doomed: BTreeMap::new(),
            prober: Arc::new(Prober::new(changes)),
            runs: 0,
        };
        (checks, receiver)
    }

    /// How `check` stands: as it runs, as it is remembered, or as it begins.
    #[must_use]
    pub fn state(&self, check: &Check, service_id: &str) -> Arc<CheckState> {
        match self.running.get(&check.id) {
            Some(running)
                if running.check.as_ref() == check && *running.service_id == *service_id =>
            {
                Arc::clone(&running.state)
            }
            found => Arc::new(self.first_state(found, check, service_id)),
        }
    }

    /// How a check begins; `before` is what runs under its id.
    fn first_state(&self, before: Option<&Running>, check: &Check, service_id: &str) -> CheckState {
        let of_node = service_id.is_empty();
        let (status, output) = match before {
            Some(running) if running.goes_on_as(check, service_id) => {
                (running.state.status, running.state.output.clone())
            }
            Some(_) => (check.initial, Box::default()),
            None => match self.remembered.get(&*check.id) {
                Some(known) => known.of(check, SystemTime::now()),
                None => (check.initial, Box::default()),
            },
        };
        check.state(of_node, status, output)
    }

    /// Runs `wanted`, checks with the ids of their instances, and no others. A check that goes on
    /// keeps its state.
    ///
    /// Returns the ids of checks that ended.
    pub fn watch<'a>(
        &mut self,
        wanted: impl Iterator<Item = (&'a Arc<Check>, &'a str)>,
    ) -> Vec<String> {
        let mut ids: BTreeSet<&str> = BTreeSet::new();
        for (check, service_id) in wanted {
            ids.insert(&check.id);
            self.start(check, service_id);
        }
        let mut ended: Vec<String> = Vec::new();
        self.running.retain(|id, _| {
            let stays = ids.contains(&**id);
            if !stays {
                ended.push(id.to_string());
            }
            stays
        });
        self.doomed.retain(|id, _| ids.contains(&**id));
        ended.extend(
            std::mem::take(&mut self.remembered)
                .into_keys()
                .filter(|id| !ids.contains(id.as_str())),
        );
        ended
    }

    fn start(&mut self, check: &Arc<Check>, service_id: &str) {
        if let Some(running) = self.running.get_mut(&check.id)
            && running.check == *check
            && *running.service_id == *service_id
        {
            // One copy in memory is enough.
            running.check = Arc::clone(check);
            return;
        }
        let before = self.running.get(&check.id);
        let state = Arc::new(self.first_state(before, check, service_id));
        let now = SystemTime::now();
        let known = self.remembered.get(&*check.id).filter(|_| before.is_none());
        let left = match (&check.probe, known.and_then(|known| known.left(check, now))) {
            (Probe::Ttl(ttl), None) => *ttl,
            (_, left) => left.unwrap_or_default(),
        };
        self.runs = self.runs.wrapping_add(1);
        let running = Running {
            check: Arc::clone(check),
            service_id: service_id.into(),
            run: self.runs,
            task: Arc::clone(&self.prober).start(check, self.runs, &state, left),
            state,
            expires: now.checked_add(left),
        };
        let old = self.running.insert(Arc::clone(&check.id), running);
        let same_deadline = |old: &Running| {
            *old.service_id == *service_id && old.check.deregister_after == check.deregister_after
        };
        if !old.as_ref().is_some_and(same_deadline) {
            // The old one was another instance's, or is not what is wanted any more.
            self.doomed.remove(&check.id);
        }
        self.judge(&check.id);
    }

    /// Takes note of a change; `None` if the run of the check that found it has ended.
    pub fn record(&mut self, change: Change) -> Option<Noted> {
        let Change { id, run, status, output } = change;
        let running = self.running.get_mut(&id).filter(|running| running.run == run)?;
        let before = running.state.status;
        let of_node = running.state.of_node;
        running.state = Arc::new(running.check.state(of_node, status, output));
        let noted = Noted {
            service_id: running.service_id.clone(),
            state: Arc::clone(&running.state),
            before,
            remembered: Remembered::new(&running.check, &running.state, running.expires),
        };
        self.judge(&id);
        Some(noted)
    }

    /// Sets the state of the `ttl` check `id`, which lapses anew from now on.
    ///
    /// # Errors
    ///
    /// [`NotSet`]
    pub fn set(&mut self, id: &str, status: Health, output: Box<str>) -> Result<Noted, NotSet> {
        let running = self.running.get_mut(id).ok_or(NotSet::Unknown)?;
        let Probe::Ttl(ttl) = running.check.probe else { return Err(NotSet::NoTtl) };
        self.runs = self.runs.wrapping_add(1);
        running.run = self.runs;
        running.expires = SystemTime::now().checked_add(ttl);
        let check = Arc::clone(&running.check);
        let state = check.state(running.state.of_node, status, output.clone());
        let task = Arc::clone(&self.prober).start(&check, running.run, &state, ttl);
        if let Some(old) = std::mem::replace(&mut running.task, task) {
            old.abort();
        }
        let change = Change { id: Arc::clone(&check.id), run: running.run, status, output };
        self.record(change).ok_or(NotSet::Unknown)
    }

    /// Sets or lifts the deadline of a check's instance, by the check's state.
    fn judge(&mut self, id: &Arc<str>) {
        let Some(running) = self.running.get(id) else { return };
        let after = running
            .check
            .deregister_after
            .filter(|_| running.state.status == Health::Critical && !running.service_id.is_empty());
        let Some(after) = after else {
            self.doomed.remove(id);
            return;
        };
        self.doomed.entry(Arc::clone(id)).or_insert_with(|| Instant::now() + after);
    }

    /// Ids of a check that has been critical for too long and of its instance, which is to be
    /// deregistered `now`; it is told again later if that does not happen.
    pub fn overdue(&mut self, now: Instant) -> Option<(Arc<str>, Box<str>)> {
        let (id, due) = self.doomed.iter_mut().find(|(_, due)| **due <= now)?;
        *due = now + DEREGISTER_AGAIN;
        let running = self.running.get(id)?;
        Some((Arc::clone(id), running.service_id.clone()))
    }
}

impl Running {
    /// Whether its state holds for `check` too: it watches the same for the same instance.
    fn goes_on_as(&self, check: &Check, service_id: &str) -> bool {
        *self.service_id == *service_id && self.check.subject() == check.subject()
    }
}

#[cfg(test)]
mod tests;
