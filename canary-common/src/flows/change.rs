//! What changes of entries that live: state, seconds, and their end.

use super::{Entry, Flows, Hash, Head, Kind, Seed, Values, both, find_at, key_of};

/// Times a state is tried to be changed before the change is let go.
const TRIES: u32 = 3;

/// Changes bits of an entry's state; the head before, or `None` if the entry is no more, or
/// others changed it each time.
#[inline(always)]
pub fn mark<T: Flows + ?Sized>(
    tables: &T,
    entry: &Entry<'_>,
    set: u64,
    clear: u64,
) -> Option<Head> {
    let mut seen = entry.head;
    for _ in 0..TRIES {
        if tables.exchange(entry.word, seen.0, seen.0 & !clear | set) {
            return Some(seen);
        }
        seen = Head(tables.load(entry.word));
        if !seen.is_of_same(entry.head) {
            return None;
        }
    }
    None
}

/// Notes a packet: stores the second only when it is another than the one that was read.
///
/// A store that is late may reach another entry's head, which then counts as seen now.
#[inline(always)]
pub fn touch<T: Flows + ?Sized>(tables: &T, entry: &Entry<'_>, now: u32) {
    if entry.head.seen() != now {
        tables.store_high(entry.word, now);
    }
}

/// The entry of the other direction, if it is there and points back; else [`Entry::none`].
///
/// That `entry` lives is looked at last: else both places may have got another connection since
/// it was read, whose entries point to each other as well.
#[inline(always)]
#[must_use]
pub fn partner<'t, T: Flows + ?Sized>(tables: &'t T, entry: &Entry<'t>) -> Entry<'t> {
    let wanted = match entry.head.kind() {
        Kind::Forward => Kind::Return,
        Kind::Return => Kind::Forward,
        Kind::Free | Kind::Claimed | Kind::Foreign | Kind::Straight | Kind::Fragment => {
            return entry.none();
        }
    };
    match find_at(tables, entry.values.partner) {
        Some(other)
            if other.head.kind() == wanted
                && other.values.partner == entry.place
                && Head(tables.load(entry.word)).is_of_same(entry.head) =>
        {
            other
        }
        _ => entry.none(),
    }
}

/// Frees an entry if its head is still the one that was read; whether it was.
#[inline(always)]
pub fn free<T: Flows + ?Sized>(tables: &T, entry: &Entry<'_>, by: Seed) -> bool {
    // Before it is free: then another may write the body.
    let first = first_choice(tables, entry, by);
    let freed = tables.exchange(entry.word, entry.head.0, entry.head.freed().0);
    if freed {
        unspill(tables, first);
    }
    freed
}

/// The first choice of an entry that is in its second, else [`NO_BUCKET`].
#[inline(always)]
pub(super) fn first_choice<T: Flows + ?Sized>(tables: &T, entry: &Entry<'_>, by: Seed) -> u32 {
    if !entry.values.has(Values::SPILLED) {
        return NO_BUCKET;
    }
    Hash::of(&key_of(tables, entry), entry.head.kind().client(), by).first
}

/// The first choice of an entry that is in its second; `None` for one that is in its first.
#[must_use]
pub fn spilled_from<T: Flows + ?Sized>(tables: &T, entry: &Entry<'_>, by: Seed) -> Option<u32> {
    let first = first_choice(tables, entry, by);
    (first != NO_BUCKET).then_some(first)
}

/// No bucket.
const NO_BUCKET: u32 = u32::MAX;

/// Takes an entry that has ended back from the count of its first choice.
#[inline(always)]
pub(super) fn unspill<T: Flows + ?Sized>(tables: &T, first: u32) {
    if first != NO_BUCKET
        && let Some(bucket) = tables.flows(first)
    {
        tables.add(&bucket.own, (1_u64 << 32).wrapping_neg());
    }
}

/// Whether freeing a connection ends its way back as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Back {
    /// Both entries go.
    Goes,
    /// The `return` stays, as one that was reset: for answers that are under way, and so that the
    /// source port counts as taken for a while.
    Stays,
}

/// Frees the connection of an entry, `forward` first: no packet goes forth whose answer would not
/// be restored. Whether it is gone by this call.
///
/// A `return` whose partner is still to be stored stays: its `forward` would live without it.
#[inline(always)]
pub fn free_pair<T: Flows + ?Sized>(tables: &T, entry: &Entry<'_>, by: Seed, back: Back) -> bool {
    let other = partner(tables, entry);
    if entry.head.kind() == Kind::Return {
        let lone = entry.values.partner == NO_PARTNER;
        return !lone
            && (!other.is_there() || free(tables, &other, by))
            && end_back(tables, entry, by, back);
    }
    if !free(tables, entry, by) {
        return false;
    }
    if other.is_there() {
        // If this fails it is an orphan, and counts as free when it is old.
        end_back(tables, &other, by, back);
    }
    true
}

/// Ends the way back of a connection whose way forth has ended.
#[inline(always)]
fn end_back<T: Flows + ?Sized>(tables: &T, back: &Entry<'_>, by: Seed, how: Back) -> bool {
    match how {
        Back::Goes => free(tables, back, by),
        Back::Stays => back.head.ended() || mark(tables, back, Head::RESET, 0).is_some(),
    }
}

/// Notes that one end of a severed connection is told: its other end has the time of a reset to be
/// told as well. Its split has one less, once.
#[inline(always)]
pub fn end_severed<T: Flows + ?Sized>(tables: &T, entry: &Entry<'_>, now: u32) {
    let other = partner(tables, entry);
    let is_back = entry.head.kind() == Kind::Return;
    let (forward, back) = if is_back { (&other, entry) } else { (entry, &other) };
    if !back.is_there() || back.head.has(Head::RESET) {
        return;
    }
    let Some(before) = mark(tables, back, Head::RESET, 0) else { return };
    touch(tables, back, now);
    if forward.is_there() {
        mark(tables, forward, Head::RESET, 0);
    }
    let lives = before.has(Head::ANSWERED) && !before.ended();
    if lives && !back.values.has(Values::UNCOUNTED) {
        tables.pushed_out(back.values.statistics);
    }
}

/// The partner of an entry whose partner is still to be stored.
pub const NO_PARTNER: u32 = u32::MAX;

/// Tells a `return` where its `forward` is, which is stored after it.
///
/// The word holds the tick of the question as well, so that the `return` of another connection
/// that has taken the place since does not look the same.
#[inline(always)]
pub fn link<T: Flows + ?Sized>(tables: &T, back: u32, forward: u32) {
    let Some(entry) = find_at(tables, back) else { return };
    let [.., word] = &entry.body.words;
    if entry.head.kind() == Kind::Return && entry.values.partner == NO_PARTNER {
        let mark = entry.values.mark;
        tables.exchange(word, both(NO_PARTNER, mark), both(forward, mark));
    }
}

/// Notes the tick of a question in the `return` at a place, if it is still `back`.
///
/// The whole word is compared: a store that is late would keep the `return` of the next connection
/// from being told of its `forward`.
#[inline(always)]
pub fn ask<T: Flows + ?Sized>(tables: &T, back: &Entry<'_>, tick: u32) {
    let [.., word] = &back.body.words;
    let Values { partner, mark, .. } = back.values;
    tables.exchange(word, both(partner, mark), both(partner, tick));
}
