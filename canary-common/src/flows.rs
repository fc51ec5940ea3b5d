//! `FLOWS`: every connection that matters, by the tuple that is on the wire.
//!
//! One table in a memory-mapped array, which programs and the agent change at the same time. A
//! bucket of 512 bytes holds a word of its own, seven heads and seven bodies. An entry's head
//! says whose it is (tag, version, kind), how far the connection got (state) and when a packet
//! was last seen (seconds); its body holds the whole key and the values, and never changes while
//! the entry lives, but for the time of an open question. The steps, and why each is needed, are
//! in `docs/decisions/0008-flow-table.md`.
//!
//! - *Insert*: the first bucket's lock, look again, claim a free head with the next version,
//!   write the body, exchange the head to live, unlock.
//! - *Read*: head, key, values, and the head again: tag, version and kind must be the same.
//! - *State* changes by compare-and-swap on the head; *seconds* by a store into its upper half.
//! - *Free*: compare-and-swap of the whole head as it was judged; `forward` before `return`.

mod change;
mod find;
mod hash;
mod insert;
mod key;
mod rank;
mod values;

pub use self::change::{
    Back, NO_PARTNER, ask, end_severed, free, free_pair, link, mark, partner, spilled_from, touch,
};
pub(crate) use self::find::index;
pub use self::find::{Entry, expect, find, find_at, key_of};
pub use self::hash::{Hash, Seed};
pub use self::insert::{Request, Stored, insert, repair};
pub use self::key::Key;
pub use self::rank::{EVICTIONS, Limit, NO_ROOM, is_kept};
pub use self::values::Values;

use crate::word::Word;

/// Entries of a bucket.
pub const PLACES: usize = 7;

/// A bucket: eight lines of 64 bytes.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Bucket {
    /// Bit 0: the lock of inserts whose first choice this is; the 31 bits above it: how many there
    /// were. Upper half: how many of their entries are in their second choice.
    pub own: Word<u64>,
    /// A [`Head`] each.
    pub heads: [Word<u64>; PLACES],
    /// The bodies, in the order of the heads.
    pub bodies: [Body; PLACES],
}

const _: () = assert!(size_of::<Bucket>() == 512, "a bucket is eight lines");

/// An entry's key and values.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Body {
    /// Source and destination address; ports, protocol, statistics id and flags; then the other
    /// three words of [`Values`].
    pub words: [Word<u64>; 8],
}

/// What an entry is. The numbers of a pair that excludes one another differ in the lowest bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Nothing: the place can be claimed.
    Free = 0,
    /// Somebody writes the body.
    Claimed = 1,
    /// Client to frontend: where to send it.
    Forward = 2,
    /// Client to frontend: conntrack translates it, pass untouched.
    Foreign = 3,
    /// Backend to client: what restoring needs.
    Return = 4,
    /// Backend to client: the tuple belongs to a connection that came without us.
    Straight = 5,
    /// Addresses, datagram id and protocol: which flow the followers of a fragment belong to.
    Fragment = 6,
}

/// Which end of a tuple is the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// Its source: `Forward`, `Foreign`.
    IsSource,
    /// Its destination: `Return`, `Straight`.
    IsDestination,
    /// No port tells: `Fragment`.
    IsUnknown,
}

/// An entry's head: tag 12 bits, version 8, kind 3, state 9, seconds 32, from the lowest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head(pub u64);

impl Head {
    /// The backend answered: SYN-ACK, or any datagram; of a flow picked again any segment
    /// without RST.
    pub const ANSWERED: u64 = 1 << 23;
    /// This direction carried payload.
    pub const PAYLOAD: u64 = 1 << 24;
    /// This direction's sender sent FIN.
    pub const FIN: u64 = 1 << 25;
    /// One of both ends sent RST, and neither has gone on since.
    pub const RESET: u64 = 1 << 26;
    /// TCP: both ends sent FIN. UDP: it has lived for two seconds.
    pub const OVER: u64 = 1 << 27;
    /// The agent ends it: with its next packet.
    pub const SEVERED: u64 = 1 << 28;
    /// Before it is answered: it was picked again. After that, of a `return`: the backend's
    /// first payload came after the client's FIN.
    pub const AGAIN: u64 = 1 << 29;
    /// Of a `return`: it was counted as unanswered.
    pub const JUDGED: u64 = 1 << 30;
    /// It is UDP.
    pub const UDP: u64 = 1 << 31;

    const TAG: u64 = (1 << 12) - 1;
    const VERSION: u64 = 0xff << 12;
    const ONE_VERSION: u64 = 1 << 12;
    const KIND: u64 = 7 << 20;
    const STATE: u64 = 0x1ff << 23;

    /// What must not change under a reader: tag, version and kind.
    pub const IDENTITY: u64 = Self::TAG | Self::VERSION | Self::KIND;

    /// What a lookup compares: the tag, and the kind but for its lowest bit.
    const MATCH: u64 = Self::TAG | 6 << 20;

    /// The head of a live entry whose place had the head `before`, claimed.
    #[inline(always)]
    #[must_use]
    pub const fn live(before: Self, tag: u64, kind: Kind, state: u64, now: u32) -> Self {
        let identity = tag & Self::TAG | before.0 & Self::VERSION | kind.bits();
        Self(identity | state & Self::STATE | seconds(now))
    }

    /// The head of a place that is being written, after `self`.
    #[inline(always)]
    #[must_use]
    pub const fn claimed(self) -> Self {
        let version = self.0.wrapping_add(Self::ONE_VERSION) & Self::VERSION;
        Self(version | Kind::Claimed.bits())
    }

    /// The head of the place once it is free.
    #[inline(always)]
    #[must_use]
    pub const fn freed(self) -> Self {
        Self(self.0 & Self::VERSION)
    }

    /// What the entry is.
    #[inline(always)]
    #[must_use]
    pub const fn kind(self) -> Kind {
        match (self.0 >> 20) & 7 {
            0 => Kind::Free,
            2 => Kind::Forward,
            3 => Kind::Foreign,
            4 => Kind::Return,
            5 => Kind::Straight,
            6 => Kind::Fragment,
            _ => Kind::Claimed,
        }
    }

    /// Whether a bit of the state is set.
    #[inline(always)]
    #[must_use]
    pub const fn has(self, bit: u64) -> bool {
        self.0 & bit != 0
    }

    /// Whether the connection is over, as far as both ends have said.
    #[inline(always)]
    #[must_use]
    pub const fn ended(self) -> bool {
        self.has(Self::RESET) || self.has(Self::OVER) && !self.has(Self::UDP)
    }

    /// The second of the last packet that was noted.
    #[inline(always)]
    #[must_use]
    pub const fn seen(self) -> u32 {
        high(self.0)
    }

    /// Seconds since then; 0 for a packet that another CPU has noted in what is the future here.
    #[inline(always)]
    #[must_use]
    pub const fn idle(self, now: u32) -> u32 {
        let idle = now.wrapping_sub(self.seen());
        if idle > u32::MAX / 2 { 0 } else { idle }
    }

    /// Whether both are heads of the same entry.
    #[inline(always)]
    #[must_use]
    pub const fn is_of_same(self, other: Self) -> bool {
        (self.0 ^ other.0) & Self::IDENTITY == 0
    }
}

impl Kind {
    #[inline(always)]
    #[expect(clippy::as_conversions, reason = "the discriminant of a field-less enum")]
    const fn bits(self) -> u64 {
        (self as u64) << 20
    }

    /// Which end of its tuple is the client.
    #[inline(always)]
    const fn client(self) -> Client {
        match self {
            Self::Forward | Self::Foreign => Client::IsSource,
            Self::Return | Self::Straight | Self::Free | Self::Claimed => Client::IsDestination,
            Self::Fragment => Client::IsUnknown,
        }
    }
}

/// The upper half of a word.
#[expect(clippy::as_conversions, reason = "From is not const; the value fits")]
#[inline(always)]
pub(crate) const fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

/// The lower half of a word.
#[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "the half is meant")]
#[inline(always)]
pub(crate) const fn low(word: u64) -> u32 {
    word as u32
}

#[expect(clippy::as_conversions, reason = "From is not const; the value widens")]
#[inline(always)]
const fn seconds(now: u32) -> u64 {
    (now as u64) << 32
}

/// Two words of 32 bits in one of 64: the lower, then the upper.
#[inline(always)]
pub(crate) const fn both(low: u32, high: u32) -> u64 {
    seconds(high) | seconds(low) >> 32
}

/// The table's memory, and how a side touches words that the other side changes.
///
/// A load, a store and an exchange are of one aligned word, whole. An exchange that succeeds and
/// a swap are full barriers.
pub trait Flows {
    /// A bucket; `None` beyond the table's end.
    fn flows(&self, bucket: u32) -> Option<&Bucket>;

    /// Loads a word.
    fn load(&self, word: &Word<u64>) -> u64;

    /// Stores a word.
    fn store(&self, word: &Word<u64>, value: u64);

    /// Stores the upper half of a word.
    fn store_high(&self, word: &Word<u64>, value: u32);

    /// Stores a word and returns what it was.
    fn swap(&self, word: &Word<u64>, value: u64) -> u64;

    /// Stores `new` if the word is `old`; whether it was.
    fn exchange(&self, word: &Word<u64>, old: u64, new: u64) -> bool;

    /// Adds to a word, at once.
    fn add(&self, word: &Word<u64>, by: u64);

    /// An answered flow was pushed out by another: its split has one less.
    fn pushed_out(&self, statistics: u16);

    /// An insert pushed out an entry of this rank, or, with [`NO_ROOM`], found none to push out.
    fn evicts(&self, _rank: u64) {}

    /// Has a body on its way from memory, for a look that comes soon.
    #[inline(always)]
    fn fetch(&self, _body: &Body) {}

    /// The same number, about which the compiler knows nothing.
    #[inline(always)]
    fn opaque(&self, number: u64) -> u64 {
        number
    }

    /// The same row, for loads that must come after the one that gave `seen`.
    ///
    /// On arm64 by an address that depends on `seen`; elsewhere loads keep their order.
    #[inline(always)]
    fn after<'r, R>(&self, row: &'r R, _seen: u64) -> &'r R {
        row
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
