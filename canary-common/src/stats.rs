//! What is counted for each split.

use crate::layout::assert_map_type;
use crate::word::Word;

/// A counter of a split: its place in the row of `STATS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Counter {
    /// Flows started.
    Opened = 0,
    /// Connections a backend accepted; for UDP, flows that got an answer.
    Established = 1,
    /// Connections a backend refused.
    Refused = 2,
    /// Ended with client payload and no server payload.
    Unanswered = 3,
    /// Established, then reset by the server.
    ResetByServer = 4,
    /// Established, then reset by the client.
    ResetByClient = 5,
    /// Established, then ended by both sides.
    Closed = 6,
    /// Payload bytes from clients.
    BytesToBackend = 7,
    /// Payload bytes to clients.
    BytesToClient = 8,
    /// Picks at connect time: their packets are not seen by the hooks.
    OpenedBySocket = 9,
    /// Established, then pushed out of the flow table, or replaced while it had not ended.
    PushedOut = 10,
    /// Reset by one end and counted so, though both went on.
    Revived = 11,
}

/// Counters in a row.
pub const COUNTERS: usize = 12;

/// A row of `STATS`, per CPU: what each [`Counter`] counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counts {
    /// By [`Counter`].
    pub values: [u64; COUNTERS],
}

assert_map_type!(Counts { values: [u64; COUNTERS] } is 96 bytes);

impl Counter {
    /// Its place in the row.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::as_conversions, reason = "the discriminant of a field-less enum")]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// What a split's connections show beside that: its place in the row of `EXCHANGES`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exchange {
    /// A client's SYN came once more: its backend had not answered the one before.
    SynAgain = 0,
    /// HTTP/1 answers with a status from 100 to 199.
    Informational = 1,
    /// 200 to 299.
    Successful = 2,
    /// 300 to 399.
    Redirection = 3,
    /// 400 to 499.
    ClientError = 4,
    /// 500 to 599.
    ServerError = 5,
    /// A segment that an end on this node sent once more.
    SegmentAgain = 6,
}

/// Counters in a row of `EXCHANGES`.
pub const EXCHANGES: usize = 8;

impl Exchange {
    /// HTTP answers by class.
    pub const ANSWERS: [Self; 5] = [
        Self::Informational,
        Self::Successful,
        Self::Redirection,
        Self::ClientError,
        Self::ServerError,
    ];

    /// Its place in the row.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::as_conversions, reason = "the discriminant of a field-less enum")]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Which time a histogram is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// From SYN to SYN-ACK.
    Connect,
    /// From the last payload of a question to the first of its answer.
    Response,
}

/// Buckets of a histogram: four to an octave of microseconds, up to 2^32.
pub const STEPS: usize = 124;

/// A row of `HISTOGRAMS`, per CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Histograms {
    /// Counts of [`Timing::Connect`].
    pub connect: [u64; STEPS],
    /// Counts of [`Timing::Response`].
    pub response: [u64; STEPS],
}

assert_map_type!(Histograms { connect: [u64; STEPS], response: [u64; STEPS] } is 1984 bytes);

/// The bucket of a time in microseconds; always below [`STEPS`].
#[inline(always)]
#[must_use]
pub const fn step(us: u32) -> usize {
    if us < 4 {
        return widen(us);
    }
    // 2 to 31: the octave. Its four steps follow those of the octave before.
    let octave = 31_u32.wrapping_sub(us.leading_zeros());
    let quarter = (us >> octave.wrapping_sub(2)) & 3;
    widen(octave.wrapping_sub(1).wrapping_mul(4).wrapping_add(quarter))
}

/// The largest time in microseconds that falls into a bucket.
#[must_use]
pub fn step_end(step: usize) -> u64 {
    let step = u64::try_from(step).unwrap_or(u64::MAX);
    if step < 4 {
        return step;
    }
    let (octave, quarter) = (step.wrapping_shr(2).wrapping_add(1), step & 3);
    (quarter.wrapping_add(5) << octave.wrapping_sub(2)).wrapping_sub(1)
}

#[expect(clippy::as_conversions, reason = "From is not const; the value is small")]
#[inline(always)]
const fn widen(word: u32) -> usize {
    word as usize
}

/// A row of `SPLITS`: what the agent says of a split, and what it counts itself.
#[derive(Debug, Default)]
#[repr(C)]
pub struct SplitRow {
    /// Row of `HISTOGRAMS` plus one; 0 for none.
    pub histogram: Word<u32>,
    /// Always 0.
    pub reserved: u32,
    /// Connections that no backend answered, found by the agent's sweep.
    pub timed_out: Word<u64>,
    /// Established flows that went idle, found by the agent's sweep.
    pub expired: Word<u64>,
}

assert_map_type!(SplitRow {
    histogram: Word<u32>, reserved: u32, timed_out: Word<u64>, expired: Word<u64>,
} is 24 bytes);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_within_its_bucket() {
        let mut last = 0;
        for us in (0..200_000_u32).chain((0..32).map(|bit| 1 << bit)).chain([u32::MAX]) {
            let step = step(us);

            assert!(step < STEPS, "{us} is in {step}");
            assert!(u64::from(us) <= step_end(step), "{us} above the end of {step}");
            assert!(step == 0 || u64::from(us) > step_end(step - 1), "{us} below {step}");
            last = last.max(step);
        }
        assert_eq!(last, STEPS - 1);
    }
}
