//! What is kept of a check for the next start of the agent.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::prober::expired;
use crate::catalog::{Check, CheckState, Health, Probe};

/// A check's last state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Its state, in Consul's word.
    status: Box<str>,
    /// What it watched: of anything else it says nothing.
    subject: Box<str>,
    /// What a client said with a `ttl` check's state.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    output: Box<str>,
    /// When a `ttl` check lapses, in milliseconds of Unix time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
}

impl Remembered {
    /// What to keep of a check as it stands.
    #[must_use]
    pub fn new(check: &Check, state: &CheckState, expires: Option<SystemTime>) -> Self {
        let ttl = matches!(check.probe, Probe::Ttl(_));
        Self {
            status: state.status.as_str().into(),
            subject: check.subject().into(),
            // A probe says it again soon; a client may not.
            output: if ttl { state.output.clone() } else { Box::default() },
            expires: expires.filter(|_| ttl).and_then(unix_millis),
        }
    }

    /// Whether it is about a `ttl` check, which no probe will judge anew.
    #[must_use]
    pub fn is_ttl(&self) -> bool {
        self.expires.is_some()
    }

    /// How `check` begins at `now`.
    pub(super) fn of(&self, check: &Check, now: SystemTime) -> (Health, Box<str>) {
        match Health::from_word(&self.status) {
            Some(_) if *self.subject != *check.subject() => (check.initial, Box::default()),
            Some(_) if self.lapsed(now) => (Health::Critical, expired(&self.output)),
            Some(status) => (status, self.output.clone()),
            None => (check.initial, Box::default()),
        }
    }

    /// How long a `ttl` check still holds at `now`; `None` if nothing is known of `check`.
    pub(super) fn left(&self, check: &Check, now: SystemTime) -> Option<Duration> {
        let Probe::Ttl(ttl) = check.probe else { return None };
        let expires = self.expires.filter(|_| *self.subject == *check.subject())?;
        let left = expires.saturating_sub(unix_millis(now)?);
        // A clock that was set back must not make it hold longer than it ever would.
        Some(Duration::from_millis(left).min(ttl))
    }

    fn lapsed(&self, now: SystemTime) -> bool {
        self.expires.zip(unix_millis(now)).is_some_and(|(expires, now)| expires <= now)
    }
}

fn unix_millis(time: SystemTime) -> Option<u64> {
    u64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}
