//! What the datapath looks up and stores, as traits: over maps in the kernel, over memory on a host.

use core::ops::Deref;

use crate::backend::{Backend, Frontend};
use crate::directory::{Bucket, OverflowKey};
use crate::flow::{Family, Flow, FlowKey, V4, V6};
use crate::service::Record;
use crate::settings::Settings;
use crate::stats::{Counter, Timing};
use crate::word::Word;

/// Which of the two flow tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Flows that no backend has answered, or whose client has not spoken since.
    Opening,
    /// All others.
    Established,
}

/// Why a flow could not be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The key is there already.
    Exists,
    /// There is no room.
    Full,
}

/// The tables that have one instance for each address family.
pub trait FlowTables<F: Family> {
    /// Looks up a flow.
    fn flow(&self, stage: Stage, key: &FlowKey<F::Bytes>) -> Option<impl Deref<Target = Flow>>;

    /// Stores a flow whose key is new.
    ///
    /// # Errors
    ///
    /// [`Refused`] says why not.
    fn add_flow(&self, stage: Stage, key: &FlowKey<F::Bytes>, flow: &Flow) -> Result<(), Refused>;

    /// Removes a flow, if it is there.
    fn remove_flow(&self, stage: Stage, key: &FlowKey<F::Bytes>);

    /// The frontend (id, then generation in the low 16 bits) through which a client reached a
    /// backend, if not through its home.
    fn return_through(&self, key: &FlowKey<F::Bytes>) -> Option<[u32; 2]>;

    /// Remembers the frontend for [`FlowTables::return_through`]; `false` if there is no room.
    fn set_return(&self, key: &FlowKey<F::Bytes>, frontend: [u32; 2]) -> bool;

    /// Forgets it.
    fn remove_return(&self, key: &FlowKey<F::Bytes>);

    /// Whether somebody else translates this flow.
    fn is_foreign(&self, key: &FlowKey<F::Bytes>) -> bool;

    /// Leaves a flow to somebody else.
    fn set_foreign(&self, key: &FlowKey<F::Bytes>);

    /// Ends that.
    fn remove_foreign(&self, key: &FlowKey<F::Bytes>);
}

/// Everything the datapath looks up.
pub trait Tables: FlowTables<V4> + FlowTables<V6> {
    /// The node's settings; `None` before they are written.
    fn settings(&self) -> Option<&Settings>;

    /// A bucket of the directory.
    fn bucket(&self, index: u32) -> Option<&Bucket>;

    /// The occupant's value of an endpoint whose buckets are full.
    fn overflow(&self, key: &OverflowKey) -> Option<u32>;

    /// A frontend by id.
    fn frontend(&self, id: u32) -> Option<&Frontend>;

    /// A backend by id.
    fn backend(&self, id: u32) -> Option<&Backend>;

    /// The record in force of a service.
    fn record(&self, service: u32) -> Option<&Record>;

    /// A Maglev slot: a backend's id.
    fn slot(&self, index: u32) -> Option<u32>;

    /// Moves a counter of a split.
    fn count(&self, statistics: u16, counter: Counter, by: u64);

    /// Notes a time in microseconds, if the split has histograms.
    fn observe(&self, statistics: u16, timing: Timing, us: u32);

    /// Seconds since some moment before the node's first packet.
    fn now(&self) -> u32;

    /// The same for who has looked up the settings already.
    #[inline(always)]
    fn now_by(&self, _settings: &Settings) -> u32 {
        self.now()
    }

    /// Ticks of 1.024 µs, wrapping; costs a helper call. Never 0.
    fn tick(&self) -> u32;

    /// Adds bits to a word that others may change at the same time; returns it as it was.
    fn add_bits(&self, word: &Word<u32>, bits: u32) -> u32;

    /// Whether one more refusal may be sent in this second.
    fn may_refuse(&self) -> bool;

    /// Whether the interface of this packet is so new to us that unknown connections on it
    /// are older than we are.
    fn interface_is_young(&self) -> bool;
}
