//! The tasks behind checks: when each is probed, and what is told of it.

use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::http::Clients;
use super::names::Names;
use super::tally::Tally;
use super::trust::Trust;
use super::{Change, grpc, tcp};
use crate::catalog::{Check, CheckState, Health, Probe, Tls};

/// Probes at once of checks that do not fail: each holds a file descriptor.
const STEADY_AT_ONCE: usize = 384;
/// Probes at once of checks that failed: those that run into their timeouts keep only each other
/// waiting.
const FAILING_AT_ONCE: usize = 128;
/// First probes are spread over at most this long, for a pod should be served soon.
const MAX_FIRST_DELAY: Duration = Duration::from_millis(500);
/// A probe comes earlier or later by at most this part of the interval.
const JITTER: u32 = 20;

/// What a probe found, and what it says of it.
pub(super) type Found = (Health, String);

/// What all checks share.
#[derive(Debug)]
pub(super) struct Prober {
    changes: mpsc::Sender<Change>,
    names: Names,
    steady: Semaphore,
    failing: Semaphore,
    trust: Arc<Trust>,
    clients: Clients,
}

/// The run of one check.
struct Run {
    check: Arc<Check>,
    number: u64,
    /// Hash of what was told last: telling it again would be no news.
    told: u64,
}

impl Prober {
    /// Changes go to `changes`.
    pub(super) fn new(changes: mpsc::Sender<Change>) -> Self {
        Self {
            changes,
            names: Names::default(),
            steady: Semaphore::new(STEADY_AT_ONCE),
            failing: Semaphore::new(FAILING_AT_ONCE),
            trust: Arc::default(),
            clients: Clients::default(),
        }
    }

    /// Starts run `number` of `check`, which stands as `state`; a `ttl` check lapses after `left`.
    pub(super) fn start(
        self: Arc<Self>,
        check: &Arc<Check>,
        number: u64,
        state: &CheckState,
        left: Duration,
    ) -> Option<AbortHandle> {
        let told = fingerprint(state.status, &state.output);
        let run = Run { check: Arc::clone(check), number, told };
        let task = match check.probe {
            Probe::Maintenance => return None,
            // It has lapsed, and nothing changes that but a client.
            Probe::Ttl(_) if left.is_zero() => return None,
            Probe::Ttl(_) => {
                let output = expired(&state.output);
                tokio::spawn(async move {
                    sleep(left).await;
                    let mut run = run;
                    self.tell(&mut run, Health::Critical, output).await;
                })
            }
            Probe::Tcp(_) | Probe::Http(_) | Probe::Grpc(_) => tokio::spawn(self.repeat(run)),
        };
        Some(task.abort_handle())
    }

    /// Probes until it is aborted: one at a time, with a little disorder in the intervals.
    async fn repeat(self: Arc<Self>, mut run: Run) {
        let check = Arc::clone(&run.check);
        let mut tally = Tally::new(check.thresholds);
        let mut lane = &self.steady;
        sleep(random_part(check.interval.min(MAX_FIRST_DELAY))).await;
        loop {
            let Ok(permit) = lane.acquire().await else { return };
            let started = Instant::now();
            // Boxed, for most checks wait most of the time.
            let (found, output) = Box::pin(self.probe(&check)).await;
            drop(permit);
            lane = if found == Health::Critical { &self.failing } else { &self.steady };
            if let Some(status) = tally.judge(found)
                && !self.tell(&mut run, status, output.into()).await
            {
                return;
            }
            sleep_until(started + jittered(check.interval)).await;
        }
    }

    /// Tells the agent what is new; `false` once nobody listens.
    async fn tell(&self, run: &mut Run, status: Health, output: Box<str>) -> bool {
        let told = fingerprint(status, &output);
        if std::mem::replace(&mut run.told, told) == told {
            return true;
        }
        let id = Arc::clone(&run.check.id);
        self.changes.send(Change { id, run: run.number, status, output }).await.is_ok()
    }

    async fn probe(&self, check: &Check) -> Found {
        let limit = check.timeout;
        let late = |text: String| (Health::Critical, text);
        match &check.probe {
            Probe::Tcp(target) => {
                timeout(limit, tcp::probe(target, check.tls, &self.trust, &self.names))
                    .await
                    .unwrap_or_else(|_| late(format!("dial tcp {target}: i/o timeout")))
            }
            Probe::Http(http) => {
                let unverified = check.tls == Tls::Unverified;
                let client =
                    self.clients.get(unverified, http.stay, &self.trust, &self.names).await;
                timeout(limit, super::http::probe(http, client)).await.unwrap_or_else(|_| {
                    late(super::http::failure(http, &format!("no answer within {limit:?}")))
                })
            }
            Probe::Grpc(grpc) => {
                timeout(limit, grpc::probe(grpc, check.tls, &self.trust, &self.names))
                    .await
                    .unwrap_or_else(|_| {
                        late(grpc::failure(grpc, &format!("no answer within {limit:?}")))
                    })
            }
            Probe::Ttl(_) | Probe::Maintenance => (check.initial, String::new()),
        }
    }
}

/// What a `ttl` check says once it has lapsed.
pub(super) fn expired(last: &str) -> Box<str> {
    const EXPIRED: &str = "TTL expired";
    if last.is_empty() || last.starts_with(EXPIRED) {
        return EXPIRED.into();
    }
    format!("{EXPIRED} (last output before timeout follows): {last}").into()
}

fn fingerprint(status: Health, output: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (status, output).hash(&mut hasher);
    hasher.finish()
}

/// `interval`, a little shorter or longer each time.
fn jittered(interval: Duration) -> Duration {
    let slack = interval / JITTER;
    interval.saturating_sub(slack) + random_part(slack * 2)
}

/// Zero to `span`, another one each time.
fn random_part(span: Duration) -> Duration {
    let part = RandomState::new().hash_one(0) >> 32;
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos((nanos >> 16).saturating_mul(part) >> 16)
}
