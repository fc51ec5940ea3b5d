use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use canary_common::addresses::{BACKEND, FRONTEND, ROWS};
use canary_common::backend::{Backend, Frontend, State};
use canary_common::directory::{Bucket, Occupant, OverflowKey, find};
use canary_common::endpoint::{Address, TCP, Version};
use canary_common::memory::Memory;
use canary_common::node::bits;
use canary_common::service::pick;
use canary_common::tables::Tables as _;

use super::*;
use crate::compile::{
    Affinity, Desired, DesiredBackend, DesiredService, DesiredSplit, SplitKey, endpoint,
};
use crate::entry::TrafficPolicy;

mod brake;
mod golden;
mod limits;
mod prefixes;
mod reuse;

/// Sizes that are soon used up.
const SMALL: Sizes = Sizes {
    services: 8,
    frontends: 12,
    backends: 24,
    slots: 16_000,
    buckets: 8,
    overflow: 16,
    statistics: 400,
    histograms: 3,
};

/// Tables in memory that stores are carried out on, and that notice a store which a reader may see
/// by halves.
struct Lab {
    memory: Memory,
    sizes: Sizes,
    names: BTreeMap<u32, String>,
    splits: BTreeMap<u16, (SplitKey, Option<u32>)>,
    /// Rows that a reader may be at: reachable at some moment since the last grace period.
    read: Reached,
    /// Rows that flows name: what readers were at, until a pass ends that.
    flows: Named,
    /// Rows that a run has from a flow that a pass has ended since the last grace period.
    held: Named,
}

/// Rows that flows name.
#[derive(Clone, Default)]
struct Named {
    backends: BTreeSet<u32>,
    frontends: BTreeSet<u32>,
}

/// Rows that can be reached from `ENDPOINTS`.
#[derive(Clone, Default)]
struct Reached {
    records: BTreeSet<u32>,
    slots: BTreeSet<u32>,
    frontends: BTreeSet<u32>,
    backends: BTreeSet<u32>,
    entries: BTreeSet<(u32, u8)>,
}

/// What a client that connects to a frontend gets, by hash: whose counters move, which backend.
type Answer = Vec<Option<(SplitKey, Option<Endpoint>)>>;

impl Lab {
    fn new(sizes: Sizes) -> Self {
        let rows = |count: u32| usize::try_from(count).unwrap();
        let memory = Memory {
            buckets: (0..sizes.buckets).map(|_| Bucket::default()).collect(),
            frontends: (0..sizes.frontends).map(|_| Frontend::default()).collect(),
            backends: (0..sizes.backends).map(|_| Backend::default()).collect(),
            current: vec![0; rows(sizes.services)],
            records: vec![Record::default(); rows(sizes.services * 2)],
            slots: vec![0; rows(sizes.slots)],
            ..Memory::default()
        };
        Self {
            memory,
            sizes,
            names: BTreeMap::new(),
            splits: BTreeMap::new(),
            read: Reached::default(),
            flows: Named::default(),
            held: Named::default(),
        }
    }

    /// Carries out one store; panics if a reader could see half of it.
    fn apply(&mut self, write: &Write) {
        self.read_all();
        let memory = &mut self.memory;
        match write {
            Write::Addresses { row, set, clear } => {
                let mut rows = memory.addresses.borrow_mut();
                let word = rows.entry(*row).or_default();
                *word = (*word | set) & !clear;
            }
            Write::BackendState { id, state } => memory.backends[at(*id)].state.store(*state),
            Write::EndpointValue { bucket, entry, value } => {
                memory.buckets[at(*bucket)].entries[usize::from(*entry)].value.store(*value);
            }
            Write::Overflow { endpoint, value: 0 } => {
                memory.overflow.remove(&OverflowKey::of(*endpoint));
            }
            Write::Overflow { endpoint, value } => {
                memory.overflow.insert(OverflowKey::of(*endpoint), *value);
            }
            Write::OverflowFlag { bucket, on } => {
                memory.buckets[at(*bucket)].entries[0].spare.store(u32::from(*on));
            }
            Write::Current { service, record } => memory.current[at(*service)] = *record,
            Write::ServiceLabel { service, name } if name.is_empty() => {
                self.names.remove(service);
            }
            Write::ServiceLabel { service, name } => {
                self.names.insert(*service, name.clone());
            }
            Write::SplitLabel { statistics, key, histogram } => {
                self.splits.insert(*statistics, (key.clone(), *histogram));
            }
            Write::FrontendService { id, service } => {
                memory.frontends[at(*id)].service.store(*service);
            }
            _ => self.apply_body(write),
        }
    }

    /// Fills rows that nobody may be reading.
    fn apply_body(&mut self, write: &Write) {
        let memory = &mut self.memory;
        match write {
            Write::Backend { id, endpoint } => {
                assert!(!self.read.backends.contains(id), "{write}: a reader may be there");
                assert!(!self.flows.backends.contains(id), "{write}: a flow names it");
                assert!(!self.held.backends.contains(id), "{write}: a flow named it just now");
                let row = &mut memory.backends[at(*id)];
                assert_eq!(row.state(), State::Gone, "{write}");
                (row.address, row.port) = (endpoint.address.0, endpoint.port);
                row.protocol = endpoint.protocol;
            }
            Write::EndpointKey { bucket, entry, endpoint } => {
                let place = (*bucket, *entry);
                assert!(!self.read.entries.contains(&place), "{write}: a reader may be there");
                let row = &mut memory.buckets[at(*bucket)].entries[usize::from(*entry)];
                assert_eq!(row.value.load(), 0, "{write}");
                (row.address, row.tail) = (endpoint.address.words(), endpoint.tail());
            }
            Write::Slots { start, ids } => {
                for (place, id) in (*start..).zip(ids) {
                    assert!(!self.read.slots.contains(&place), "{write}: a reader may be there");
                    memory.slots[at(place)] = *id;
                }
            }
            Write::Record { index, record } => {
                assert!(!self.read.records.contains(index), "{write}: a reader may be there");
                memory.records[at(*index)] = **record;
            }
            Write::Frontend { id, endpoint, service } => {
                assert!(!self.read.frontends.contains(id), "{write}: a reader may be there");
                assert!(!self.flows.frontends.contains(id), "{write}: a flow names it");
                assert!(!self.held.frontends.contains(id), "{write}: a flow named it just now");
                let row = &mut memory.frontends[at(*id)];
                (row.address, row.port) = (endpoint.address.0, endpoint.port);
                row.protocol = endpoint.protocol;
                row.service.store(*service);
            }
            _ => unreachable!("{write} is one store"),
        }
    }

    fn apply_all(&mut self, writes: &[Write]) {
        for write in writes {
            self.apply(write);
        }
    }

    /// A grace period: no reader is left that came before it.
    fn grace(&mut self, published: &mut Published) {
        self.read_all();
        published.begin_grace();
        (self.read, self.held) = (Reached::default(), Named::default());
        for write in published.end_grace() {
            assert!(matches!(write, Write::Addresses { set: 0, .. }), "{write}");
            self.apply(&write);
        }
        self.check_bits();
    }

    /// A pass over `FLOWS`: it ends those of rows that were let go of.
    fn pass(&mut self, published: &mut Published) {
        published.begin_pass();
        let (backends, frontends) = published.rows_to_end();
        self.held.backends.extend(self.flows.backends.intersection(&backends));
        self.held.frontends.extend(self.flows.frontends.intersection(&frontends));
        // A reader of now may still store a flow to what it has found.
        self.flows.backends.retain(|id| !backends.contains(id));
        self.flows.frontends.retain(|id| !frontends.contains(id));
        self.flows.backends.extend(&self.read.backends);
        self.flows.frontends.extend(&self.read.frontends);
        published.end_pass(true);
    }

    /// Grace, a pass, and grace again.
    fn pass_between_graces(&mut self, published: &mut Published) {
        self.grace(published);
        self.pass(published);
        self.grace(published);
    }

    /// Whether every row that a flow names has its bit: else its packets are not seen any more.
    fn check_bits(&self) {
        for id in &self.flows.backends {
            let row = &self.memory.backends[at(*id)];
            let bits = bits(&self.memory, Address(row.address));
            assert_ne!(bits & BACKEND, 0, "backend {id} has lost its bit");
        }
        for id in &self.flows.frontends {
            let row = &self.memory.frontends[at(*id)];
            let bits = bits(&self.memory, Address(row.address));
            assert_ne!(bits & FRONTEND, 0, "frontend {id} has lost its bit");
        }
    }

    /// Notes every row that a packet of this moment may be looking at.
    fn read_all(&mut self) {
        let values = self.memory.overflow.values().copied().collect::<Vec<_>>();
        for (bucket, row) in (0..).zip(&self.memory.buckets) {
            for (place, entry) in (0..).zip(&row.entries) {
                if let Some(occupant) = Occupant::from_value(entry.value.load()) {
                    self.read.entries.insert((bucket, place));
                    reach(&self.memory, &mut self.read, occupant);
                }
            }
        }
        for occupant in values.into_iter().filter_map(Occupant::from_value) {
            reach(&self.memory, &mut self.read, occupant);
        }
        self.flows.backends.extend(&self.read.backends);
        self.flows.frontends.extend(&self.read.frontends);
    }

    /// What a connection to `frontend` gets, for hashes all over the space.
    fn answer(&self, frontend: Endpoint) -> Option<Answer> {
        let mask = self.sizes.buckets - 1;
        let Some(Occupant::Frontend(id)) = find(&self.memory, mask, frontend) else { return None };
        let row = self.memory.frontend(id).expect("a frontend's row");
        let here = (row.address, row.port, row.protocol);
        assert_eq!(here, (frontend.address.0, frontend.port, frontend.protocol), "row {id}");
        let bits = bits(&self.memory, frontend.address);
        assert_ne!(bits & FRONTEND, 0, "nobody looks for frontend {id}");
        let version = frontend.address.version();
        let service = row.service.load();
        let record = self.memory.record(service).expect("a service's record");
        let hashes =
            (0..512_u64).map(|step| (step << 55) ^ (step.wrapping_mul(0x9e37_79b9) & 0xffff_ffff));
        Some(hashes.map(|hash| self.one_answer(record, version, hash)).collect())
    }

    fn one_answer(
        &self,
        record: &Record,
        version: Version,
        hash: u64,
    ) -> Option<(SplitKey, Option<Endpoint>)> {
        let picked =
            pick(&self.memory, record, version, hash).expect("a record that covers every hash");
        // NOWHERE refuses on behalf of nobody.
        if picked.statistics == 0 {
            assert_eq!(picked.backend, None);
            return None;
        }
        let (key, _) = &self.splits[&picked.statistics];
        let endpoint = picked.backend.map(|id| {
            let row = self.memory.backend(id).expect("a backend's row");
            assert_ne!(row.state(), State::Gone, "backend {id} of {key:?} is gone");
            let endpoint = row.endpoint();
            assert_eq!(endpoint.address.version(), version, "backend {id} of {key:?}");
            let bits = bits(&self.memory, endpoint.address);
            assert_ne!(bits & BACKEND, 0, "answers of {key:?} are not looked at");
            let found = find(&self.memory, self.sizes.buckets - 1, endpoint);
            assert_eq!(found, Some(Occupant::Backend(id)), "answers of {key:?} are not restored");
            endpoint
        });
        Some((key.clone(), endpoint))
    }

    /// The picture of these tables that an agent started again has.
    fn adopt(&self) -> (Published, Vec<Write>) {
        let overflow: Vec<(Endpoint, u32)> = self
            .memory
            .overflow
            .iter()
            .map(|(key, value)| (adopt::endpoint(key.address, key.tail), *value))
            .collect();
        let names: Vec<(u32, String)> = self.names.clone().into_iter().collect();
        let splits: Vec<(u16, SplitKey, Option<u32>)> = self
            .splits
            .iter()
            .map(|(id, (key, histogram))| (*id, key.clone(), *histogram))
            .collect();
        let words = self.memory.addresses.borrow();
        let addresses: Vec<u64> =
            (0..ROWS).map(|row| words.get(&row).copied().unwrap_or_default()).collect();
        let image = Image {
            addresses: &addresses,
            buckets: &self.memory.buckets,
            overflow: &overflow,
            frontends: &self.memory.frontends,
            backends: &self.memory.backends,
            current: &self.memory.current,
            records: &self.memory.records,
            slots: &self.memory.slots,
            names: &names,
            splits: &splits,
        };
        Published::adopt(self.sizes, &image)
    }
}

fn reach(memory: &Memory, read: &mut Reached, occupant: Occupant) {
    match occupant {
        Occupant::Backend(id) => {
            read.backends.insert(id);
        }
        Occupant::Frontend(id) => {
            read.frontends.insert(id);
            let index = memory.current[at(memory.frontends[at(id)].service.load())];
            read.records.insert(index);
            let record = &memory.records[at(index)];
            let families = record.slots.iter().zip(record.lengths);
            let slices = families.flat_map(|(slots, lengths)| {
                slots.iter().copied().zip(lengths).take(at(record.count))
            });
            for (start, length) in slices {
                match length {
                    0 => {}
                    1 => {
                        read.backends.insert(start);
                    }
                    _ => {
                        read.slots.extend(start..start + length);
                        let range = at(start)..at(start + length);
                        read.backends.extend(&memory.slots[range]);
                    }
                }
            }
        }
    }
}

fn at(id: u32) -> usize {
    usize::try_from(id).unwrap()
}

fn vip(last: u8) -> Endpoint {
    endpoint(Ipv4Addr::new(10, 96, 0, last).into(), 80, TCP)
}

fn pod(last: u8) -> Endpoint {
    endpoint(Ipv4Addr::new(10, 244, 1, last).into(), 8080, TCP)
}

/// As [`vip`], of IPv6.
fn vip6(last: u8) -> Endpoint {
    endpoint(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into()).into(), 80, TCP)
}

/// As [`pod`], of IPv6.
fn pod6(last: u8) -> Endpoint {
    endpoint(Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, last.into()).into(), 8080, TCP)
}

/// A healthy backend.
fn backend(endpoint: Endpoint) -> DesiredBackend {
    DesiredBackend { endpoint, weight: 1, healthy: true, second: false }
}

/// A split of a service to its own subset, over healthy pods.
fn split(service: &str, subset: &str, share: u16, pods: &[u8]) -> DesiredSplit {
    let key = SplitKey {
        service: service.to_owned(),
        target: service.to_owned(),
        subset: subset.to_owned(),
    };
    let backends = pods.iter().map(|last| backend(pod(*last))).collect();
    DesiredSplit { key, weight: share, share, backends, standby: Vec::new() }
}

fn service(name: &str, vips: &[u8], splits: Vec<DesiredSplit>) -> DesiredService {
    DesiredService {
        upstream: false,
        braked: false,
        name: name.to_owned(),
        frontends: vips.iter().map(|last| vip(*last)).collect(),
        default_subset: "blue".to_owned(),
        histograms: splits.len() > 1,
        splits,
        affinity: Affinity::Flow,
        follows: false,
        internal: TrafficPolicy::Cluster,
        external: TrafficPolicy::Cluster,
    }
}

/// The tutorial's payments at a weight of the canary.
fn payments(blue: u16) -> DesiredService {
    let green = 10_000 - blue;
    let splits =
        vec![split("payments", "blue", blue, &[1, 2]), split("payments", "green", green, &[3])];
    service("payments", &[10], splits)
}

fn desired(services: Vec<DesiredService>) -> Desired {
    let services = services.into_iter().map(Arc::new).collect();
    Desired { services, ..Desired::default() }
}

/// Tables that hold `services`.
fn published(sizes: Sizes, services: Vec<DesiredService>) -> (Lab, Published) {
    published_as(sizes, &desired(services))
}

/// Tables that hold `desired`.
fn published_as(sizes: Sizes, desired: &Desired) -> (Lab, Published) {
    let mut lab = Lab::new(sizes);
    let (mut published, writes) = Published::new(sizes);
    lab.apply_all(&writes);
    lab.apply_all(&plan(&mut published, desired).unwrap());
    (lab, published)
}

/// Endpoints of backends whose rows say a state.
fn backends_that_are(lab: &Lab, state: State) -> BTreeSet<Endpoint> {
    let rows = lab.memory.backends.iter();
    let rows = rows.filter(|row| row.state() == state && row.protocol != 0);
    rows.map(Backend::endpoint).collect()
}

fn counts(answer: &Answer) -> HashMap<Option<Endpoint>, usize> {
    let mut counts = HashMap::new();
    for one in answer {
        *counts.entry(one.as_ref().and_then(|(_, endpoint)| *endpoint)).or_default() += 1;
    }
    counts
}
