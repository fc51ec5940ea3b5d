//! Every interleaving of what CPUs do to a small table, over the module's own code.
//!
//! A program is a closure over [`cpu::Cpu`], an implementation of [`Flows`]. It is a function of
//! what its accesses returned, so one step of it is a replay of its log and one access more, and
//! an unwinding at the access after that. [`explore`] does so for every CPU in every state, and
//! visits no state twice: the words that have changed, and the logs.
//!
//! An access matters to others only if two CPUs touch the word and one of them changes it. Which
//! words that holds for is learned: an exploration that finds one more begins again. The others'
//! accesses commute with everything, and are made at once.
//!
//! Faults are planted in that implementation and not in the code ([`cpu::Fault`]): each leaves out
//! one part of the protocol, and a test asserts that some rule then breaks. Production code knows
//! of none of this but for the number of tries of the lock, which is smaller in tests.
//!
//! Memory is sequentially consistent here. What arm64 may reorder is the duty of
//! [`Flows::after`] and of the full barriers, and not tried.

mod changes;
mod cpu;
mod explore;
mod inserts;
mod machine;
mod pairs;
mod reads;
mod rows;
pub(super) mod table;

use std::time::Instant;

use self::cpu::Fault;
use self::explore::{Scenario, Tried};
use super::*;

/// Asserts that a scenario keeps its rules in every interleaving.
fn holds(name: &str, scenario: &Scenario) {
    let begun = Instant::now();
    match scenario.explore() {
        Ok(Tried { states, steps }) => {
            println!("{name}: {states} states, {steps} steps, {:?}", begun.elapsed());
        }
        Err(broken) => panic!("{name}: {broken}"),
    }
}

/// Asserts that a scenario with a fault planted breaks the rule that begins with `rule`.
fn breaks(name: &str, mut scenario: Scenario, fault: Fault, rule: &str) {
    let begun = Instant::now();
    scenario.fault = Some(fault);
    match scenario.explore() {
        Ok(tried) => panic!("{name}: {fault:?} breaks nothing in {tried:?}"),
        Err(broken) => {
            assert!(broken.starts_with(rule), "{name}: {fault:?} breaks another rule: {broken}");
            let steps = broken.lines().count() - 1;
            println!("{name}: {fault:?} found, {steps} accesses, in {:?}", begun.elapsed());
        }
    }
}
