//! Readers of entries that come and go.

use super::cpu::Fault;
use super::explore::{AtEnd, Program, Scenario};
use super::inserts::inserter;
use super::table::{NOW, are_of, fill, hash, memory, put, request, seed, settled, side, twins};
use super::*;

/// Finds the entry of client `number`, whose values must be its own; whether it is there.
pub(super) fn reader(number: u16, kind: Kind, by: Seed) -> Program {
    let request = request(number, kind);
    let hash = hash(&request, by);
    Box::new(move |cpu| match find(cpu, &request.key, hash, side(kind)) {
        Some(entry) if are_of(&entry.values, number) && entry.head.kind() == kind => Ok(1),
        Some(entry) => Err(format!("another's values: {:?}", entry.values)),
        None => Ok(0),
    })
}

/// Reads the entry at a place, which must be whole: one of these clients'.
fn reader_at(place: u32, numbers: [u16; 3]) -> Program {
    Box::new(move |cpu| match find_at(cpu, place) {
        Some(entry) => {
            let key = key_of(cpu, &entry);
            let same = Head(cpu.load(entry.word)).is_of_same(entry.head);
            let whole = |number: &u16| {
                let own = request(*number, Kind::Forward);
                (!same || key == own.key) && are_of(&entry.values, *number)
            };
            let torn = || format!("a torn entry: {key:?} {entry:?}");
            numbers.iter().any(whole).then_some(1).ok_or_else(torn)
        }
        None => Ok(0),
    })
}

/// Finds the entry of client `number` and frees it as it was found; whether it was.
pub(super) fn freer(number: u16, kind: Kind, by: Seed) -> Program {
    let request = request(number, kind);
    let hash = hash(&request, by);
    Box::new(move |cpu| {
        let found = find(cpu, &request.key, hash, side(kind));
        Ok(found.is_some_and(|entry| free(cpu, &entry, by)).into())
    })
}

pub(super) fn settles(by: Seed) -> AtEnd {
    Box::new(move |memory, _| settled(memory, by))
}

/// A table with one place in play, where a half-open flow is, and two more clients of its tag.
pub(super) fn one_place(by: Seed) -> (crate::memory::Memory, [u16; 3]) {
    let memory = memory(1);
    fill(&memory, 0, 1, by);
    let twins = twins(Kind::Forward, by, [0, 0]);
    put(&memory, 6, &request(twins[0], Kind::Forward), by);
    (memory, twins)
}

/// A reader of A, while B pushes it out, and A comes back.
///
/// Values are read before the addresses and stored after them: without the last step no reader
/// takes the one for the other.
fn pushed_out() -> Scenario {
    let by = seed(1);
    let (memory, [a, b, _]) = one_place(by);
    let mut programs = vec![reader(a, Kind::Forward, by)];
    programs.extend([b, a].map(|number| inserter(request(number, Kind::Forward), by)));
    Scenario { memory, programs, during: None, at_end: settles(by), fault: None }
}

#[test]
fn a_reader_gets_its_own_values_or_none() {
    holds("read, 2 inserts that push out", &pushed_out());
    breaks("read, push out", pushed_out(), Fault::HeadReadOnce, "another's values");
    breaks("read, push out", pushed_out(), Fault::NoVersion, "another's values");
}

/// Does one thing, then another.
fn then(first: Program, second: Program) -> Program {
    Box::new(move |cpu| {
        cpu.part(|| first(cpu).unwrap_or(0));
        second(cpu)
    })
}

/// A reader of A, which is freed, and B takes the place; B is freed, and A comes back.
fn freed() -> Scenario {
    let by = seed(1);
    let (memory, [a, b, _]) = one_place(by);
    let [frees_a, frees_b] = [a, b].map(|number| freer(number, Kind::Forward, by));
    let [stores_a, stores_b] = [a, b].map(|number| {
        inserter(Request { limit: Limit::Free, ..request(number, Kind::Forward) }, by)
    });
    let programs =
        vec![reader(a, Kind::Forward, by), then(frees_a, stores_b), then(frees_b, stores_a)];
    Scenario { memory, programs, during: None, at_end: settles(by), fault: None }
}

#[test]
fn a_freed_place_does_not_show_its_next_owner_to_the_old_ones_reader() {
    holds("read, free, insert", &freed());
    breaks("read, free, insert", freed(), Fault::HeadReadOnce, "another's values");
    breaks("read, free, insert", freed(), Fault::NoVersion, "another's values");
}

/// A reader of a place, while the entries there change twice.
#[test]
fn an_entry_read_by_its_place_is_whole() {
    let scenario = || {
        let by = seed(1);
        let (memory, [a, b, c]) = one_place(by);
        let mut programs = vec![reader_at(6, [a, b, c])];
        programs.extend([b, c].map(|number| inserter(request(number, Kind::Forward), by)));
        Scenario { memory, programs, during: None, at_end: settles(by), fault: None }
    };
    holds("read at a place, 2 inserts", &scenario());
    breaks("read at a place", scenario(), Fault::HeadReadOnce, "a torn entry");
    breaks("read at a place", scenario(), Fault::NoVersion, "a torn entry");
}

/// An entry in its second choice is found in every state of its neighbours, which are pushed out
/// and freed: the count of the spilled never says that there is none.
#[test]
fn a_spilled_entry_is_always_found() {
    let by = seed(2);
    let memory = memory(2);
    fill(&memory, 0, 0, by);
    fill(&memory, 1, 2, by);
    let [a, b, c] = twins(Kind::Forward, by, [0, 1]);
    put(&memory, 13, &Request { state: Head::ANSWERED, ..request(a, Kind::Forward) }, by);
    put(&memory, 14, &Request { now: NOW - 5, ..request(b, Kind::Forward) }, by);
    let programs = vec![
        reader(a, Kind::Forward, by),
        inserter(request(c, Kind::Forward), by),
        freer(b, Kind::Forward, by),
    ];
    let at_end: AtEnd = Box::new(move |memory, results| {
        settled(memory, by)?;
        if results[0] == 1 { Ok(()) } else { Err("a live entry was not found".to_owned()) }
    });
    holds("spilled", &Scenario { memory, programs, during: None, at_end, fault: None });
}
