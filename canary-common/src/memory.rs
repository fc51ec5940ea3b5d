//! The tables in plain memory, for tests and for tools that ask what the datapath would do.

use core::cell::{Cell, RefCell};
use core::ops::Deref;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use crate::backend::{Backend, Frontend};
use crate::directory::{Bucket, OverflowKey};
use crate::flow::{Family, Flow, FlowKey, V4, V6};
use crate::service::Record;
use crate::settings::Settings;
use crate::stats::{Counter, Timing};
use crate::tables::{FlowTables, Refused, Stage, Tables};
use crate::word::Word;

/// The flow tables of one family, without a limit.
#[derive(Debug)]
pub struct Flows<F: Family> {
    /// `OPENING`.
    pub opening: RefCell<HashMap<FlowKey<F::Bytes>, Rc<Flow>>>,
    /// `FLOWS`.
    pub established: RefCell<HashMap<FlowKey<F::Bytes>, Rc<Flow>>>,
    /// `RETURNS`.
    pub returns: RefCell<HashMap<FlowKey<F::Bytes>, [u32; 2]>>,
    /// `FOREIGN`.
    pub foreign: RefCell<HashSet<FlowKey<F::Bytes>>>,
}

impl<F: Family> Default for Flows<F> {
    fn default() -> Self {
        Self {
            opening: RefCell::default(),
            established: RefCell::default(),
            returns: RefCell::default(),
            foreign: RefCell::default(),
        }
    }
}

/// Every table, in memory, and the clock.
#[derive(Debug, Default)]
pub struct Memory {
    /// The one row of `SETTINGS`.
    pub settings: Settings,
    /// `ENDPOINTS`.
    pub buckets: Vec<Bucket>,
    /// The overflow of `ENDPOINTS`.
    pub overflow: HashMap<OverflowKey, u32>,
    /// `FRONTENDS`.
    pub frontends: Vec<Frontend>,
    /// `BACKENDS`.
    pub backends: Vec<Backend>,
    /// `CURRENT`.
    pub current: Vec<u32>,
    /// `SERVICES`.
    pub records: Vec<Record>,
    /// `SLOTS`.
    pub slots: Vec<u32>,
    /// Flows of IPv4.
    pub flows4: Flows<V4>,
    /// Flows of IPv6.
    pub flows6: Flows<V6>,
    /// Counters by statistics id and counter.
    pub counts: RefCell<HashMap<(u16, Counter), u64>>,
    /// Times that were taken: statistics id, kind, microseconds.
    pub times: RefCell<Vec<(u16, Timing, u32)>>,
    /// Now, in seconds.
    pub now: Cell<u32>,
    /// Now, in ticks.
    pub tick: Cell<u32>,
    /// Whether refusals may be sent.
    pub silent: Cell<bool>,
    /// Whether the interface is new to us.
    pub young: Cell<bool>,
}

impl Memory {
    /// What a counter stands at.
    #[must_use]
    pub fn counter(&self, statistics: u16, counter: Counter) -> u64 {
        self.counts.borrow().get(&(statistics, counter)).copied().unwrap_or(0)
    }
}

/// Which of the families' flows a [`Memory`] means.
pub trait Flowing<F: Family> {
    /// The flows of the family.
    fn flows(&self) -> &Flows<F>;
}

impl Flowing<V4> for Memory {
    fn flows(&self) -> &Flows<V4> {
        &self.flows4
    }
}

impl Flowing<V6> for Memory {
    fn flows(&self) -> &Flows<V6> {
        &self.flows6
    }
}

impl<F: Family> Flows<F> {
    fn stage(&self, stage: Stage) -> &RefCell<HashMap<FlowKey<F::Bytes>, Rc<Flow>>> {
        match stage {
            Stage::Opening => &self.opening,
            Stage::Established => &self.established,
        }
    }
}

impl<F: Family> FlowTables<F> for Memory
where
    Self: Flowing<F>,
{
    fn flow(&self, stage: Stage, key: &FlowKey<F::Bytes>) -> Option<impl Deref<Target = Flow>> {
        self.flows().stage(stage).borrow().get(key).cloned()
    }

    fn add_flow(&self, stage: Stage, key: &FlowKey<F::Bytes>, flow: &Flow) -> Result<(), Refused> {
        let mut flows = self.flows().stage(stage).borrow_mut();
        if flows.contains_key(key) {
            return Err(Refused::Exists);
        }
        flows.insert(*key, Rc::new(flow.copy()));
        Ok(())
    }

    fn remove_flow(&self, stage: Stage, key: &FlowKey<F::Bytes>) {
        self.flows().stage(stage).borrow_mut().remove(key);
    }

    fn return_through(&self, key: &FlowKey<F::Bytes>) -> Option<[u32; 2]> {
        self.flows().returns.borrow().get(key).copied()
    }

    fn set_return(&self, key: &FlowKey<F::Bytes>, frontend: [u32; 2]) -> bool {
        self.flows().returns.borrow_mut().insert(*key, frontend);
        true
    }

    fn remove_return(&self, key: &FlowKey<F::Bytes>) {
        self.flows().returns.borrow_mut().remove(key);
    }

    fn is_foreign(&self, key: &FlowKey<F::Bytes>) -> bool {
        self.flows().foreign.borrow().contains(key)
    }

    fn set_foreign(&self, key: &FlowKey<F::Bytes>) {
        self.flows().foreign.borrow_mut().insert(*key);
    }

    fn remove_foreign(&self, key: &FlowKey<F::Bytes>) {
        self.flows().foreign.borrow_mut().remove(key);
    }
}

/// The row of a table in memory.
fn row<R>(rows: &[R], index: u32) -> Option<&R> {
    rows.get(usize::try_from(index).ok()?)
}

impl Tables for Memory {
    fn settings(&self) -> Option<&Settings> {
        Some(&self.settings)
    }

    fn bucket(&self, index: u32) -> Option<&Bucket> {
        row(&self.buckets, index)
    }

    fn overflow(&self, key: &OverflowKey) -> Option<u32> {
        self.overflow.get(key).copied()
    }

    fn frontend(&self, id: u32) -> Option<&Frontend> {
        row(&self.frontends, id)
    }

    fn backend(&self, id: u32) -> Option<&Backend> {
        row(&self.backends, id)
    }

    fn record(&self, service: u32) -> Option<&Record> {
        row(&self.records, *row(&self.current, service)?)
    }

    fn slot(&self, index: u32) -> Option<u32> {
        row(&self.slots, index).copied()
    }

    fn count(&self, statistics: u16, counter: Counter, by: u64) {
        let mut counts = self.counts.borrow_mut();
        let count = counts.entry((statistics, counter)).or_default();
        *count = count.saturating_add(by);
    }

    fn observe(&self, statistics: u16, timing: Timing, us: u32) {
        self.times.borrow_mut().push((statistics, timing, us));
    }

    fn now(&self) -> u32 {
        self.now.get()
    }

    fn tick(&self) -> u32 {
        self.tick.get().max(1)
    }

    fn add_bits(&self, word: &Word<u32>, bits: u32) -> u32 {
        let before = word.load();
        word.store(before | bits);
        before
    }

    fn may_refuse(&self) -> bool {
        !self.silent.get()
    }

    fn interface_is_young(&self) -> bool {
        self.young.get()
    }
}
