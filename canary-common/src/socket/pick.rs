//! What a socket remembers of where it was sent.

use crate::endpoint::{Address, Endpoint};
use crate::flows::Flows;
use crate::layout::assert_map_type;
use crate::word::Word;

/// One virtual address that a socket speaks to, and the backend that stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picked {
    /// The address that the program named.
    pub frontend: Endpoint,
    /// The address that it was given instead.
    pub backend: Endpoint,
    /// The backend's row.
    pub id: u32,
    /// Whose counters move.
    pub statistics: u16,
}

impl Picked {
    /// What the words of a [`Pick`] say, if they are whole.
    #[inline(always)]
    #[must_use]
    pub const fn of_words([state, a, b, c, d, tail, used, _]: [u64; 8]) -> Option<Self> {
        if state & Pick::LIVE == 0 {
            return None;
        }
        let [e, f, g, h, i, j, protocol, _] = tail.to_ne_bytes();
        let frontend = Address::of_words([a, b]);
        let backend = Address::of_words([c, d]);
        Some(Self {
            frontend: Endpoint { address: frontend, port: [e, f], protocol },
            backend: Endpoint { address: backend, port: [g, h], protocol },
            id: low(used),
            statistics: u16::from_ne_bytes([i, j]),
        })
    }

    /// The frontend, if `actual` is the backend.
    #[inline(always)]
    #[must_use]
    pub fn of(&self, actual: Endpoint) -> Option<Endpoint> {
        let is_same = self.backend.address == actual.address && self.backend.port == actual.port;
        is_same.then_some(self.frontend)
    }
}

/// A pick in the socket's own memory: value of `PICKS`, and a place of [`Datagrams`].
///
/// Threads of one program read and write it at the same time. `state` is 0 in its lowest bit
/// while the words are written, and differs after each write.
///
/// [`Datagrams`]: super::Datagrams
#[derive(Debug, Default)]
#[repr(C)]
pub struct Pick {
    /// [`Pick::LIVE`], [`Pick::CURRENT`], and a number of the write above.
    pub state: Word<u64>,
    /// The frontend's address, the backend's; then both ports, statistics id and protocol.
    pub words: [Word<u64>; 5],
    /// The backend's row, and above it the second when it was last used.
    pub used: Word<u64>,
    /// The tick of that.
    pub mark: Word<u64>,
}

assert_map_type!(Pick {
    state: Word<u64>, words: [Word<u64>; 5], used: Word<u64>, mark: Word<u64>,
} is 64 bytes);

impl Pick {
    /// The words are whole.
    pub const LIVE: u64 = 1;
    /// New datagrams to the frontend go to this backend.
    pub const CURRENT: u64 = 2;
    /// What a write adds.
    const WRITE: u64 = 4;

    /// Takes what was picked at a second and a tick.
    #[inline(always)]
    pub fn set<T: Flows + ?Sized>(&self, tables: &T, picked: &Picked, now: u32, tick: u32) {
        let was = tables.load(&self.state);
        let number = was & !(Self::LIVE | Self::CURRENT);
        tables.swap(&self.state, number);
        let [a, b] = picked.frontend.address.words();
        let [c, d] = picked.backend.address.words();
        for (word, value) in self.words.iter().zip([a, b, c, d, tails(picked)]) {
            tables.store(word, value);
        }
        tables.store(&self.used, u64::from(now) << 32 | u64::from(picked.id));
        tables.store(&self.mark, u64::from(tick));
        let number = number.wrapping_add(Self::WRITE);
        tables.swap(&self.state, number | Self::LIVE | Self::CURRENT);
    }

    /// Forgets it.
    #[inline(always)]
    pub fn clear<T: Flows + ?Sized>(&self, tables: &T) {
        let was = tables.load(&self.state);
        tables.swap(&self.state, was & !(Self::LIVE | Self::CURRENT));
    }

    /// Keeps it for what comes back alone.
    #[inline(always)]
    pub fn retire<T: Flows + ?Sized>(&self, tables: &T) {
        let was = tables.load(&self.state);
        tables.exchange(&self.state, was, was & !Self::CURRENT);
    }

    /// Notes that it was used.
    #[inline(always)]
    pub fn touch<T: Flows + ?Sized>(&self, tables: &T, now: u32, tick: u32) {
        tables.store_high(&self.used, now);
        tables.store(&self.mark, u64::from(tick));
    }

    /// The second when it was last used.
    #[inline(always)]
    pub fn used<T: Flows + ?Sized>(&self, tables: &T) -> u32 {
        high(tables.load(&self.used))
    }

    /// The tick when it was last used.
    #[inline(always)]
    pub fn tick<T: Flows + ?Sized>(&self, tables: &T) -> u32 {
        low(tables.load(&self.mark))
    }

    /// What it holds, if that is whole.
    #[inline(always)]
    pub fn get<T: Flows + ?Sized>(&self, tables: &T) -> Option<Picked> {
        let state = tables.load(&self.state);
        if state & Self::LIVE == 0 {
            return None;
        }
        let own = tables.after(self, state);
        let [a, b, c, d, tail] = &own.words;
        let [a, b] = [tables.load(a), tables.load(b)];
        let [c, d] = [tables.load(c), tables.load(d)];
        let tail = tables.load(tail);
        let used = tables.load(&own.used);
        let again = tables.after(self, tail);
        if tables.load(&again.state) & !Self::CURRENT != state & !Self::CURRENT {
            return None;
        }
        Picked::of_words([state, a, b, c, d, tail, used, 0])
    }

    /// Whether new datagrams to `frontend` go by it.
    #[inline(always)]
    pub(super) fn leads_to<T: Flows + ?Sized>(&self, tables: &T, frontend: Endpoint) -> bool {
        let state = tables.load(&self.state);
        let [a, b, .., tail] = &self.words;
        let [e, f, ..] = tables.load(tail).to_ne_bytes();
        let both = Self::LIVE | Self::CURRENT;
        state & both == both
            && [tables.load(a), tables.load(b)] == frontend.address.words()
            && [e, f] == frontend.port
    }

    /// Whether what comes from `backend` belongs to it.
    #[inline(always)]
    pub(super) fn is_of<T: Flows + ?Sized>(&self, tables: &T, backend: Endpoint) -> bool {
        let state = tables.load(&self.state);
        let [_, _, c, d, tail] = &self.words;
        let [_, _, g, h, ..] = tables.load(tail).to_ne_bytes();
        state & Self::LIVE != 0
            && [tables.load(c), tables.load(d)] == backend.address.words()
            && [g, h] == backend.port
    }
}

/// Both ports, the statistics id and the protocol in one word.
#[inline(always)]
const fn tails(picked: &Picked) -> u64 {
    let [e, f] = picked.frontend.port;
    let [g, h] = picked.backend.port;
    let [i, j] = picked.statistics.to_ne_bytes();
    u64::from_ne_bytes([e, f, g, h, i, j, picked.frontend.protocol, 0])
}

#[inline(always)]
const fn low(word: u64) -> u32 {
    let [a, b, c, d, ..] = word.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

#[inline(always)]
const fn high(word: u64) -> u32 {
    low(word >> 32)
}
