//! One service for each family and protocol, in the tables of a loaded object.

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData};
use canary_common::backend::{Backend, Frontend, State};
use canary_common::directory::{Occupant, buckets};
use canary_common::endpoint::Endpoint;
use canary_common::flow::{FlowKey, FlowWords, Marks};
use canary_common::limits;
use canary_common::service::{self, Record};

use super::case::Transport;

/// Owners of rows: the first.
const GENERATION: u16 = 1;
/// Slots of the larger split.
const SLOTS: u32 = 101;
/// A second that never comes: these flows are never idle.
const ALWAYS: u32 = u32::MAX;

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
}

/// Fills the tables; every service has so many flows.
pub(crate) fn fill(ebpf: &mut Ebpf, flows: u32) -> Result<()> {
    let mut maps = Maps(ebpf);
    let mask = limits::MAX_BUCKETS.saturating_sub(1);
    settings(&mut maps, mask)?;
    for (transport, id) in Transport::ALL.into_iter().zip(1..) {
        service(&mut maps, transport, id)?;
        endpoint(&mut maps, mask, transport.frontend(), Occupant::Frontend(id))?;
        endpoint(&mut maps, mask, transport.backend(), Occupant::Backend(id))?;
        add_flows(&mut maps, transport, id, flows)?;
    }
    for name in ["BENCH_HASH", "BENCH_LRU"] {
        let mut table = maps.hash::<[u32; 3], FlowWords>(name)?;
        for flow in 0..flows {
            let key = [flow >> 16 << 16, 7, flow & 0xffff];
            table.insert(key, FlowWords::default(), 0).with_context(|| format!("fill {name}"))?;
        }
    }
    Ok(())
}

fn settings(maps: &mut Maps<'_>, mask: u32) -> Result<()> {
    let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    // As `Settings` lies in memory; a tick of a thousandth of a second is as good as any.
    let row: [u64; 8] = [
        0x0123_4567_89ab_cdef,
        (1_u64 << 32) / 1000,
        0,
        1,
        pair(mask, limits::OPENING_IDLE),
        pair(limits::ESTABLISHED_IDLE, limits::CLOSING_IDLE),
        pair(limits::ANSWERED_UDP_IDLE, 1),
        0,
    ];
    maps.set("SETTINGS", 0, row)
}

/// Frontend, backend, service and its split of 90 to 10 all have the same number.
fn service(maps: &mut Maps<'_>, transport: Transport, id: u32) -> Result<()> {
    let status = Backend::status_of(State::Alive, 0, GENERATION);
    maps.set("BACKENDS", id, row(transport.backend(), [status, id, u32::from(GENERATION)]))?;
    let words = [id, Frontend::EXTERNAL, u32::from(GENERATION)];
    maps.set("FRONTENDS", id, row(transport.frontend(), words))?;
    let mut record =
        Record { bounds: service::bounds(&[9_000, 1_000]), count: 2, ..Record::default() };
    let first = id.saturating_mul(SLOTS);
    let statistics = u16::try_from(id)?;
    for (split, (slots, length)) in [(first, SLOTS), (id, 1)].into_iter().enumerate() {
        *record.slots.get_mut(split).context("a split")? = slots;
        *record.lengths.get_mut(split).context("a split")? = length;
        *record.statistics.get_mut(split).context("a split")? = statistics;
    }
    maps.set("SERVICES", id, record)?;
    maps.set("CURRENT", id, id)?;
    for slot in first..first.saturating_add(SLOTS) {
        maps.set("SLOTS", slot, id)?;
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

fn add_flows(maps: &mut Maps<'_>, transport: Transport, id: u32, flows: u32) -> Result<()> {
    let marks = Marks::ANSWERED | Marks::CLIENT_PAYLOAD | Marks::SERVER_PAYLOAD;
    let marks = if transport.is_udp { marks } else { marks | Marks::TCP };
    let owner = u32::from(GENERATION) << 16 | id;
    let words = FlowWords([id, owner, marks, 0, ALWAYS, 0]);
    let client = transport.client();
    let [a, b] = client.port;
    for flow in 0..flows {
        let [low, high, ..] = flow.to_le_bytes();
        let port = [a ^ low, b ^ high];
        if transport.is_v6 {
            let key = FlowKey { client: client.address.0, peer: id, port, generation: GENERATION };
            maps.hash("FLOWS6")?.insert(key, words, 0)?;
        } else {
            let client = client.address.as_v4().context("an IPv4 client")?;
            let key = FlowKey { client, peer: id, port, generation: GENERATION };
            maps.hash("FLOWS4")?.insert(key, words, 0)?;
        }
    }
    Ok(())
}
