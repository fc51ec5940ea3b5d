//! Those who observe: what each wants, and events on their way to them.
//!
//! Who tells never waits. An observer that does not keep up loses events, and is told how many.

#[cfg(test)]
mod tests;

use std::cell::OnceCell;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use canary_common::endpoint::Endpoint;
use canary_common::event::{Kind, is_in_sample};
use canary_common::reason::{Action, Reason};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::compile::SplitKey;
use crate::document::observe::{Event, Lost};
use crate::seen::Whose;

/// Observers at once.
pub const MAX_OBSERVERS: usize = 16;
/// Events that wait for an observer.
const WAITING: usize = 4_096;

/// What an observer wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Kinds; where there are none, all that went wrong, and new connections.
    pub kinds: Vec<Kind>,
    /// Reasons; any where there are none.
    pub reasons: Vec<Reason>,
    /// Whose.
    pub whose: Whose,
    /// Of how many new connections one is told; 0 and 1: every one.
    pub sample: u32,
}

impl Wanted {
    /// The bits of the kinds that are wanted.
    fn bits(&self) -> u32 {
        let by_reason = |kind: &Kind| match kind {
            Kind::Connection | Kind::Clash | Kind::Reset => self.reasons.is_empty(),
            Kind::Refused | Kind::Dropped => true,
            // What passes is mostly none of our business: only those hear of it who ask.
            Kind::Passed => self.reasons.iter().any(|reason| reason.action() == Action::Pass),
        };
        let is_wanted = |kind: &Kind| {
            if self.kinds.is_empty() { by_reason(kind) } else { self.kinds.contains(kind) }
        };
        Kind::ALL.iter().filter(|kind| is_wanted(kind)).fold(0, |bits, kind| bits | kind.bit())
    }

    fn wants(&self, seen: &Seen) -> bool {
        let of_reason = self.reasons.is_empty()
            || seen.reason.is_some_and(|reason| self.reasons.contains(&reason));
        let of_client = || match (&self.whose.client, &seen.client) {
            (None, _) => true,
            (Some(wanted), Some(client)) => wanted.matches(client),
            (Some(_), None) => false,
        };
        self.bits() & seen.kind.bit() != 0
            && of_reason
            && (seen.kind != Kind::Connection || is_in_sample(seen.draw, self.sample))
            && of_client()
            && self.whose.wants(seen.split.as_ref(), seen.service.as_deref())
    }
}

/// An event, and what it is picked by.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What happened.
    pub kind: Kind,
    /// Why.
    pub reason: Option<Reason>,
    /// The client.
    pub client: Option<Endpoint>,
    /// The split of its connection.
    pub split: Option<SplitKey>,
    /// The service of its frontend, where no split is known.
    pub service: Option<String>,
    /// What decides about samples.
    pub draw: u32,
    /// What observers get.
    pub event: Event,
}

/// What has to be told: bits of kinds, and of how many new connections one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// [`Kind::bit`] of each; 0 if nobody observes.
    pub kinds: u32,
    /// 1 is every one.
    pub sample: u32,
}

/// Hears what has to be told, each time it is something else.
type Switch = Box<dyn Fn(Demand) + Send + Sync>;

/// All who observe.
pub struct Hub {
    observers: Mutex<Vec<Observer>>,
    switch: Switch,
}

#[derive(Debug)]
struct Observer {
    number: u64,
    wanted: Wanted,
    lines: mpsc::Sender<Arc<str>>,
    lost: Arc<AtomicU64>,
}

/// Too many observe already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_OBSERVERS} observe already, and each costs: end one of them")]
pub struct TooMany;

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("observers", &self.observers).finish_non_exhaustive()
    }
}

impl Hub {
    /// Nobody observes; `switch` hears when somebody does.
    pub fn new(switch: impl Fn(Demand) + Send + Sync + 'static) -> Self {
        Self { observers: Mutex::default(), switch: Box::new(switch) }
    }

    /// Adds an observer.
    ///
    /// # Errors
    ///
    /// [`TooMany`]
    pub fn join(self: &Arc<Self>, wanted: Wanted) -> Result<Subscription, TooMany> {
        let mut observers = self.observers.lock().unwrap_or_else(PoisonError::into_inner);
        if observers.len() >= MAX_OBSERVERS {
            return Err(TooMany);
        }
        let number = observers.last().map_or(0, |last| last.number.wrapping_add(1));
        let (sender, lines) = mpsc::channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let observer = Observer { number, wanted, lines: sender, lost: Arc::clone(&lost) };
        observers.push(observer);
        (self.switch)(demand(&observers));
        Ok(Subscription { hub: Arc::clone(self), number, lines, lost })
    }

    /// Whether nobody observes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.observers.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Tells everybody who wants it.
    pub fn tell(&self, seen: &Seen) {
        let line: OnceCell<Arc<str>> = OnceCell::new();
        let observers = self.observers.lock().unwrap_or_else(PoisonError::into_inner);
        for observer in observers.iter().filter(|observer| observer.wanted.wants(seen)) {
            let line = line.get_or_init(|| line_of(&seen.event));
            match observer.lines.try_send(Arc::clone(line)) {
                Ok(()) | Err(TrySendError::Closed(_)) => {}
                Err(TrySendError::Full(_)) => _ = observer.lost.fetch_add(1, Ordering::Relaxed),
            }
        }
    }

    /// Notes that events were lost before anybody could be told, and of which none knows whom
    /// they concerned.
    pub fn lose(&self, count: u64) {
        let observers = self.observers.lock().unwrap_or_else(PoisonError::into_inner);
        for observer in observers.iter().filter(|_| count > 0) {
            observer.lost.fetch_add(count, Ordering::Relaxed);
        }
    }

    fn leave(&self, number: u64) {
        let mut observers = self.observers.lock().unwrap_or_else(PoisonError::into_inner);
        observers.retain(|observer| observer.number != number);
        (self.switch)(demand(&observers));
    }
}

/// What all together want.
fn demand(observers: &[Observer]) -> Demand {
    let wanted = || observers.iter().map(|observer| &observer.wanted);
    Demand {
        kinds: wanted().fold(0, |kinds, wanted| kinds | wanted.bits()),
        sample: wanted().map(|wanted| wanted.sample.max(1)).min().unwrap_or(1),
    }
}

fn line_of<T: serde::Serialize>(document: &T) -> Arc<str> {
    // A document of texts and numbers is always JSON.
    serde_json::to_string(document).unwrap_or_default().into()
}

/// One who observes, until it is dropped.
#[derive(Debug)]
pub struct Subscription {
    hub: Arc<Hub>,
    number: u64,
    lines: mpsc::Receiver<Arc<str>>,
    lost: Arc<AtomicU64>,
}

impl Subscription {
    /// The next lines, as many as wait up to `most`; how many were lost comes first.
    pub fn poll(&mut self, context: &mut Context<'_>, most: usize) -> Poll<String> {
        let mut lines = Vec::new();
        let Poll::Ready(_) = self.lines.poll_recv_many(context, &mut lines, most) else {
            return Poll::Pending;
        };
        // Events are lost only while others wait, so none is forgotten here.
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let lost = (lost > 0).then(|| line_of(&Lost::new(lost)));
        Poll::Ready(lost.iter().chain(&lines).flat_map(|line| [&**line, "\n"]).collect())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.leave(self.number);
    }
}
