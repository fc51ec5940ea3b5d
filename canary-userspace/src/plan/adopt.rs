//! The picture of tables that an earlier agent left, also one that was killed while it wrote.

use std::collections::{BTreeMap, BTreeSet};

use canary_common::addresses::{BACKEND, FRONTEND};
use canary_common::backend::{Backend, Frontend, State};
use canary_common::directory::{Bucket, OVERFLOW, Occupant};
use canary_common::endpoint::{Address, Endpoint};
use canary_common::service::Record;

use super::published::Tables;
use super::rows::{BackendRow, FrontendRow, ServiceRow, Slice, Slices, StatisticsRow};
use super::{Published, Sizes, Write};
use crate::compile::SplitKey;

/// The tables as they are.
#[derive(Debug)]
pub struct Image<'a> {
    /// `ADDRESSES`.
    pub addresses: &'a [u64],
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
    /// period ([`Self::begin_grace`]) must pass before the first plan is carried out. That plan
    /// stores only what differs from what is there. Rows of `FRONTENDS` and `BACKENDS` that were
    /// used and are found no more may be named by flows: they count as let go of just now, and
    /// keep their bits of `ADDRESSES` until they are free. Other bits that nobody needs go at once.
    #[must_use]
    pub fn adopt(sizes: Sizes, image: &Image<'_>) -> (Self, Vec<Write>) {
        let mut tables = Tables::new(sizes);
        tables.adopt_splits(image);
        tables.adopt_services(image);
        tables.adopt_endpoints(image);
        tables.adopt_rows(image);
        let writes = tables.sweep(image);
        (Self::of_adopted(tables), writes)
    }
}

impl Tables {
    fn adopt_splits(&mut self, image: &Image<'_>) {
        let mut histograms = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for (id, key, histogram) in image.splits {
            let row = StatisticsRow { id: *id, histogram: *histogram };
            self.statistics.insert(key.clone(), row);
            ids.insert(u32::from(*id));
            histograms.extend(*histogram);
        }
        self.statistics_ids.adopt(&ids, Vec::new());
        self.histograms.adopt(&histograms, Vec::new());
    }

    fn adopt_services(&mut self, image: &Image<'_>) {
        let keys: BTreeMap<u16, &SplitKey> =
            image.splits.iter().map(|(id, key, _)| (*id, key)).collect();
        let mut ids = BTreeSet::new();
        let mut records = BTreeSet::new();
        for (id, name) in image.names {
            // A service that was never put in force, or is not any more, has the record of NOWHERE.
            let Some(&index) = row(image.current, *id).filter(|index| **index != 0) else {
                continue;
            };
            let Some(record) = row(image.records, index) else { continue };
            let mut slices = slices_of(record, &keys, image.slots);
            for slice in slices.values_mut().flatten() {
                if slice.length > 1 && !self.slots.claim(slice.start, slice.length) {
                    *slice = Slice::default();
                }
            }
            let service =
                ServiceRow { id: *id, record: index, slices, found: Some(Box::new(*record)) };
            self.services.insert(name.clone(), service);
            ids.insert(*id);
            records.insert(index);
        }
        self.service_ids.adopt(&ids, Vec::new());
        self.records.adopt(&records, Vec::new());
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
                let row = FrontendRow { id, service: found.service.load(), listed: true };
                self.frontends.insert(at, row);
            }
            Some(Occupant::Backend(id)) => {
                let Some(found) = row(image.backends, id) else { return };
                // One that is gone and still found was being let go of.
                let state = match found.state() {
                    state @ (State::Alive | State::Resting) => state,
                    State::Draining | State::Gone => State::Draining,
                };
                self.backends.insert(at, BackendRow { id, state, users: 0 });
            }
        }
    }

    /// Rows that are in use, and those that were: flows may name both.
    fn adopt_rows(&mut self, image: &Image<'_>) {
        let used = self.frontends.all().iter().map(|(at, row)| (row.id, at.address)).collect();
        let written = image.frontends.iter().map(Frontend::endpoint);
        let (used, left) = self.adopt_bits(&used, written, FRONTEND);
        self.frontend_ids.adopt(&used, left);
        let used = self.backends.all().iter().map(|(at, row)| (row.id, at.address)).collect();
        let written = image.backends.iter().map(Backend::endpoint);
        let (used, left) = self.adopt_bits(&used, written, BACKEND);
        self.backend_ids.adopt(&used, left);
    }

    /// Counts whose `bit` each row needs that was `written` at some time; gives the rows in use,
    /// and those that are not.
    fn adopt_bits(
        &mut self,
        used: &BTreeMap<u32, Address>,
        written: impl Iterator<Item = Endpoint>,
        bit: u64,
    ) -> (BTreeSet<u32>, Vec<(u32, Address)>) {
        let written = (0..).zip(written).filter(|(_, endpoint)| endpoint.protocol != 0);
        let rows = written.map(|(id, endpoint)| (id, endpoint.address));
        let left: Vec<_> = rows.filter(|(id, _)| !used.contains_key(id)).collect();
        // The stores that bits lack are those of `Bits::settle`.
        let mut counted = Vec::new();
        for address in used.values().chain(left.iter().map(|(_, address)| address)) {
            self.bits.need(*address, bit, &mut counted);
        }
        (used.keys().copied().collect(), left)
    }
}

impl Tables {
    /// Ends what an agent that was killed left half done.
    fn sweep(&self, image: &Image<'_>) -> Vec<Write> {
        let used: BTreeSet<u32> = self.backends.all().values().map(|row| row.id).collect();
        let mut writes = Vec::new();
        self.bits.settle(image.addresses, &mut writes);
        for (id, row) in (0..).zip(image.backends) {
            if row.state() != State::Gone && !used.contains(&id) {
                writes.push(Write::BackendState { id, state: Backend::word_of(State::Gone) });
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
fn slices_of(record: &Record, keys: &BTreeMap<u16, &SplitKey>, slots: &[u32]) -> Slices {
    let [slots4, slots6] = &record.slots;
    let [lengths4, lengths6] = &record.lengths;
    let v4 = slots4.iter().zip(lengths4).map(|(start, length)| found(slots, *start, *length));
    let v6 = slots6.iter().zip(lengths6).map(|(start, length)| found(slots, *start, *length));
    let count = usize::try_from(record.count).unwrap_or(usize::MAX);
    let splits = record.statistics.iter().take(count).zip(v4.zip(v6));
    let named = splits.filter_map(|(statistics, (v4, v6))| {
        let key = SplitKey::clone(keys.get(statistics)?);
        Some((key, [v4?, v6?]))
    });
    named.collect()
}

/// A slice as it was found; `None` if there are no such rows.
fn found(slots: &[u32], start: u32, length: u32) -> Option<Slice> {
    let from = usize::try_from(start).ok()?;
    let to = from.checked_add(usize::try_from(length).ok()?)?;
    let found = if length > 1 { slots.get(from..to)?.to_vec() } else { Vec::new() };
    Some(Slice { start, length, backends: None, found })
}

/// The endpoint whose [`Address::words`] and [`Endpoint::tail`] these are.
pub(super) fn endpoint([first, second]: [u64; 2], tail: u32) -> Endpoint {
    let mut address = [0; 16];
    let bytes = first.to_ne_bytes().into_iter().chain(second.to_ne_bytes());
    address.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    let [high, low, protocol, _] = tail.to_ne_bytes();
    Endpoint { address: Address(address), port: [high, low], protocol }
}

fn row<R>(rows: &[R], id: u32) -> Option<&R> {
    rows.get(usize::try_from(id).ok()?)
}
