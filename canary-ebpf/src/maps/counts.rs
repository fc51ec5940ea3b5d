//! What programs count, in rows of the CPU that they run on.

use core::hint::black_box;

use canary_common::stats::{Counter, Exchange, Timing, step};

use super::{EVICTIONS, EXCHANGES, HISTOGRAMS, REASONS, SPLITS, STATS, low, own_row, row};
use crate::never;

/// Counts a packet that was not forwarded.
#[inline(always)]
pub(crate) fn count(reason: u32) {
    if let Some(slot) = own_row(&REASONS, reason) {
        *slot = slot.wrapping_add(1);
    }
    never::look(reason);
}

/// Counts an answered flow that was pushed out.
#[inline(always)]
pub(super) fn count_pushed_out(statistics: u16) {
    count_split(statistics, Counter::PushedOut, 1);
}

/// Moves a counter of a split.
#[inline(always)]
pub(super) fn count_split(statistics: u16, counter: Counter, by: u64) {
    if let Some(counts) = own_row(&STATS, u32::from(statistics))
        && let Some(count) = counts.values.get_mut(counter.index())
    {
        *count = count.wrapping_add(by);
    }
}

/// Counts what an insert pushed out, by rank.
#[inline(always)]
pub(super) fn count_evicted(rank: u64) {
    if let Some(slots) = own_row(&EVICTIONS, 0)
        // Verifier: as for the steps of histograms.
        && let Some(slot) = slots.get_mut(black_box(crate::skb::wide(low(rank))))
    {
        *slot = slot.wrapping_add(1);
    }
}

/// Counts something that a split's packets show.
#[inline(always)]
pub(super) fn count_exchange(statistics: u16, exchange: Exchange) {
    if let Some(counts) = own_row(&EXCHANGES, u32::from(statistics))
        // Verifier: as for the steps of histograms.
        && let Some(count) = counts.get_mut(black_box(exchange.index()))
    {
        *count = count.wrapping_add(1);
    }
}

/// Counts a time in microseconds, if the split has histograms.
#[inline(always)]
pub(super) fn count_time(statistics: u16, timing: Timing, us: u32) {
    let Some(split) = row(&SPLITS, u32::from(statistics)) else { return };
    let Some(id) = split.histogram.load().checked_sub(1) else { return };
    let Some(histograms) = own_row(&HISTOGRAMS, id) else { return };
    let steps = match timing {
        Timing::Connect => &mut histograms.connect,
        Timing::Response => &mut histograms.response,
    };
    // Verifier: the compiler proves that this is in range and would drop the check that
    // tells the verifier (`R0 unbounded memory access`).
    if let Some(count) = steps.get_mut(black_box(step(us))) {
        *count = count.wrapping_add(1);
    }
}
