//! The long way: services, frontends and backends that come, change and go.

use std::mem;

use canary_common::addresses::{BACKEND, FRONTEND};
use canary_common::backend::State;
use canary_common::directory::Occupant;
use canary_common::endpoint::{Endpoint, Version};
use canary_common::service::Record;

use super::delta::Delta;
use super::pool::Spent;
use super::published::Tables;
use super::rows::{BackendRow, FrontendRow, ServiceRow, Slice, Slices, StatisticsRow};
use super::{NOWHERE, Short, Table, Write};
use crate::compile::{DesiredBackend, DesiredService, DesiredSplit, SplitKey, maglev};

pub(super) const SERVICES: Table = Table { name: "SERVICES", setting: "limits.services" };
const FRONTENDS: Table = Table { name: "FRONTENDS", setting: "limits.frontends" };
const BACKENDS: Table = Table { name: "BACKENDS", setting: "limits.backends" };
const ENDPOINTS: Table = Table { name: "ENDPOINTS", setting: "limits.endpoints" };
const SLOTS: Table = Table { name: "SLOTS", setting: "limits.slots" };
const STATS: Table = Table { name: "STATS", setting: "limits.splits" };

/// A plan that grows, with the picture of the tables it leads to.
pub(super) struct Builder<'t> {
    pub(super) tables: &'t mut Tables,
    pub(super) writes: Vec<Write>,
    /// Frontends, with their services, where a backend serves that some record still names.
    late: Vec<(String, Endpoint)>,
    /// Frontends that are not found any more since a backend serves there.
    pub(super) unlisted: Vec<Endpoint>,
}

impl<'t> Builder<'t> {
    /// Starts from what the tables hold.
    pub(super) fn new(tables: &'t mut Tables) -> Self {
        Self { tables, writes: Vec::new(), late: Vec::new(), unlisted: Vec::new() }
    }

    /// Plans `delta`, and gives the stores in order; with `rest`, what no service of it names is
    /// let go of.
    pub(super) fn build(mut self, delta: &Delta<'_>, rest: bool) -> Result<Vec<Write>, Short> {
        // A frontend that moves shall not see the change of the service it leaves.
        let (gaining, others): (Vec<_>, Vec<_>) =
            delta.put.iter().copied().partition(|(_, service)| self.gains(service));
        for (old, service) in gaining.into_iter().chain(others) {
            self.put(old, service)?;
        }
        for (service, frontend) in mem::take(&mut self.late) {
            self.list_frontend(&service, &frontend)?;
        }
        self.remove(delta, rest);
        Ok(self.writes)
    }

    /// Whether `service` takes over a frontend of another one.
    fn gains(&self, service: &DesiredService) -> bool {
        let id = self.tables.services.get(&service.name).map(|row| row.id);
        let mut rows = service.frontends.iter().filter_map(|at| self.tables.frontends.get(at));
        rows.any(|row| row.service != NOWHERE && Some(row.service) != id)
    }

    /// Puts one service in force.
    fn put(
        &mut self,
        before: Option<&DesiredService>,
        service: &DesiredService,
    ) -> Result<(), Short> {
        let name = &service.name;
        let old = self.tables.services.get(name).cloned();
        let id = match &old {
            Some(row) => row.id,
            None => self.start(name)?,
        };
        self.frontend_rows(service, id)?;
        self.backends(before, service)?;
        let slices = self.slices(service, old.as_ref())?;
        for split in &service.splits {
            self.count(service, &split.key)?;
        }

        let found = old.as_ref().and_then(|row| Some((row.record, row.found.clone()?)));
        let record = Box::new(self.tables.record(service, &slices));
        let (index, found) = match found {
            Some((index, found)) if found == record => (index, Some(found)),
            _ => (self.publish(name, id, record)?, None),
        };
        for frontend in &service.frontends {
            self.lead_frontend(name, frontend, id)?;
        }
        if let Some(old) = old {
            self.free(&old, Some(index), &slices);
        }
        self.tables.services.insert(name.clone(), ServiceRow { id, record: index, slices, found });
        Ok(())
    }

    /// Puts a record in force, and says in which row it is.
    fn publish(&mut self, name: &str, service: u32, record: Box<Record>) -> Result<u32, Short> {
        let records = &mut self.tables.records;
        let index = records.take().map_err(|spent| SERVICES.short(name, spent, records.limit()))?;
        self.writes.push(Write::Record { index, record });
        self.writes.push(Write::Current { service, record: index });
        Ok(index)
    }

    /// Gives a new service its id and its name.
    fn start(&mut self, name: &str) -> Result<u32, Short> {
        let ids = &mut self.tables.service_ids;
        let id = ids.take().map_err(|spent| SERVICES.short(name, spent, ids.limit()))?;
        self.writes.push(Write::ServiceLabel { service: id, name: name.to_owned() });
        Ok(id)
    }

    /// Finds and fills rows for the frontends that have none; nothing leads to them yet.
    fn frontend_rows(&mut self, service: &DesiredService, id_of: u32) -> Result<(), Short> {
        for frontend in &service.frontends {
            if self.tables.frontends.contains_key(frontend) {
                continue;
            }
            let ids = &mut self.tables.frontend_ids;
            let id =
                ids.take().map_err(|spent| FRONTENDS.short(&service.name, spent, ids.limit()))?;
            let row = FrontendRow { id, service: id_of, listed: false };
            self.tables.frontends.insert(*frontend, row);
            self.tables.bits.need(frontend.address, FRONTEND, &mut self.writes);
            self.writes.push(Write::Frontend { id, endpoint: *frontend, service: id_of });
        }
        Ok(())
    }

    /// Makes every backend of `service` one that is found.
    fn backends(
        &mut self,
        before: Option<&DesiredService>,
        service: &DesiredService,
    ) -> Result<(), Short> {
        if !service.is_served() {
            return Ok(());
        }
        let known = before.map(DesiredService::endpoints).unwrap_or_default();
        for endpoint in service.endpoints() {
            match self.tables.backends.get(&endpoint).copied() {
                Some(mut row) => {
                    row.users += u32::from(!known.contains(&endpoint));
                    self.refresh_backend(service, endpoint, row);
                }
                None => self.add_backend(service, endpoint)?,
            }
        }
        Ok(())
    }

    fn refresh_backend(&mut self, service: &DesiredService, endpoint: Endpoint, old: BackendRow) {
        // Of one that several services have, none knows the health that the others see.
        let state = match old.state {
            State::Alive if old.users > 1 => State::Alive,
            _ => state(service, &endpoint),
        };
        let row = BackendRow { state, ..old };
        if row.state != old.state {
            self.writes.push(row.state());
        }
        self.tables.backends.insert(endpoint, row);
    }

    fn add_backend(&mut self, service: &DesiredService, endpoint: Endpoint) -> Result<(), Short> {
        let ids = &mut self.tables.backend_ids;
        let id = ids.take().map_err(|spent| BACKENDS.short(&service.name, spent, ids.limit()))?;
        let row = BackendRow { id, state: state(service, &endpoint), users: 1 };
        self.tables.bits.need(endpoint.address, BACKEND, &mut self.writes);
        self.writes.push(Write::Backend { id, endpoint });
        self.writes.push(row.state());
        self.tables.backends.insert(endpoint, row);
        self.list(&service.name, endpoint, Occupant::Backend(id))?;
        // A frontend that leaves the very endpoint is not found from here on.
        if let Some(row) = self.tables.frontends.get_mut(&endpoint) {
            row.listed = false;
            self.unlisted.push(endpoint);
        }
        Ok(())
    }

    /// A slice for every split and family, the old one where its backends are the same.
    fn slices(
        &mut self,
        service: &DesiredService,
        old: Option<&ServiceRow>,
    ) -> Result<Slices, Short> {
        let mut slices = Slices::new();
        for split in &service.splits {
            let known = old.and_then(|row| row.slices.get(&split.key));
            let [v4, v6] = known.map_or([None, None], |[v4, v6]| [Some(v4), Some(v6)]);
            let v4 = self.slice(&service.name, split, Version::V4, v4)?;
            let v6 = self.slice(&service.name, split, Version::V6, v6)?;
            slices.insert(split.key.clone(), [v4, v6]);
        }
        Ok(slices)
    }

    fn slice(
        &mut self,
        service: &str,
        split: &DesiredSplit,
        version: Version,
        known: Option<&Slice>,
    ) -> Result<Slice, Short> {
        let is_for = |slice: &&Slice| {
            slice.backends.as_ref().is_some_and(|backends| split.of(version).eq(backends))
        };
        if let Some(same) = known.filter(is_for) {
            return Ok(same.clone());
        }
        let backends: Vec<DesiredBackend> = split.of(version).cloned().collect();
        let (weighted, rows): (Vec<(Endpoint, u32)>, Vec<u32>) = backends
            .iter()
            .filter(|backend| backend.healthy)
            .filter_map(|backend| {
                let row = self.tables.backends.get(&backend.endpoint)?;
                Some(((backend.endpoint, backend.weight), row.id))
            })
            .unzip();
        let (start, length) = match rows.as_slice() {
            [] => (0, 0),
            [only] => (*only, 1),
            _ => {
                // By all backends, so that one which falls ill and recovers changes no length.
                let length = maglev::slot_count(backends.len());
                let places = maglev::slice(&weighted, length).into_iter();
                let ids: Vec<u32> = places
                    .filter_map(|place| rows.get(usize::try_from(place).ok()?).copied())
                    .collect();
                (self.slots(service, length, ids, known)?, length)
            }
        };
        Ok(Slice { start, length, backends: Some(backends), found: Vec::new() })
    }

    /// Where `ids` are in `SLOTS`: where they were found, or in rows that are free.
    fn slots(
        &mut self,
        service: &str,
        length: u32,
        ids: Vec<u32>,
        known: Option<&Slice>,
    ) -> Result<u32, Short> {
        if let Some(known) = known.filter(|known| known.found == ids) {
            return Ok(known.start);
        }
        let slots = &mut self.tables.slots;
        let start =
            slots.take(length).map_err(|spent| SLOTS.short(service, spent, slots.limit()))?;
        self.writes.push(Write::Slots { start, ids });
        Ok(start)
    }

    /// Gives a split its counters, and histograms if it should have some and there are any.
    fn count(&mut self, service: &DesiredService, key: &SplitKey) -> Result<(), Short> {
        let known = self.tables.statistics.get(key).copied();
        let wants = service.histograms && known.is_none_or(|row| row.histogram.is_none());
        let histogram = if wants { self.tables.histograms.take().ok() } else { None };
        let row = match known {
            Some(_) if histogram.is_none() => return Ok(()),
            Some(row) => StatisticsRow { histogram, ..row },
            None => {
                let ids = &mut self.tables.statistics_ids;
                let id =
                    ids.take().map_err(|spent| STATS.short(&service.name, spent, ids.limit()))?;
                StatisticsRow { id: u16::try_from(id).unwrap_or(0), histogram }
            }
        };
        self.tables.statistics.insert(key.clone(), row);
        let statistics = row.id;
        self.writes.push(Write::SplitLabel { statistics, key: key.clone(), histogram });
        Ok(())
    }

    /// Makes `frontend` lead to the service with `id`, which is in force.
    fn lead_frontend(&mut self, service: &str, frontend: &Endpoint, id: u32) -> Result<(), Short> {
        let Some(row) = self.tables.frontends.get_mut(frontend) else { return Ok(()) };
        if row.service != id {
            row.service = id;
            self.writes.push(Write::FrontendService { id: row.id, service: id });
        }
        if row.listed {
            return Ok(());
        }
        if self.tables.backends.contains_key(frontend) {
            self.late.push((service.to_owned(), *frontend));
            return Ok(());
        }
        self.list_frontend(service, frontend)
    }

    /// Makes `frontend` one that is found.
    fn list_frontend(&mut self, service: &str, frontend: &Endpoint) -> Result<(), Short> {
        let Some(row) = self.tables.frontends.get_mut(frontend) else { return Ok(()) };
        row.listed = true;
        let id = row.id;
        self.list(service, *frontend, Occupant::Frontend(id))?;
        // A backend that drains at the very endpoint cannot be told from it any more.
        self.tables.drop_backend(frontend, &mut self.writes);
        Ok(())
    }

    fn list(&mut self, service: &str, endpoint: Endpoint, occupant: Occupant) -> Result<(), Short> {
        if self.tables.places.put(endpoint, occupant, &mut self.writes) {
            return Ok(());
        }
        let spent = if self.tables.places.waits() { Spent::UntilGrace } else { Spent::Full };
        Err(ENDPOINTS.short(service, spent, self.tables.places.capacity()))
    }

    /// Frees the record of a service and its slices, but for what it still uses.
    pub(super) fn free(&mut self, old: &ServiceRow, record: Option<u32>, kept: &Slices) {
        if Some(old.record) != record {
            self.tables.records.free(old.record, ());
        }
        for (key, families) in &old.slices {
            for (place, slice) in families.iter().enumerate() {
                let now = kept.get(key).and_then(|kept| kept.get(place));
                if slice.length > 1 && !now.is_some_and(|now| now.is_at(slice)) {
                    self.tables.slots.free(slice.start, slice.length);
                }
            }
        }
    }
}

/// The state of a backend that `service` has: resting where each split that could draw it knows
/// it as unhealthy.
fn state(service: &DesiredService, endpoint: &Endpoint) -> State {
    let listed = service.splits.iter().flat_map(|split| &split.backends);
    let mut listed = listed.filter(|backend| backend.endpoint == *endpoint).peekable();
    if listed.peek().is_some() && listed.all(|backend| !backend.healthy) {
        State::Resting
    } else {
        State::Alive
    }
}
