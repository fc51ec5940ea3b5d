//! What the tables hold, as the agent that wrote them knows it.

use std::collections::BTreeMap;

use canary_common::backend::State;
use canary_common::endpoint::{Address, Endpoint};
use canary_common::limits::MAX_SPLITS;
use canary_common::service::{AFFINITY_SOURCE, BRAKE, FOLLOW_WEIGHTS, Record, bounds};

use super::addresses::Bits;
use super::kept::Kept;
use super::places::Places;
use super::pool::{Pool, Ranges};
use super::rows::{BackendRow, FrontendRow, ServiceRow, Slices, StatisticsRow};
use super::{NOWHERE, Sizes, Write};
use crate::compile::{Affinity, Claims, Desired, DesiredService, Names, SplitKey};

/// What is in force, and which rows of the tables it takes.
#[derive(Clone, Debug)]
pub struct Published {
    desired: Desired,
    /// The tables hold what an earlier agent put there, and `desired` says nothing of it.
    adopted: bool,
    pub(super) tables: Tables,
}

/// Rows in use.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    pub(super) services: Kept<String, ServiceRow>,
    pub(super) frontends: Kept<Endpoint, FrontendRow>,
    pub(super) backends: Kept<Endpoint, BackendRow>,
    pub(super) statistics: Kept<SplitKey, StatisticsRow>,
    pub(super) places: Places,
    pub(super) bits: Bits,
    pub(super) service_ids: Pool,
    /// A row that is let go of carries the address whose bit it needs until it is free.
    pub(super) frontend_ids: Pool<Address>,
    /// As of frontends.
    pub(super) backend_ids: Pool<Address>,
    pub(super) records: Pool,
    pub(super) statistics_ids: Pool,
    pub(super) histograms: Pool,
    pub(super) slots: Ranges,
}

/// Something that takes no new flows and goes once it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Its row.
    pub id: u32,
}

impl Published {
    /// Empty tables of these sizes, and the stores that tables full of zeros need to be those.
    #[must_use]
    pub fn new(sizes: Sizes) -> (Self, Vec<Write>) {
        let writes = vec![
            Write::Record { index: 0, record: Box::new(nowhere()) },
            Write::Current { service: NOWHERE, record: 0 },
        ];
        let tables = Tables::new(sizes);
        (Self { desired: Desired::default(), adopted: false, tables }, writes)
    }

    pub(super) fn of_adopted(tables: Tables) -> Self {
        Self { desired: Desired::default(), adopted: true, tables }
    }

    /// Whether the tables are those of an earlier agent, as it left them.
    #[must_use]
    pub fn is_adopted(&self) -> bool {
        self.adopted
    }

    /// What was planned last; empty until then.
    #[must_use]
    pub fn desired(&self) -> &Desired {
        &self.desired
    }

    /// Who holds which frontend.
    #[must_use]
    pub fn claims(&self) -> Claims {
        let names: BTreeMap<u32, &String> =
            self.tables.services.all().iter().map(|(name, row)| (row.id, name)).collect();
        let held = self.tables.frontends.all().iter().filter_map(|(endpoint, row)| {
            Some((*endpoint, String::clone(names.get(&row.service)?)))
        });
        held.collect()
    }

    /// Rows in use, by table; [`NOWHERE`]'s count.
    #[must_use]
    pub fn rows_in_use(&self) -> BTreeMap<&'static str, usize> {
        let tables = &self.tables;
        let services = tables.services.all().len() + 1;
        let listed = tables.frontends.all().values().filter(|row| row.listed).count();
        let slices = tables.services.all().values().flat_map(|service| service.slices.values());
        let slots = slices.flatten().map(|slice| usize::try_from(slice.length).unwrap_or_default());
        let statistics = tables.statistics.all().len() + 1;
        let histograms =
            tables.statistics.all().values().filter(|row| row.histogram.is_some()).count();
        BTreeMap::from([
            ("ENDPOINTS", listed + tables.backends.all().len()),
            ("FRONTENDS", tables.frontends.all().len()),
            ("BACKENDS", tables.backends.all().len()),
            ("CURRENT", services),
            ("NAMES", services - 1),
            ("SERVICES", services),
            ("SLOTS", slots.filter(|length| *length > 1).sum()),
            ("SPLITS", statistics),
            ("STATS", statistics),
            ("EXCHANGES", statistics),
            ("LABELS", statistics - 1),
            ("HISTOGRAMS", histograms),
        ])
    }

    /// The row of `FRONTENDS` of a virtual address that is found.
    #[must_use]
    pub fn frontend(&self, endpoint: &Endpoint) -> Option<u32> {
        self.tables.frontends.get(endpoint).filter(|row| row.listed).map(|row| row.id)
    }

    /// The row of `CURRENT` of a service.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<u32> {
        self.tables.services.get(&name.to_owned()).map(|row| row.id)
    }

    /// The row of `BACKENDS` of an instance.
    #[must_use]
    pub fn backend(&self, endpoint: &Endpoint) -> Option<u32> {
        self.tables.backends.get(endpoint).map(|row| row.id)
    }

    /// The row of `STATS` of a split.
    #[must_use]
    pub fn statistics(&self, key: &SplitKey) -> Option<u16> {
        self.tables.statistics.get(key).map(|row| row.id)
    }

    /// Every split that ever had counters: key, row of `STATS`, row of `HISTOGRAMS`.
    pub fn counted(&self) -> impl Iterator<Item = (&SplitKey, u16, Option<u32>)> {
        self.tables.statistics.all().iter().map(|(key, row)| (key, row.id, row.histogram))
    }

    /// Backends that take no new flows because nobody registers them.
    pub fn leaving_backends(&self) -> impl Iterator<Item = Leaving> {
        let marked = self.tables.backends.marked();
        marked.map(|(endpoint, row)| Leaving { endpoint: *endpoint, id: row.id })
    }

    /// Frontends that no service has any more.
    pub fn leaving_frontends(&self) -> impl Iterator<Item = Leaving> {
        let marked = self.tables.frontends.marked();
        marked.map(|(endpoint, row)| Leaving { endpoint: *endpoint, id: row.id })
    }

    /// Lets go of a leaving backend, whose flows a pass ends; nothing happens if it is not leaving.
    pub fn forget_backend(&mut self, endpoint: &Endpoint) -> Vec<Write> {
        let mut writes = Vec::new();
        let leaving = self.tables.backends.get(endpoint);
        if leaving.is_some_and(|row| row.state == State::Draining) {
            self.tables.places.remove(*endpoint, &mut writes);
            self.tables.drop_backend(endpoint, &mut writes);
        }
        writes
    }

    /// Lets go of a leaving frontend, whose flows a pass ends; nothing happens if it is not leaving.
    pub fn forget_frontend(&mut self, endpoint: &Endpoint) -> Vec<Write> {
        let mut writes = Vec::new();
        if let Some(row) = self.tables.frontends.get_mut(endpoint)
            && row.listed
            && row.service == NOWHERE
        {
            row.listed = false;
            self.tables.places.remove(*endpoint, &mut writes);
            self.tables.drop_frontend(endpoint);
        }
        writes
    }

    pub(super) fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Plans `change` on the tables; if that fails they are what they were.
    pub(super) fn plan<T, E>(
        &mut self,
        change: impl FnOnce(&mut Tables, &Desired) -> Result<T, E>,
    ) -> Result<T, E> {
        self.tables.begin();
        let result = change(&mut self.tables, &self.desired);
        self.tables.end(result.is_err());
        result
    }

    /// Says that the services `names` of `desired` are planned now.
    pub(super) fn planned(&mut self, desired: &Desired, names: &Names) {
        self.adopted = false;
        for name in names {
            let services = &mut self.desired.services;
            let place = services.binary_search_by(|service| service.name.cmp(name));
            match (place, desired.shared(name)) {
                (Ok(place), Some(new)) => {
                    if let Some(old) = services.get_mut(place) {
                        old.clone_from(new);
                    }
                }
                (Ok(place), None) => _ = services.remove(place),
                (Err(place), Some(new)) => services.insert(place, new.clone()),
                (Err(_), None) => {}
            }
        }
    }
}

impl Tables {
    /// Tables of zeros.
    pub(super) fn new(sizes: Sizes) -> Self {
        Self {
            services: Kept::default(),
            // Marked are those that leave.
            frontends: Kept::marking(|row: &FrontendRow| row.listed && row.service == NOWHERE),
            backends: Kept::marking(|row: &BackendRow| row.state == State::Draining),
            statistics: Kept::default(),
            places: Places::new(sizes.buckets.saturating_sub(1), sizes.overflow),
            bits: Bits::default(),
            // Row 0 of these three is NOWHERE's.
            service_ids: Pool::new(1, sizes.services),
            records: Pool::new(1, sizes.services.saturating_mul(2)),
            statistics_ids: Pool::new(1, sizes.statistics.min(u32::from(u16::MAX))),
            frontend_ids: Pool::named_by_flows(sizes.frontends),
            backend_ids: Pool::named_by_flows(sizes.backends),
            histograms: Pool::new(0, sizes.histograms),
            slots: Ranges::new(sizes.slots),
        }
    }

    /// From here on changes can be taken back.
    fn begin(&mut self) {
        self.services.record();
        self.frontends.record();
        self.backends.record();
        self.statistics.record();
        self.places.record();
        self.bits.record();
        self.service_ids.record();
        self.records.record();
        self.frontend_ids.record();
        self.backend_ids.record();
        self.statistics_ids.record();
        self.histograms.record();
        self.slots.record();
    }

    /// What was changed since [`Self::begin`] stays, or with `back` is taken back.
    fn end(&mut self, back: bool) {
        self.services.end(back);
        self.frontends.end(back);
        self.backends.end(back);
        self.statistics.end(back);
        self.places.end(back);
        self.bits.end(back);
        self.service_ids.end(back);
        self.records.end(back);
        self.frontend_ids.end(back);
        self.backend_ids.end(back);
        self.statistics_ids.end(back);
        self.histograms.end(back);
        self.slots.end(back);
    }

    /// A backend that is not in `ENDPOINTS` any more is gone.
    pub(super) fn drop_backend(&mut self, endpoint: &Endpoint, writes: &mut Vec<Write>) {
        let Some(mut row) = self.backends.remove(endpoint) else { return };
        row.state = State::Gone;
        writes.push(row.state());
        self.backend_ids.free(row.id, endpoint.address);
    }

    /// A frontend that is not in `ENDPOINTS` any more is gone.
    pub(super) fn drop_frontend(&mut self, endpoint: &Endpoint) {
        if self.frontends.get(endpoint).is_some_and(|row| !row.listed)
            && let Some(row) = self.frontends.remove(endpoint)
        {
            self.frontend_ids.free(row.id, endpoint.address);
        }
    }

    /// The record of a service whose slices and counters are known.
    pub(super) fn record(&self, service: &DesiredService, slices: &Slices) -> Record {
        let splits = service.splits_with_share();
        let shares: Vec<u16> = splits.iter().map(|split| split.share).collect();
        let mut record = Record {
            bounds: bounds(&shares),
            count: u32::try_from(splits.len()).unwrap_or(0),
            flags: flags(service),
            ..Record::default()
        };
        for (place, split) in splits.into_iter().take(MAX_SPLITS).enumerate() {
            let families = slices.get(&split.key).into_iter().flatten();
            let columns = record.slots.iter_mut().zip(&mut record.lengths);
            for (slice, (slots, lengths)) in families.zip(columns) {
                set(slots, place, slice.start);
                set(lengths, place, slice.length);
            }
            let statistics = self.statistics.get(&split.key).map_or(0, |row| row.id);
            set(&mut record.statistics, place, statistics);
        }
        record
    }
}

/// The flags of a service's record.
fn flags(service: &DesiredService) -> u32 {
    let affinity = match service.affinity {
        Affinity::Flow => 0,
        Affinity::Source => AFFINITY_SOURCE,
    };
    let follows = if service.follows { FOLLOW_WEIGHTS } else { 0 };
    let braked = if service.braked { BRAKE } else { 0 };
    affinity | follows | braked
}

fn set<T>(row: &mut [T], place: usize, value: T) {
    if let Some(slot) = row.get_mut(place) {
        *slot = value;
    }
}

/// One split without a backend of either family: every new flow is refused.
fn nowhere() -> Record {
    Record { bounds: bounds(&[canary_common::service::WHOLE]), count: 1, ..Record::default() }
}
