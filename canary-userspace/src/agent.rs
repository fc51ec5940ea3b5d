//! The loop: one task owns what is wanted and what is in force; everybody else sends it requests.

mod change;
mod checks;
mod explain;
mod flow;
mod follow;
mod heap;
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
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use self::checks::Unsaved;
use self::follow::{Followed, next_news};
pub use self::refusal::{Kind, Refusal};
pub use self::report::Measured;
pub use self::sever::{Released, Wanted};
use self::start::Started;
use self::state::State;
pub use self::through::{Report, Ticket};
pub use self::topics::{Topic, Topics, Watch};
use crate::api::{self, Listeners, Security};
use crate::audit::{Author, Intent};
use crate::catalog::Node;
use crate::compile::{Compiler, Names};
use crate::datapath::Datapath;
use crate::health::Checks;
use crate::settings::Settings;
use crate::source::EntryKey;
use crate::store::{Log, Past, Store, Write};

/// Time between two ticks of the datapath.
const TICK: Duration = Duration::from_millis(100);
/// Time before a publication that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Indices that are taken from the store at once.
const RESERVE: u64 = 1024;
/// Requests that may wait for the loop before clients wait.
const REQUESTS_WAITING: usize = 64;

/// When a config entry was made and last changed, as indices of writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Indices {
    /// Index of the write that made it.
    pub create: u64,
    /// Index of the last change.
    pub modify: u64,
}

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
type Request = Box<dyn FnOnce(&mut Agent) + Send>;

/// Sends requests to the loop.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
}

impl Handle {
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

/// Runs the agent until SIGTERM or SIGINT; the datapath goes on without it.
///
/// # Errors
///
/// Why it could not start, or could not go on.
pub fn run(
    settings: &Settings,
    open: impl FnOnce(&Settings) -> anyhow::Result<Box<dyn Datapath>>,
) -> anyhow::Result<()> {
    // One thread: nothing here is worth a second one's memory.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = async move {
            tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
        };
        // The store's lock comes first: who does not get it must not touch the tables.
        let opened = Store::open(&settings.data_dir)?;
        // Then all that can be wrong with the settings: a refused start leaves the node as it was.
        let security = Security::load(&settings.api)?;
        let listeners = Listeners::bind(&settings.socket, settings.http).await?;
        let datapath =
            open(settings).inspect_err(|_| _ = std::fs::remove_file(&settings.socket))?;
        serve(settings, opened, datapath, listeners, security, stop).await
    })
}

/// Runs the agent until `stop` is done, on what is open already.
///
/// # Errors
///
/// Why it could not start.
pub async fn serve(
    settings: &Settings,
    opened: crate::store::Opened,
    datapath: Box<dyn Datapath>,
    listeners: Listeners,
    security: Security,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let Started { mut agent, mut changes, mut news } = Agent::start(settings, opened, datapath)?;
    let (sender, mut requests) = mpsc::channel(REQUESTS_WAITING);
    let router = api::router(Handle { requests: sender }, Arc::clone(&security.gate));
    let server = listeners.serve(router, security, settings.api.max_connections);
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    #[expect(deprecated, reason = "an `OwnedFd` names the same file for as long as it lives")]
    let events = agent.datapath.events().map(AsyncFd::new).transpose()?;
    heap::give_back();

    tokio::pin!(stop);
    let mut is_ready = false;
    loop {
        if !is_ready && agent.datapath.revision() > 0 {
            is_ready = true;
            notify(&[NotifyState::Ready]);
            tracing::info!(revision = agent.datapath.revision(), "ready");
        }
        tokio::select! {
            () = &mut stop => break,
            Some(request) = requests.recv() => request(&mut agent),
            Some(change) = changes.recv() => {
                let rest = std::iter::from_fn(|| changes.try_recv().ok());
                agent.note_health(std::iter::once(change).chain(rest).collect());
            }
            heard = next_news(news.as_mut()) => agent.hear(heard),
            _ = hangup.recv() => {
                server.reload();
                agent.reload_on_signal();
            }
            _ = ticks.tick() => agent.tick(),
            ready = readable(events.as_ref()) => {
                // Ready again only when something comes after this: clear first, then read.
                ready?.clear_ready();
                agent.tick();
            }
        }
    }

    notify(&[NotifyState::Stopping]);
    agent.save_checks(true);
    agent.keep_followed_now();
    drop(server);
    tracing::info!(
        "stopping; the datapath keeps forwarding as last published: `canaryctl detach` removes it"
    );
    Ok(())
}

/// Waits for the datapath to have news; for ever if it never has some.
async fn readable(events: Option<&AsyncFd<OwnedFd>>) -> io::Result<AsyncFdReadyGuard<'_, OwnedFd>> {
    match events {
        Some(events) => events.readable().await,
        None => std::future::pending().await,
    }
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd could not be told");
    }
}

impl Agent {
    /// Time-driven work.
    fn tick(&mut self) {
        self.datapath.tick();
        if self.late.as_ref().is_some_and(|(_, due)| Instant::now() >= *due) {
            self.catch_up(None);
        }
        self.deregister_overdue(tokio::time::Instant::now());
        self.save_checks(false);
        self.keep_followed(Instant::now());
    }

    fn reload_on_signal(&mut self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(%error, "read the monotonic clock"),
        }
        // A refusal is in the log and in status; there is nobody to answer.
        _ = self.reload(&Intent::of(Author::Signal));
        notify(&[NotifyState::Ready]);
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
