//! Connections that came without us: what conntrack translates stays its, and what goes straight
//! to a backend keeps its tuple.
//!
//! Conntrack is read off the loop. Until it has been, an interface is young: packets of unknown
//! connections pass there, and new connections get source ports that no older one has. So a
//! frontend may be found before the read is over; but all interfaces must be young by then.

use std::collections::{BTreeMap, HashSet};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use canary_common::endpoint::{Endpoint, UDP};
use canary_common::flows::{Head, Key, Kind, Limit, Values};

use super::conntrack::{Conntrack as Table, Outcome, Reader, Reading, Tuple};
use super::insert::{Batch, Insert, Wanted};
use super::sweep::Conntrack;

/// What is read of conntrack at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// The last question that it answers, and all before.
    pub asked: u64,
    /// There is no conntrack.
    pub absent: bool,
    /// There may be one, but it could not be read.
    pub unread: bool,
    /// First packets as they were before they were translated: source and destination.
    pub translated: Vec<(Endpoint, Endpoint)>,
    /// Answers of backends as they are before they are translated back: source and destination.
    pub towards: Vec<(Endpoint, Endpoint)>,
}

/// Whoever reads conntrack, in a thread of its own.
pub trait Reads: Send {
    /// Asks for a read that begins after this call; the number of the question.
    fn ask(&mut self, backends: HashSet<Endpoint>) -> u64;

    /// What the last read found, or why it failed; once.
    fn take(&mut self) -> Option<Result<Read>>;
}

impl Reads for Reader {
    fn ask(&mut self, backends: HashSet<Endpoint>) -> u64 {
        Self::ask(self, backends)
    }

    fn take(&mut self) -> Option<Result<Read>> {
        Self::take(self).map(|reading| reading.map(Read::from))
    }
}

impl From<Reading> for Read {
    fn from(reading: Reading) -> Self {
        let tuples = |keys: Vec<super::conntrack::Key>| {
            keys.into_iter().map(|key| (key.tuple.source, key.tuple.destination)).collect()
        };
        Self {
            asked: reading.asked,
            // Netfilter tracks nothing in a namespace until a rule asks for it: what is empty tells
            // as little as what is not there.
            absent: reading.outcome == Outcome::Absent || reading.seen == 0,
            unread: false,
            translated: tuples(reading.translated),
            towards: tuples(reading.towards),
        }
    }
}

/// What the tables know of an endpoint.
pub trait Known {
    /// The row of a frontend that is found.
    fn frontend(&self, endpoint: &Endpoint) -> Option<u32>;

    /// The backends there are, with their rows.
    ///
    /// # Errors
    ///
    /// If the tables cannot be read.
    fn backends(&self) -> Result<BTreeMap<Endpoint, u32>>;
}

/// What was found out about interfaces that are young.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The last question that is answered, and all before.
    pub asked: u64,
    /// There is no conntrack that could tell.
    pub blind: bool,
    /// There may be one, but it could not be read.
    pub unread: bool,
}

/// The connections of others, as far as they are put into the flow table.
pub struct Foreign {
    reader: Box<dyn Reads>,
    inserter: Box<dyn Insert + Send>,
    /// The last question.
    asked: u64,
    answered: u64,
}

impl Foreign {
    /// With whoever reads and whoever inserts.
    #[must_use]
    pub fn new(reader: Box<dyn Reads>, inserter: Box<dyn Insert + Send>) -> Self {
        Self { reader, inserter, asked: 0, answered: 0 }
    }

    /// Asks for a read that begins after this call.
    pub fn ask(&mut self, backends: HashSet<Endpoint>) -> u64 {
        self.asked = self.reader.ask(backends);
        self.asked
    }

    /// Whoever inserts.
    #[must_use]
    pub fn inserter(&self) -> &(dyn Insert + Send) {
        &*self.inserter
    }

    /// Whether a question waits for its answer.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.answered < self.asked
    }

    /// Puts what was read since into the flow table; what is answered by it, if something is.
    ///
    /// # Errors
    ///
    /// If an entry cannot be inserted; nothing counts as answered then.
    pub fn note(&mut self, known: &dyn Known, now: u32) -> Result<Option<Answer>> {
        let read = match self.reader.take() {
            None => return Ok(None),
            Some(Ok(read)) => read,
            Some(Err(error)) => {
                tracing::warn!("conntrack cannot be read, so nothing is left to it: {error:#}");
                Read { asked: self.asked, absent: true, unread: true, ..Read::default() }
            }
        };
        let batch = insert(&*self.inserter, &read, known, now)?;
        tracing::debug!(?batch, "connections of others are left alone");
        if batch.lost > 0 {
            let lost = batch.lost;
            tracing::warn!("{lost} connections of others found no place in FLOWS and may break");
        }
        self.answered = self.answered.max(read.asked);
        Ok(Some(Answer { asked: read.asked, blind: read.absent, unread: read.unread }))
    }

    /// As [`Foreign::note`], once all questions are answered or `limit` is over.
    ///
    /// # Errors
    ///
    /// As [`Foreign::note`].
    pub fn wait(&mut self, known: &dyn Known, now: u32, limit: Duration) -> Result<Option<Answer>> {
        let start = Instant::now();
        let mut last = None;
        while self.waits() && start.elapsed() < limit {
            match self.note(known, now)? {
                Some(answer) => last = Some(answer),
                None => thread::sleep(Duration::from_millis(1)),
            }
        }
        Ok(last)
    }
}

/// Inserts entries for what was read, as far as it meets what is ours.
fn insert(inserter: &dyn Insert, read: &Read, known: &dyn Known, now: u32) -> Result<Batch> {
    let mut wanted = Vec::new();
    for &(client, destination) in &read.translated {
        if let Some(frontend) = known.frontend(&destination) {
            let values = Values { frontend, interface: NO_INTERFACE, ..Values::default() };
            wanted.push(entry(client, destination, Kind::Foreign, values, now));
        }
    }
    let backends = known.backends()?;
    for &(backend, client) in &read.towards {
        if let Some(id) = backends.get(&backend) {
            // One that is ours is there already, as a `return`.
            let values = Values { backend: *id, interface: NO_INTERFACE, ..Values::default() };
            wanted.push(entry(backend, client, Kind::Straight, values, now));
        }
    }
    inserter.insert_all(&wanted).context("insert connections of others")
}

/// The interface of connections that others told of: nobody's half of the table.
const NO_INTERFACE: u32 = u32::MAX;

fn entry(from: Endpoint, to: Endpoint, kind: Kind, values: Values, now: u32) -> Wanted {
    let udp = if from.protocol == UDP { Head::UDP | Head::OVER } else { 0 };
    Wanted {
        key: Key::new(from, to),
        values,
        kind,
        // What conntrack has was answered, as far as we can tell.
        state: Head::ANSWERED | udp,
        limit: Limit::Closed,
        seen: now,
    }
}

/// Asks conntrack for single connections, over a socket of its own.
#[derive(Default)]
pub struct Lookups(Table);

impl Conntrack for Lookups {
    fn has(&mut self, key: &Key) -> Option<bool> {
        let tuple = Tuple { source: key.source(), destination: key.destination() };
        // What is in a zone was left to others by its tuple alone, and is forgotten by our clock.
        match self.0.lookup(&tuple, 0) {
            Ok(entry) => Some(entry.is_some_and(|entry| entry.is_translated())),
            Err(error) => {
                tracing::debug!("ask conntrack: {error:#}");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::{Arc, Mutex};

    use canary_common::endpoint::{Address, TCP};
    use canary_common::flows::Stored;

    use super::*;

    struct Fake(Arc<Mutex<Vec<Wanted>>>);

    impl Insert for Fake {
        fn insert(&self, wanted: &Wanted) -> Result<Stored> {
            let mut entries = self.0.lock().unwrap();
            if entries.iter().any(|entry| entry.key == wanted.key) {
                return Ok(Stored::Exists);
            }
            entries.push(*wanted);
            Ok(Stored::At(8))
        }
    }

    #[derive(Default)]
    struct Answers {
        asked: u64,
        reads: RefCell<Vec<Result<Read>>>,
    }

    impl Reads for Answers {
        fn ask(&mut self, _: HashSet<Endpoint>) -> u64 {
            self.asked += 1;
            self.asked
        }

        fn take(&mut self) -> Option<Result<Read>> {
            self.reads.borrow_mut().pop()
        }
    }

    struct Ours;

    impl Known for Ours {
        fn frontend(&self, endpoint: &Endpoint) -> Option<u32> {
            (*endpoint == at(100, 80)).then_some(3)
        }

        fn backends(&self) -> Result<BTreeMap<Endpoint, u32>> {
            Ok(BTreeMap::from([(at(2, 8080), 5)]))
        }
    }

    fn at(last: u8, port: u16) -> Endpoint {
        Endpoint { address: Address::v4([10, 0, 0, last]), port: port.to_be_bytes(), protocol: TCP }
    }

    #[test]
    fn what_conntrack_translates_to_our_frontends_is_foreign_and_what_our_backends_answer_a_trace()
    {
        let entries = Arc::default();
        let read = Read {
            asked: 1,
            absent: false,
            unread: false,
            translated: vec![(at(1, 4000), at(100, 80)), (at(1, 4000), at(101, 80))],
            towards: vec![
                (at(2, 8080), at(1, 4000)),
                (at(2, 8080), at(1, 4000)),
                (at(3, 8080), at(1, 4000)),
            ],
        };
        let reader = Answers { asked: 0, reads: RefCell::new(vec![Ok(read)]) };
        let mut foreign = Foreign::new(Box::new(reader), Box::new(Fake(Arc::clone(&entries))));
        foreign.ask(HashSet::new());

        let answer = foreign.note(&Ours, 77).unwrap();

        assert_eq!(answer, Some(Answer { asked: 1, blind: false, unread: false }));
        assert!(!foreign.waits());
        let entries = entries.lock().unwrap();
        let seen: Vec<_> = entries.iter().map(|entry| (entry.key, entry.kind)).collect();
        assert_eq!(
            seen,
            [
                (Key::new(at(1, 4000), at(100, 80)), Kind::Foreign),
                (Key::new(at(2, 8080), at(1, 4000)), Kind::Straight)
            ]
        );
        assert_eq!((entries[0].values.frontend, entries[1].values.backend), (3, 5));
        assert!(entries.iter().all(|entry| entry.state == Head::ANSWERED && entry.seen == 77));
    }

    #[test]
    fn a_read_that_fails_leaves_interfaces_blind_and_is_said() {
        let reads = RefCell::new(vec![Err(anyhow::anyhow!("no"))]);
        let mut foreign =
            Foreign::new(Box::new(Answers { asked: 0, reads }), Box::new(Fake(Arc::default())));
        foreign.ask(HashSet::new());
        foreign.ask(HashSet::new());

        let answer = foreign.wait(&Ours, 1, Duration::from_secs(5)).unwrap();

        assert_eq!(answer, Some(Answer { asked: 2, blind: true, unread: true }));
    }
}
