//! Health checks of the files source: one task a check, changes to whoever listens.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::catalog::{Health, Instance, TcpCheck};

/// Probes at once: each holds a file descriptor.
const PROBES_AT_ONCE: usize = 512;
/// Changes that may wait for the agent before probes wait for it.
const CHANGES_WAITING: usize = 1024;
/// First probes are spread over at most this long, for a pod should be served soon.
const MAX_FIRST_DELAY: Duration = Duration::from_millis(500);

/// Identity of a check through reloads and restarts; its interval and timeout may change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckKey {
    /// Service of the instance.
    pub service: String,
    /// Id of the instance.
    pub id: String,
    /// Where the check connects.
    pub target: SocketAddr,
}

impl CheckKey {
    /// The key of one of `instance`'s checks.
    #[must_use]
    pub fn new(instance: &Instance, check: &TcpCheck) -> Self {
        Self { service: instance.service.clone(), id: instance.id.clone(), target: check.target }
    }

    /// The key as text, one to one, for the store.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::json!([self.service, self.id, self.target.to_string()]).to_string()
    }

    /// The key that [`Self::to_text`] wrote.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let (service, id, target): (String, String, String) = serde_json::from_str(text).ok()?;
        Some(Self { service, id, target: target.parse().ok()? })
    }
}

/// What a probe found: nothing to complain of, or why the check fails.
pub type Outcome = Result<(), String>;

/// A check came to another result than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The check.
    pub key: CheckKey,
    /// What it found.
    pub outcome: Outcome,
}

/// The running checks and what they last said.
#[derive(Debug)]
pub struct Checks {
    running: BTreeMap<CheckKey, Running>,
    /// States from before a restart, of checks that have not said anything since.
    remembered: BTreeMap<CheckKey, bool>,
    changes: mpsc::Sender<Change>,
    permits: Arc<Semaphore>,
}

#[derive(Debug)]
struct Running {
    check: TcpCheck,
    task: AbortHandle,
    /// `None` until the first result.
    result: Option<Outcome>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Checks {
    /// No checks yet; `remembered` stands for those that ran before a restart.
    #[must_use]
    pub fn new(remembered: BTreeMap<CheckKey, bool>) -> (Self, mpsc::Receiver<Change>) {
        let (changes, receiver) = mpsc::channel(CHANGES_WAITING);
        let permits = Arc::new(Semaphore::new(PROBES_AT_ONCE));
        (Self { running: BTreeMap::new(), remembered, changes, permits }, receiver)
    }

    /// Health of `instance`: critical until each of its checks has succeeded.
    #[must_use]
    pub fn health(&self, instance: &Instance) -> Health {
        let passes = |check| self.passes(&CheckKey::new(instance, check));
        if instance.checks.iter().all(passes) { Health::Passing } else { Health::Critical }
    }

    fn passes(&self, key: &CheckKey) -> bool {
        match self.running.get(key).and_then(|running| running.result.as_ref()) {
            Some(result) => result.is_ok(),
            None => self.remembered.get(key).copied().unwrap_or(false),
        }
    }

    /// What a check said last, for people: `None` before its first result.
    #[must_use]
    pub fn result(&self, key: &CheckKey) -> Option<&Outcome> {
        self.running.get(key)?.result.as_ref()
    }

    /// Runs the checks of `instances` and no others. A check that goes on keeps its state.
    ///
    /// Returns the checks that ended.
    pub fn watch<'a, I: Iterator<Item = &'a Instance>>(&mut self, instances: I) -> Vec<CheckKey> {
        let mut wanted = BTreeSet::new();
        for instance in instances {
            for check in &instance.checks {
                let key = CheckKey::new(instance, check);
                self.start(&key, check);
                wanted.insert(key);
            }
        }
        self.remembered.retain(|key, _| wanted.contains(key));
        let ended: Vec<_> =
            self.running.keys().filter(|key| !wanted.contains(key)).cloned().collect();
        self.running.retain(|key, _| wanted.contains(key));
        ended
    }

    fn start(&mut self, key: &CheckKey, check: &TcpCheck) {
        let result = match self.running.get_mut(key) {
            Some(running) if running.check == *check => return,
            Some(running) => running.result.take(),
            None => None,
        };
        let prober = Prober {
            check: check.clone(),
            changes: self.changes.clone(),
            permits: Arc::clone(&self.permits),
        };
        let task = tokio::spawn(prober.run(key.clone(), result.clone())).abort_handle();
        self.running.insert(key.clone(), Running { check: check.clone(), task, result });
    }

    /// Takes note of a change; `false` if its check has ended meanwhile.
    pub fn record(&mut self, change: Change) -> bool {
        let Some(running) = self.running.get_mut(&change.key) else { return false };
        running.result = Some(change.outcome);
        self.remembered.remove(&change.key);
        true
    }
}

struct Prober {
    check: TcpCheck,
    changes: mpsc::Sender<Change>,
    permits: Arc<Semaphore>,
}

impl Prober {
    /// Probes until it is aborted, and reports each result that differs from the one before.
    async fn run(self, key: CheckKey, mut last: Option<Outcome>) {
        let spread = self.check.interval.min(MAX_FIRST_DELAY);
        let mut ticks = interval_at(Instant::now() + random_part(spread), self.check.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Ok(permit) = self.permits.acquire().await else { return };
            let outcome = self.probe().await;
            drop(permit);
            if last.as_ref() != Some(&outcome) {
                last = Some(outcome.clone());
                if self.changes.send(Change { key: key.clone(), outcome }).await.is_err() {
                    return;
                }
            }
        }
    }

    async fn probe(&self) -> Outcome {
        let TcpCheck { target, timeout: limit, .. } = self.check;
        match timeout(limit, TcpStream::connect(target)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("connect {target}: {error}")),
            Err(_) => Err(format!("connect {target}: no answer within {limit:?}")),
        }
    }
}

/// Zero to `span`, another one each time.
fn random_part(span: Duration) -> Duration {
    let part = RandomState::new().hash_one(0) >> 32;
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos((nanos >> 16).saturating_mul(part) >> 16)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::catalog::Pairs;

    const SOON: Duration = Duration::from_secs(10);

    fn instance(id: &str, target: SocketAddr) -> Instance {
        Instance {
            service: "web".into(),
            id: id.into(),
            address: Some(target.ip()),
            port: target.port(),
            tags: Vec::new(),
            meta: Pairs::default(),
            tagged_addresses: Pairs::default(),
            weights: crate::catalog::Weights::default(),
            checks: vec![TcpCheck {
                target,
                interval: Duration::from_millis(20),
                timeout: Duration::from_secs(1),
            }],
        }
    }

    async fn next(receiver: &mut mpsc::Receiver<Change>) -> Change {
        timeout(SOON, receiver.recv()).await.expect("a change in time").unwrap()
    }

    #[tokio::test]
    async fn a_check_is_critical_until_it_succeeds_and_follows_its_target() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        let instance = instance("web-1", target);
        let (mut checks, mut receiver) = Checks::new(BTreeMap::new());
        checks.watch([&instance].into_iter());
        assert_eq!(checks.health(&instance), Health::Critical);

        let up = next(&mut receiver).await;
        assert_eq!(up.outcome, Ok(()));
        assert!(checks.record(up));
        assert_eq!(checks.health(&instance), Health::Passing);

        drop(listener);
        let down = next(&mut receiver).await;
        assert!(down.outcome.as_ref().unwrap_err().contains(&target.to_string()), "{down:?}");
        assert!(checks.record(down));
        assert_eq!(checks.health(&instance), Health::Critical);
    }

    #[tokio::test]
    async fn a_check_keeps_its_state_when_watched_again_and_loses_it_with_its_instance() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut instance = instance("web-1", listener.local_addr().unwrap());
        let (mut checks, mut receiver) = Checks::new(BTreeMap::new());
        checks.watch([&instance].into_iter());
        let change = next(&mut receiver).await;
        checks.record(change.clone());

        instance.checks[0].interval = Duration::from_secs(60);
        assert_eq!(checks.watch([&instance].into_iter()), []);
        assert_eq!(checks.health(&instance), Health::Passing);

        assert_eq!(checks.watch([].into_iter()), std::slice::from_ref(&change.key));
        assert!(!checks.record(change));
        assert_eq!(checks.health(&instance), Health::Critical);
    }

    #[tokio::test]
    async fn a_restart_remembers_until_the_first_result() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let instance = instance("web-1", listener.local_addr().unwrap());
        drop(listener);
        let key = CheckKey::new(&instance, &instance.checks[0]);
        assert_eq!(CheckKey::from_text(&key.to_text()), Some(key.clone()));
        let (mut checks, mut receiver) = Checks::new(BTreeMap::from([(key, true)]));

        checks.watch([&instance].into_iter());
        assert_eq!(checks.health(&instance), Health::Passing);
        let change = next(&mut receiver).await;
        checks.record(change);

        assert_eq!(checks.health(&instance), Health::Critical);
    }
}
