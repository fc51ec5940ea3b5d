//! Reads what the programs count.

use std::collections::BTreeMap;
use std::fmt;
use std::mem::offset_of;

use anyhow::{Context, Result};
use aya::maps::{MapData, PerCpuArray, PerCpuValues};
use aya::{Ebpf, Pod};
use canary_common::flows::{EVICTIONS, Limit, NO_ROOM};
use canary_common::reason::Reason;
use canary_common::stats::{Counter, Counts, EXCHANGES, Exchange, Histograms, SplitRow, step_end};

use super::load::take;
use super::mapped::Mapped;
use crate::compile::SplitKey;
use crate::datapath::{Counters, Histogram};
use crate::plan::Published;

/// The per-CPU tables.
pub struct PerCpu {
    stats: PerCpuArray<MapData, Counts>,
    histograms: PerCpuArray<MapData, Histograms>,
    exchanges: PerCpuArray<MapData, [u64; EXCHANGES]>,
    reasons: PerCpuArray<MapData, u64>,
    evictions: PerCpuArray<MapData, Slots>,
    /// The kernel tells of segments that are sent again.
    hears_resent: bool,
}

/// A row of `EVICTIONS`.
type Slots = [u64; EVICTIONS];

impl fmt::Debug for PerCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerCpu").finish_non_exhaustive()
    }
}

impl PerCpu {
    /// Takes the tables out of the object.
    ///
    /// # Errors
    ///
    /// If one is missing or of another shape.
    pub fn take(ebpf: &mut Ebpf) -> Result<Self> {
        Ok(Self {
            stats: PerCpuArray::try_from(take(ebpf, "STATS")?).context("STATS")?,
            histograms: PerCpuArray::try_from(take(ebpf, "HISTOGRAMS")?).context("HISTOGRAMS")?,
            exchanges: PerCpuArray::try_from(take(ebpf, "EXCHANGES")?).context("EXCHANGES")?,
            reasons: PerCpuArray::try_from(take(ebpf, "REASONS")?).context("REASONS")?,
            evictions: PerCpuArray::try_from(take(ebpf, "EVICTIONS")?).context("EVICTIONS")?,
            hears_resent: false,
        })
    }

    /// Says whether the kernel tells of segments that are sent again.
    pub fn hears_resent(&mut self, hears: bool) {
        self.hears_resent = hears;
    }

    /// Counters of every split that has some.
    #[must_use]
    pub fn counters(
        &self,
        published: &Published,
        splits: &Mapped<SplitRow>,
    ) -> BTreeMap<SplitKey, Counters> {
        published
            .counted()
            .filter_map(|(key, id, histogram)| {
                let counters = self.row(id, histogram, splits);
                match counters {
                    Ok(counters) => Some((key.clone(), counters)),
                    Err(error) => {
                        tracing::error!("counters of {}/{}: {error:#}", key.service, key.subset);
                        None
                    }
                }
            })
            .collect()
    }

    fn row(&self, id: u16, histogram: Option<u32>, splits: &Mapped<SplitRow>) -> Result<Counters> {
        let row = u32::from(id);
        let cpus = self.stats.get(&row, 0).context("read STATS")?;
        let sum = |counter: Counter| -> u64 {
            cpus.iter().filter_map(|counts| counts.values.get(counter.index())).sum()
        };
        let cpus = self.exchanges.get(&row, 0).context("read EXCHANGES")?;
        let seen = |exchange: Exchange| -> u64 {
            cpus.iter().filter_map(|counts| counts.get(exchange.index())).sum()
        };
        let expired = splits.load_wide(row, offset_of!(SplitRow, expired))?;
        let mut counters = Counters {
            opened: sum(Counter::Opened),
            established: sum(Counter::Established),
            refused: sum(Counter::Refused),
            timed_out: splits.load_wide(row, offset_of!(SplitRow, timed_out))?,
            unanswered: sum(Counter::Unanswered),
            reset_by_server: sum(Counter::ResetByServer),
            reset_by_client: sum(Counter::ResetByClient),
            closed: sum(Counter::Closed)
                .saturating_add(expired)
                .saturating_add(sum(Counter::PushedOut)),
            bytes_to_backend: sum(Counter::BytesToBackend),
            bytes_to_client: sum(Counter::BytesToClient),
            connect_us: None,
            response_us: None,
            syn_retransmits: seen(Exchange::SynAgain),
            segment_retransmits: self.hears_resent.then(|| seen(Exchange::SegmentAgain)),
            http: None,
        };
        if let Some(histogram) = histogram {
            let cpus = self.histograms.get(&histogram, 0).context("read HISTOGRAMS")?;
            counters.connect_us = Some(merge(cpus.iter().map(|cpu| cpu.connect.as_slice())));
            counters.response_us = Some(merge(cpus.iter().map(|cpu| cpu.response.as_slice())));
            counters.http = Some(Exchange::ANSWERS.map(seen));
        }
        Ok(counters)
    }

    /// Adds to what was counted of a split. What programs count in the same instant may be lost.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn add(
        &mut self,
        id: u16,
        counts: &Counts,
        times: Option<(u32, Histograms)>,
    ) -> Result<()> {
        let add_counts = |row: &mut Counts| add(&mut row.values, &counts.values);
        change_first(&mut self.stats, u32::from(id), add_counts).context("write STATS")?;
        let Some((id, times)) = times else { return Ok(()) };
        let add_times = |row: &mut Histograms| {
            add(&mut row.connect, &times.connect);
            add(&mut row.response, &times.response);
        };
        change_first(&mut self.histograms, id, add_times).context("write HISTOGRAMS")
    }

    /// Packets that were not forwarded, by reason.
    #[must_use]
    pub fn reasons(&self) -> Vec<(&'static str, u64)> {
        let count = |reason: &Reason| -> u64 {
            self.reasons.get(&reason.slot(), 0).map(|cpus| cpus.iter().sum()).unwrap_or_default()
        };
        Reason::ALL.iter().map(|reason| (reason.word(), count(reason))).collect()
    }

    /// What inserts into `FLOWS` have pushed out, by what it was, and how many found no room.
    #[must_use]
    pub fn evictions(&self) -> (Vec<(&'static str, u64)>, u64) {
        match self.evictions.get(&0, 0) {
            Ok(cpus) => evictions(&cpus),
            Err(error) => {
                tracing::error!("read EVICTIONS: {error}");
                (Vec::new(), 0)
            }
        }
    }
}

/// What was pushed out of `FLOWS` and what found no room there, in the order of the slots.
const EVICTED: [(&str, Limit); 6] = [
    ("closed", Limit::Closed),
    ("trace", Limit::Traces),
    ("picked-again", Limit::Again),
    ("half-open", Limit::HalfOpen),
    ("udp-exchange", Limit::Exchange),
    ("udp-idle", Limit::Idle),
];

/// Sums of `EVICTIONS`: by what was pushed out, and the inserts that found nothing to push out.
fn evictions(cpus: &[Slots]) -> (Vec<(&'static str, u64)>, u64) {
    let mut sums = [0; EVICTIONS];
    for slots in cpus {
        add(&mut sums, slots);
    }
    let of = |slot: usize| sums.get(slot).copied().unwrap_or_default();
    let evicted = EVICTED.iter().map(|(what, limit)| (*what, of(slot(*limit)))).collect();
    (evicted, of(usize::try_from(NO_ROOM).unwrap_or(usize::MAX)))
}

#[expect(clippy::as_conversions, reason = "the discriminant of a field-less enum")]
const fn slot(limit: Limit) -> usize {
    limit as usize
}

/// Changes the first CPU's share of a row.
fn change_first<V: Pod>(
    rows: &mut PerCpuArray<MapData, V>,
    row: u32,
    change: impl FnOnce(&mut V),
) -> Result<()> {
    let mut cpus: Vec<V> = rows.get(&row, 0)?.to_vec();
    if let Some(first) = cpus.first_mut() {
        change(first);
    }
    Ok(rows.set(row, PerCpuValues::try_from(cpus)?, 0)?)
}

/// Adds one row of counts to another.
pub(super) fn add(sum: &mut [u64], more: &[u64]) {
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum = sum.saturating_add(*more);
    }
}

/// The sum over the CPUs of one kind of time; empty buckets are left out.
fn merge<'a, I: Iterator<Item = &'a [u64]>>(cpus: I) -> Histogram {
    let mut totals: BTreeMap<usize, u64> = BTreeMap::new();
    for counts in cpus {
        for (step, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let total = totals.entry(step).or_default();
            *total = total.saturating_add(*count);
        }
    }
    let buckets: Vec<(u64, u64)> =
        totals.into_iter().map(|(step, count)| (step_end(step), count)).collect();
    let sum_us = buckets.iter().map(|(end, count)| end.saturating_mul(*count)).sum();
    Histogram { buckets, sum_us }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evictions_are_added_up_by_what_went() {
        let (evicted, refused) = evictions(&[[0, 1, 2, 3, 4, 5, 6, 7], [9, 1, 0, 0, 0, 0, 0, 1]]);

        let expected = [
            ("closed", 2),
            ("trace", 2),
            ("picked-again", 3),
            ("half-open", 4),
            ("udp-exchange", 5),
            ("udp-idle", 6),
        ];
        assert_eq!((evicted, refused), (expected.to_vec(), 8));
    }
}
