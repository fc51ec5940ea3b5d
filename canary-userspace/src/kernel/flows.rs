//! `FLOWS`, mapped into memory: the agent's side of what [`canary_common::flows`] says.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use anyhow::{Result, ensure};
use canary_common::flows::{Bucket, Flows, PLACES, Seed};
use canary_common::word::Word;

use super::mapped::Mapped;

/// The flow table, and how it is hashed.
///
/// The agent reads, marks and frees; it inserts nothing by itself, for it takes no lock: see
/// [`super::insert`].
#[derive(Debug)]
pub struct FlowTable {
    rows: Mapped<Bucket>,
    seed: Seed,
}

impl FlowTable {
    /// The mapped table, which is hashed with `seed`.
    ///
    /// # Errors
    ///
    /// If it is empty.
    pub fn new(rows: Mapped<Bucket>, seed: u64) -> Result<Self> {
        let buckets = rows.rows();
        ensure!(buckets > 0, "FLOWS has no rows");
        Ok(Self { rows, seed: Seed { seed, buckets } })
    }

    /// How it is hashed.
    #[must_use]
    pub fn seed(&self) -> Seed {
        self.seed
    }
}

/// Places of a table of so many buckets.
#[must_use]
pub fn places(buckets: u32) -> u64 {
    u64::from(buckets).saturating_mul(u64::try_from(PLACES).unwrap_or_default())
}

impl Flows for FlowTable {
    #[expect(unsafe_code, reason = "shared memory of a known shape")]
    fn flows(&self, bucket: u32) -> Option<&Bucket> {
        // SAFETY: a bucket consists of words of 64 bits alone, and this trait's other methods,
        // which are all that its users have, touch them by atomics.
        unsafe { self.rows.words(bucket) }
    }

    fn load(&self, word: &Word<u64>) -> u64 {
        atomic(word).load(Ordering::Acquire)
    }

    fn store(&self, word: &Word<u64>, value: u64) {
        atomic(word).store(value, Ordering::Release);
    }

    fn store_high(&self, word: &Word<u64>, value: u32) {
        upper_half(word).store(value, Ordering::Release);
    }

    fn swap(&self, word: &Word<u64>, value: u64) -> u64 {
        atomic(word).swap(value, Ordering::AcqRel)
    }

    fn exchange(&self, word: &Word<u64>, old: u64, new: u64) -> bool {
        atomic(word).compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    fn add(&self, word: &Word<u64>, by: u64) {
        atomic(word).fetch_add(by, Ordering::AcqRel);
    }

    fn pushed_out(&self, _statistics: u16) {
        // The agent inserts nothing, so it pushes nothing out.
    }
}

#[expect(unsafe_code, reason = "the word is shared with the kernel")]
fn atomic(word: &Word<u64>) -> &AtomicU64 {
    // SAFETY: the word lives as long as the reference, is aligned, and is a cell; nobody in this
    // process touches a word of a flow table in another way.
    unsafe { AtomicU64::from_ptr(word.as_ptr()) }
}

#[expect(unsafe_code, reason = "the word is shared with the kernel")]
fn upper_half(word: &Word<u64>) -> &AtomicU32 {
    let halves = word.as_ptr().cast::<u32>();
    let upper = if cfg!(target_endian = "little") { halves.wrapping_add(1) } else { halves };
    // SAFETY: within the word, aligned, and as in `atomic`. Programs and agent agree on stores of
    // half a word; the CPU orders them with the exchanges of the whole.
    unsafe { AtomicU32::from_ptr(upper) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_half_is_the_seconds() {
        let word = Word::new(0x1234_5678_9abc_def0);

        upper_half(&word).store(7, Ordering::Release);

        assert_eq!(atomic(&word).load(Ordering::Acquire), 0x0000_0007_9abc_def0);
    }
}
