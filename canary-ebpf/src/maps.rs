//! Every map, and the look-ups over them.

use core::hint::black_box;
use core::intrinsics::{AtomicOrdering, atomic_or};
use core::ops::Deref;

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_NOEXIST};
use aya_ebpf::btf_maps::{self, ArrayOfMaps};
use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_ns};
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray};
use canary_common::backend::{Backend, Frontend};
use canary_common::directory::{Bucket, OverflowKey};
use canary_common::flow::{Family, Flow, FlowKey, FlowKey4, FlowKey6, SocketPick, V4, V6};
use canary_common::label::{ServiceLabel, SplitLabel};
use canary_common::limits;
use canary_common::reason::{REASON_SLOTS, Reason};
use canary_common::service::Record;
use canary_common::settings::Settings;
use canary_common::stats::{Counter, Counts, Histograms, SplitRow, Timing, step};
use canary_common::tables::{FlowTables, Refused, Stage, Tables};
use canary_common::word::Word;

/// The node's settings, one row.
#[map]
static SETTINGS: Array<Settings> = Array::pinned(1, BPF_F_MMAPABLE);
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
/// Maglev slices.
#[map]
static SLOTS: Array<u32> = Array::pinned(limits::MAX_SLOTS, BPF_F_MMAPABLE);
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
/// Packets that were not forwarded, by reason.
#[map]
static REASONS: PerCpuArray<u64> = PerCpuArray::pinned(REASON_SLOTS, 0);
/// Refusals of this second: the second, then their number.
#[map]
static REFUSALS: PerCpuArray<[u32; 2]> = PerCpuArray::pinned(1, 0);
/// The second since which we are attached to an interface.
#[map]
static INTERFACES: HashMap<u32, u32> = HashMap::pinned(limits::MAX_INTERFACES, 0);
/// Connect-time picks by socket cookie. Least recently used out first: a lost one costs its
/// program the virtual address in `getpeername`.
#[map]
static SOCKETS: LruHashMap<u64, SocketPick> = LruHashMap::pinned(limits::MAX_SOCKETS, 0);

/// Flows that are half open, least recently used out first.
#[map]
static OPENING4: LruHashMap<FlowKey4, Flow> =
    LruHashMap::pinned(limits::DEFAULT_FLOWS / limits::OPENING_PART, 0);
/// Flows that were answered. A full table costs the idlest flow its connection.
#[map]
static FLOWS4: LruHashMap<FlowKey4, Flow> = LruHashMap::pinned(limits::DEFAULT_FLOWS, 0);
/// Frontends of flows that did not come through their backend's home.
#[map]
static RETURNS4: LruHashMap<FlowKey4, [u32; 2]> = LruHashMap::pinned(limits::DEFAULT_FLOWS, 0);
/// Flows that somebody else translates.
#[map]
static FOREIGN4: LruHashMap<FlowKey4, u32> = LruHashMap::pinned(limits::MAX_FOREIGN, 0);
/// As `OPENING4`.
#[map]
static OPENING6: LruHashMap<FlowKey6, Flow> =
    LruHashMap::pinned(limits::DEFAULT_FLOWS / limits::OPENING_PART, 0);
/// As `FLOWS4`.
#[map]
static FLOWS6: LruHashMap<FlowKey6, Flow> = LruHashMap::pinned(limits::DEFAULT_FLOWS, 0);
/// As `RETURNS4`.
#[map]
static RETURNS6: LruHashMap<FlowKey6, [u32; 2]> = LruHashMap::pinned(limits::DEFAULT_FLOWS, 0);
/// As `FOREIGN4`.
#[map]
static FOREIGN6: LruHashMap<FlowKey6, u32> = LruHashMap::pinned(limits::MAX_FOREIGN, 0);

/// `-ENOENT`-like codes of the helpers: the key is there already.
const EEXIST: i32 = -17;

/// The tables, as seen by a packet of one interface.
#[derive(Clone, Copy)]
pub(crate) struct Maps {
    /// Index of the packet's interface; 0 for a socket.
    pub(crate) interface: u32,
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

/// A value of a hash map.
#[expect(unsafe_code, reason = "reads map memory")]
#[inline(always)]
fn value<'a, K, V>(map: &LruHashMap<K, V>, key: &K) -> Option<&'a V> {
    // SAFETY: entries are recycled only, never unmapped, during a run. All fields that are
    // read later are words; one that is another flow's by then costs this one packet.
    map.get_ptr(key).map(|value| unsafe { &*value })
}

/// Counts a packet that was not forwarded.
#[inline(always)]
pub(crate) fn count(reason: Reason) {
    if let Some(slot) = own_row(&REASONS, reason.slot()) {
        *slot = slot.wrapping_add(1);
    }
}

/// Remembers a connect-time pick.
#[inline(always)]
pub(crate) fn remember(cookie: u64, pick: &SocketPick) {
    // A pick that cannot be kept costs its program the virtual address in `getpeername`.
    let _: Result<(), i32> = SOCKETS.insert(cookie, pick, 0);
}

/// The connect-time pick of a socket.
#[inline(always)]
pub(crate) fn remembered(cookie: u64) -> Option<SocketPick> {
    value(&SOCKETS, &cookie).copied()
}

/// The flow tables of one family.
trait Flowing<F: Family> {
    /// `OPENING` and `FLOWS`, `RETURNS`, `FOREIGN`.
    fn maps() -> FlowMaps<F::Bytes>;
}

/// References to the maps of one family.
struct FlowMaps<B: 'static> {
    opening: &'static LruHashMap<FlowKey<B>, Flow>,
    established: &'static LruHashMap<FlowKey<B>, Flow>,
    returns: &'static LruHashMap<FlowKey<B>, [u32; 2]>,
    foreign: &'static LruHashMap<FlowKey<B>, u32>,
}

impl<B> FlowMaps<B> {
    #[inline(always)]
    const fn stage(&self, stage: Stage) -> &'static LruHashMap<FlowKey<B>, Flow> {
        match stage {
            Stage::Opening => self.opening,
            Stage::Established => self.established,
        }
    }
}

impl Flowing<V4> for Maps {
    #[inline(always)]
    fn maps() -> FlowMaps<[u8; 4]> {
        FlowMaps {
            opening: &OPENING4,
            established: &FLOWS4,
            returns: &RETURNS4,
            foreign: &FOREIGN4,
        }
    }
}

impl Flowing<V6> for Maps {
    #[inline(always)]
    fn maps() -> FlowMaps<[u8; 16]> {
        FlowMaps {
            opening: &OPENING6,
            established: &FLOWS6,
            returns: &RETURNS6,
            foreign: &FOREIGN6,
        }
    }
}

impl<F: Family> FlowTables<F> for Maps
where
    Self: Flowing<F>,
    F::Bytes: 'static,
{
    #[inline(always)]
    fn flow(&self, stage: Stage, key: &FlowKey<F::Bytes>) -> Option<impl Deref<Target = Flow>> {
        value(Self::maps().stage(stage), key)
    }

    #[inline(always)]
    fn add_flow(&self, stage: Stage, key: &FlowKey<F::Bytes>, flow: &Flow) -> Result<(), Refused> {
        match Self::maps().stage(stage).insert(key, flow, u64::from(BPF_NOEXIST)) {
            Ok(()) => Ok(()),
            Err(EEXIST) => Err(Refused::Exists),
            Err(_) => Err(Refused::Full),
        }
    }

    #[inline(always)]
    fn remove_flow(&self, stage: Stage, key: &FlowKey<F::Bytes>) {
        // Gone already is as good.
        let _: Result<(), i32> = Self::maps().stage(stage).remove(key);
    }

    #[inline(always)]
    fn return_through(&self, key: &FlowKey<F::Bytes>) -> Option<[u32; 2]> {
        value(Self::maps().returns, key).copied()
    }

    #[inline(always)]
    fn set_return(&self, key: &FlowKey<F::Bytes>, frontend: [u32; 2]) -> bool {
        Self::maps().returns.insert(key, frontend, 0).is_ok()
    }

    #[inline(always)]
    fn remove_return(&self, key: &FlowKey<F::Bytes>) {
        // Gone already is as good.
        let _: Result<(), i32> = Self::maps().returns.remove(key);
    }

    #[inline(always)]
    fn is_foreign(&self, key: &FlowKey<F::Bytes>) -> bool {
        value(Self::maps().foreign, key).is_some()
    }

    #[inline(always)]
    fn set_foreign(&self, key: &FlowKey<F::Bytes>) {
        // No room: the connection is reset as one that is lost.
        let _: Result<(), i32> = Self::maps().foreign.insert(key, self.now(), 0);
    }

    #[inline(always)]
    fn remove_foreign(&self, key: &FlowKey<F::Bytes>) {
        // Gone already is as good.
        let _: Result<(), i32> = Self::maps().foreign.remove(key);
    }
}

impl Tables for Maps {
    #[inline(always)]
    fn settings(&self) -> Option<&Settings> {
        row(&SETTINGS, 0)
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
        row(&SLOTS, index).copied()
    }

    #[inline(always)]
    fn count(&self, statistics: u16, counter: Counter, by: u64) {
        if let Some(counts) = own_row(&STATS, u32::from(statistics))
            && let Some(count) = counts.values.get_mut(counter.index())
        {
            *count = count.wrapping_add(by);
        }
    }

    #[inline(always)]
    fn observe(&self, statistics: u16, timing: Timing, us: u32) {
        let Some(split) = row(&SPLITS, u32::from(statistics)) else { return };
        let Some(id) = split.histogram.load().checked_sub(1) else { return };
        let Some(histograms) = own_row(&HISTOGRAMS, id) else { return };
        let steps = match timing {
            Timing::Connect => &mut histograms.connect,
            Timing::Response => &mut histograms.response,
        };
        // Verifier: the compiler proves that this is in range and would drop the check that
        // tells the verifier (`R0 unbounded memory access`).
        if let Some(count) = steps.get_mut(black_box(step(us))) {
            *count = count.wrapping_add(1);
        }
    }

    #[inline(always)]
    fn now(&self) -> u32 {
        self.settings().map_or(0, |settings| self.now_by(settings))
    }

    #[expect(unsafe_code, reason = "calls a helper")]
    #[inline(always)]
    fn now_by(&self, settings: &Settings) -> u32 {
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

    #[expect(unsafe_code, reason = "the intrinsic is unsafe")]
    #[inline(always)]
    fn add_bits(&self, word: &Word<u32>, bits: u32) -> u32 {
        // Ordered, although nothing depends on it: for a relaxed one LLVM 22 emits the instruction
        // that does not fetch, and then takes `bits` for what the word was.
        // SAFETY: the pointer comes from a reference to an aligned word.
        unsafe { atomic_or::<u32, u32, { AtomicOrdering::AcqRel }>(word.as_ptr(), bits) }
    }

    #[inline(always)]
    fn may_refuse(&self) -> bool {
        let Some([second, number]) = own_row(&REFUSALS, 0) else { return false };
        let now = self.now();
        if *second != now {
            *second = now;
            *number = 0;
        }
        *number = number.wrapping_add(1);
        *number <= limits::REPLIES_PER_SECOND
    }

    #[expect(unsafe_code, reason = "reads map memory")]
    #[inline(always)]
    fn interface_is_young(&self) -> bool {
        // SAFETY: one aligned word, copied out at once.
        let Some(since) = unsafe { INTERFACES.get(self.interface) }.copied() else { return false };
        self.now().wrapping_sub(since) < limits::YOUNG_INTERFACE
    }
}

/// The low half of a word.
#[inline(always)]
pub(crate) const fn low(word: u64) -> u32 {
    let [a, b, c, d, ..] = word.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
