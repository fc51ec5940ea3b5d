//! Who goes first when there is no room.
//!
//! Verifier: no branch here. Seven heads with a handful of outcomes each are more ways than it
//! walks, so the rank of a state is looked up, and chosen by arithmetic, some of which the compiler
//! must not see through: it would make branches of it.

use super::{Flows, Head, Kind};
use crate::limits;

/// What an insert may push out: everything up to this rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// Nothing but places that are free.
    Free = 0,
    /// Connections that closed 10 s ago or longer.
    Closed = 1,
    /// Traces that nothing answered, and fragments.
    Traces = 2,
    /// Flows that were picked again and not answered.
    Again = 3,
    /// Half-open flows, the idlest first.
    HalfOpen = 4,
    /// UDP of one exchange.
    Exchange = 5,
    /// Idle UDP streams, and what closed in these ten seconds.
    Idle = 6,
}

/// Slots of `EVICTIONS`: by the rank of what was pushed out, and [`NO_ROOM`].
pub const EVICTIONS: usize = 8;
/// The slot for inserts that found nothing to push out.
pub const NO_ROOM: u64 = 7;

/// The rank of what no insert pushes out.
const NEVER: u16 = 15;
/// Seconds for which a closed connection is rather kept.
const CLOSING: u16 = 10;
/// Seconds for which a UDP stream is never pushed out.
const STREAM: u16 = 30;

impl Limit {
    /// Every limit, by number.
    pub const ALL: [Self; 7] = [
        Self::Free,
        Self::Closed,
        Self::Traces,
        Self::Again,
        Self::HalfOpen,
        Self::Exchange,
        Self::Idle,
    ];

    /// The limit of a number; `None` for one that is none's.
    #[inline(always)]
    #[must_use]
    pub const fn of_number(number: u64) -> Option<Self> {
        match number {
            0 => Some(Self::Free),
            1 => Some(Self::Closed),
            2 => Some(Self::Traces),
            3 => Some(Self::Again),
            4 => Some(Self::HalfOpen),
            5 => Some(Self::Exchange),
            6 => Some(Self::Idle),
            _ => None,
        }
    }

    #[inline(always)]
    #[expect(clippy::as_conversions, reason = "the discriminant of a field-less enum")]
    pub(super) const fn rank(self) -> u64 {
        self as u64
    }

    #[expect(clippy::as_conversions, reason = "the discriminant of a field-less enum")]
    const fn number(self) -> u16 {
        self as u16
    }
}

/// The ranks of kinds and states, by the twelve bits of a head that hold them.
static RANKS: [u16; 1 << 12] = ranks();

#[expect(clippy::as_conversions, clippy::indexing_slicing, reason = "at compile time")]
const fn ranks() -> [u16; 1 << 12] {
    let mut ranks = [0; 1 << 12];
    let mut index = 0;
    while index < ranks.len() {
        ranks[index] = ranks_of(Head((index as u64) << 20));
        index = index.wrapping_add(1);
    }
    ranks
}

/// The rank of a kind and state: bits 0 to 3 before so many seconds without a packet as bits 8 to
/// 15 say, and bits 4 to 7 after that.
///
/// An answered TCP connection is never judged by its age: its other direction may be the busy one.
const fn ranks_of(head: Head) -> u16 {
    match head.kind() {
        Kind::Free => always(Limit::Free.number()),
        Kind::Claimed | Kind::Foreign => always(NEVER),
        Kind::Fragment => always(Limit::Traces.number()),
        Kind::Straight if !head.has(Head::RESET | Head::ANSWERED) => always(Limit::Traces.number()),
        Kind::Straight if head.has(Head::RESET) && head.has(Head::ANSWERED) => {
            changes(NEVER, CLOSING, Limit::Closed.number())
        }
        Kind::Straight if head.has(Head::RESET) => {
            changes(Limit::Traces.number(), CLOSING, Limit::Closed.number())
        }
        Kind::Straight => always(NEVER),
        Kind::Forward | Kind::Return if head.ended() => {
            changes(Limit::Idle.number(), CLOSING, Limit::Closed.number())
        }
        Kind::Forward | Kind::Return if !head.has(Head::ANSWERED) && head.has(Head::AGAIN) => {
            always(Limit::Again.number())
        }
        Kind::Forward | Kind::Return if !head.has(Head::ANSWERED) => {
            always(Limit::HalfOpen.number())
        }
        Kind::Forward | Kind::Return if !head.has(Head::UDP) => always(NEVER),
        Kind::Forward | Kind::Return if !head.has(Head::OVER) => always(Limit::Exchange.number()),
        Kind::Forward | Kind::Return => changes(NEVER, STREAM, Limit::Idle.number()),
    }
}

const fn always(rank: u16) -> u16 {
    changes(rank, 0, rank)
}

const fn changes(young: u16, threshold: u16, old: u16) -> u16 {
    young | old << 4 | threshold << 8
}

/// Who goes first: lower numbers do; one above every [`Limit`] does not. Judged by the head alone.
#[inline(always)]
pub(super) fn rank<T: Flows + ?Sized>(tables: &T, head: Head, now: u32) -> u64 {
    let index = usize::try_from(head.0 >> 20 & 0xfff).unwrap_or(0);
    let ranks = u64::from(RANKS.get(index).copied().unwrap_or(NEVER));
    // All bits set while it is younger than the threshold.
    let young = tables.opaque(idle(tables, head, now).wrapping_sub(ranks >> 8) >> 32);
    ranks >> (4 & !young) & 15
}

/// Whether nothing pushes out the entry of a head, as it is now.
#[must_use]
pub fn is_kept<T: Flows + ?Sized>(tables: &T, head: Head, now: u32) -> bool {
    rank(tables, head, now) == u64::from(NEVER)
}

/// As [`Head::idle`].
#[inline(always)]
fn idle<T: Flows + ?Sized>(tables: &T, head: Head, now: u32) -> u64 {
    let idle = u64::from(now.wrapping_sub(head.seen()));
    // All bits set unless it is in what is the future here.
    idle & tables.opaque(idle >> 31).wrapping_sub(1)
}

/// The least [`score`] of a place that somebody might miss.
const MISSED: u64 = 1 << 40 | (0x7f - PORT_REUSE) << 33;
/// Seconds for which the port of a closed connection counts as taken.
#[expect(clippy::as_conversions, reason = "From is not const; the value widens")]
const PORT_REUSE: u64 = limits::PORT_REUSE_IDLE as u64;

/// What a look over the heads of one bucket finds.
pub(super) struct Scan {
    /// Places that are free, or whose connection closed so long ago that even its port may be used
    /// again: nobody misses it.
    pub(super) room: u64,
    /// The place that matters least, as a [`score`].
    pub(super) best: u64,
}

impl Scan {
    /// Before the first head.
    pub(super) const START: Self = Self { room: 0, best: 1 << 45 };

    /// Adds a head; `spare` is a place that must not be taken, and `home` the index that is
    /// preferred among those that matter as little.
    #[inline(always)]
    pub(super) fn add<T: Flows + ?Sized>(
        &mut self,
        tables: &T,
        head: Head,
        place: u32,
        home: u32,
        spare: u32,
        now: u32,
    ) {
        // All bits set if it is the place to be spared.
        let spared = tables.opaque(u64::from(place ^ spare).wrapping_sub(1) >> 63).wrapping_neg();
        let rank = rank(tables, head, now) | spared & u64::from(NEVER);
        let score = score(tables, rank, idle(tables, head, now), place ^ home);
        self.room = self.room.wrapping_add(tables.opaque(score.wrapping_sub(MISSED) >> 63));
        let less = score.wrapping_sub(self.best);
        // All bits set where the score is less: both are far below 2^63.
        let take = tables.opaque(less >> 63).wrapping_neg();
        self.best = self.best.wrapping_add(less & take);
    }
}

/// How little a place matters, lower first: 4 bits of rank, 7 of how recently it was seen, 32 of
/// the place, its index exclusive-or the preferred one.
#[inline(always)]
fn score<T: Flows + ?Sized>(tables: &T, rank: u64, idle: u64, place: u32) -> u64 {
    // All bits set above 127 seconds.
    let long = tables.opaque(0x7f_u64.wrapping_sub(idle) >> 63).wrapping_neg();
    let recency = 0x7f_u64.wrapping_sub((idle | long) & 0x7f);
    rank << 40 | recency << 33 | u64::from(place)
}

/// The rank in a score.
#[inline(always)]
pub(super) const fn rank_of(score: u64) -> u64 {
    score >> 40
}

/// The place in a score, among whose indices `home` was preferred.
#[inline(always)]
pub(super) const fn place_of(score: u64, home: u32) -> u32 {
    super::low(score) ^ home
}
