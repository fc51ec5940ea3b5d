//! A CPU that stops before each access that matters to others.

use core::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::explore::Program;
use super::machine::{Access, Machine, Pending, Step, is_head, is_own, mix};
use crate::flows::{Bucket, Flows, Head, Kind, PLACES};
use crate::word::Word;

/// A fault to plant: the protocol without one of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A claim keeps the version.
    NoVersion,
    /// State is set by OR, whatever the head has become.
    MarkByOr,
    /// A reader takes the head that it read first for the second.
    HeadReadOnce,
    /// An insert does not look under the lock whether the tuple is there.
    NoSecondLook,
    /// An insert takes no lock.
    NoLock,
    /// A lock is taken and never given back.
    NoUnlock,
    /// An entry is freed by a store.
    FreeByStore,
    /// A place is claimed by a store.
    ClaimByStore,
    /// An entry that leaves its second choice stays counted.
    NoUnspill,
}

/// The unwinding that ends a replay.
struct Stop;

/// A CPU: its log, and how far the replay at hand is.
pub(super) struct Cpu<'m> {
    machine: &'m Machine<'m>,
    number: usize,
    fault: Option<Fault>,
    log: RefCell<Vec<Step>>,
    /// The log before this replay, if a part of the program has ended within it.
    before: RefCell<Option<Vec<Step>>>,
    /// The accesses of this replay that were new.
    new: RefCell<Vec<Step>>,
    at: Cell<usize>,
    /// Accesses beyond the log that may be of shared words.
    shared: Cell<u32>,
    pending: Cell<Option<Pending>>,
    result: RefCell<Option<Result<u64, String>>>,
    plant: Plant,
}

/// What planted faults remember within one replay.
#[derive(Default)]
struct Plant {
    /// The head that was read last, and whether a body was since.
    head: Cell<Option<(usize, u64)>>,
    body: Cell<bool>,
    /// Heads that an insert is still not to see.
    blind: Cell<u32>,
}

impl<'m> Cpu<'m> {
    pub(super) fn new(machine: &'m Machine<'m>, number: usize, fault: Option<Fault>) -> Self {
        Self {
            machine,
            number,
            fault,
            log: RefCell::default(),
            before: RefCell::default(),
            new: RefCell::default(),
            at: Cell::new(0),
            shared: Cell::new(0),
            pending: Cell::new(None),
            result: RefCell::default(),
            plant: Plant::default(),
        }
    }

    pub(super) fn reset(&self) {
        self.log.borrow_mut().clear();
        self.result.replace(None);
    }

    /// Replays the log, and goes on until the next access that matters to others.
    pub(super) fn run(&self, program: &Program, shared: u32) {
        self.at.set(0);
        self.new.borrow_mut().clear();
        self.before.replace(None);
        self.shared.set(shared);
        self.pending.set(None);
        self.plant.head.set(None);
        self.plant.body.set(false);
        self.plant.blind.set(0);
        match catch_unwind(AssertUnwindSafe(|| program(self))) {
            Ok(result) => _ = self.result.replace(Some(result)),
            Err(stop) if stop.is::<Stop>() => {}
            Err(panic) => resume_unwind(panic),
        }
    }

    pub(super) fn log_len(&self) -> usize {
        self.log.borrow().len()
    }

    /// The accesses of the last replay that were new.
    pub(super) fn new_steps(&self) -> Vec<Step> {
        self.new.borrow().clone()
    }

    /// The log before the last replay, unless it has only become longer.
    pub(super) fn log_before(&self) -> Option<Vec<Step>> {
        self.before.take()
    }

    /// Goes back to where the log was `before`, or had this length.
    pub(super) fn rewind(&self, before: Option<Vec<Step>>, len: usize, pending: Pending) {
        match before {
            Some(before) => _ = self.log.replace(before),
            None => self.log.borrow_mut().truncate(len),
        }
        self.pending.set(Some(pending));
        self.result.replace(None);
    }

    pub(super) fn pending(&self) -> Option<Pending> {
        self.pending.get()
    }

    pub(super) fn result(&self) -> Option<Result<u64, String>> {
        self.result.borrow().clone()
    }

    pub(super) fn digest(&self) -> u64 {
        self.log.borrow().last().map_or(0, |step| step.digest)
    }

    /// A part of a program, of which the rest needs nothing but what it returns: with the last
    /// access of the part the log forgets the others.
    pub(super) fn part(&self, part: impl FnOnce() -> u64) -> u64 {
        let at = self.at.get();
        if let Some(step) = self.log.borrow().get(at)
            && matches!(step.access, Access::Part)
        {
            self.at.set(at + 1);
            return step.result;
        }
        let result = part();
        if self.before.borrow().is_none() {
            let len = self.log_len() - self.new.borrow().len();
            self.before.replace(Some(self.log.borrow()[..len].to_vec()));
        }
        self.log.borrow_mut().truncate(at);
        self.at.set(at);
        self.push(0, Access::Part, result);
        result
    }

    fn push(&self, word: usize, access: Access, result: u64) -> Step {
        let index = u64::try_from(word).unwrap_or(0);
        let digest = mix(mix(self.digest(), index + 1), result);
        let step = Step { word, access, result, digest };
        self.log.borrow_mut().push(step);
        self.at.set(self.at.get() + 1);
        step
    }

    /// Waits until a word is 0.
    pub(super) fn until_zero(&self, word: &Word<u64>) {
        self.perform(word, Access::UntilZero);
    }

    fn perform(&self, word: &Word<u64>, access: Access) -> u64 {
        let (at, index) = (self.at.get(), self.machine.index(word));
        if let Some(step) = self.log.borrow().get(at) {
            assert_eq!(step.word, index, "a replay goes another way");
            self.at.set(at + 1);
            return step.result;
        }
        if self.machine.is_shared(index) || matches!(access, Access::UntilZero) {
            let Some(left) = self.shared.get().checked_sub(1) else {
                self.pending.set(Some(Pending { word: index, access }));
                resume_unwind(Box::new(Stop));
            };
            self.shared.set(left);
        }
        let result = self.machine.apply(self.number, index, access);
        let step = self.push(index, access, result);
        self.new.borrow_mut().push(step);
        result
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// What a load gives by a planted fault, without an access.
    fn load_by_fault(&self, index: usize) -> Option<u64> {
        if !is_head(index) {
            self.plant.body.set(true);
            return None;
        }
        if self.is(Fault::NoSecondLook)
            && let Some(left) = self.plant.blind.get().checked_sub(1)
        {
            self.plant.blind.set(left);
            return Some(0);
        }
        let (seen, body) = (self.plant.head.get(), self.plant.body.replace(false));
        match seen {
            Some((of, head)) if self.is(Fault::HeadReadOnce) && body && of == index => Some(head),
            _ => None,
        }
    }

    /// What becomes of an exchange of a head by a planted fault.
    fn exchange_by_fault(&self, word: &Word<u64>, old: Head, new: Head) -> Option<bool> {
        let store = match (self.fault?, new.kind()) {
            (Fault::FreeByStore, Kind::Free) | (Fault::ClaimByStore, Kind::Claimed) => {
                Access::Store(new.0)
            }
            (Fault::MarkByOr, kind) if kind != Kind::Free && old.is_of_same(new) => {
                Access::Or(new.0 & !old.0)
            }
            _ => return None,
        };
        self.perform(word, store);
        Some(true)
    }
}

/// A head whose version is always 0.
const fn unversioned(head: u64) -> u64 {
    head & !Head::VERSION
}

impl Flows for Cpu<'_> {
    fn flows(&self, bucket: u32) -> Option<&Bucket> {
        self.machine.memory.flows(bucket)
    }

    fn load(&self, word: &Word<u64>) -> u64 {
        let index = self.machine.index(word);
        if let Some(value) = self.load_by_fault(index) {
            return value;
        }
        let value = self.perform(word, Access::Load);
        if is_head(index) {
            self.plant.head.set(Some((index, value)));
        }
        value
    }

    fn store(&self, word: &Word<u64>, value: u64) {
        self.perform(word, Access::Store(value));
    }

    fn store_high(&self, word: &Word<u64>, value: u32) {
        self.perform(word, Access::StoreHigh(value));
    }

    fn swap(&self, word: &Word<u64>, value: u64) -> u64 {
        let value = if self.is(Fault::NoVersion) { unversioned(value) } else { value };
        self.perform(word, Access::Swap(value))
    }

    fn exchange(&self, word: &Word<u64>, old: u64, new: u64) -> bool {
        let index = self.machine.index(word);
        if is_own(index) {
            self.plant.blind.set(u32::try_from(PLACES).unwrap_or(0));
            return self.is(Fault::NoLock) || self.perform(word, Access::Exchange(old, new)) != 0;
        }
        if is_head(index)
            && let Some(done) = self.exchange_by_fault(word, Head(old), Head(new))
        {
            return done;
        }
        if is_head(index) && self.is(Fault::NoVersion) {
            return self.perform(word, Access::Exchange(unversioned(old), unversioned(new))) != 0;
        }
        self.perform(word, Access::Exchange(old, new)) != 0
    }

    fn add(&self, word: &Word<u64>, by: u64) {
        let unlocks = by == 1;
        let unspills = by == (1_u64 << 32).wrapping_neg();
        let skipped = unlocks && (self.is(Fault::NoLock) || self.is(Fault::NoUnlock))
            || unspills && self.is(Fault::NoUnspill);
        if !skipped {
            self.perform(word, Access::Add(by));
        }
    }

    fn pushed_out(&self, _statistics: u16) {}
}
