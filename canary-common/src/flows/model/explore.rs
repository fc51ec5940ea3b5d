//! Every interleaving of a few programs, by replay.

use core::fmt::Write;
use std::collections::HashSet;

use super::cpu::{Cpu, Fault};
use super::machine::{Access, Machine, Pending, Step, mix};
use crate::memory::Memory;

/// What a CPU does; what it returns is what it learned, or which rule it saw broken.
pub(super) type Program = Box<dyn Fn(&Cpu<'_>) -> Result<u64, String>>;
/// A rule over the table.
pub(super) type Watch = Box<dyn Fn(&Memory) -> Result<(), String>>;
/// A rule over the table and what the programs returned.
pub(super) type AtEnd = Box<dyn Fn(&Memory, &[u64]) -> Result<(), String>>;

/// A table, what happens to it at once, and the rules.
pub(super) struct Scenario {
    pub(super) memory: Memory,
    pub(super) programs: Vec<Program>,
    /// Holds in every state; may read heads, and words that nothing changes.
    pub(super) during: Option<Watch>,
    /// Holds once all programs have returned.
    pub(super) at_end: AtEnd,
    pub(super) fault: Option<Fault>,
}

/// How much was tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tried {
    pub(super) states: usize,
    pub(super) steps: usize,
}

/// Why an exploration ended early.
enum End {
    /// A word turned out to be shared: begin again.
    Learned,
    /// A rule is broken; how it came to that.
    Broken(String),
}

/// States after which a scenario is too large.
const MOST: usize = 3_000_000;

impl Scenario {
    /// Tries every interleaving.
    ///
    /// # Errors
    ///
    /// The rule that is broken, and the accesses that led to it.
    pub(super) fn explore(&self) -> Result<Tried, String> {
        let machine = Machine::new(&self.memory, self.during.is_some());
        let cpus: Vec<_> =
            (0..self.programs.len()).map(|number| Cpu::new(&machine, number, self.fault)).collect();
        loop {
            let mut explorer = Explorer {
                scenario: self,
                machine: &machine,
                cpus: &cpus,
                seen: HashSet::new(),
                path: Vec::new(),
                steps: 0,
            };
            let end = explorer.begin();
            machine.undo(0);
            match end {
                Ok(()) => return Ok(Tried { states: explorer.seen.len(), steps: explorer.steps }),
                Err(End::Learned) => {}
                Err(End::Broken(rule)) => return Err(rule),
            }
        }
    }
}

struct Explorer<'e> {
    scenario: &'e Scenario,
    machine: &'e Machine<'e>,
    cpus: &'e [Cpu<'e>],
    seen: HashSet<u64>,
    /// The accesses so far, and whose they are.
    path: Vec<(usize, Vec<Step>)>,
    steps: usize,
}

impl Explorer<'_> {
    /// Lets each program come to its first access that matters to others, then tries all.
    fn begin(&mut self) -> Result<(), End> {
        self.cpus.iter().for_each(Cpu::reset);
        for number in 0..self.cpus.len() {
            self.step(number, 0)?;
        }
        self.visit()
    }

    /// Goes on with one program, by at most `shared` accesses that matter to others.
    fn step(&mut self, number: usize, shared: u32) -> Result<(), End> {
        let cpu = &self.cpus[number];
        cpu.run(&self.scenario.programs[number], shared);
        self.steps += 1;
        self.path.push((number, cpu.new_steps()));
        if self.machine.has_learned() {
            return Err(End::Learned);
        }
        if let Some(Err(rule)) = cpu.result() {
            return Err(self.broken(&rule));
        }
        Ok(())
    }

    fn visit(&mut self) -> Result<(), End> {
        let key = self.cpus.iter().fold(self.machine.digest(), |key, cpu| mix(key, cpu.digest()));
        if !self.seen.insert(key) {
            return Ok(());
        }
        assert!(self.seen.len() < MOST, "the scenario is too large");
        if let Some(Err(rule)) =
            self.scenario.during.as_ref().map(|rule| rule(&self.scenario.memory))
        {
            return Err(self.broken(&rule));
        }
        let mut stuck = true;
        for number in 0..self.cpus.len() {
            let cpu = &self.cpus[number];
            let Some(pending) = cpu.pending() else { continue };
            if self.is_blocked(&pending) {
                continue;
            }
            stuck = false;
            let (journal, log, depth) =
                (self.machine.journal_len(), cpu.log_len(), self.path.len());
            self.step(number, 1)?;
            let before = self.cpus[number].log_before();
            self.visit()?;
            self.machine.undo(journal);
            self.cpus[number].rewind(before, log, pending);
            self.path.truncate(depth);
        }
        if stuck { self.ended() } else { Ok(()) }
    }

    fn is_blocked(&self, pending: &Pending) -> bool {
        matches!(pending.access, Access::UntilZero) && self.machine.value(pending.word) != 0
    }

    fn ended(&self) -> Result<(), End> {
        let results: Option<Vec<u64>> =
            self.cpus.iter().map(|cpu| cpu.result().and_then(Result::ok)).collect();
        let Some(results) = results else { return Err(self.broken("nobody can go on")) };
        (self.scenario.at_end)(&self.scenario.memory, &results).map_err(|rule| self.broken(&rule))
    }

    /// The rule, and each access that led there.
    fn broken(&self, rule: &str) -> End {
        let mut text = format!("{rule}, after:\n");
        for (number, steps) in &self.path {
            for step in steps {
                _ = writeln!(text, "  cpu {number}: {step}");
            }
        }
        End::Broken(text)
    }
}
