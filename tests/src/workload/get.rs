//! Clients of the tutorial's front: requests side by side, each over a new connection.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::http;
use crate::lab::Namespace;

/// How long a client waits for the front, which itself waits for its upstreams.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How requests ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Requests sent.
    pub sent: u64,
    /// Those not answered with 200.
    pub failed: u64,
    /// What failed ones got: a status, or what the system said.
    pub failures: BTreeMap<String, u64>,
    /// Times in microseconds, in ascending order.
    pub took_us: Vec<u64>,
}

impl Requests {
    /// The time in milliseconds that `percent` of the requests did not exceed.
    #[must_use]
    pub fn percentile_ms(&self, percent: usize) -> f64 {
        let last = self.took_us.len().saturating_sub(1);
        let micros = self.took_us.get(last.saturating_mul(percent) / 100).copied();
        Duration::from_micros(micros.unwrap_or_default()).as_secs_f64() * 1000.0
    }

    fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.failed += other.failed;
        for (failure, count) in other.failures {
            *self.failures.entry(failure).or_default() += count;
        }
        self.took_us.extend(other.took_us);
    }

    fn count(&mut self, target: SocketAddr) {
        let start = Instant::now();
        let failure = match http::get(target, "/", TIMEOUT) {
            Ok(answer) if answer.status == 200 => None,
            Ok(answer) => Some(format!("code {}", answer.status)),
            Err(error) => Some(error.to_string()),
        };
        self.sent += 1;
        if let Some(failure) = failure {
            self.failed += 1;
            *self.failures.entry(failure).or_default() += 1;
        }
        self.took_us.push(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
}

/// Sends `count` requests from inside `namespace` by `clients` at once.
///
/// # Errors
///
/// If the namespace cannot be entered; failures of requests are counted.
pub fn request_many(
    namespace: &Namespace,
    target: SocketAddr,
    clients: usize,
    count: u64,
) -> Result<Requests> {
    let left = AtomicU64::new(count);
    request_while(namespace, target, clients, || {
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    })
}

/// Sends requests from inside `namespace` by `clients` at once for as long as `more` says.
///
/// # Errors
///
/// If the namespace cannot be entered; failures of requests are counted.
pub fn request_while(
    namespace: &Namespace,
    target: SocketAddr,
    clients: usize,
    more: impl Fn() -> bool + Sync,
) -> Result<Requests> {
    namespace.enter(|| {
        thread::scope(|scope| {
            let clients: Vec<_> = (0..clients)
                .map(|_| {
                    scope.spawn(|| {
                        let mut requests = Requests::default();
                        while more() {
                            requests.count(target);
                        }
                        requests
                    })
                })
                .collect();
            let mut all = Requests::default();
            for client in clients {
                all.add(client.join().ok().context("a client panicked")?);
            }
            all.took_us.sort_unstable();
            Ok(all)
        })
    })?
}
