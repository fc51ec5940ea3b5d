//! The picture of tables that an earlier agent left, also one that was killed while it wrote.

use std::collections::{BTreeMap, BTreeSet};

use canary_common::backend::{Backend, Frontend, State};
use canary_common::directory::{Bucket, OVERFLOW, Occupant};
use canary_common::endpoint::{Address, Endpoint};
use canary_common::service::Record;

use super::published::Tables;
use super::rows::{BackendRow, FrontendRow, ServiceRow, Slice, StatisticsRow};
use super::{NOWHERE, Published, Sizes, Write};
use crate::compile::SplitKey;

/// The tables as they are.
#[derive(Debug)]
pub struct Image<'a> {
    /// `ENDPOINTS`.
    pub buckets: &'a [Bucket],
    /// The hash beside it: endpoint and value.
    pub overflow: &'a [(Endpoint, u32)],
    /// `FRONTENDS`.
    pub frontends: &'a [Frontend],
    /// `BACKENDS`.
    pub backends: &'a [Backend],
    /// `CURRENT`.
    pub current: &'a [u32],
    /// `SERVICES`.
    pub records: &'a [Record],
    /// `SLOTS`.
    pub slots: &'a [u32],
    /// Names of services by id, those that are not empty.
    pub names: &'a [(u32, String)],
    /// Labels of splits: row of `STATS`, whose it is, row of `HISTOGRAMS`.
    pub splits: &'a [(u16, SplitKey, Option<u32>)],
}

impl Published {
    /// Takes over tables that are in use.
    ///
    /// What nothing leads to counts as free: the stores that are returned sweep it, then one grace
    /// period must pass before the first plan is carried out. That plan stores only what differs
    /// from what is there.
    #[must_use]
    pub fn adopt(sizes: Sizes, image: &Image<'_>) -> (Self, Vec<Write>) {
        let mut tables = Tables::new(sizes);
        tables.adopt_splits(image);
        tables.adopt_services(image);
        tables.adopt_endpoints(image);
        tables.adopt_homes(image);
        tables.adopt_generations(image);
        let writes = tables.sweep(image);
        (Self::of_adopted(tables), writes)
    }
}

impl Tables {
    fn adopt_splits(&mut self, image: &Image<'_>) {
        let mut histograms = BTreeMap::new();
        let mut ids = BTreeMap::new();
        for (id, key, histogram) in image.splits {
            let row = StatisticsRow { id: *id, histogram: *histogram };
            self.statistics.insert(key.clone(), row);
            ids.insert(u32::from(*id), 1);
            histograms.extend(histogram.map(|histogram| (histogram, 1)));
        }
        self.statistics_ids.adopt(&ids, BTreeMap::new());
        self.histograms.adopt(&histograms, BTreeMap::new());
    }

    fn adopt_services(&mut self, image: &Image<'_>) {
        let keys: BTreeMap<u16, &SplitKey> =
            image.splits.iter().map(|(id, key, _)| (*id, key)).collect();
        let mut ids = BTreeMap::new();
        let mut records = BTreeMap::new();
        for (id, name) in image.names {
            // A service that was never put in force, or is not any more, has the record of NOWHERE.
            let Some(&index) = row(image.current, *id).filter(|index| **index != 0) else {
                continue;
            };
            let Some(record) = row(image.records, index) else { continue };
            let mut slices = BTreeMap::new();
            for (key, slice) in slices_of(record, &keys, image.slots) {
                if slice.length < 2 || self.slots.claim(slice.start, slice.length) {
                    slices.insert(key, slice);
                }
            }
            let service =
                ServiceRow { id: *id, record: index, slices, found: Some(Box::new(*record)) };
            self.services.insert(name.clone(), service);
            ids.insert(*id, 0);
            records.insert(index, 0);
        }
        self.service_ids.adopt(&ids, BTreeMap::new());
        self.records.adopt(&records, BTreeMap::new());
    }

    fn adopt_endpoints(&mut self, image: &Image<'_>) {
        for (bucket, entries) in (0..).zip(image.buckets) {
            for (place, entry) in (0..).zip(&entries.entries) {
                let key = endpoint(entry.address, entry.tail);
                let occupant = Occupant::from_value(entry.value.load());
                if entry.tail == 0 && occupant.is_none() {
                    continue;
                }
                self.places.adopt(bucket, place, key, occupant.is_some());
                self.adopt_occupant(image, key, occupant);
            }
        }
        for (key, value) in image.overflow {
            self.places.adopt_overflow(*key);
            self.adopt_occupant(image, *key, Occupant::from_value(*value));
        }
    }

    fn adopt_occupant(&mut self, image: &Image<'_>, at: Endpoint, occupant: Option<Occupant>) {
        match occupant {
            None => {}
            Some(Occupant::Frontend(id)) => {
                let Some(found) = row(image.frontends, id) else { return };
                let (generation, service) = (found.generation(), found.service.load());
                let row = FrontendRow { id, generation, service, listed: true, homes: 0 };
                self.frontends.insert(at, row);
            }
            Some(Occupant::Backend(id)) => {
                let Some(found) = row(image.backends, id) else { return };
                let status = found.status();
                let flags = if status.has_returns() { Backend::HAS_RETURNS } else { 0 };
                // One that is gone and still found was being let go of.
                let state = match status.state() {
                    State::Alive => State::Alive,
                    State::Draining | State::Gone => State::Draining,
                };
                let home = row(image.frontends, found.home.load()).map_or(at, frontend_endpoint);
                let generation = status.generation();
                let backend = BackendRow { id, generation, state, flags, home, users: 0 };
                self.backends.insert(at, backend);
            }
        }
    }

    /// Counts the backends at home at each frontend, also at those that are not found any more.
    fn adopt_homes(&mut self, image: &Image<'_>) {
        for backend in self.backends.all().values() {
            let Some(found) = row(image.backends, backend.id) else { continue };
            let [_, _, high, low] = found.home_generation.load().to_be_bytes();
            let known = self.frontends.get(&backend.home).copied();
            let mut home = known.unwrap_or(FrontendRow {
                id: found.home.load(),
                generation: u16::from_be_bytes([high, low]),
                service: NOWHERE,
                listed: false,
                homes: 0,
            });
            home.homes += 1;
            self.frontends.insert(backend.home, home);
        }
    }

    fn adopt_generations(&mut self, image: &Image<'_>) {
        let used = self.frontends.all().values().map(|row| (row.id, row.generation)).collect();
        let seen = (0..).zip(image.frontends).map(|(id, row)| (id, row.generation()));
        self.frontend_ids.adopt(&used, seen.filter(|(_, generation)| *generation > 0).collect());
        let used = self.backends.all().values().map(|row| (row.id, row.generation)).collect();
        let seen = (0..).zip(image.backends).map(|(id, row)| (id, row.status().generation()));
        self.backend_ids.adopt(&used, seen.filter(|(_, generation)| *generation > 0).collect());
    }
}

impl Tables {
    /// Ends what an agent that was killed left half done.
    fn sweep(&self, image: &Image<'_>) -> Vec<Write> {
        let used: BTreeSet<u32> = self.backends.all().values().map(|row| row.id).collect();
        let mut writes = Vec::new();
        for (id, row) in (0..).zip(image.backends) {
            let status = row.status();
            if status.state() != State::Gone && !used.contains(&id) {
                let status = Backend::status_of(State::Gone, 0, status.generation());
                writes.push(Write::BackendStatus { id, status });
            }
        }
        for (id, name) in image.names {
            if self.services.get(name).is_none_or(|row| row.id != *id) {
                writes.push(Write::ServiceLabel { service: *id, name: String::new() });
            }
        }
        for (bucket, row) in (0..).zip(image.buckets) {
            let [head, _] = &row.entries;
            let (is, on) = (head.spare.load() & OVERFLOW != 0, self.places.overflows(bucket));
            if is != on {
                writes.push(Write::OverflowFlag { bucket, on });
            }
        }
        writes
    }
}

/// The slices that a record names, by whose they are.
fn slices_of(
    record: &Record,
    keys: &BTreeMap<u16, &SplitKey>,
    slots: &[u32],
) -> Vec<(SplitKey, Slice)> {
    let places = record.slots.iter().zip(&record.lengths).zip(&record.statistics);
    let count = usize::try_from(record.count).unwrap_or(usize::MAX);
    let named = places.take(count).filter_map(|((&start, &length), statistics)| {
        let from = usize::try_from(start).ok()?;
        let to = from.checked_add(usize::try_from(length).ok()?)?;
        let found = if length > 1 { slots.get(from..to)?.to_vec() } else { Vec::new() };
        let key = SplitKey::clone(keys.get(statistics)?);
        Some((key, Slice { start, length, backends: None, found }))
    });
    named.collect()
}

/// The endpoint whose [`Address::words`] and [`Endpoint::tail`] these are.
pub(super) fn endpoint([first, second]: [u64; 2], tail: u32) -> Endpoint {
    let mut address = [0; 16];
    let bytes = first.to_ne_bytes().into_iter().chain(second.to_ne_bytes());
    address.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    let [high, low, protocol, _] = tail.to_ne_bytes();
    Endpoint { address: Address(address), port: [high, low], protocol }
}

fn frontend_endpoint(row: &Frontend) -> Endpoint {
    Endpoint { address: Address(row.address), port: row.port, protocol: row.protocol }
}

fn row<R>(rows: &[R], id: u32) -> Option<&R> {
    rows.get(usize::try_from(id).ok()?)
}
