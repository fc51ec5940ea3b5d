//! All that knows the layout of the maps: how large they are for a case, what is in them before it
//! runs, and how a round's new flows leave them.

use std::mem::offset_of;

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use aya::{Ebpf, EbpfLoader};
use canary_common::addresses::{self, Place};
use canary_common::backend::{Backend, Frontend, State};
use canary_common::directory::{Occupant, buckets};
use canary_common::endpoint::{Address, Endpoint};
use canary_common::flows::{self, Back, Client, Hash, Key, PLACES};
use canary_common::interface::Interface;
use canary_common::limits;
use canary_common::reason::{REASON_SLOTS, Reason};
use canary_common::service::{self, Record};
use canary_common::settings::Settings;
use canary_userspace::kernel::flows::FlowTable;
use canary_userspace::kernel::mapped::Mapped;
use canary_userspace::settings::Idle;

use super::case::{Case, Kind, Transport};
use super::filled::{Filled, tuple};

/// Id of the service, its frontend, its backend and its split of 90 to 10.
pub(super) const ID: u32 = 1;
/// Slots of the larger split; even, for a row of `SLOTS` is two of them.
const SLOTS: u32 = 102;
/// Buckets of `FLOWS` on a node of 24 GiB; new flows are measured with as many.
const NODE_BUCKETS: u32 = 78_643;
/// Entries of the smallest of the hashes that `FLOWS` is compared with.
const KEYS: u32 = 65_536;
/// Seed of `FLOWS`.
const SEED: u64 = 0x5eed_0f10_75a7_4e5b;
/// The second it always is: the clock stands still, so that flows neither end nor are seen anew.
pub(super) const NOW: u32 = 0;
/// Seconds ago that the flows ended of a table that is full of such.
pub(super) const ENDED: u32 = 1_000;
/// A test run's interface.
pub(super) const LOOPBACK: u32 = 1;

/// Maps of the object, by name.
struct Maps<'o>(&'o mut Ebpf);

impl Maps<'_> {
    fn array<V: aya::Pod>(&mut self, name: &str) -> Result<Array<&mut MapData, V>> {
        let map = self.0.map_mut(name).with_context(|| format!("no map {name}"))?;
        Array::try_from(map).with_context(|| name.to_owned())
    }

    fn set<V: aya::Pod>(&mut self, name: &str, index: u32, value: V) -> Result<()> {
        self.array(name)?.set(index, value, 0).with_context(|| format!("write {name}"))
    }

    fn hash<K: aya::Pod, V: aya::Pod>(
        &mut self,
        name: &str,
    ) -> Result<HashMap<&mut MapData, K, V>> {
        let map = self.0.map_mut(name).with_context(|| format!("no map {name}"))?;
        HashMap::try_from(map).with_context(|| name.to_owned())
    }

    /// `FLOWS`, mapped.
    fn flows(&self) -> Result<FlowTable> {
        FlowTable::new(Mapped::from_ebpf(self.0, "FLOWS")?, SEED)
    }
}

/// Sizes the tables for a case: places for two and a half times its flows, so that each finds
/// one, and no room for what it does not use.
pub(crate) fn size(loader: &mut EbpfLoader<'_>, case: Case) {
    let is_small = |kind| matches!(kind, Kind::Hash | Kind::HashMiss | Kind::Lru | Kind::LruInsert);
    let keys = if is_small(case.kind) { case.count.saturating_mul(2).max(KEYS) } else { 1 };
    let tuples = if case.kind.is_of_tuples() { entries(case).max(KEYS) } else { 1 };
    let buckets = match case.kind {
        Kind::SynRoom | Kind::SynFull => NODE_BUCKETS,
        kind if is_small(kind) || kind.is_of_tuples() => 1,
        kind if kind.is_of_flows() => buckets_for(entries(case)),
        _ => buckets_for(case.count.saturating_mul(5)),
    };
    loader.map_max_entries("FLOWS", buckets);
    for name in ["BENCH_HASH", "BENCH_LRU"] {
        loader.map_max_entries(name, keys);
    }
    loader.map_max_entries("BENCH_INSERT", if keys == 1 { 1 } else { KEYS });
    loader.map_max_entries("BENCH_TUPLES", tuples);
}

/// Entries that a table of a trial has room for: twice what is in it, or just that.
fn entries(case: Case) -> u32 {
    let is_full = matches!(case.kind, Kind::FlowsFull | Kind::TupleFull);
    if is_full { case.count } else { case.count.saturating_mul(2) }
}

/// Buckets with so many places, and no fewer than the smallest table of an agent.
fn buckets_for(places: u32) -> u32 {
    places.div_ceil(u32::try_from(PLACES).unwrap_or(1)).max(limits::DEFAULT_FLOW_BUCKETS)
}

/// Fills the tables as the case wants them. `unseen` gives numbers of flows that no run has.
pub(crate) fn fill(
    ebpf: &mut Ebpf,
    case: Case,
    unseen: impl Iterator<Item = u32> + Clone,
) -> Result<()> {
    let mut maps = Maps(ebpf);
    let (transport, mask) = (case.transport, limits::MAX_BUCKETS.saturating_sub(1));
    let table = maps.flows()?;
    settings(&maps, mask, table.seed().buckets)?;
    service(&mut maps, transport, ID)?;
    for (at, bit, occupant) in [
        (transport.frontend(), addresses::FRONTEND, Occupant::Frontend(ID)),
        (transport.backend(), addresses::BACKEND, Occupant::Backend(ID)),
    ] {
        address(&mut maps, at.address, bit)?;
        endpoint(&mut maps, mask, at, occupant)?;
    }
    // A pod's: whoever begins a flow has its route looked up.
    maps.hash::<u32, [u32; 4]>("INTERFACES")?.insert(LOOPBACK, [Interface::POD, 0, 0, 0], 0)?;
    let filled = Filled { table, case };
    let taken = |count: u32| unseen.clone().take(usize::try_from(count).unwrap_or_default());
    let half = |count: u32| taken(count / 2);
    match case.kind {
        Kind::Established | Kind::Push | Kind::Restore | Kind::NotOurs => {
            let lacking = filled.add_flows(0..flows_of(case))?;
            ensure!(lacking == 0, "{lacking} flows found no place");
            Ok(())
        }
        // Half of all places; of both choices of very few, none is free.
        Kind::SynRoom => filled.add_flows(taken(filled.places() / 4)).map(drop),
        Kind::SynFull => filled.add_until_full(unseen),
        Kind::FlowsLookup => filled.add_entries(0..case.count),
        Kind::FlowsMiss | Kind::FlowsInsert => filled.add_entries(taken(case.count)),
        Kind::FlowsFull => filled.add_until_full(unseen),
        Kind::TupleLookup => add_tuples(&mut maps, 0..case.count),
        Kind::TupleMiss | Kind::TupleInsert | Kind::TupleFull => {
            add_tuples(&mut maps, taken(case.count))
        }
        Kind::Hash => add_keys(&mut maps, "BENCH_HASH", 0..case.count),
        Kind::Lru => add_keys(&mut maps, "BENCH_LRU", 0..case.count),
        Kind::LruInsert => add_keys(&mut maps, "BENCH_INSERT", taken(KEYS)),
        Kind::HashMiss => add_keys(&mut maps, "BENCH_HASH", half(KEYS)),
        Kind::Floor => Ok(()),
    }
}

/// What is not ours meets one flow of ours; its count is of destinations.
fn flows_of(case: Case) -> u32 {
    if case.kind == Kind::NotOurs { 1 } else { case.count }
}

/// Places of `FLOWS`.
pub(crate) fn flow_places(ebpf: &Ebpf) -> Result<u32> {
    let table: Mapped<flows::Bucket> = Mapped::from_ebpf(ebpf, "FLOWS")?;
    Ok(table.rows().saturating_mul(u32::try_from(PLACES).unwrap_or_default()))
}

/// Takes away the flows that a round has added, so that the next one finds the same room.
pub(crate) fn forget(ebpf: &mut Ebpf, case: Case, flows: impl Iterator<Item = u32>) -> Result<()> {
    let mut maps = Maps(ebpf);
    match case.kind {
        Kind::SynRoom | Kind::FlowsInsert => {
            let table = maps.flows()?;
            let mut lacking = 0_usize;
            let runs = flows.size_hint().0;
            for flow in flows {
                let (key, client) = if case.kind == Kind::SynRoom {
                    let [from, to] = [case.transport.client(flow), case.transport.frontend()];
                    (Key::new(from, to), Client::IsSource)
                } else {
                    (tuple(flow), Client::IsDestination)
                };
                let by = table.seed();
                let hash = Hash::of(&key, client, by);
                let Some(entry) = flows::find(&table, &key, hash, client) else {
                    lacking = lacking.saturating_add(1);
                    continue;
                };
                let gone = match client {
                    Client::IsSource => flows::free_pair(&table, &entry, by, Back::Goes),
                    Client::IsDestination | Client::IsUnknown => flows::free(&table, &entry, by),
                };
                ensure!(gone, "a new flow of FLOWS does not go");
            }
            // Of a table that is half full, both choices of very few are full.
            ensure!(
                lacking <= runs.div_ceil(200),
                "{lacking} of {runs} new flows are not in FLOWS"
            );
        }
        Kind::TupleInsert => {
            let mut table = maps.hash::<[u64; 5], [u64; 4]>("BENCH_TUPLES")?;
            for flow in flows {
                table.remove(&tuple(flow).0).context("a new key is in BENCH_TUPLES")?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Makes sure that the programs met nothing but what the case is about.
pub(crate) fn ensure_no_surprise(ebpf: &mut Ebpf, case: Case) -> Result<()> {
    let map = ebpf.map_mut("REASONS").context("no map REASONS")?;
    let reasons = PerCpuArray::<_, u64>::try_from(map).context("REASONS")?;
    for slot in 0..REASON_SLOTS {
        let count: u64 = reasons.get(&slot, 0)?.iter().sum();
        if case.kind == Kind::SynRoom && slot == Reason::FlowTableFull.slot() {
            continue;
        }
        ensure!(count == 0, "{}: {count} packets were left for reason {slot}", case.name());
    }
    Ok(())
}

fn settings(maps: &Maps<'_>, mask: u32, flow_buckets: u32) -> Result<()> {
    let table: Mapped<Settings> = Mapped::from_ebpf(maps.0, "SETTINGS")?;
    let word = |offset, value| table.store(0, offset, value);
    // No jiffy is a second: see `NOW`.
    table.store_wide(0, offset_of!(Settings, seed), 0x0123_4567_89ab_cdef)?;
    table.store_wide(0, offset_of!(Settings, revision), 1)?;
    table.store_wide(0, offset_of!(Settings, flow_seed), SEED)?;
    word(offset_of!(Settings, flow_buckets), flow_buckets)?;
    word(offset_of!(Settings, bucket_mask), mask)?;
    for (place, idle) in Idle::default().by_state().into_iter().enumerate() {
        word(offset_of!(Settings, idle).saturating_add(place.saturating_mul(4)), idle)?;
    }
    word(offset_of!(Settings, ipv6_checksums), 1)?;
    let first = u32::from(limits::FIRST_PORT);
    let ports = u32::from(limits::LAST_PORT).saturating_sub(first).saturating_add(1);
    word(offset_of!(Settings, first_port), first)?;
    word(offset_of!(Settings, ports), ports)?;
    word(offset_of!(Settings, sent_back), 0x5e47_bac4)
}

/// Gives an address a bit.
fn address(maps: &mut Maps<'_>, address: Address, bit: u64) -> Result<()> {
    let Place { row, shift } = addresses::place(address);
    let bits: u64 = maps.array("ADDRESSES")?.get(&row, 0)?;
    maps.set("ADDRESSES", row, bits | bit << shift)
}

/// Frontend, backend, service and its split of 90 to 10 all have the same number.
fn service(maps: &mut Maps<'_>, transport: Transport, id: u32) -> Result<()> {
    let state = Backend::word_of(State::Alive);
    maps.set("BACKENDS", id, row(transport.backend(), [state, 0, 0]))?;
    maps.set("FRONTENDS", id, row(transport.frontend(), [id, Frontend::EXTERNAL, 0]))?;
    let mut record =
        Record { bounds: service::bounds(&[9_000, 1_000]), count: 2, ..Record::default() };
    let first = id.saturating_mul(SLOTS);
    let statistics = u16::try_from(id)?;
    for (split, (slots, length)) in [(first, SLOTS), (id, 1)].into_iter().enumerate() {
        for family in &mut record.slots {
            *family.get_mut(split).context("a split")? = slots;
        }
        for family in &mut record.lengths {
            *family.get_mut(split).context("a split")? = length;
        }
        *record.statistics.get_mut(split).context("a split")? = statistics;
    }
    maps.set("SERVICES", id, record)?;
    maps.set("CURRENT", id, id)?;
    for pair in first / 2..first.saturating_add(SLOTS) / 2 {
        maps.set("SLOTS", pair, [id, id])?;
    }
    // Its histograms are row 0.
    maps.set("SPLITS", id, [1_u64, 0, 0])
}

/// A row of `BACKENDS` or `FRONTENDS`: an endpoint, and three words.
fn row(endpoint: Endpoint, words: [u32; 3]) -> [u32; 8] {
    let [low, high] = endpoint.address.words().map(u64::to_ne_bytes);
    let half = |[a, b, c, d, e, f, g, h]: [u8; 8]| {
        [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])]
    };
    let ([a, b], [c, d], [x, y, z]) = (half(low), half(high), words);
    [a, b, c, d, endpoint.tail(), x, y, z]
}

/// Puts an endpoint into its second bucket: the dearer half of the lookups.
fn endpoint(maps: &mut Maps<'_>, mask: u32, endpoint: Endpoint, occupant: Occupant) -> Result<()> {
    let [_, bucket] = buckets(endpoint, mask);
    let [a, b] = endpoint.address.words();
    let tail = u64::from(endpoint.tail()) | u64::from(occupant.to_value()) << 32;
    let mut table = maps.array::<[u64; 8]>("ENDPOINTS")?;
    let entry = [a, b, tail, 0];
    let [_, _, taken, _, c, d, e, f] = table.get(&bucket, 0)?;
    let [g, h, i, j] = entry;
    let filled = if taken == 0 {
        [g, h, i, j, c, d, e, f]
    } else {
        let [k, l, m, n, ..] = table.get(&bucket, 0)?;
        [k, l, m, n, g, h, i, j]
    };
    table.set(bucket, filled, 0).context("write ENDPOINTS")
}

/// Such tuples, in the hash that `FLOWS` is compared with.
fn add_tuples(maps: &mut Maps<'_>, flows: impl Iterator<Item = u32>) -> Result<()> {
    let mut table = maps.hash::<[u64; 5], [u64; 4]>("BENCH_TUPLES")?;
    for flow in flows {
        table.insert(tuple(flow).0, [0; 4], 0).context("fill BENCH_TUPLES")?;
    }
    Ok(())
}

/// Keys as the programs make them of a flow's number.
fn add_keys(maps: &mut Maps<'_>, name: &str, flows: impl Iterator<Item = u32>) -> Result<()> {
    let mut table = maps.hash::<[u32; 3], [u32; 6]>(name)?;
    for flow in flows {
        let key = [flow >> 15, 7, flow & 0x7fff];
        table.insert(key, [0; 6], 0).with_context(|| format!("fill {name}"))?;
    }
    Ok(())
}
