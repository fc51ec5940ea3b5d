//! A thread that reads conntrack, so that nobody waits for it who has better to do.

use std::collections::HashSet;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use canary_common::endpoint::Endpoint;

use super::table::{Conntrack, Entry, Outcome, Tuple};

/// Time between the end of a read and the next one.
const REST: Duration = Duration::from_secs(1);

/// Keys in a reading, if nobody wants otherwise: 56 MB.
pub const DEFAULT_LIMIT: usize = 1_000_000;

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Where its packets come from and go to.
    pub tuple: Tuple,
    /// Conntrack's zone, big-endian.
    pub zone: [u8; 2],
}

const _: () = assert!(size_of::<Key>() == 56, "a million of them are 56 MB");

/// What conntrack held.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The last question that was put before the read began: it answers this and all before.
    pub asked: u64,
    /// How much of conntrack was read.
    pub outcome: Outcome,
    /// Entries there were.
    pub seen: u64,
    /// Original tuples of what is really translated, sorted.
    pub translated: Vec<Key>,
    /// Reply tuples of whatever a backend answers, translated or not, sorted.
    pub towards: Vec<Key>,
    /// Keys for which there was no room.
    pub exceeding: u64,
    /// How long the read took.
    pub took: Duration,
}

struct Question {
    number: u64,
    backends: HashSet<Endpoint>,
}

type Latest = Arc<Mutex<Option<Result<Reading>>>>;

/// The thread that reads conntrack, from outside.
#[derive(Debug)]
pub struct Reader {
    ask: Sender<Question>,
    asked: u64,
    latest: Latest,
}

impl Reader {
    /// Starts the thread, in the network namespace of the caller; it reads when it is asked.
    /// `limit` is how many keys a reading has at most, both lists together.
    ///
    /// # Errors
    ///
    /// If there can be no further thread.
    pub fn start(limit: usize) -> Result<Self> {
        let (ask, asked) = channel();
        let latest = Latest::default();
        let shared = Arc::clone(&latest);
        thread::Builder::new()
            .name("conntrack".to_owned())
            .spawn(move || run(limit, &asked, &shared))
            .context("start the thread that reads conntrack")?;
        Ok(Self { ask, asked: 0, latest })
    }

    /// Asks for a read that begins after this call; the number of the question.
    ///
    /// Questions that wait together are answered by one read, with the `backends` of the last.
    pub fn ask(&mut self, backends: HashSet<Endpoint>) -> u64 {
        self.asked = self.asked.saturating_add(1);
        // The thread ends with the process only.
        _ = self.ask.send(Question { number: self.asked, backends });
        self.asked
    }

    /// What the last read found or why it failed, once. After a failure nothing is read until
    /// somebody asks again.
    #[must_use]
    pub fn take(&self) -> Option<Result<Reading>> {
        self.latest.lock().ok()?.take()
    }
}

fn run(limit: usize, asked: &Receiver<Question>, latest: &Mutex<Option<Result<Reading>>>) {
    let mut conntrack = Conntrack::default();
    while let Ok(first) = asked.recv() {
        let question = asked.try_iter().last().unwrap_or(first);
        let reading = read(&mut conntrack, &question, limit);
        if let Ok(mut latest) = latest.lock() {
            *latest = Some(reading);
        }
        thread::sleep(REST);
    }
}

/// One walk answers both: what is translated cannot be left to the kernel's filter, as IPVS sets
/// no bit of the status.
fn read(conntrack: &mut Conntrack, question: &Question, limit: usize) -> Result<Reading> {
    let start = Instant::now();
    let mut keys = Keys { limit, ..Keys::default() };
    let mut seen = 0_u64;
    let outcome = conntrack.all(|entry| {
        seen = seen.saturating_add(1);
        let zone = entry.zone.to_be_bytes();
        if entry.is_translated() {
            keys.push(Key { tuple: entry.original, zone }, |keys| &mut keys.translated);
        }
        if question.backends.contains(&entry.reply.source) && !is_closed(&entry) {
            keys.push(Key { tuple: entry.reply, zone }, |keys| &mut keys.towards);
        }
    })?;
    let Keys { translated, towards, exceeding, .. } = keys;
    if exceeding > 0 {
        tracing::warn!(
            limit,
            exceeding,
            "conntrack has more connections than are heeded: those beyond may be broken"
        );
    }
    let (translated, towards) = (sorted(translated), sorted(towards));
    let took = start.elapsed();
    Ok(Reading { asked: question.number, outcome, seen, translated, towards, exceeding, took })
}

/// Whether a TCP connection is over: its tuple may be used again.
fn is_closed(entry: &Entry) -> bool {
    entry.tcp_state.is_some_and(|state| state >= TIME_WAIT)
}

/// `TCP_CONNTRACK_TIME_WAIT`; after it comes `TCP_CONNTRACK_CLOSE`.
const TIME_WAIT: u8 = 7;

/// Keys, so many at most.
#[derive(Default)]
struct Keys {
    limit: usize,
    translated: Vec<Key>,
    towards: Vec<Key>,
    exceeding: u64,
}

impl Keys {
    fn push(&mut self, key: Key, list: impl FnOnce(&mut Self) -> &mut Vec<Key>) {
        if self.translated.len().saturating_add(self.towards.len()) < self.limit {
            list(self).push(key);
        } else {
            self.exceeding = self.exceeding.saturating_add(1);
        }
    }
}

fn sorted(mut keys: Vec<Key>) -> Vec<Key> {
    keys.sort_unstable();
    keys.dedup();
    keys
}

#[cfg(test)]
mod tests {
    use canary_common::endpoint::{Address, TCP};

    use super::*;

    #[test]
    fn what_exceeds_the_limit_is_counted_over_both_lists() {
        let mut keys = Keys { limit: 3, ..Keys::default() };
        for port in 0..4 {
            keys.push(key(port), |keys| &mut keys.translated);
            keys.push(key(port), |keys| &mut keys.towards);
        }

        assert_eq!((keys.translated.len(), keys.towards.len(), keys.exceeding), (2, 1, 5));
    }

    #[test]
    fn keys_are_sorted_and_each_is_there_once() {
        let keys = sorted([3, 1, 2, 1, 3].map(key).to_vec());

        assert_eq!(keys, [1, 2, 3].map(key));
    }

    fn key(port: u16) -> Key {
        let address = Address::v4([10, 0, 0, 1]);
        let end = |port: u16| Endpoint { address, port: port.to_be_bytes(), protocol: TCP };
        Key { tuple: Tuple { source: end(port), destination: end(80) }, zone: [0; 2] }
    }
}
