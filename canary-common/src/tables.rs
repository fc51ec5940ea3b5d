//! What the datapath looks up and stores, as traits: over maps in the kernel, over memory on a host.

use crate::backend::{Backend, Frontend};
use crate::directory::{Bucket, OverflowKey};
use crate::draw;
use crate::endpoint::{Address, Endpoint};
use crate::flows::{self, Back, Client, Flows, Hash, Head, Key, Request, Seed, Stored, Values};
use crate::interface::Interface;
use crate::service::Record;
use crate::settings::Settings;
use crate::stats::{Counter, Exchange, Timing};

/// Whether a packet can be sent on past the node's own stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It can.
    Open,
    /// Not from this hook: one behind it can, perhaps.
    Later,
    /// There is no route.
    Closed,
    /// The packet is too long for it.
    Narrow,
}

/// Everything the datapath looks up.
pub trait Tables: Flows {
    /// The node's settings; `None` before they are written.
    fn settings(&self) -> Option<&Settings>;

    /// The row of `ADDRESSES`.
    fn addresses(&self, row: u32) -> u64;

    /// Sets bits in a row of `ADDRESSES`.
    fn add_addresses(&self, row: u32, bits: u64);

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

    /// Whether times of a split are taken: it has histograms.
    fn is_timed(&self, statistics: u16) -> bool;

    /// Moves a counter of a split.
    fn count(&self, statistics: u16, counter: Counter, by: u64);

    /// Counts something that a split's packets show.
    fn show(&self, statistics: u16, exchange: Exchange);

    /// Notes a time in microseconds, if the split has histograms.
    fn observe(&self, statistics: u16, timing: Timing, us: u32);

    /// Seconds since some moment before the node's first packet.
    fn now(&self, settings: &Settings) -> u32;

    /// Ticks of 1.024 µs, wrapping; costs a helper call. Never 0.
    fn tick(&self) -> u32;

    /// Whether an address exists only virtually: a frontend's, and neither a pod's nor the node's.
    fn is_virtual(&self, address: Address) -> bool;

    /// Whether one more refusal may be sent in this second.
    fn may_refuse(&self, now: u32) -> bool;

    /// The interface of this packet; `None` for one that is not ours.
    fn interface(&self) -> Option<&Interface>;

    /// Index of the interface of this packet; 0 for a socket.
    fn interface_index(&self) -> u32;

    /// Whether the route to the packet's `source` leads back to the interface that it came by, or
    /// to the bridge that it is a port of.
    fn leads_back(&self, source: &Address, destination: &Address) -> bool;

    /// Whether a packet with these addresses that came by this packet's interface can be sent on,
    /// past the node's own stack; `more` is how many bytes will stand in front of it.
    fn way(&self, from: Address, to: Address, more: u32) -> Way;

    /// How long a packet may be for the way that was last found too narrow, from its IP header on.
    fn width(&self) -> u16;

    /// The service that has an endpoint at a loopback address of one scope.
    #[inline(always)]
    fn local(&self, _scope: u64, _at: Endpoint) -> Option<u32> {
        None
    }

    /// As [`flows::insert`]: a function of its own in the kernel.
    #[inline(always)]
    fn store_flow(&self, request: &Request, by: Seed) -> Stored {
        flows::insert(self, request, by)
    }

    /// As [`flows::free_pair`] of what is at `place`, if it is still the entry of this head: a
    /// function of its own in the kernel.
    #[inline(always)]
    fn free_flow(&self, place: u32, head: Head, by: Seed, back: Back) -> bool {
        match flows::find_at(self, place) {
            Some(entry) if entry.head.is_of_same(head) => flows::free_pair(self, &entry, by, back),
            _ => false,
        }
    }

    /// As [`flows::end_severed`] of what is at `place`, if it is still the entry of this head: a
    /// function of its own in the kernel.
    #[inline(always)]
    fn end_severed(&self, place: u32, head: Head, now: u32) {
        if let Some(entry) = flows::find_at(self, place)
            && entry.head.is_of_same(head)
        {
            flows::end_severed(self, &entry, now);
        }
    }

    /// As [`draw::falls_elsewhere`] of the flow of the packet that is looked at: a function of its
    /// own in the kernel.
    #[inline(always)]
    fn falls_elsewhere(&self, seed: u64, ends: [Endpoint; 2], values: &Values) -> bool {
        let is_net = values.interface == 0;
        draw::falls_elsewhere(self, seed, ends, values.frontend, is_net, values.statistics)
    }

    /// As [`flows::find`], its head and its place: a function of its own in the kernel.
    #[inline(always)]
    fn find_flow(&self, key: &Key, client: Client, by: Seed) -> Option<(Head, u32)> {
        let entry = flows::find(self, key, Hash::of(key, client, by), client)?;
        Some((entry.head, entry.place))
    }

    /// As [`Tables::find_flow`] for a tuple that is most likely new, and about to be stored.
    #[inline(always)]
    fn find_new(&self, key: &Key, client: Client, by: Seed) -> Option<(Head, u32)> {
        self.find_flow(key, client, by)
    }
}
