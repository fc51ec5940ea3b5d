//! `ENDPOINTS`: from an address, port and protocol to the frontend or backend there.
//!
//! Two choices of 64-byte buckets with two entries each, so a lookup touches at most two cache
//! lines. No entry ever moves: it appears when its `value` is stored, last, and goes when that
//! is stored as 0; its place may be written again only after a grace period. The rare endpoint
//! whose buckets are both full lives in a small BPF hash, and [`OVERFLOW`] in the first
//! bucket's spare word says that one must look there.

use core::sync::atomic::{Ordering, compiler_fence};

use crate::endpoint::Endpoint;
use crate::layout::assert_map_type;
use crate::tables::Tables;
use crate::word::Word;

/// Set in a bucket's first spare word while an endpoint of that bucket is in the overflow.
pub const OVERFLOW: u32 = 1;

/// Top bit of a value: a backend; otherwise a frontend.
const BACKEND: u32 = 1 << 31;

/// What is at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Occupant {
    /// A virtual address: the frontend's id.
    Frontend(u32),
    /// An instance: the backend's id.
    Backend(u32),
}

impl Occupant {
    /// The word that stands for it in a table; never 0.
    #[inline(always)]
    #[must_use]
    pub const fn to_value(self) -> u32 {
        match self {
            Self::Frontend(id) => id.wrapping_add(1),
            Self::Backend(id) => id.wrapping_add(1) | BACKEND,
        }
    }

    /// Whether a word stands for a backend.
    #[inline(always)]
    #[must_use]
    pub const fn is_backend(value: u32) -> bool {
        value & BACKEND != 0
    }

    /// The id in a word that stands for an occupant.
    #[inline(always)]
    #[must_use]
    pub const fn id(value: u32) -> u32 {
        (value & !BACKEND).wrapping_sub(1)
    }

    /// The occupant a word stands for; `None` for 0.
    #[inline(always)]
    #[must_use]
    pub const fn from_value(value: u32) -> Option<Self> {
        let Some(id) = (value & !BACKEND).checked_sub(1) else { return None };
        Some(if value & BACKEND == 0 { Self::Frontend(id) } else { Self::Backend(id) })
    }
}

/// One endpoint and what is there.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Entry {
    /// The address as [`crate::endpoint::Address::words`] gives it. Two words, for a compare in two steps.
    pub address: [u64; 2],
    /// Port and protocol as [`Endpoint::tail`] gives them.
    pub tail: u32,
    /// [`Occupant::to_value`]; 0 while the entry is free or being written.
    pub value: Word<u32>,
    /// In a bucket's first entry [`OVERFLOW`] or 0, else 0.
    pub spare: Word<u32>,
    /// Always 0.
    pub reserved: u32,
}

assert_map_type!(Entry {
    address: [u64; 2], tail: u32, value: Word<u32>, spare: Word<u32>, reserved: u32,
} is 32 bytes);

/// A cache line of the directory.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Bucket {
    /// Its entries, in no order.
    pub entries: [Entry; 2],
}

const _: () = assert!(size_of::<Bucket>() == 64, "a bucket is a cache line");

/// Key of the overflow hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct OverflowKey {
    /// As in [`Entry`].
    pub address: [u64; 2],
    /// As in [`Entry`].
    pub tail: u32,
    /// Always 0.
    pub reserved: u32,
}

assert_map_type!(OverflowKey { address: [u64; 2], tail: u32, reserved: u32 } is 24 bytes);

impl OverflowKey {
    /// The key of an endpoint.
    #[inline(always)]
    #[must_use]
    pub const fn of(endpoint: Endpoint) -> Self {
        Self { address: endpoint.address.words(), tail: endpoint.tail(), reserved: 0 }
    }
}

/// The two buckets where an endpoint may be, for a table of `mask + 1` buckets.
#[inline(always)]
#[must_use]
pub const fn buckets(endpoint: Endpoint, mask: u32) -> [u32; 2] {
    // Odd constants with well spread bits (the fractions of the golden ratio, e and pi). Not
    // keyed: the entries are the operator's own endpoints, no stranger's.
    let [a, b] = endpoint.address.words();
    let mut hash = a.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ b.wrapping_mul(0xb7e1_5162_8aed_2a6b);
    hash ^= (hash >> 29) ^ widen(endpoint.tail()).wrapping_mul(0x2b7e_1516_28ae_d2a7);
    hash = hash.wrapping_mul(0x9fb2_1c65_1e98_df25);
    hash ^= hash >> 32;
    [low(hash) & mask, low(hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) & mask]
}

#[expect(clippy::as_conversions, reason = "From is not const; the value widens")]
#[inline(always)]
const fn widen(word: u32) -> u64 {
    word as u64
}

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "the low half is meant"
)]
#[inline(always)]
const fn low(word: u64) -> u32 {
    word as u32
}

/// What is at `endpoint`; `None` if nothing of ours.
#[inline(always)]
#[must_use]
pub fn find<T: Tables + ?Sized>(tables: &T, mask: u32, endpoint: Endpoint) -> Option<Occupant> {
    let [first, second] = buckets(endpoint, mask);
    let bucket = tables.bucket(first)?;
    if let Some(found) = find_in(&bucket.entries, endpoint) {
        return Some(found);
    }
    if let Some(found) = find_in(&tables.bucket(second)?.entries, endpoint) {
        return Some(found);
    }
    let [head, _] = &bucket.entries;
    if head.spare.load() & OVERFLOW == 0 {
        return None;
    }
    Occupant::from_value(tables.overflow(&OverflowKey::of(endpoint))?)
}

#[inline(always)]
fn find_in<W: Words>(entries: &[W; 2], endpoint: Endpoint) -> Option<Occupant> {
    let [left, right] = entries;
    if let Some(value) = value_of(left, endpoint) {
        return Occupant::from_value(value);
    }
    Occupant::from_value(value_of(right, endpoint)?)
}

/// The value of an entry with this key; 0, which is no occupant, if it is free or being written.
///
/// The value is read before the key. A key changes only while the value is 0, and only a grace
/// period after it became 0: whoever has read another value finds the key that belongs to it.
/// The other way round a reader could compare an old key and then read its successor's value.
#[inline(always)]
fn value_of<W: Words>(entry: &W, endpoint: Endpoint) -> Option<u32> {
    let value = entry.value();
    // Costs nothing; keeps the compiler from reading the key first. The CPU must not either,
    // which x86 promises.
    compiler_fence(Ordering::Acquire);
    let [first, second] = endpoint.address.words();
    let holds =
        entry.second() == second && entry.tail() == endpoint.tail() && entry.first() == first;
    holds.then_some(value)
}

/// The words of an entry, each read by itself: the agent may store between any two reads.
trait Words {
    /// The first word of the address.
    fn first(&self) -> u64;
    /// The second word of the address.
    fn second(&self) -> u64;
    /// Port and protocol.
    fn tail(&self) -> u32;
    /// What is there.
    fn value(&self) -> u32;
}

impl Words for Entry {
    #[inline(always)]
    fn first(&self) -> u64 {
        let [first, _] = self.address;
        first
    }

    #[inline(always)]
    fn second(&self) -> u64 {
        let [_, second] = self.address;
        second
    }

    #[inline(always)]
    fn tail(&self) -> u32 {
        self.tail
    }

    #[inline(always)]
    fn value(&self) -> u32 {
        self.value.load()
    }
}

#[cfg(test)]
mod tests;
