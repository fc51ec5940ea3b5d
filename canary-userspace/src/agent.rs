//! What is wanted and what is in force: one task owns it; everybody else sends it requests.

mod change;
mod checks;
mod explain;
mod flow;
mod follow;
pub(crate) mod heap;
mod import;
mod ledger;
#[cfg(test)]
pub(crate) mod memory;
mod refusal;
mod register;
mod report;
mod sever;
mod split;
mod start;
mod state;
mod through;
mod topics;
mod undo;
mod verbs;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use self::checks::Unsaved;
use self::follow::Followed;
pub(crate) use self::follow::next_news;
pub use self::refusal::{Kind, Refusal};
pub use self::sever::{Released, Wanted};
pub(crate) use self::start::Started;
use self::state::State;
pub use self::through::{Report, Ticket};
pub use self::topics::{Topic, Topics, Watch};
use crate::catalog::Node;
use crate::compile::{Compiler, Names};
use crate::datapath::Datapath;
use crate::health::Checks;
use crate::source::{EntryKey, Indices};
use crate::store::{Log, Past, Store, Write};

/// Time before a publication that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Indices that are taken from the store at once.
const RESERVE: u64 = 1024;
/// Requests that may wait for the loop before clients wait.
const REQUESTS_WAITING: usize = 64;

/// How the files are.
#[derive(Debug, Default)]
struct SourceState {
    /// What is wrong with them, and since when.
    error: Option<(String, Instant)>,
}

/// The agent: what is wanted, what is in force, and what it is made of.
pub struct Agent {
    config_dirs: Vec<PathBuf>,
    state: State,
    store: Store,
    datapath: Box<dyn Datapath>,
    checks: Checks,
    /// What the datapath has, unless it is `late`, and what is to be said of it.
    compiler: Compiler,
    /// What is true of the agent itself, such as a store that was moved aside.
    remarks: Vec<String>,
    indices: BTreeMap<EntryKey, Indices>,
    /// Of instances that changed since the start.
    instance_indices: BTreeMap<String, Indices>,
    check_indices: BTreeMap<String, Indices>,
    /// Index after the start: that of every instance since.
    index_at_start: u64,
    past: BTreeMap<String, Past>,
    /// Index of the last change that queries see.
    index: u64,
    /// The index up to which the store has promised that none is given twice.
    reserved: u64,
    topics: Topics,
    /// Number of the last change in the log.
    last_change: u64,
    source: SourceState,
    /// The source that runs beside the agent, where there is one.
    followed: Option<Followed>,
    /// Why only a reload may change something: the tables hold what the agent cannot read.
    frozen: Option<String>,
    /// What the store had is lost: an import may bring it back to frozen tables.
    store_lost: bool,
    /// Why the tables are behind the health of instances, and when to try again.
    late: Option<(String, Instant)>,
    /// States of checks that the store is yet to hear of.
    unsaved: Unsaved,
}

/// A request to the loop.
pub(crate) type Request = Box<dyn FnOnce(&mut Agent) + Send>;

/// Sends requests to the loop.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
}

impl Handle {
    /// A handle, and the requests that come by it and its copies.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Request>) {
        let (requests, received) = mpsc::channel(REQUESTS_WAITING);
        (Self { requests }, received)
    }

    /// Runs `work` in the loop, between two of its steps, and returns what it gives.
    ///
    /// # Errors
    ///
    /// [`Kind::Failed`] while the agent stops.
    pub async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Agent) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let stopping = || Refusal::failed("the agent is stopping");
        let (answer, answered) = oneshot::channel();
        // A client that went away does not want the answer: sending it fails, and that is fine.
        let request: Request = Box::new(move |agent| _ = answer.send(work(agent)));
        self.requests.send(request).await.map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())
    }
}

impl Agent {
    /// Time-driven work.
    pub(crate) fn tick(&mut self) {
        self.datapath.tick();
        if self.late.as_ref().is_some_and(|(_, due)| Instant::now() >= *due) {
            self.catch_up(None);
        }
        self.deregister_overdue(tokio::time::Instant::now());
        self.save_checks(false);
        self.keep_followed(Instant::now());
    }

    /// Wakes who watches what has changed in the registrations of `services`, or of all, their
    /// health and their checks. To be called after every such change.
    fn announce_instances(&mut self, services: Option<&BTreeSet<String>>) {
        let topics = self.topics.compare(services, &self.state.snapshot.instances);
        if !topics.is_empty() {
            self.move_index(self.index.saturating_add(1));
            self.topics.touch(topics, self.index);
        }
    }

    /// Makes `index` the newest. One that a client has seen is not given again, not even after a
    /// crash, so the store hears of it first: of many at once, for that is a write to disk.
    fn move_index(&mut self, index: u64) {
        self.index = index;
        if index <= self.reserved {
            return;
        }
        let reserved = index.saturating_add(RESERVE);
        match self.store.commit(index, &[Write::Reserve(reserved)]) {
            Ok(()) => self.reserved = reserved,
            Err(error) => tracing::warn!(%error, "the index may go back at the next start"),
        }
    }

    /// The tables, for their events and their revision.
    pub(crate) fn datapath(&self) -> &dyn Datapath {
        &*self.datapath
    }

    /// The indices that queries watch.
    pub fn topics(&mut self) -> &mut Topics {
        &mut self.topics
    }

    /// Publishes the state as it is, where only the services `moved` are others than before if
    /// that is known; or says why it is late and tries again later.
    fn catch_up(&mut self, moved: Option<&Names>) {
        if self.frozen.is_some() {
            return;
        }
        let published = if self.followed.is_some() {
            self.publish_followed(None).map_err(Refusal::from)
        } else {
            self.compile(moved).and_then(|next| self.publish(next))
        };
        if let Err(refusal) = published {
            tracing::error!(error = %refusal, "health of instances could not be published");
            self.late = Some((refusal.text, Instant::now() + RETRY));
        }
    }

    /// Index of the last change that queries see.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The log of changes.
    #[must_use]
    pub fn log(&self) -> Log {
        self.store.log()
    }

    /// The node the agent runs on.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.state.snapshot.node
    }
}
