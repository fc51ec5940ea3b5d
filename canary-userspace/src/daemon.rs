//! The process: listeners, signals and systemd, around the loop that owns the agent.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

use crate::agent::{Agent, Handle, Started, heap, next_news};
use crate::api::{self, Listeners, Security};
use crate::audit::{Author, Intent};
use crate::datapath::Datapath;
use crate::settings::Settings;
use crate::store::Store;

/// Time between two ticks of the datapath.
const TICK: Duration = Duration::from_millis(100);

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
    let (handle, mut requests) = Handle::new();
    let router = api::router(handle.clone(), Arc::clone(&security.gate));
    let server = listeners.serve(router, security, settings.api.max_connections);
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    #[expect(deprecated, reason = "an `OwnedFd` names the same file for as long as it lives")]
    let events = agent.datapath().events().map(AsyncFd::new).transpose()?;
    heap::give_back();

    tokio::pin!(stop);
    let mut is_ready = false;
    loop {
        if !is_ready && agent.datapath().revision() > 0 {
            is_ready = true;
            notify(&[NotifyState::Ready]);
            tracing::info!(revision = agent.datapath().revision(), "ready");
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
                tokio::spawn(reload(handle.clone()));
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

/// Reads the files again, as SIGHUP asks.
async fn reload(handle: Handle) {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "read the monotonic clock"),
    }
    // A refusal is in the log and in status; there is nobody to answer.
    _ = handle.reload(Intent::of(Author::Signal)).await;
    notify(&[NotifyState::Ready]);
}
