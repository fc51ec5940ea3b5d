//! What is wanted and what is in force: one task owns it; everybody else sends it requests.

mod brake;
mod checks;
mod explain;
mod flow;
mod follow;
pub(crate) mod heap;
mod held;
mod import;
mod ledger;
#[cfg(test)]
pub(crate) mod memory;
mod notice;
mod register;
mod report;
mod sever;
mod source;
mod split;
mod start;
mod through;
mod topics;
mod transaction;
mod undo;
mod verbs;

use std::collections::BTreeMap;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use self::brake::Debt;
pub use self::brake::Rollback;
use self::checks::Unsaved;
pub(crate) use self::follow::next_news;
use self::held::Holds;
use self::ledger::Books;
use self::notice::Notice;
pub use self::sever::{Released, Wanted};
use self::source::Source;
pub(crate) use self::start::Started;
use self::through::Planned;
pub use self::through::{Report, Ticket};
pub use self::topics::{Topic, Topics, Watch};
use crate::catalog::Node;
use crate::compile::Names;
use crate::datapath::Datapath;
use crate::engine::Engine;
use crate::health::Checks;
pub use crate::refusal::{Kind, Refusal};
use crate::store::{Log, Store, Write};

/// Indices that are taken from the store at once.
const RESERVE: u64 = 1024;
/// Requests that may wait for the loop before clients wait.
const REQUESTS_WAITING: usize = 64;

/// The agent: what is wanted and in force, where it comes from, and what is remembered of it.
pub struct Agent {
    engine: Engine,
    source: Box<dyn Source>,
    store: Store,
    books: Books,
    checks: Checks,
    /// What is true of the agent itself, such as a store that was moved aside.
    notices: Vec<Notice>,
    /// What the store had is lost: an import may bring it back to frozen tables.
    store_lost: bool,
    /// States of checks that the store is yet to hear of.
    unsaved: Unsaved,
    /// Inputs that cannot be believed.
    holds: Holds,
    /// Rollbacks that hold by the brake and are not written, by service.
    debts: BTreeMap<String, Debt>,
    /// Writes that the source is to get, while a change is worked out.
    planned: Option<Vec<Planned>>,
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
        self.engine.datapath_mut().tick();
        self.engine.catch_up(Instant::now());
        self.pay_debts(Instant::now());
        self.look_at_held(Instant::now());
        self.deregister_overdue(tokio::time::Instant::now());
        self.save_checks(false);
        self.keep_followed(Instant::now());
    }

    /// Wakes who watches what has changed in the registrations of `services`, or of all, their
    /// health and their checks. To be called after every such change.
    fn announce_instances(&mut self, services: Option<&Names>) {
        let instances = &self.engine.state().snapshot.instances;
        let topics = self.books.topics.compare(services, instances);
        if !topics.is_empty() {
            self.move_index(self.books.index.saturating_add(1));
            self.books.topics.touch(topics, self.books.index);
        }
    }

    /// Makes `index` the newest. One that a client has seen is not given again, not even after a
    /// crash, so the store hears of it first: of many at once, for that is a write to disk.
    fn move_index(&mut self, index: u64) {
        self.books.index = index;
        if index <= self.books.reserved {
            return;
        }
        let reserved = index.saturating_add(RESERVE);
        match self.store.commit(index, &[Write::Reserve(reserved)]) {
            Ok(()) => self.books.reserved = reserved,
            Err(error) => tracing::warn!(%error, "the index may go back at the next start"),
        }
    }

    /// The tables, for their events and their revision.
    pub(crate) fn datapath(&self) -> &dyn Datapath {
        self.engine.datapath()
    }

    /// The indices that queries watch.
    pub fn topics(&mut self) -> &mut Topics {
        &mut self.books.topics
    }

    /// Index of the last change that queries see.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.books.index
    }

    /// The log of changes.
    #[must_use]
    pub fn log(&self) -> Log {
        self.store.log()
    }

    /// The node the agent runs on.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.engine.state().snapshot.node
    }
}
