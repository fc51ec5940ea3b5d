//! How the agent puts entries into `FLOWS`: by a program, which takes the bucket's lock as a
//! packet's would. The agent takes no lock, for it can be stopped while it holds one.

use std::fmt;

use anyhow::{Context, Result};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use canary_common::flows::{Key, Kind, Limit, Stored, Values};

/// Bytes before the request: the kernel wants an Ethernet header.
const HEADER_LEN: usize = 14;
/// Words of a request: the key, the values, then kind, state, limit and the second it is.
const WORDS: usize = 13;
/// Bytes of a packet for the program.
const PACKET_LEN: usize = HEADER_LEN + WORDS * 8;

/// Times that an insert into a busy bucket is tried.
const TRIES: u32 = 16;

/// An entry that is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its tuple.
    pub key: Key,
    /// What it holds.
    pub values: Values,
    /// What it is.
    pub kind: Kind,
    /// Bits of its state.
    pub state: u64,
    /// What it may push out.
    pub limit: Limit,
    /// The second when a packet of it was last seen.
    pub seen: u32,
}

/// What became of many inserts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Entries that are there because of it.
    pub stored: usize,
    /// Entries whose tuple was there already.
    pub existed: usize,
    /// Entries that found no place.
    pub lost: usize,
}

/// The program that inserts, loaded and never attached.
pub struct Inserter {
    program: SchedClassifier,
}

impl fmt::Debug for Inserter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inserter").finish_non_exhaustive()
    }
}

/// Whatever inserts into a flow table.
pub trait Insert {
    /// Inserts one entry.
    ///
    /// # Errors
    ///
    /// If the kernel refuses to run the program.
    fn insert(&self, wanted: &Wanted) -> Result<Stored>;

    /// Inserts many entries; one that finds no room is counted and left out.
    ///
    /// # Errors
    ///
    /// If the kernel refuses to run the program; what came before is in the table then.
    fn insert_all(&self, wanted: &[Wanted]) -> Result<Batch> {
        let mut batch = Batch::default();
        for wanted in wanted {
            let count = match self.insert(wanted)? {
                Stored::At(_) => &mut batch.stored,
                Stored::Exists => &mut batch.existed,
                Stored::Busy | Stored::Full => &mut batch.lost,
            };
            *count = count.saturating_add(1);
        }
        Ok(batch)
    }
}

impl Inserter {
    /// Over a program that is loaded, and that the thread may use which has this value.
    #[must_use]
    pub fn new(program: SchedClassifier) -> Self {
        Self { program }
    }
}

impl Insert for Inserter {
    fn insert(&self, wanted: &Wanted) -> Result<Stored> {
        let packet = packet(wanted);
        for _ in 0..TRIES {
            let options = TestRunOptions { data_in: Some(&packet), ..TestRunOptions::new() };
            let result = self.program.test_run(options).context("run program put_flow")?;
            match stored(result.return_value)? {
                Stored::Busy => {}
                other => return Ok(other),
            }
        }
        Ok(Stored::Busy)
    }
}

/// The packet that asks the program for an entry.
fn packet(wanted: &Wanted) -> [u8; PACKET_LEN] {
    let [a, b, c, d, tail] = wanted.key.0;
    let [e, f, g, h] = wanted.values.words(tail);
    let (kind, limit) = (number_of(wanted.kind), rank_of(wanted.limit));
    let words: [u64; WORDS] = [
        a,
        b,
        c,
        d,
        tail,
        // The tail once more, with statistics id and flags beside it.
        e,
        f,
        g,
        h,
        kind,
        wanted.state,
        limit,
        u64::from(wanted.seen),
    ];
    let mut packet = [0; PACKET_LEN];
    let places = packet.iter_mut().skip(HEADER_LEN);
    let bytes = words.into_iter().flat_map(u64::to_ne_bytes);
    for (place, byte) in places.zip(bytes) {
        *place = byte;
    }
    packet
}

#[expect(clippy::as_conversions, reason = "the discriminant of a field-less enum")]
const fn number_of(kind: Kind) -> u64 {
    kind as u64
}

#[expect(clippy::as_conversions, reason = "the discriminant of a field-less enum")]
const fn rank_of(limit: Limit) -> u64 {
    limit as u64
}

/// What the program's return value says.
fn stored(value: u32) -> Result<Stored> {
    Stored::of_number(value)
        .with_context(|| format!("program put_flow says {value:#x}: it was not understood"))
}

#[cfg(test)]
mod tests {
    use canary_common::endpoint::{Address, Endpoint, TCP};

    use super::*;

    fn wanted() -> Wanted {
        let at = |last, port: u16| Endpoint {
            address: Address::v4([10, 0, 0, last]),
            port: port.to_be_bytes(),
            protocol: TCP,
        };
        Wanted {
            key: Key::new(at(1, 4000), at(2, 80)),
            values: Values { statistics: 0x0102, backend: 7, frontend: 9, ..Values::default() },
            kind: Kind::Foreign,
            state: 1 << 23,
            limit: Limit::Traces,
            seen: 77,
        }
    }

    #[test]
    fn a_request_is_thirteen_words_behind_an_ethernet_header() {
        let wanted = wanted();

        let packet = packet(&wanted);

        let (words, rest) = packet[HEADER_LEN..].as_chunks::<8>();
        let words: Vec<u64> = words.iter().map(|bytes| u64::from_ne_bytes(*bytes)).collect();
        assert_eq!((words.len(), rest.len()), (WORDS, 0));
        assert_eq!(words[..5], wanted.key.0);
        assert_eq!(Values::of([words[5], words[6], words[7], words[8]]), wanted.values);
        assert_eq!(words[9..], [3, 1 << 23, 2, 77]);
    }

    #[test]
    fn what_is_no_place_says_why() {
        for said in [Stored::At(0x0012_3456), Stored::Exists, Stored::Busy, Stored::Full] {
            assert_eq!(stored(said.to_number()).unwrap(), said);
        }
        assert!(stored(u32::MAX).is_err());
    }
}
