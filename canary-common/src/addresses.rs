//! `ADDRESSES`: a few bits for each hash of an address, asked before anything else.
//!
//! A packet whose destination has no bit is not ours, and leaves before its transport header is
//! read. Two addresses may share their bits: a set bit only means that it pays to look further.
//! A bit is set before the endpoint appears in `ENDPOINTS`; it is cleared when no endpoint has
//! it and, after a pass over `FLOWS`, no flow needs it.

use crate::endpoint::Address;

/// An address of this hash is a frontend's.
pub const FRONTEND: u64 = 1;
/// An address of this hash is a backend's: connections that begin straight to it leave a trace,
/// and what comes from it may be an answer.
pub const BACKEND: u64 = 1 << 1;
/// A straight connection to an address of this hash has another source port than its client's:
/// every packet towards it is looked up.
pub const TRANSLATED: u64 = 1 << 2;

/// An address of this hash is the node's own, from which it asks backends elsewhere for clients
/// outside: what comes to one of its source ports may be an answer.
pub const NODE: u64 = 1 << 3;

/// Bits of one hash.
pub const BITS: u32 = 4;
/// All of these.
pub const ALL: u64 = FRONTEND | BACKEND | TRANSLATED | NODE;
/// Rows of `ADDRESSES`, words of 64 bits: 128 KiB.
pub const ROWS: u32 = 1 << 14;

/// Where the bits of an address are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The row.
    pub row: u32,
    /// How far to shift the row right for the bits to be lowest.
    pub shift: u32,
}

/// Where the bits of an address are.
#[inline(always)]
#[must_use]
pub const fn place(address: Address) -> Place {
    place_of(address.words())
}

/// Where the bits are of an address of these words.
#[inline(always)]
#[must_use]
pub const fn place_of([a, b]: [u64; 2]) -> Place {
    // Not keyed: whoever finds an address with set bits has found a slower way to be passed.
    let hash = (a ^ b.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ b;
    let hash = hash.wrapping_mul(0xb7e1_5162_8aed_2a6b);
    Place { row: top(hash, 32) & (ROWS - 1), shift: (top(hash, 60) & 15).wrapping_mul(BITS) }
}

#[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "the bits are few")]
#[inline(always)]
const fn top(hash: u64, from: u32) -> u32 {
    (hash >> from) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_net_spread_over_the_rows() {
        let mut seen = std::collections::BTreeSet::new();
        for host in 0..=u16::MAX {
            let [c, d] = host.to_be_bytes();
            let place = place(Address::v4([10, 244, c, d]));
            assert!(place.row < ROWS && place.shift < 64 && place.shift.is_multiple_of(BITS));
            seen.insert(place);
        }
        // 65,536 addresses over 262,144 hashes: 1 - e^(-1/4) of these, were they drawn by lot.
        assert!((56_500..60_500).contains(&seen.len()), "{}", seen.len());
    }
}
