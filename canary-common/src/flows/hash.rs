//! Where a key may be in the table.

use super::key::DESTINATION_PORT;
use super::{Client, Key, PLACES, high, seconds};

/// Source port and protocol of a key's last word; then each alone.
const SOURCE_TAIL: u64 = u64::from_ne_bytes([0xff, 0xff, 0, 0, 0xff, 0, 0, 0]);
const PROTOCOL: u64 = u64::from_ne_bytes([0, 0, 0, 0, 0xff, 0, 0, 0]);
const SOURCE_PORT: u64 = u64::from_ne_bytes([0xff, 0xff, 0, 0, 0, 0, 0, 0]);

/// Indices in a bucket.
const HOMES: u64 = 7;
const _: () = assert!(PLACES == 7, "an entry's home is one of seven");

/// Where a key may be, and its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash {
    /// The first choice: by the client's address and port alone, so that the entries of both
    /// directions share lines.
    pub first: u32,
    /// The second choice: by the whole tuple.
    pub second: u32,
    /// The tag in its head.
    pub(super) tag: u64,
}

/// How the table is hashed: with a seed of its own, so that nobody outside can aim at a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed {
    /// Random at creation, never shown.
    pub seed: u64,
    /// Buckets of the table.
    pub buckets: u32,
}

impl Hash {
    /// The index that an entry has in its bucket if that is free when it is stored: where a lookup
    /// looks first, so that it waits for head and body at once.
    #[inline(always)]
    #[must_use]
    pub(super) fn home(self) -> usize {
        // Verifier: it sees that this is below 7, for the tag has twelve bits.
        usize::try_from(self.tag.wrapping_mul(HOMES) >> 12).unwrap_or(0)
    }

    /// A number drawn from the whole key.
    #[inline(always)]
    #[must_use]
    pub(crate) const fn draw(self) -> u64 {
        seconds(self.second)
            .wrapping_add(self.tag.rotate_left(16))
            .wrapping_mul(0x94d0_49bb_1331_11eb)
            >> 32
    }

    /// Where a key may be.
    #[inline(always)]
    #[must_use]
    pub const fn of(key: &Key, client: Client, by: Seed) -> Self {
        let [a, b, c, d, tail] = key.0;
        let (address, port, other, other_port) = match client {
            Client::IsSource => ([a, b], tail & SOURCE_TAIL, [c, d], tail & DESTINATION_PORT),
            // Of fragments the datagram's id stands for both ports: each spreads by half of it.
            Client::IsDestination | Client::IsUnknown => {
                ([c, d], first_port(tail) | tail & PROTOCOL, [a, b], tail & SOURCE_PORT)
            }
        };
        let ([a, b], [c, d]) = (address, other);
        // Each word is folded by itself, so that the multiplications do not wait for each other,
        // and turned by another distance, so that no flipped bits of two words cancel.
        let mixed = fold(a ^ by.seed, 0x9e37_79b9_7f4a_7c15)
            ^ fold(b ^ by.seed.rotate_left(29), 0xb7e1_5162_8aed_2a6b).rotate_left(23)
            ^ fold(port ^ by.seed.rotate_left(47), 0x9fb2_1c65_1e98_df25).rotate_left(41);
        let mixed = fold(mixed, 0xff51_afd7_ed55_8ccd);
        let whole = mixed
            ^ fold(c ^ by.seed, 0xc4ce_b9fe_1a85_ec53)
            ^ fold(d ^ by.seed.rotate_left(13), 0x2b7e_1516_28ae_d2a7).rotate_left(19)
            ^ fold(other_port ^ by.seed, 0xbf58_476d_1ce4_e5b9).rotate_left(37);
        let whole = whole.wrapping_mul(0x94d0_49bb_1331_11eb);
        Self {
            first: scaled(mixed >> 32, by.buckets),
            second: scaled((whole >> 20) & 0xffff_ffff, by.buckets),
            tag: whole >> 52,
        }
    }
}

#[inline(always)]
const fn fold(word: u64, by: u64) -> u64 {
    let product = word.wrapping_mul(by);
    product ^ product >> 32
}

/// The destination port where the source port is in a key's last word.
#[inline(always)]
const fn first_port(tail: u64) -> u64 {
    if cfg!(target_endian = "little") {
        (tail & DESTINATION_PORT) >> 16
    } else {
        (tail & DESTINATION_PORT) << 16
    }
}

/// A hash of 32 bits as a number below `end`.
#[expect(clippy::as_conversions, reason = "From is not const; the value widens")]
#[inline(always)]
const fn scaled(hash: u64, end: u32) -> u32 {
    high(hash.wrapping_mul(end as u64))
}
