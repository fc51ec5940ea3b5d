//! Every map, and the look-ups over them.

mod counts;
mod picks;

use core::ffi::c_void;

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::btf_maps::{self, ArrayOfMaps, SkStorage};
use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_ns};
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf};
use canary_common::addresses;
use canary_common::backend::{Backend, Frontend};
use canary_common::directory::{Bucket, OverflowKey};
use canary_common::endpoint::{Address, Endpoint};
use canary_common::event::Event;
use canary_common::flows::{self, Back, Client, Head, Key, Request, Seed, Stored, Values};
use canary_common::interface::Interface;
use canary_common::label::{ServiceLabel, SplitLabel};
use canary_common::limits;
use canary_common::namespace::{Local, Namespace};
use canary_common::reason::REASON_SLOTS;
use canary_common::service::Record;
use canary_common::settings::Settings;
use canary_common::socket::SocketPick;
use canary_common::stats::{self, Counter, Counts, Exchange, Histograms, SplitRow, Timing};
use canary_common::tables::{Tables, Way};

pub(crate) use self::counts::count;
use self::counts::{count_evicted, count_exchange, count_pushed_out, count_split, count_time};
pub(crate) use self::picks::{brought, datagrams, is_excepted, namespace, note_peer, pick};
use crate::atomics;
use crate::calls::{self, Scratch};

/// The node's settings, one row.
#[map]
static SETTINGS: Array<Settings> = Array::pinned(1, BPF_F_MMAPABLE);
/// A few bits for each hash of an address, asked first.
#[map]
static ADDRESSES: Array<u64> = Array::pinned(addresses::ROWS, BPF_F_MMAPABLE);
/// From address, port and protocol to what is there.
#[map]
static ENDPOINTS: Array<Bucket> = Array::pinned(limits::MAX_BUCKETS, BPF_F_MMAPABLE);
/// Endpoints whose buckets are full.
#[map]
static OVERFLOW: HashMap<OverflowKey, u32> = HashMap::pinned(limits::MAX_OVERFLOW, 0);
/// Virtual addresses by id.
#[map]
static FRONTENDS: Array<Frontend> = Array::pinned(limits::MAX_FRONTENDS, BPF_F_MMAPABLE);
/// Instances by id.
#[map]
static BACKENDS: Array<Backend> = Array::pinned(limits::MAX_BACKENDS, BPF_F_MMAPABLE);
/// From service to the record in force: storing here publishes.
#[map]
static CURRENT: Array<u32> = Array::pinned(limits::MAX_SERVICES, BPF_F_MMAPABLE);
/// Records of services, twice as many as services.
#[map]
static SERVICES: Array<Record> = Array::pinned(limits::MAX_SERVICES * 2, BPF_F_MMAPABLE);
/// Maglev slices, two slots a row: the kernel rounds rows up to eight bytes.
#[map]
static SLOTS: Array<[u32; 2]> = Array::pinned(limits::MAX_SLOTS / 2, BPF_F_MMAPABLE);
/// What the agent says of splits, and what it counts itself.
#[map]
static SPLITS: Array<SplitRow> = Array::pinned(limits::MAX_STATISTICS, BPF_F_MMAPABLE);
/// Names of services, by id: for whoever opens the tables next.
#[map]
static NAMES: Array<ServiceLabel> = Array::pinned(limits::MAX_SERVICES, BPF_F_MMAPABLE);
/// Names of splits, by statistics id.
#[map]
static LABELS: Array<SplitLabel> = Array::pinned(limits::MAX_STATISTICS, BPF_F_MMAPABLE);
/// No program reads it: storing here makes the agent wait until no packet sees an old row.
#[btf_map]
static GRACE: ArrayOfMaps<btf_maps::Array<u32, 1>, 1> = ArrayOfMaps::new();
/// What the programs count, by split.
#[map]
static STATS: PerCpuArray<Counts> = PerCpuArray::pinned(limits::MAX_STATISTICS, 0);
/// Times, for the splits that have them.
#[map]
static HISTOGRAMS: PerCpuArray<Histograms> = PerCpuArray::pinned(limits::MAX_HISTOGRAMS, 0);
/// What the packets of each split show, by statistics id.
#[map]
static EXCHANGES: PerCpuArray<[u64; stats::EXCHANGES]> =
    PerCpuArray::pinned(limits::MAX_STATISTICS, 0);
/// Packets that were not forwarded, by reason.
#[map]
static REASONS: PerCpuArray<u64> = PerCpuArray::pinned(REASON_SLOTS, 0);
/// What inserts into `FLOWS` pushed out, by rank, and how many found no room: one row.
#[map]
static EVICTIONS: PerCpuArray<[u64; flows::EVICTIONS]> = PerCpuArray::pinned(1, 0);
/// Refusals of this second: the second, then their number.
#[map]
static REFUSALS: PerCpuArray<[u32; 2]> = PerCpuArray::pinned(1, 0);
/// The interfaces that we are attached to, by index.
#[map]
static INTERFACES: HashMap<u32, Interface> = HashMap::pinned(limits::MAX_INTERFACES, 0);
/// Addresses that exist only virtually: asked where nothing else says whose a packet is.
#[map]
static VIRTUALS: HashMap<Address, u32> = HashMap::pinned(limits::MAX_FRONTENDS, BPF_F_NO_PREALLOC);
/// Where connected sockets were sent to: a [`Pick`](canary_common::socket::Pick) each, in memory of
/// the socket.
#[btf_map]
static PICKS: SkStorage<[u64; 8]> = SkStorage::new();
/// Where sockets sent their datagrams to: [`Datagrams`](canary_common::socket::Datagrams) each, in
/// memory of the socket.
#[btf_map]
static DATAGRAMS: SkStorage<[u64; 129]> = SkStorage::new();
/// Backends of connected sockets of datagrams, by socket cookie: the kernel lists no storage of these.
/// Least recently used out first: one that is lost is not ended with its backend.
#[map]
static PEERS: LruHashMap<u64, u32> = LruHashMap::pinned(limits::MAX_PEERS, 0);
/// Picks that came along from an earlier layout, by socket cookie.
#[map]
static BROUGHT: HashMap<u64, SocketPick> = HashMap::pinned(limits::MAX_BROUGHT, BPF_F_NO_PREALLOC);
/// Namespaces of pods whose sockets are served, by their cookies.
#[map]
static NAMESPACES: HashMap<u64, Namespace> =
    HashMap::pinned(limits::MAX_NAMESPACES, BPF_F_NO_PREALLOC);
/// Services at loopback addresses of one namespace.
#[map]
static LOCALS: HashMap<Local, u32> = HashMap::pinned(limits::MAX_LOCALS, BPF_F_NO_PREALLOC);
/// Cgroups whose sockets are left out, by their ids.
#[map]
static EXCEPTED: HashMap<u64, u32> = HashMap::pinned(limits::MAX_EXCEPTED, BPF_F_NO_PREALLOC);

/// What one step leaves for the next: one row, for tc and XDP programs run with softirqs off. Not
/// pinned: it outlives no packet, so that it may change without another layout.
#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);
/// Every connection that matters, by the tuple on the wire.
#[map]
static FLOWS: Array<flows::Bucket> = Array::pinned(limits::DEFAULT_FLOW_BUCKETS, BPF_F_MMAPABLE);
/// What is told of packets to those who observe.
#[map]
static EVENTS: RingBuf = RingBuf::pinned(limits::EVENTS_BYTES, 0);

/// The tables, as seen by a packet of one interface.
#[derive(Clone, Copy)]
pub(crate) struct Maps {
    /// The context of the program's run.
    pub(crate) context: *mut c_void,
    /// Index of the packet's interface; 0 for a socket.
    pub(crate) interface: u32,
    /// Index of the interface that the packet came by; 0 for one that the node made.
    pub(crate) came_by: u32,
}

/// A row of an array map.
#[expect(unsafe_code, reason = "reads map memory")]
#[inline(always)]
fn row<'a, R>(array: &Array<R>, index: u32) -> Option<&'a R> {
    // SAFETY: a row lives as long as its map, which outlives the program's run. What changes
    // under a reader are the atomic words of the rows; the rest is written while nothing
    // refers to the row.
    array.get_ptr(index).map(|row| unsafe { &*row })
}

/// A row of a per-CPU array map.
#[expect(unsafe_code, reason = "reads and writes map memory")]
#[inline(always)]
fn own_row<'a, R>(array: &PerCpuArray<R>, index: u32) -> Option<&'a mut R> {
    // SAFETY: the row is this CPU's own, and tc and XDP programs run with softirqs off, so no
    // other run of ours comes between a read and its write. A socket program may be
    // interrupted by one; at worst one count is lost.
    array.get_ptr_mut(index).map(|row| unsafe { &mut *row })
}

/// Sends an event to those who observe; whether there was room.
#[inline(always)]
pub(crate) fn send(event: &Event) -> bool {
    EVENTS.output::<Event>(event, 0).is_ok()
}

/// The settings' row.
#[inline(always)]
pub(crate) fn settings<'a>() -> Option<&'a Settings> {
    row(&SETTINGS, 0)
}

/// The scratch row.
#[inline(always)]
pub(crate) fn scratch<'a>() -> Option<&'a mut Scratch> {
    own_row(&SCRATCH, 0)
}

/// `FLOWS` alone: for steps that need no packet.
pub(crate) struct Table;

/// A bucket of `FLOWS`.
#[inline(always)]
fn flow_bucket<'a>(index: u32) -> Option<&'a flows::Bucket> {
    row(&FLOWS, index)
}

atomics::touches_flows!(Table, flow_bucket, count_pushed_out, count_evicted);
atomics::touches_flows!(Maps, flow_bucket, count_pushed_out, count_evicted);

impl Tables for Maps {
    #[inline(always)]
    fn settings(&self) -> Option<&Settings> {
        row(&SETTINGS, 0)
    }

    #[inline(always)]
    fn addresses(&self, index: u32) -> u64 {
        row(&ADDRESSES, index).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn add_addresses(&self, index: u32, bits: u64) {
        if let Some(word) = ADDRESSES.get_ptr_mut(index) {
            atomics::set_bits(word, bits);
        }
    }

    #[inline(always)]
    fn bucket(&self, index: u32) -> Option<&Bucket> {
        row(&ENDPOINTS, index)
    }

    #[expect(unsafe_code, reason = "reads map memory")]
    #[inline(always)]
    fn overflow(&self, key: &OverflowKey) -> Option<u32> {
        // SAFETY: one aligned word, copied out at once.
        unsafe { OVERFLOW.get(key) }.copied()
    }

    #[inline(always)]
    fn frontend(&self, id: u32) -> Option<&Frontend> {
        row(&FRONTENDS, id)
    }

    #[inline(always)]
    fn backend(&self, id: u32) -> Option<&Backend> {
        row(&BACKENDS, id)
    }

    #[inline(always)]
    fn record(&self, service: u32) -> Option<&Record> {
        row(&SERVICES, *row(&CURRENT, service)?)
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<u32> {
        let [even, odd] = row(&SLOTS, index >> 1)?;
        Some(if index & 1 == 0 { *even } else { *odd })
    }

    #[inline(always)]
    fn is_timed(&self, statistics: u16) -> bool {
        row(&SPLITS, u32::from(statistics)).is_some_and(|split| split.histogram.load() != 0)
    }

    #[inline(always)]
    fn count(&self, statistics: u16, counter: Counter, by: u64) {
        count_split(statistics, counter, by);
    }

    #[inline(always)]
    fn show(&self, statistics: u16, exchange: Exchange) {
        count_exchange(statistics, exchange);
    }

    #[inline(always)]
    fn observe(&self, statistics: u16, timing: Timing, us: u32) {
        count_time(statistics, timing, us);
    }

    #[expect(unsafe_code, reason = "calls a helper")]
    #[inline(always)]
    fn now(&self, settings: &Settings) -> u32 {
        // SAFETY: the helper has no conditions.
        let jiffies = unsafe { bpf_jiffies64() };
        low(jiffies.wrapping_mul(settings.seconds_per_jiffy.load()) >> 32)
    }

    #[expect(unsafe_code, reason = "calls a helper")]
    #[inline(always)]
    fn tick(&self) -> u32 {
        // SAFETY: the helper has no conditions.
        let tick = low(unsafe { bpf_ktime_get_ns() } >> 10);
        if tick == 0 { 1 } else { tick }
    }

    #[inline(always)]
    fn is_virtual(&self, address: Address) -> bool {
        VIRTUALS.get_ptr(address).is_some()
    }

    #[inline(always)]
    fn may_refuse(&self, now: u32) -> bool {
        let Some([second, number]) = own_row(&REFUSALS, 0) else { return false };
        if *second != now {
            *second = now;
            *number = 0;
        }
        *number = number.wrapping_add(1);
        *number <= limits::REPLIES_PER_SECOND
    }

    #[inline(always)]
    fn interface(&self) -> Option<&Interface> {
        interface(self.interface)
    }

    #[inline(always)]
    fn interface_index(&self) -> u32 {
        self.interface
    }

    #[inline(always)]
    fn leads_back(&self, source: &Address, destination: &Address) -> bool {
        // Uplinks and tunnels are one group, and the node's own packets are its own.
        match interface(self.came_by) {
            Some(row) if row.has(Interface::POD) => {
                let out = calls::interface_back(self.context, self.came_by, source, destination);
                out != 0 && (out == self.came_by || out == row.bridge.load())
            }
            _ => true,
        }
    }

    #[inline(always)]
    fn way(&self, from: Address, to: Address, more: u32) -> Way {
        calls::way(self.context, self.came_by, [from, to], more)
    }

    #[expect(unsafe_code, reason = "reads map memory")]
    #[inline(always)]
    fn local(&self, scope: u64, at: Endpoint) -> Option<u32> {
        // SAFETY: one aligned word, copied out at once.
        unsafe { LOCALS.get(Local::new(scope, at)) }.copied()
    }

    #[inline(always)]
    fn width(&self) -> u16 {
        scratch().map_or(0, |scratch| scratch.exit.width)
    }

    #[inline(always)]
    fn store_flow(&self, request: &Request, _by: Seed) -> Stored {
        calls::put_entry(request)
    }

    #[inline(always)]
    fn free_flow(&self, place: u32, head: Head, _by: Seed, back: Back) -> bool {
        calls::free_flow(place, head, back)
    }

    #[inline(always)]
    fn end_severed(&self, place: u32, head: Head, now: u32) {
        calls::sever(place, head.0, now);
    }

    #[inline(always)]
    fn falls_elsewhere(&self, _seed: u64, _ends: [Endpoint; 2], values: &Values) -> bool {
        let is_net = u32::from(values.interface == 0);
        calls::falls_elsewhere(values.frontend, is_net, values.statistics.into()) != 0
    }

    #[inline(always)]
    fn find_flow(&self, key: &Key, client: Client, _by: Seed) -> Option<(Head, u32)> {
        calls::find(key, client, false)
    }

    #[inline(always)]
    fn find_new(&self, key: &Key, client: Client, _by: Seed) -> Option<(Head, u32)> {
        calls::find(key, client, true)
    }
}

/// What is known of an interface.
#[expect(unsafe_code, reason = "reads map memory")]
#[inline(always)]
fn interface<'a>(index: u32) -> Option<&'a Interface> {
    // SAFETY: the fields are words; a row that is recycled costs this one packet.
    INTERFACES.get_ptr(index).map(|row| unsafe { &*row })
}

/// The low half of a word.
#[inline(always)]
pub(crate) const fn low(word: u64) -> u32 {
    let [a, b, c, d, ..] = word.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
