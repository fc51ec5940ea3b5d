//! How many entries of each bucket are in their second choice: recounted, and repaired.
//!
//! A bucket's number is counted up before an entry that spills lives, and down after it is free. If
//! the agent dies between the two it stays too high, and lookups read a second bucket for nothing.

use std::time::{Duration, Instant};

use canary_common::flows::{Flows, repair};

use super::alive::{Tally, add};

/// How old a number is at least when it is held against what is there: no program and no pass takes
/// this long between freeing an entry and counting it.
const SETTLED: Duration = Duration::from_secs(10);

/// The words of buckets that have spilled, as a pass met them.
#[derive(Debug, Default)]
pub(super) struct Numbers(Vec<(u32, u64)>);

impl Numbers {
    pub(super) fn add(&mut self, bucket: u32, own: u64) {
        if own >> 32 != 0 {
            self.0.push((bucket, own));
        }
    }

    /// Entries that spilled, of all buckets.
    pub(super) fn sum(&self) -> u64 {
        self.0.iter().fold(0, |sum, (_, own)| sum.saturating_add(own >> 32))
    }
}

/// Numbers that wait until they are old enough.
#[derive(Debug, Default)]
pub(super) struct Recount(Option<(Instant, Numbers)>);

impl Recount {
    /// Holds older numbers against what a pass has `found`, which began after them and is over at
    /// `now`; keeps its own `numbers` for a later one. How many entries there were too many.
    pub(super) fn repair<T: Flows + ?Sized>(
        &mut self,
        tables: &T,
        now: Instant,
        numbers: Numbers,
        found: &Tally,
    ) -> u64 {
        let (since, before) = match self.0.take() {
            Some((since, before)) if now.saturating_duration_since(since) >= SETTLED => {
                (now, before)
            }
            Some(young) => {
                self.0 = Some(young);
                return 0;
            }
            None => (now, Numbers::default()),
        };
        self.0 = Some((since, numbers));
        let mut repaired = 0;
        for (bucket, seen) in before.0 {
            let drift = (seen >> 32).saturating_sub(found.of(bucket));
            if drift > 0 && repair(tables, bucket, seen, drift) {
                add(&mut repaired, drift);
            }
        }
        repaired
    }
}
