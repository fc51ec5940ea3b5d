//! Inserts that meet.

use super::cpu::Fault;
use super::explore::{AtEnd, Program, Scenario};
use super::table::{count, fill, hash, memory, put, request, seed, settled, twins};
use super::*;

const STORED: u64 = 0;
const EXISTS: u64 = 1;
const BUSY: u64 = 2;
const FULL: u64 = 3;

pub(super) fn number(stored: Stored) -> u64 {
    match stored {
        Stored::At(_) => STORED,
        Stored::Exists => EXISTS,
        Stored::Busy => BUSY,
        Stored::Full => FULL,
    }
}

/// Inserts.
pub(super) fn inserter(request: Request, by: Seed) -> Program {
    Box::new(move |cpu| Ok(number(insert(cpu, &request, by))))
}

/// Exactly one of the first `of` CPUs has stored the one entry, and nobody found no place.
fn one_of(of: usize, wanted: Request, by: Seed) -> AtEnd {
    Box::new(move |memory, results| {
        settled(memory, by)?;
        let stored = results[..of].iter().filter(|result| **result == STORED).count();
        if results.contains(&FULL) || stored != 1 || count(memory, &wanted) != 1 {
            return Err(format!("not one entry: {} {results:?}", count(memory, &wanted)));
        }
        Ok(())
    })
}

/// `same` CPUs insert one tuple where `open` places are free.
fn one_tuple(same: usize, open: u32) -> Scenario {
    let by = seed(1);
    let memory = memory(1);
    fill(&memory, 0, open, by);
    let wanted = request(1, Kind::Forward);
    let programs = (0..same).map(|_| inserter(wanted, by)).collect();
    Scenario { memory, programs, during: None, at_end: one_of(same, wanted, by), fault: None }
}

#[test]
fn of_inserts_of_one_tuple_one_stores() {
    holds("2 inserts, 1 place", &one_tuple(2, 1));
    holds("2 inserts, 2 places", &one_tuple(2, 2));
    holds("2 inserts, 3 places", &one_tuple(2, 3));
    holds("3 inserts, 2 places", &one_tuple(3, 2));
}

#[test]
fn without_the_lock_or_the_second_look_two_store() {
    breaks("2 inserts", one_tuple(2, 2), Fault::NoLock, "two entries of one tuple");
    breaks("2 inserts", one_tuple(2, 2), Fault::NoSecondLook, "two entries of one tuple");
    breaks("2 inserts", one_tuple(2, 2), Fault::NoUnlock, "a lock is lost");
}

/// Two insert one tuple whose first choice is full, another one whose first choice is the
/// tuple's second: other locks, the same places.
fn spilling(open: u32) -> Scenario {
    let by = seed(2);
    let memory = memory(2);
    fill(&memory, 0, 0, by);
    fill(&memory, 1, open, by);
    let [a] = twins(Kind::Forward, by, [0, 1]);
    let [b] = twins(Kind::Forward, by, [1, 0]);
    let [wanted, other] = [a, b].map(|number| request(number, Kind::Forward));
    let programs = vec![inserter(wanted, by), inserter(wanted, by), inserter(other, by)];
    let at_end: AtEnd = Box::new(move |memory, results| {
        settled(memory, by)?;
        let entries = [wanted, other].map(|request| count(memory, &request));
        let stored = results.iter().filter(|result| **result == STORED).count();
        if entries.iter().sum::<usize>() != stored {
            return Err(format!("stored {results:?}, live {entries:?}"));
        }
        if stored == 0 || results[..2].contains(&FULL) && open > 1 {
            return Err(format!("nobody stored: {results:?}"));
        }
        Ok(())
    });
    Scenario { memory, programs, during: None, at_end, fault: None }
}

#[test]
fn inserts_under_two_locks_meet_in_one_bucket() {
    holds("spilling, 2 places", &spilling(2));
}

#[test]
fn a_claim_by_a_store_loses_an_entry() {
    breaks("spilling", spilling(2), Fault::ClaimByStore, "");
}

/// Two insert what pushes out the same two half-open flows, one of them spilled.
fn pushing_out() -> Scenario {
    let by = seed(2);
    let memory = memory(2);
    fill(&memory, 0, 0, by);
    fill(&memory, 1, 2, by);
    let [a, b, c] = twins(Kind::Forward, by, [0, 1]);
    let [d] = twins(Kind::Forward, by, [1, 0]);
    put(&memory, 13, &Request { now: table::NOW - 5, ..request(a, Kind::Forward) }, by);
    put(&memory, 14, &Request { now: table::NOW - 4, ..request(d, Kind::Forward) }, by);
    let programs =
        [b, c].map(|number| inserter(request(number, Kind::Forward), by)).into_iter().collect();
    let at_end: AtEnd = Box::new(move |memory, results| {
        settled(memory, by)?;
        let live = [b, c].map(|number| count(memory, &request(number, Kind::Forward)));
        let stored = results.iter().filter(|result| **result == STORED).count();
        if stored == 0 || live.iter().sum::<usize>() != stored {
            return Err(format!("stored {results:?}, live {live:?}"));
        }
        Ok(())
    });
    Scenario { memory, programs, during: None, at_end, fault: None }
}

#[test]
fn the_spilled_are_counted_when_entries_are_pushed_out() {
    holds("pushing out", &pushing_out());
    breaks("pushing out", pushing_out(), Fault::NoUnspill, "spilled");
}

/// Two CPUs with different locks, where one place is left in a bucket of fresh half-open flows.
#[test]
fn a_place_that_was_free_is_not_taken_from_its_new_owner() {
    let by = seed(2);
    let memory = memory(2);
    fill(&memory, 0, 1, by);
    fill(&memory, 1, 3, by);
    let [a] = twins(Kind::Forward, by, [0, 1]);
    let [b] = twins(Kind::Forward, by, [1, 0]);
    let [a, b] = [a, b].map(|number| request(number, Kind::Forward));
    assert_ne!(hash(&a, by).first, hash(&b, by).first);
    let programs = vec![inserter(a, by), inserter(b, by)];
    let at_end: AtEnd = Box::new(move |memory, results| {
        settled(memory, by)?;
        let live = [a, b].map(|request| u64::from(count(memory, &request) == 1));
        if results.iter().zip(live).any(|(result, live)| (*result == STORED) != (live == 1)) {
            return Err(format!("pushed out while places were free: {results:?} {live:?}"));
        }
        Ok(())
    });
    holds("free place", &Scenario { memory, programs, during: None, at_end, fault: None });
}
