//! A service as the tables hold it: shares as thresholds, and the pick.

use crate::endpoint::Version;
use crate::layout::assert_map_type;
use crate::limits::MAX_SPLITS;
use crate::tables::Tables;

/// Everything a pick needs to know of a service. Written once in a free place, then published
/// by storing its index in `CURRENT`; never changed while it may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Record {
    /// Upper end of each split's part of the 32-bit hash space, inclusive, rising; the last
    /// one in use is `u32::MAX`. Splits with no share are not here.
    pub bounds: [u32; MAX_SPLITS],
    /// First Maglev slot of each split, or, where `lengths` is 1, the backend's id itself; for
    /// clients of IPv4, then for those of IPv6.
    pub slots: [[u32; MAX_SPLITS]; 2],
    /// Length of each split's Maglev slice, by family as above; 0: no healthy backend.
    pub lengths: [[u32; MAX_SPLITS]; 2],
    /// Whose counters each split moves.
    pub statistics: [u16; MAX_SPLITS],
    /// Splits in use.
    pub count: u32,
    /// Bits of [`AFFINITY_SOURCE`], [`FOLLOW_WEIGHTS`] and [`BRAKE`].
    pub flags: u32,
    /// Always 0.
    pub reserved: [u32; 6],
}

/// Flag of a record: hash the client's address alone.
pub const AFFINITY_SOURCE: u32 = 1;
/// Flag of a record: a datagram whose flow's draw falls to another split is picked anew.
pub const FOLLOW_WEIGHTS: u32 = 1 << 1;

/// Flag of a record that only the agent reads: the service stands by a brake that its entries do
/// not say.
pub const BRAKE: u32 = 1 << 2;

assert_map_type!(Record {
    bounds: [u32; MAX_SPLITS], slots: [[u32; MAX_SPLITS]; 2], lengths: [[u32; MAX_SPLITS]; 2],
    statistics: [u16; MAX_SPLITS], count: u32, flags: u32, reserved: [u32; 6],
} is 384 bytes);

impl Default for Record {
    fn default() -> Self {
        Self {
            bounds: [0; MAX_SPLITS],
            slots: [[0; MAX_SPLITS]; 2],
            lengths: [[0; MAX_SPLITS]; 2],
            statistics: [0; MAX_SPLITS],
            count: 0,
            flags: 0,
            reserved: [0; 6],
        }
    }
}

/// The whole in units of a share.
pub const WHOLE: u16 = 10_000;

/// Inclusive upper bounds for shares that add to [`WHOLE`], in their order.
///
/// A bound depends only on the sum of the shares up to it, so moving share from one split to
/// its neighbour moves only the flows between them.
#[must_use]
pub fn bounds(shares: &[u16]) -> [u32; MAX_SPLITS] {
    let mut bounds = [0; MAX_SPLITS];
    let mut sum = 0_u64;
    for (bound, share) in bounds.iter_mut().zip(shares) {
        sum = sum.wrapping_add(u64::from(*share));
        // At most 10000 x 2^32: no overflow. Rounded to the nearest, half up.
        let scaled = (sum << 32).wrapping_add(u64::from(WHOLE) >> 1);
        let end = scaled.checked_div(u64::from(WHOLE)).unwrap_or(0);
        *bound = u32::try_from(end.saturating_sub(1)).unwrap_or(u32::MAX);
    }
    bounds
}

/// What a pick gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picked {
    /// Whose counters move.
    pub statistics: u16,
    /// The backend's id; `None` if the split has no healthy one.
    pub backend: Option<u32>,
    /// Datagrams follow the weights: [`FOLLOW_WEIGHTS`].
    pub follows: bool,
}

impl Record {
    /// Which split the draw of a flow with this hash falls to; `None` only for a record that is
    /// empty or contradicts itself.
    #[inline(always)]
    #[must_use]
    pub fn draw(&self, hash: u64) -> Option<usize> {
        let [_, high] = halves(hash);
        let mut split = 0_usize;
        for (index, bound) in self.bounds.iter().enumerate() {
            split = index;
            if high <= *bound {
                break;
            }
        }
        // Verifier: the compiler does not keep its own bound on `split`.
        let split = split & (MAX_SPLITS - 1);
        if u32::try_from(split).ok()? < self.count { Some(split) } else { None }
    }

    /// Whose counters a flow with this hash moves.
    #[inline(always)]
    #[must_use]
    pub fn statistics_of(&self, hash: u64) -> Option<u16> {
        self.statistics.get(self.draw(hash)?).copied()
    }
}

/// Picks a split, and a backend of the client's family in it, for a flow with this hash.
///
/// The high half draws the split, the low half the backend: two draws that do not depend on
/// each other, so replica counts never bend the shares. `None` only for a record that is
/// empty or contradicts itself.
#[inline(always)]
#[must_use]
pub fn pick<T: Tables + ?Sized>(
    tables: &T,
    record: &Record,
    version: Version,
    hash: u64,
) -> Option<Picked> {
    pick_in(tables, record, version, hash, record.draw(hash)?)
}

/// Picks a backend of the client's family in a split of a service.
#[inline(always)]
#[must_use]
pub fn pick_in<T: Tables + ?Sized>(
    tables: &T,
    record: &Record,
    version: Version,
    hash: u64,
    split: usize,
) -> Option<Picked> {
    let [low, _] = halves(hash);
    let statistics = *record.statistics.get(split)?;
    let [slots4, slots6] = &record.slots;
    let [lengths4, lengths6] = &record.lengths;
    let (slots, lengths) = match version {
        Version::V4 => (slots4, lengths4),
        Version::V6 => (slots6, lengths6),
    };
    let first = *slots.get(split)?;
    let backend = match *lengths.get(split)? {
        0 => None,
        1 => Some(first),
        length => {
            let scaled = u64::from(low).wrapping_mul(u64::from(length)) >> 32;
            tables.slot(first.wrapping_add(u32::try_from(scaled).ok()?))
        }
    };
    Some(Picked { statistics, backend, follows: record.flags & FOLLOW_WEIGHTS != 0 })
}

#[inline(always)]
fn halves(hash: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = hash.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}

#[cfg(test)]
mod tests;
