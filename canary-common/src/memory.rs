//! The tables in plain memory, for tests and for tools that ask what the datapath would do.

use core::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};

use crate::addresses::{self, Place};
use crate::backend::{Backend, Frontend};
use crate::directory::{Bucket, OverflowKey};
use crate::endpoint::{Address, Endpoint};
use crate::flows::{self, Flows};
use crate::interface::Interface;
use crate::service::Record;
use crate::settings::Settings;
use crate::stats::{Counter, Exchange, Timing};
use crate::tables::{Tables, Way};
use crate::word::Word;

/// Every table, in memory, and the clock.
#[derive(Debug, Default)]
pub struct Memory {
    /// The one row of `SETTINGS`.
    pub settings: Settings,
    /// `ADDRESSES`, by row; what is not there is 0.
    pub addresses: RefCell<HashMap<u32, u64>>,
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
    /// `FLOWS`.
    pub flows: Vec<flows::Bucket>,
    /// Counters by statistics id and counter.
    pub counts: RefCell<HashMap<(u16, Counter), u64>>,
    /// What packets showed, by statistics id.
    pub exchanges: RefCell<HashMap<(u16, Exchange), u64>>,
    /// `EVICTIONS`.
    pub evictions: [Cell<u64>; flows::EVICTIONS],
    /// Statistics ids that have histograms.
    pub timed: HashSet<u16>,
    /// Times that were taken: statistics id, kind, microseconds.
    pub times: RefCell<Vec<(u16, Timing, u32)>>,
    /// Now, in seconds.
    pub now: Cell<u32>,
    /// Now, in ticks.
    pub tick: Cell<u32>,
    /// Whether refusals may not be sent.
    pub silent: Cell<bool>,
    /// The interface of the packet.
    pub interface: Interface,
    /// Its index.
    pub index: Cell<u32>,
    /// `LOCALS`.
    pub locals: HashMap<(u64, Endpoint), u32>,
    /// `VIRTUALS`.
    pub virtuals: HashSet<Address>,
    /// Addresses that the route does not lead to by the packet's interface.
    pub elsewhere: RefCell<HashSet<Address>>,
    /// Addresses that packets cannot be sent on to, and why; to others they can.
    pub ways: RefCell<HashMap<Address, Way>>,
    /// How long packets may be where the way is too narrow.
    pub width: u16,
}

impl Memory {
    /// What a counter stands at.
    #[must_use]
    pub fn counter(&self, statistics: u16, counter: Counter) -> u64 {
        self.counts.borrow().get(&(statistics, counter)).copied().unwrap_or(0)
    }

    /// Gives an address bits, as the agent does for its endpoints.
    pub fn set_bits(&self, address: Address, bits: u64) {
        let Place { row, shift } = addresses::place(address);
        self.add_addresses(row, bits << shift);
    }
}

/// The row of a table in memory.
fn row<R>(rows: &[R], index: u32) -> Option<&R> {
    rows.get(usize::try_from(index).ok()?)
}

impl Flows for Memory {
    fn flows(&self, bucket: u32) -> Option<&flows::Bucket> {
        row(&self.flows, bucket)
    }

    fn load(&self, word: &Word<u64>) -> u64 {
        word.load()
    }

    fn store(&self, word: &Word<u64>, value: u64) {
        word.store(value);
    }

    fn store_high(&self, word: &Word<u64>, value: u32) {
        word.store(word.load() & 0xffff_ffff | u64::from(value) << 32);
    }

    fn swap(&self, word: &Word<u64>, value: u64) -> u64 {
        let before = word.load();
        word.store(value);
        before
    }

    fn exchange(&self, word: &Word<u64>, old: u64, new: u64) -> bool {
        let same = word.load() == old;
        if same {
            word.store(new);
        }
        same
    }

    fn add(&self, word: &Word<u64>, by: u64) {
        word.store(word.load().wrapping_add(by));
    }

    fn pushed_out(&self, statistics: u16) {
        self.count(statistics, Counter::PushedOut, 1);
    }

    fn evicts(&self, rank: u64) {
        let slot = usize::try_from(rank).ok().and_then(|rank| self.evictions.get(rank));
        if let Some(slot) = slot {
            slot.set(slot.get().saturating_add(1));
        }
    }
}

impl Tables for Memory {
    fn local(&self, scope: u64, at: Endpoint) -> Option<u32> {
        self.locals.get(&(scope, at)).copied()
    }

    fn settings(&self) -> Option<&Settings> {
        Some(&self.settings)
    }

    fn addresses(&self, row: u32) -> u64 {
        self.addresses.borrow().get(&row).copied().unwrap_or(0)
    }

    fn add_addresses(&self, row: u32, bits: u64) {
        *self.addresses.borrow_mut().entry(row).or_default() |= bits;
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

    fn is_timed(&self, statistics: u16) -> bool {
        self.timed.contains(&statistics)
    }

    fn count(&self, statistics: u16, counter: Counter, by: u64) {
        let mut counts = self.counts.borrow_mut();
        let count = counts.entry((statistics, counter)).or_default();
        *count = count.saturating_add(by);
    }

    fn show(&self, statistics: u16, exchange: Exchange) {
        let mut exchanges = self.exchanges.borrow_mut();
        let count = exchanges.entry((statistics, exchange)).or_default();
        *count = count.saturating_add(1);
    }

    fn observe(&self, statistics: u16, timing: Timing, us: u32) {
        self.times.borrow_mut().push((statistics, timing, us));
    }

    fn now(&self, _settings: &Settings) -> u32 {
        self.now.get()
    }

    fn tick(&self) -> u32 {
        self.tick.get().max(1)
    }

    fn is_virtual(&self, address: Address) -> bool {
        self.virtuals.contains(&address)
    }

    fn may_refuse(&self, _now: u32) -> bool {
        !self.silent.get()
    }

    fn interface(&self) -> Option<&Interface> {
        Some(&self.interface)
    }

    fn interface_index(&self) -> u32 {
        self.index.get()
    }

    fn way(&self, _from: Address, to: Address, _more: u32) -> Way {
        self.ways.borrow().get(&to).copied().unwrap_or(Way::Open)
    }

    fn width(&self) -> u16 {
        self.width
    }

    fn leads_back(&self, source: &Address, _destination: &Address) -> bool {
        !self.elsewhere.borrow().contains(source)
    }
}
