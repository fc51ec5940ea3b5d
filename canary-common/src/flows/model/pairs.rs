//! The two entries of a connection: their end, and how they are stored, in parts.

use super::cpu::{Cpu, Fault};
use super::explore::{AtEnd, Program, Scenario, Watch};
use super::inserts::inserter;
use super::reads::settles;
use super::table::{
    NOW, NOWHERE, at, count, entries, fill, hash, head, memory, put, request, seed, settled, side,
};
use super::*;
use crate::memory::Memory;

/// Stores the connection of client `number` at two places.
fn put_pair(memory: &Memory, number: u16, [forward, back]: [u32; 2], now: u32, by: Seed) {
    for (kind, place, partner) in [(Kind::Forward, forward, back), (Kind::Return, back, forward)] {
        let request = request(number, kind);
        let values = Values { partner, ..request.values };
        put(memory, place, &Request { values, now, ..request }, by);
    }
}

/// Finds an entry of client `number` and frees its connection; whether it did.
fn pair_freer(number: u16, kind: Kind, by: Seed) -> Program {
    pair_ender(number, kind, Back::Goes, by)
}

/// The same, and the way back may stay.
fn pair_ender(number: u16, kind: Kind, back: Back, by: Seed) -> Program {
    let request = request(number, kind);
    let hash = hash(&request, by);
    Box::new(move |cpu| {
        let found = find(cpu, &request.key, hash, side(kind));
        Ok(found.is_some_and(|entry| free_pair(cpu, &entry, by, back)).into())
    })
}

/// Frees the entries of client `number` in this order.
fn freer_in_order(number: u16, kinds: [Kind; 2], by: Seed) -> Program {
    Box::new(move |cpu| {
        for request in kinds.map(|kind| request(number, kind)) {
            if let Some(entry) = find(cpu, &request.key, hash(&request, by), side(request.kind)) {
                free(cpu, &entry, by);
            }
        }
        Ok(0)
    })
}

/// Finds the `return` of client `number` and notes a packet.
fn toucher(number: u16, by: Seed) -> Program {
    let request = request(number, Kind::Return);
    Box::new(move |cpu| {
        if let Some(entry) = find(cpu, &request.key, hash(&request, by), Client::IsDestination) {
            touch(cpu, &entry, NOW);
        }
        Ok(0)
    })
}

/// A connection at places 5 and 6, which these programs end; in no state is there only the way
/// forth.
fn ended(programs: fn(Seed) -> Vec<Program>) -> Scenario {
    let by = seed(1);
    let memory = memory(1);
    fill(&memory, 0, 2, by);
    put_pair(&memory, 1, [5, 6], NOW - 5, by);
    // The way back is the idler one: it is what is pushed out.
    memory.store_high(&memory.flows[0].heads[6], NOW - 9);
    let begun = [5, 6].map(|place| head(&memory, place));
    let during: Watch = Box::new(move |memory| {
        let [forward, back] = [5, 6].map(|place| head(memory, place));
        if forward.is_of_same(begun[0]) && !back.is_of_same(begun[1]) {
            return Err("a way forth, and no way back".to_owned());
        }
        Ok(())
    });
    let (programs, at_end) = (programs(by), settles(by));
    Scenario { memory, programs, during: Some(during), at_end, fault: None }
}

#[test]
fn the_way_forth_ends_before_the_way_back() {
    let from_both_ends = |by| {
        let ends = [Kind::Forward, Kind::Return].map(|kind| pair_freer(1, kind, by));
        ends.into_iter().chain([toucher(1, by)]).collect()
    };
    holds("2 ends of a pair freed, touch", &ended(from_both_ends));

    holds(
        "a pair pushed out, its return freed",
        &ended(|by| vec![pair_freer(1, Kind::Return, by), pusher(3, by)]),
    );
    holds(
        "a pair pushed out, its forward freed",
        &ended(|by| vec![pair_freer(1, Kind::Forward, by), pusher(3, by)]),
    );
    holds("a pair pushed out by two", &ended(|by| vec![pusher(4, by), pusher(3, by)]));

    let wrong_order = |by| vec![freer_in_order(1, [Kind::Return, Kind::Forward], by)];
    let broken = ended(wrong_order).explore().unwrap_err();
    assert!(broken.starts_with("a way forth, and no way back"), "{broken}");
}

/// Stores the connection of client `number`, answered, and says so if both entries are where
/// their partner says.
fn store_answered(cpu: &Cpu<'_>, number: u16, [forward, back]: [u32; 2], by: Seed) -> u64 {
    let store = |kind, partner| {
        let request = request(number, kind);
        let values = Values { partner, ..request.values };
        let (state, limit) = (Head::ANSWERED, Limit::Free);
        insert_part(cpu, &Request { values, state, limit, ..request }, by)
    };
    let stored = [store(Kind::Return, forward), store(Kind::Forward, back)];
    (stored == [Some(back), Some(forward)]).into()
}

/// A program meets connection 1 at its end, while connection 2 takes its places, answered.
fn replaced(places: [u32; 2], other: fn(Seed) -> Program) -> Scenario {
    let by = seed(1);
    let memory = memory(1);
    fill(&memory, 0, 2, by);
    put_pair(&memory, 1, places, NOW - 5, by);
    let frees = pair_freer(1, Kind::Forward, by);
    // One whose `return` takes place 5 when 5 and 6 are free.
    let takes_five = |number: &u16| hash(&request(*number, Kind::Return), by).home() & 2 == 0;
    let number = (10..100).find(takes_five).unwrap();
    let replaces: Program = Box::new(move |cpu| {
        cpu.part(|| frees(cpu).unwrap_or(0));
        Ok(store_answered(cpu, number, [6, 5], by))
    });
    let at_end: AtEnd = Box::new(move |memory, results| {
        settled(memory, by)?;
        let live = [Kind::Forward, Kind::Return].map(|kind| count(memory, &request(number, kind)));
        if results[1] == 1 && live != [1, 1] {
            return Err(format!("an innocent connection is ended: {live:?}"));
        }
        Ok(())
    });
    Scenario { memory, programs: vec![other(by), replaces], during: None, at_end, fault: None }
}

#[test]
fn the_end_of_a_connection_is_not_that_of_the_next_in_its_places() {
    let others: [fn(Seed) -> Program; 4] = [
        |by| pair_freer(1, Kind::Return, by),
        |by| pair_freer(1, Kind::Forward, by),
        |by| pusher(3, by),
        |by| pair_ender(1, Kind::Return, Back::Stays, by),
    ];
    for places in [[6, 5], [5, 6]] {
        for other in others {
            holds(&format!("pair of {places:?} replaced"), &replaced(places, other));
        }
        let scenario = replaced(places, others[0]);
        breaks("pair replaced", scenario, Fault::FreeByStore, "an innocent connection");
    }
}

/// Inserts for client `number`, and pushes out what is half open.
fn pusher(number: u16, by: Seed) -> Program {
    inserter(request(number, Kind::Forward), by)
}

/// Inserts, as a part of a program: the place.
fn insert_part(cpu: &Cpu<'_>, request: &Request, by: Seed) -> Option<u32> {
    let stored = cpu.part(|| match insert(cpu, request, by) {
        Stored::At(place) => place.into(),
        Stored::Exists | Stored::Busy | Stored::Full => u64::MAX,
    });
    u32::try_from(stored).ok()
}

/// Stores a connection as the datapath does: `return`, `forward`, and then the `return` is told.
/// Whether both are stored.
fn storer(number: u16, by: Seed) -> Program {
    let [forward, back] = [Kind::Forward, Kind::Return].map(|kind| request(number, kind));
    Box::new(move |cpu| {
        let Some(place) = insert_part(cpu, &back, by) else { return Ok(0) };
        let values = Values { partner: place, ..forward.values };
        let stored = insert_part(cpu, &Request { values, spare: place, ..forward }, by);
        let Some(entry) = find_at(cpu, place) else {
            return Err("a `return` is gone before its `forward` is stored".to_owned());
        };
        if key_of(cpu, &entry) != back.key {
            return Err("a `return` is replaced before its `forward` is stored".to_owned());
        }
        let Some(forth) = stored else {
            free(cpu, &entry, by);
            return Ok(0);
        };
        link(cpu, place, forth);
        Ok(1)
    })
}

/// A connection is stored where `pairs` half-open ones are, while another CPU does something else.
fn stored(pairs: u32, other: fn(Seed) -> Program) -> Scenario {
    let by = seed(1);
    let memory = memory(1);
    fill(&memory, 0, 2 * pairs, by);
    for (number, place) in (11..).zip((7 - 2 * pairs..7).step_by(2)) {
        put_pair(&memory, number, [place, place + 1], NOW - 20, by);
    }
    let at_end: AtEnd = Box::new(move |memory, results| {
        settled(memory, by)?;
        for (entry, key) in entries(memory) {
            // Those that fill the table have none.
            if entry.head.kind() != Kind::Forward || entry.values.partner == NOWHERE {
                continue;
            }
            let (bucket, index) = at(memory, entry.values.partner);
            let back = Head(bucket.heads[index].load());
            let partner = find_at(memory, entry.values.partner);
            let whole = partner.is_some_and(|partner| partner.values.partner == entry.place);
            if back.kind() != Kind::Return || !whole {
                return Err(format!("a `forward` without its `return`: {key:?} {results:?}"));
            }
        }
        Ok(())
    });
    let programs = vec![storer(1, by), other(by)];
    Scenario { memory, programs, during: None, at_end, fault: None }
}

#[test]
fn a_connection_is_stored_whole_or_not_at_all() {
    holds("2 pairs stored, 1 pushed out", &stored(1, |by| storer(2, by)));
    holds("2 pairs stored, 2 pushed out", &stored(2, |by| storer(2, by)));
    // A late answer to an older connection of the same tuple.
    holds("pair stored, its return freed", &stored(1, |by| pair_freer(1, Kind::Return, by)));
    holds("pair stored and freed", &stored(1, |by| pair_freer(1, Kind::Forward, by)));
    holds("pair stored, the old one freed", &stored(1, |by| pair_freer(11, Kind::Return, by)));
}

/// A question of connection 1 is noted late, while connection 2 takes its places.
#[test]
fn a_late_question_does_not_part_the_next_connection() {
    let by = seed(1);
    let memory = memory(1);
    fill(&memory, 0, 2, by);
    put_pair(&memory, 1, [6, 5], NOW - 5, by);
    let old = request(1, Kind::Return);
    let asks: Program = Box::new(move |cpu| {
        if let Some(entry) = find(cpu, &old.key, hash(&old, by), Client::IsDestination) {
            ask(cpu, &entry, 77);
        }
        Ok(0)
    });
    let (frees, stores) = (pair_freer(1, Kind::Forward, by), storer(2, by));
    let replaces: Program = Box::new(move |cpu| {
        cpu.part(|| frees(cpu).unwrap_or(0));
        stores(cpu)
    });
    let at_end: AtEnd = Box::new(move |memory, results| {
        settled(memory, by)?;
        let alone = |entry: &Entry<'_>| {
            entry.head.kind() == Kind::Return && entry.values.partner == NO_PARTNER
        };
        if results[1] == 1 && entries(memory).iter().any(|(entry, _)| alone(entry)) {
            return Err("a `return` was not told of its `forward`".to_owned());
        }
        Ok(())
    });
    let programs = vec![asks, replaces];
    holds("late question", &Scenario { memory, programs, during: None, at_end, fault: None });
}
