//! Inserts, and who goes first when there is no room.

use super::change::{NO_PARTNER, first_choice, unspill};
use super::find::{find_in, index};
use super::rank::{Limit, NO_ROOM, Scan, place_of, rank, rank_of};
use super::{
    Body, Bucket, Flows, Hash, Head, Key, Kind, Seed, Values, find_at, free, high, partner,
};
use crate::word::Word;

/// Times the lock of a bucket is tried; few where each interleaving is tried as well.
const TRIES: u32 = if cfg!(test) { 2 } else { 64 };
/// The lock bit of a bucket's own word; the 31 bits above it count the inserts that held it.
const LOCK: u64 = 1;
/// What an entry in its second choice adds to the own word of its first.
const SPILL: u64 = 1 << 32;
/// Places of the first choice with room below which the second is looked at.
const FEW: u64 = 3;

/// Seconds for which a `return` without a partner is a half of an insert that is under way.
const UNDER_WAY: u32 = 2;

/// An entry that is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Request {
    /// Its tuple.
    pub key: Key,
    /// What it holds; the flag for a second choice is the table's to set.
    pub values: Values,
    /// What it is.
    pub kind: Kind,
    /// Bits of its state.
    pub state: u64,
    /// What it may push out.
    pub limit: Limit,
    /// A place that it must not push out: its partner's.
    pub spare: u32,
    /// The second it is.
    pub now: u32,
}

/// What became of an insert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is at this place.
    At(u32),
    /// The tuple is there already.
    Exists,
    /// The bucket is locked, or others took each place that was tried.
    Busy,
    /// Everything in both buckets is worth more.
    Full,
}

/// Numbers of what is no place: no table has so many.
const NO_PLACE: u32 = 0xffff_0000;
const EXISTS: u32 = NO_PLACE + 1;
const BUSY: u32 = NO_PLACE + 2;
const FULL: u32 = NO_PLACE + 3;

impl Stored {
    /// As a number, which programs and the agent tell each other: the place, or one above every
    /// place.
    #[inline(always)]
    #[must_use]
    pub const fn to_number(self) -> u32 {
        match self {
            Self::At(place) => place,
            Self::Exists => EXISTS,
            Self::Busy => BUSY,
            Self::Full => FULL,
        }
    }

    /// What such a number means; `None` for one that is neither a place nor one of these.
    #[inline(always)]
    #[must_use]
    pub const fn of_number(number: u32) -> Option<Self> {
        match number {
            EXISTS => Some(Self::Exists),
            BUSY => Some(Self::Busy),
            FULL => Some(Self::Full),
            NO_PLACE.. => None,
            place => Some(Self::At(place)),
        }
    }
}

/// Stores an entry whose tuple is new.
#[inline(always)]
pub fn insert<T: Flows + ?Sized>(tables: &T, request: &Request, by: Seed) -> Stored {
    let hash = Hash::of(&request.key, request.kind.client(), by);
    let Some(first) = tables.flows(hash.first) else { return Stored::Full };
    let Some(second) = tables.flows(hash.second) else { return Stored::Full };
    let Some(seen) = lock(tables, &first.own) else { return Stored::Busy };
    let stored = insert_locked(tables, request, [first, second], hash, by);
    unlock(tables, &first.own, seen);
    stored
}

/// Locks a bucket; what its own word was.
#[inline(always)]
fn lock<T: Flows + ?Sized>(tables: &T, own: &Word<u64>) -> Option<u64> {
    for _ in 0..TRIES {
        let seen = tables.load(own);
        if seen & LOCK == 0 && tables.exchange(own, seen, seen | LOCK) {
            return Some(seen);
        }
    }
    None
}

/// Lets go of the lock, and counts that: who recounts what spilled sees that an insert was there.
#[inline(always)]
fn unlock<T: Flows + ?Sized>(tables: &T, own: &Word<u64>, seen: u64) {
    let all = u64::from(u32::MAX);
    // From its end the count goes to 0, and leaves the upper half alone.
    let by = if (seen | LOCK) & all == all { all.wrapping_neg() } else { LOCK };
    tables.add(own, by);
}

/// Takes `drift` off the number of spilled entries that a bucket keeps, if its own word is still
/// `seen`; whether it was.
///
/// A number that is too high costs lookups a second bucket, one that is too low hides an entry.
/// So `seen` must be older than the count of the entries that are really there, by more than any
/// free may take between the entry and its number. Whatever spilled since has changed the word.
#[inline(always)]
pub fn repair<T: Flows + ?Sized>(tables: &T, bucket: u32, seen: u64, drift: u64) -> bool {
    let Some(bucket) = tables.flows(bucket) else { return false };
    let spilled = u64::from(high(seen));
    seen & LOCK == 0
        && drift <= spilled
        && tables.exchange(&bucket.own, seen, seen.wrapping_sub(drift.wrapping_mul(SPILL)))
}

#[inline(always)]
fn insert_locked<T: Flows + ?Sized>(
    tables: &T,
    request: &Request,
    [first, second]: [&Bucket; 2],
    hash: Hash,
    by: Seed,
) -> Stored {
    let wanted = Head::live(Head(0), hash.tag, request.kind, 0, 0).0 & Head::MATCH;
    let key = &request.key;
    if find_in(tables, first, hash.first, key, wanted).is_some()
        || tables.load(&first.own) >> 32 != 0
            && find_in(tables, second, hash.second, key, wanted).is_some()
    {
        return Stored::Exists;
    }
    let near = scan(tables, first, hash.first, hash, request);
    let mut choice = near.best;
    if near.room < FEW {
        let far = scan(tables, second, hash.second, hash, request);
        // Where neither has room: the one that matters least in both.
        if far.room > near.room || near.room == 0 && far.best < near.best {
            choice = far.best;
        }
    }
    if rank_of(choice) > request.limit.rank() {
        tables.evicts(NO_ROOM);
        return Stored::Full;
    }
    take(tables, request, hash, choice, by)
}

#[inline(always)]
fn scan<T: Flows + ?Sized>(
    tables: &T,
    bucket: &Bucket,
    number: u32,
    hash: Hash,
    request: &Request,
) -> Scan {
    let home = home(hash);
    let mut scan = Scan::START;
    let mut place = number << 3;
    for word in &bucket.heads {
        scan.add(tables, Head(tables.load(word)), place, home, request.spare, request.now);
        place = place.wrapping_add(1);
    }
    scan
}

/// The index that the entry is given where it is free.
#[inline(always)]
fn home(hash: Hash) -> u32 {
    u32::try_from(hash.home()).unwrap_or(0)
}

/// Claims the place of a [`Scan`], writes the body, and lets the entry live.
#[inline(always)]
fn take<T: Flows + ?Sized>(
    tables: &T,
    request: &Request,
    hash: Hash,
    choice: u64,
    by: Seed,
) -> Stored {
    let place = place_of(choice, home(hash));
    let Some(bucket) = tables.flows(place >> 3) else { return Stored::Full };
    let index = index(place);
    let (Some(word), Some(body)) = (bucket.heads.get(index), bucket.bodies.get(index)) else {
        return Stored::Full;
    };
    let seen = Head(tables.load(word));
    let claimed = if seen.kind() == Kind::Free {
        tables.exchange(word, seen.0, seen.claimed().0).then_some(seen.claimed())
    } else {
        push_out(tables, place, request, rank_of(choice), by)
    };
    let Some(claimed) = claimed else { return Stored::Busy };
    let spilled = place >> 3 != hash.first;
    if spilled && let Some(first) = tables.flows(hash.first) {
        tables.add(&first.own, SPILL);
    }
    write(tables, body, request, spilled);
    let live = Head::live(claimed, hash.tag, request.kind, request.state, request.now);
    tables.swap(word, live.0);
    Stored::At(place)
}

#[inline(always)]
fn write<T: Flows + ?Sized>(tables: &T, body: &Body, request: &Request, spilled: bool) {
    let [a, b, c, d, tail] = request.key.0;
    let flags = if spilled { Values::SPILLED } else { 0 };
    let values = Values { flags: request.values.flags | flags, ..request.values };
    let [e, f, g, h] = values.words(tail);
    for (word, value) in body.words.iter().zip([a, b, c, d, e, f, g, h]) {
        tables.store(word, value);
    }
}

/// Turns an entry that matters less into a place that is claimed; `None` if it changed.
///
/// `worst` is the rank that the place had: where it was free, an insert under another bucket's
/// lock may have taken it since, and that entry is newer than all that the rank was for.
#[inline(always)]
fn push_out<T: Flows + ?Sized>(
    tables: &T,
    place: u32,
    request: &Request,
    worst: u64,
    by: Seed,
) -> Option<Head> {
    let victim = find_at(tables, place)?;
    let its_rank = rank(tables, victim.head, request.now);
    if its_rank > worst {
        return None;
    }
    if victim.head.kind() == Kind::Return
        && victim.values.partner == NO_PARTNER
        && victim.head.idle(request.now) < UNDER_WAY
    {
        return None;
    }
    let other = partner(tables, &victim);
    if other.is_there()
        && victim.head.kind() == Kind::Return
        && (rank(tables, other.head, request.now) > request.limit.rank()
            || !free(tables, &other, by))
    {
        return None;
    }
    let (first, claimed) = (first_choice(tables, &victim, by), victim.head.claimed());
    if !tables.exchange(victim.word, victim.head.0, claimed.0) {
        return None;
    }
    unspill(tables, first);
    if other.is_there() && victim.head.kind() == Kind::Forward {
        free(tables, &other, by);
    }
    if victim.head.has(Head::ANSWERED)
        && !victim.head.ended()
        && !victim.values.has(Values::UNCOUNTED)
    {
        tables.pushed_out(victim.values.statistics);
    }
    tables.evicts(its_rank);
    Some(claimed)
}
