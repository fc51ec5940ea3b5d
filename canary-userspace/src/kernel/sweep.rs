//! Passes over `FLOWS`: ends what went idle or lost its end, and tells what is alive.

mod age;
mod alive;
mod jobs;
mod pass;
mod sever;
mod spilled;
mod task;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::mem::offset_of;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;
use canary_common::backend::{Backend, State};
use canary_common::stats::SplitRow;
use tokio::sync::oneshot;

pub use self::age::Limits;
pub(super) use self::age::{Facts, of_lone};
pub use self::alive::{Alive, Fill};
use self::pass::{Given, Passed, pass};
pub use self::sever::{Choice, Chosen};
use self::sever::{Job, STEP};
use self::spilled::Recount;
pub use self::task::{Conntrack, Depth, Rows, Task};
use super::flows::FlowTable;
use super::mapped::Mapped;
use super::node;
use super::worker::Worker;
use crate::sever::Progress;

/// Time between two passes while there is room, and while there is little.
const EVERY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(200));
/// Percent of the places up to which there is room, and from which there is little.
const FULL: (u64, u64) = (50, 80);
/// Percent from which it is told who holds how many places: one interface gets half of them.
const TELLING: u64 = 40;
/// Time between two passes that count, while it matters who holds how many places.
const COUNTS_EVERY: Duration = Duration::from_secs(2);
/// Time between two passes that read everything.
const ALL_EVERY: Duration = Duration::from_secs(30);
/// Times that a task's pass is begun anew because packets kept an entry busy.
const TRIES: u32 = 100;

/// What the thread is given.
pub struct Tables {
    /// The table.
    pub table: Arc<FlowTable>,
    /// Where ends are counted.
    pub splits: Mapped<SplitRow>,
    /// Whose states say whose datagrams move.
    pub backends: Mapped<Backend>,
    /// When entries are over.
    pub limits: Limits,
    /// Ticks of the kernel's clock in a second.
    pub hertz: u64,
}

/// What the thread is asked for.
#[derive(Debug)]
enum Ask {
    Counts,
    Gone(u32),
    Task(Task),
    Sever(Box<Choice>, oneshot::Sender<Progress>),
    StopSevering(String),
}

/// The thread that passes, from outside.
#[derive(Debug)]
pub struct Sweep {
    worker: Worker<Ask>,
    latest: Arc<Mutex<Latest>>,
}

#[derive(Debug, Default)]
struct Latest {
    fill: Fill,
    alive: Option<Alive>,
    /// How far connections are ended, by service.
    severing: BTreeMap<String, Progress>,
}

impl Sweep {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// If the system has no thread for it.
    pub fn start(tables: Tables, conntrack: Box<dyn Conntrack + Send>) -> Result<Self> {
        let latest = Arc::new(Mutex::new(Latest::default()));
        let walker = Walker {
            tables,
            conntrack,
            latest: Arc::clone(&latest),
            gone: BTreeSet::new(),
            fill: Fill::default(),
            counted: None,
            read_all: None,
            jobs: BTreeMap::new(),
            recount: Recount::default(),
        };
        let worker = Worker::start("sweep", "thread that sweeps flows", move |asked, finish| {
            walker.run(asked, finish);
        })?;
        Ok(Self { worker, latest })
    }

    /// Asks for a pass that counts, at once.
    pub fn hurry(&self) {
        self.worker.tell(Ask::Counts);
    }

    /// Has the next pass end what came by an interface that is gone.
    pub fn forget(&self, interface: u32) {
        self.worker.tell(Ask::Gone(interface));
    }

    /// Begins a pass with a task at once, if none is on; whether one began.
    pub fn begin(&mut self, task: Task) -> bool {
        self.worker.begin(Ask::Task(task))
    }

    /// Whether the pass that began is over by now; once.
    ///
    /// # Errors
    ///
    /// If something could not be freed, and may still be there.
    pub fn is_over(&mut self) -> Result<bool> {
        self.worker.is_over()
    }

    /// Waits for the pass that began.
    ///
    /// # Errors
    ///
    /// As [`Sweep::is_over`].
    pub fn wait(&mut self) -> Result<()> {
        self.worker.wait()
    }

    /// Looks for connections, and begins to end them; whoever waits hears what was found.
    #[must_use]
    pub fn sever(&self, choice: Choice) -> oneshot::Receiver<Progress> {
        let (answer, answered) = oneshot::channel();
        self.worker.tell(Ask::Sever(Box::new(choice), answer));
        answered
    }

    /// How far the last order for a service has come.
    #[must_use]
    pub fn severing(&self, service: &str) -> Option<Progress> {
        self.latest.lock().ok()?.severing.get(service).cloned()
    }

    /// Leaves the connections of a service that are not ended yet.
    pub fn stop_severing(&self, service: &str) {
        self.worker.tell(Ask::StopSevering(service.to_owned()));
    }

    /// What the last pass that counts found, once.
    #[must_use]
    pub fn take(&self) -> Option<Alive> {
        self.latest.lock().ok()?.alive.take()
    }

    /// How full the table was at the last pass.
    #[must_use]
    pub fn fill(&self) -> Fill {
        self.latest.lock().map(|latest| latest.fill).unwrap_or_default()
    }
}

/// The thread's own.
struct Walker {
    tables: Tables,
    conntrack: Box<dyn Conntrack + Send>,
    latest: Arc<Mutex<Latest>>,
    /// Interfaces whose flows the next pass ends.
    gone: BTreeSet<u32>,
    fill: Fill,
    counted: Option<Instant>,
    read_all: Option<Instant>,
    /// Connections that are being ended, by service.
    jobs: BTreeMap<String, Job>,
    recount: Recount,
}

impl Walker {
    fn run(mut self, asked: &Receiver<Ask>, done: &Sender<Result<()>>) {
        let mut next = Instant::now();
        loop {
            self.step();
            let due = if self.jobs.is_empty() { next } else { next.min(Instant::now() + STEP) };
            let wait = due.saturating_duration_since(Instant::now());
            let mut task = None;
            let depth = match asked.recv_timeout(wait) {
                Ok(Ask::Gone(interface)) => {
                    self.gone.insert(interface);
                    continue;
                }
                Ok(Ask::Counts) => Depth::Counts,
                Ok(Ask::Task(asked)) => {
                    task = Some(asked);
                    Depth::All
                }
                Ok(Ask::Sever(choice, answer)) => {
                    match self.sever(*choice) {
                        // Whoever asked may be gone: nobody else wants to hear it.
                        Ok(progress) => _ = answer.send(progress),
                        Err(error) => tracing::warn!("sever connections: {error:#}"),
                    }
                    continue;
                }
                Ok(Ask::StopSevering(service)) => {
                    if let Some(job) = self.jobs.get_mut(&service) {
                        job.stop();
                    }
                    continue;
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() < next => continue,
                Err(RecvTimeoutError::Timeout) => self.usual_depth(),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let is_asked = task.is_some();
            let mut task = task.unwrap_or_default();
            task.depth = task.depth.max(depth);
            let result = self.work(task);
            if is_asked {
                if done.send(result).is_err() {
                    return;
                }
            } else if let Err(error) = result {
                tracing::warn!("sweep flows: {error:#}");
            }
            next = Instant::now().checked_add(every(self.fill)).unwrap_or(next);
        }
    }

    /// How much a pass reads that nobody asked for.
    fn usual_depth(&self) -> Depth {
        let is_due = |last: Option<Instant>, every| last.is_none_or(|at| at.elapsed() >= every);
        if !self.gone.is_empty() || is_due(self.read_all, ALL_EVERY) {
            Depth::All
        } else if self.fill.percent() >= TELLING && is_due(self.counted, COUNTS_EVERY) {
            Depth::Counts
        } else {
            Depth::Heads
        }
    }

    /// Passes until nothing is left of the task.
    fn work(&mut self, mut task: Task) -> Result<()> {
        let gone = std::mem::take(&mut self.gone);
        if !gone.is_empty() {
            task.depth = Depth::All;
            task.interfaces.extend(gone);
        }
        for _ in 0..TRIES {
            let left = self.once(&task)?;
            if left == 0 {
                return Ok(());
            }
        }
        anyhow::bail!("some flows are still there: packets keep changing them")
    }

    fn once(&mut self, task: &Task) -> Result<u64> {
        let now = node::now(self.tables.hertz)?;
        let states = if task.depth >= Depth::Counts { self.states()? } else { Vec::new() };
        let given = Given {
            tables: &*self.tables.table,
            seed: self.tables.table.seed(),
            limits: &self.tables.limits,
            now,
            task,
            states: &states,
        };
        let Passed { alive, ends, numbers, spilled, left } = pass(&given, &mut *self.conntrack);
        for (statistics, ends) in ends {
            self.add(statistics, offset_of!(SplitRow, timed_out), ends.timed_out)?;
            self.add(statistics, offset_of!(SplitRow, expired), ends.expired)?;
        }
        self.fill = alive.fill;
        let time = Some(Instant::now());
        if task.depth >= Depth::All {
            self.read_all = time;
            let table = &*self.tables.table;
            let repaired = self.recount.repair(table, Instant::now(), numbers, &spilled);
            if repaired > 0 {
                tracing::info!("{repaired} entries of FLOWS counted as spilled that are gone");
            }
        }
        if task.depth >= Depth::Counts {
            self.counted = time;
        }
        if let Ok(mut latest) = self.latest.lock() {
            latest.fill = alive.fill;
            if task.depth >= Depth::Counts {
                latest.alive = Some(alive);
            }
        }
        Ok(left)
    }

    fn states(&self) -> Result<Vec<State>> {
        let rows = &self.tables.backends;
        let state = |id| rows.load(id, offset_of!(Backend, state)).map(state_of);
        (0..rows.rows()).map(state).collect()
    }

    /// Counts ends: nobody else changes these words.
    fn add(&self, statistics: u16, field: usize, by: u64) -> Result<()> {
        if by == 0 {
            return Ok(());
        }
        let (rows, row) = (&self.tables.splits, u32::from(statistics));
        let count = rows.load_wide(row, field)?;
        rows.store_wide(row, field, count.saturating_add(by))
    }
}

/// The state that a word of `BACKENDS` stands for.
fn state_of(word: u32) -> State {
    [State::Alive, State::Draining, State::Resting]
        .into_iter()
        .find(|state| Backend::word_of(*state) == word)
        .unwrap_or(State::Gone)
}

/// The time until the next pass: the less room, the shorter.
fn every(fill: Fill) -> Duration {
    let (room, little) = FULL;
    let (long, short) = EVERY;
    let over = fill.percent().saturating_sub(room);
    let span = little.saturating_sub(room).max(1);
    let share = u32::try_from(over.min(span)).unwrap_or(0);
    let less = long.saturating_sub(short).saturating_mul(share);
    long.saturating_sub(less.checked_div(u32::try_from(span).unwrap_or(1)).unwrap_or_default())
}
