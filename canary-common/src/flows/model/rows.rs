//! Reuse of a row of `BACKENDS`: grace, pass, grace, and then another service's backend.

use super::cpu::Cpu;
use super::explore::{Program, Scenario};
use super::reads::settles;
use super::table::{fill, hash, memory, request, seed};
use super::*;
use crate::word::Word;

/// Ids of a service's backend that goes, and of the one that stays.
const GOES: u32 = 3;
const STAYS: u32 = 4;
/// Whose pod a row leads to.
const OURS: u64 = 1;
const ANOTHERS: u64 = 2;

/// Tables beside the flows, in a bucket beyond the table's end.
#[derive(Clone, Copy)]
enum Row {
    /// The backend that new flows of the service get.
    Pick,
    /// Not 0 while a CPU runs a program: no grace ends before that.
    Runs(u32),
    /// A row of `BACKENDS`.
    Backend(u32),
}

fn word(tables: &impl Flows, row: Row) -> &Word<u64> {
    let [picks, runs, backends, ..] = &tables.flows(1).unwrap().bodies;
    let at = |index: u32| usize::try_from(index).unwrap();
    match row {
        Row::Pick => &picks.words[0],
        Row::Runs(cpu) => &runs.words[at(cpu)],
        Row::Backend(id) => &backends.words[at(id)],
    }
}

/// Reads a backend's row for a packet of the service.
fn deliver(cpu: &Cpu<'_>, backend: u32) -> Result<(), String> {
    let owner = cpu.load(word(cpu, Row::Backend(backend)));
    if owner == OURS { Ok(()) } else { Err("a packet goes to another service's pod".to_owned()) }
}

/// The first packet of a connection: picks, stores, delivers.
fn first_packet(number: u32, by: Seed) -> Program {
    Box::new(move |cpu| {
        cpu.store(word(cpu, Row::Runs(number)), 1);
        let backend = low(cpu.load(word(cpu, Row::Pick)));
        let forward = request(1, Kind::Forward);
        let values = Values { backend, ..forward.values };
        if let Stored::At(_) = insert(cpu, &Request { values, ..forward }, by) {
            deliver(cpu, backend)?;
        }
        cpu.store(word(cpu, Row::Runs(number)), 0);
        Ok(0)
    })
}

/// A later packet: finds, delivers.
fn next_packet(number: u32, by: Seed) -> Program {
    Box::new(move |cpu| {
        cpu.store(word(cpu, Row::Runs(number)), 1);
        let forward = request(1, Kind::Forward);
        if let Some(entry) = find(cpu, &forward.key, hash(&forward, by), Client::IsSource) {
            deliver(cpu, entry.values.backend)?;
        }
        cpu.store(word(cpu, Row::Runs(number)), 0);
        Ok(0)
    })
}

/// Waits until the programs that run have ended.
fn grace(cpu: &Cpu<'_>) {
    for number in [0, 1] {
        cpu.until_zero(word(cpu, Row::Runs(number)));
    }
}

/// Ends all flows of a backend.
fn pass(cpu: &Cpu<'_>, backend: u32, by: Seed) {
    for place in 0..7 {
        while let Some(entry) = find_at(cpu, place)
            && entry.values.backend == backend
            && !free(cpu, &entry, by)
        {}
    }
}

/// The agent gives the row to another service.
fn agent([before, after]: [bool; 2], by: Seed) -> Program {
    Box::new(move |cpu| {
        cpu.store(word(cpu, Row::Pick), STAYS.into());
        if before {
            grace(cpu);
        }
        pass(cpu, GOES, by);
        if after {
            grace(cpu);
        }
        cpu.store(word(cpu, Row::Backend(GOES)), ANOTHERS);
        Ok(0)
    })
}

fn reuse(graces: [bool; 2]) -> Scenario {
    let by = seed(1);
    let memory = memory(2);
    fill(&memory, 0, 1, by);
    word(&memory, Row::Pick).store(GOES.into());
    for id in [GOES, STAYS] {
        word(&memory, Row::Backend(id)).store(OURS);
    }
    let programs = vec![first_packet(0, by), next_packet(1, by), agent(graces, by)];
    Scenario { memory, programs, during: None, at_end: settles(by), fault: None }
}

#[test]
fn a_row_is_reused_after_grace_pass_and_grace() {
    holds("grace, pass, grace", &reuse([true, true]));

    for graces in [[true, false], [false, true], [false, false]] {
        let broken = reuse(graces).explore().unwrap_err();
        assert!(broken.starts_with("a packet goes to another service's pod"), "{broken}");
    }
}
