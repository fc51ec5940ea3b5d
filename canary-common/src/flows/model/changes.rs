//! State, seconds and the end of entries, while others take their places.

use super::cpu::Fault;
use super::explore::{AtEnd, Program, Scenario};
use super::inserts::inserter;
use super::reads::{freer, one_place};
use super::table::{
    NOW, count, fill, hash, head, memory, put, request, seed, settled, side, twins,
};
use super::*;

/// Finds the entry of client `number` and sets bits of its state; whether it did.
fn marker(number: u16, bits: u64, by: Seed) -> Program {
    let request = request(number, Kind::Forward);
    let hash = hash(&request, by);
    Box::new(move |cpu| {
        let found = find(cpu, &request.key, hash, Client::IsSource);
        Ok(found.is_some_and(|entry| mark(cpu, &entry, bits, 0).is_some()).into())
    })
}

/// Finds the entry of client `number` and notes a packet. Whether the entry is seen to live after
/// that, with what was noted: from here on it is no longer idle.
fn toucher(number: u16, by: Seed) -> Program {
    let request = request(number, Kind::Forward);
    let hash = hash(&request, by);
    Box::new(move |cpu| {
        let Some(entry) = find(cpu, &request.key, hash, Client::IsSource) else { return Ok(0) };
        touch(cpu, &entry, NOW);
        let head = Head(cpu.load(entry.word));
        Ok((head.is_of_same(entry.head) && head.seen() == NOW).into())
    })
}

/// Nothing but A's own marks: B, if it is there, is as it was stored.
fn unmarked(b: u16, by: Seed) -> AtEnd {
    Box::new(move |memory, _| {
        settled(memory, by)?;
        let head = head(memory, 6);
        let is_b = count(memory, &request(b, Kind::Forward)) == 1;
        if is_b && head.0 & Head::STATE != 0 {
            return Err(format!("a mark lands on another: {:x}", head.0));
        }
        if !is_b && head.kind() == Kind::Free && head.0 & Head::STATE != 0 {
            return Err(format!("a mark lands on a free place: {:x}", head.0));
        }
        Ok(())
    })
}

/// A FIN of A, while it is freed and B takes the place, or B pushes it out.
fn marked(pushes_out: bool) -> Scenario {
    let by = seed(1);
    let (memory, [a, b, _]) = one_place(by);
    let limit = if pushes_out { Limit::HalfOpen } else { Limit::Free };
    let programs = vec![
        marker(a, Head::FIN, by),
        inserter(Request { limit, ..request(b, Kind::Forward) }, by),
        freer(a, Kind::Forward, by),
    ];
    Scenario { memory, programs, during: None, at_end: unmarked(b, by), fault: None }
}

#[test]
fn a_mark_never_lands_on_another_entry() {
    for pushes_out in [false, true] {
        holds("mark, free, insert", &marked(pushes_out));
        breaks("mark", marked(pushes_out), Fault::MarkByOr, "a mark lands on");
        breaks("mark", marked(pushes_out), Fault::NoVersion, "a mark lands on");
    }
}

#[test]
fn marks_and_seconds_that_meet_are_all_kept() {
    let by = seed(1);
    let memory = memory(1);
    fill(&memory, 0, 1, by);
    put(&memory, 6, &Request { now: NOW - 5, ..request(1, Kind::Forward) }, by);
    let programs = vec![marker(1, Head::FIN, by), marker(1, Head::ANSWERED, by), toucher(1, by)];
    let at_end: AtEnd = Box::new(move |memory, results| {
        settled(memory, by)?;
        let head = head(memory, 6);
        let kept = head.has(Head::FIN) && head.has(Head::ANSWERED) && head.seen() == NOW;
        if results == [1, 1, 1] && kept { Ok(()) } else { Err(format!("lost: {:x}", head.0)) }
    });
    holds("2 marks, touch", &Scenario { memory, programs, during: None, at_end, fault: None });
}

/// A packet of A is noted late: it may reach B's head, whose seconds alone change.
#[test]
fn a_late_second_changes_nothing_but_seconds() {
    let by = seed(1);
    let memory = memory(1);
    fill(&memory, 0, 1, by);
    let [a, b] = twins(Kind::Forward, by, [0, 0]);
    put(&memory, 6, &Request { now: NOW - 5, ..request(a, Kind::Forward) }, by);
    let late = Request { now: NOW + 1, state: Head::PAYLOAD, ..request(b, Kind::Forward) };
    let programs = vec![toucher(a, by), freer(a, Kind::Forward, by), inserter(late, by)];
    let at_end: AtEnd = Box::new(move |memory, results| {
        settled(memory, by)?;
        let head = head(memory, 6);
        let whole = head.0 & Head::STATE == Head::PAYLOAD
            && head.is_of_same(Head::live(head, hash(&late, by).tag, Kind::Forward, 0, 0))
            && [NOW, NOW + 1].contains(&head.seen());
        if (results[2] == 0) != (count(memory, &late) == 1) || results[2] == 0 && !whole {
            return Err(format!("changed: {:x} {results:?}", head.0));
        }
        Ok(())
    });
    holds("touch, free, insert", &Scenario { memory, programs, during: None, at_end, fault: None });
}

/// Frees a place's entry if it is idle, as it was judged; whether it did.
fn sweeper(place: u32, by: Seed) -> Program {
    Box::new(move |cpu| {
        let Some(entry) = find_at(cpu, place) else { return Ok(0) };
        Ok((entry.head.idle(NOW) >= 60 && free(cpu, &entry, by)).into())
    })
}

/// The agent frees an idle connection whose next packet comes.
fn swept() -> Scenario {
    let by = seed(1);
    let memory = memory(1);
    fill(&memory, 0, 1, by);
    let idle = Request { state: Head::ANSWERED, now: NOW - 100, ..request(1, Kind::Forward) };
    put(&memory, 6, &idle, by);
    let programs = vec![sweeper(6, by), toucher(1, by), marker(1, Head::FIN, by)];
    let at_end: AtEnd = Box::new(move |memory, results| {
        settled(memory, by)?;
        let live = count(memory, &idle) == 1;
        if results[1] == 1 && !live {
            return Err("freed although a packet was noted".to_owned());
        }
        if results[0] == 1 && live { Err("freed, and lives".to_owned()) } else { Ok(()) }
    });
    Scenario { memory, programs, during: None, at_end, fault: None }
}

#[test]
fn an_entry_that_goes_on_is_not_swept() {
    holds("sweep, touch, mark", &swept());
    breaks("sweep, touch", swept(), Fault::FreeByStore, "freed although");
}

/// A spilled entry is freed by three at once, and found no more.
fn freed_by_all() -> Scenario {
    let by = seed(2);
    let memory = memory(2);
    fill(&memory, 0, 0, by);
    fill(&memory, 1, 1, by);
    let [a] = twins(Kind::Return, by, [0, 1]);
    put(&memory, 14, &request(a, Kind::Return), by);
    let programs = (0..3).map(|_| freer(a, Kind::Return, by)).collect();
    let at_end: AtEnd = Box::new(move |memory, results| {
        settled(memory, by)?;
        let freed = results.iter().sum::<u64>();
        if freed == 1 { Ok(()) } else { Err(format!("freed {freed} times")) }
    });
    Scenario { memory, programs, during: None, at_end, fault: None }
}

#[test]
fn an_entry_is_freed_once() {
    assert_eq!(side(Kind::Return), Client::IsDestination);
    holds("3 frees", &freed_by_all());
    breaks("3 frees", freed_by_all(), Fault::FreeByStore, "spilled");
}
