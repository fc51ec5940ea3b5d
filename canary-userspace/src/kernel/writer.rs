//! Performs the stores of a plan.

use std::collections::BTreeSet;
use std::mem::offset_of;
use std::net::IpAddr;

use anyhow::{Context, Result};
use aya::maps::{HashMap, MapData};
use canary_common::backend::{Backend, Frontend};
use canary_common::directory::{Bucket, Entry, OVERFLOW, OverflowKey};
use canary_common::endpoint::Endpoint;
use canary_common::label::{ServiceLabel, SplitLabel};
use canary_common::service::Record;
use canary_common::settings::Settings;
use canary_common::stats::SplitRow;

use super::mapped::Mapped;
use crate::compile::socket;
use crate::plan::Write;

/// The tables that the agent owns, in memory.
#[derive(Debug)]
pub struct Writer {
    /// The one row of settings.
    pub settings: Mapped<Settings>,
    /// Bits of addresses.
    pub addresses: Mapped<u64>,
    /// From endpoints to what is there.
    pub endpoints: Mapped<Bucket>,
    /// Endpoints whose buckets are full.
    pub overflow: HashMap<MapData, OverflowKey, u32>,
    /// Virtual addresses.
    pub frontends: Mapped<Frontend>,
    /// Instances.
    pub backends: Mapped<Backend>,
    /// From service to record.
    pub current: Mapped<u32>,
    /// Records of services.
    pub services: Mapped<Record>,
    /// Maglev slices, two slots a row.
    pub slots: Mapped<[u32; 2]>,
    /// Rows of splits.
    pub splits: Mapped<SplitRow>,
    /// Names of services.
    pub names: Mapped<ServiceLabel>,
    /// Names of splits.
    pub labels: Mapped<SplitLabel>,
    /// Addresses that are not on this node: what rows of backends say of it.
    pub elsewhere: BTreeSet<IpAddr>,
}

impl Writer {
    /// Performs one store.
    ///
    /// # Errors
    ///
    /// If it names a row that the tables do not have, or the kernel refuses.
    pub fn perform(&mut self, write: &Write) -> Result<()> {
        match write {
            Write::Addresses { row, set, clear } => self.addresses.change(*row, 0, *set, *clear),
            Write::Backend { id, endpoint } => self.backend(*id, *endpoint),
            Write::BackendState { id, state } => {
                self.backends.store(*id, offset_of!(Backend, state), *state)
            }
            Write::EndpointKey { bucket, entry, endpoint } => self.key(*bucket, *entry, *endpoint),
            Write::EndpointValue { bucket, entry, value } => {
                self.endpoints.store(*bucket, within(*entry, offset_of!(Entry, value)), *value)
            }
            Write::Overflow { endpoint, value } => self.overflowing(*endpoint, *value),
            Write::OverflowFlag { bucket, on } => {
                let flag = if *on { OVERFLOW } else { 0 };
                self.endpoints.store(*bucket, within(0, offset_of!(Entry, spare)), flag)
            }
            Write::Slots { start, ids } => (*start..).zip(ids).try_for_each(|(slot, id)| {
                let (row, offset) = of_slot(slot);
                self.slots.write(row, offset, &id.to_ne_bytes())
            }),
            Write::Record { index, record } => self.record(*index, record),
            Write::Current { service, record } => self.current.store(*service, 0, *record),
            Write::ServiceLabel { service, name } => self.name(*service, name),
            Write::SplitLabel { statistics, key, histogram } => {
                let label = SplitLabel::new(&[&key.service, &key.target, &key.subset])
                    .context("the names of a split are too long")?;
                let row = u32::from(*statistics);
                self.labels.write(row, offset_of!(SplitLabel, text), &label.text)?;
                self.labels.write(row, 0, &label.lengths)?;
                let histogram = histogram.map_or(0, |id| id.saturating_add(1));
                self.splits.store(row, offset_of!(SplitRow, histogram), histogram)
            }
            Write::Frontend { id, endpoint, service } => self.frontend(*id, *endpoint, *service),
            Write::FrontendService { id, service } => {
                self.frontends.store(*id, offset_of!(Frontend, service), *service)
            }
        }
    }

    /// Adds to what the agent itself counts of a split.
    ///
    /// # Errors
    ///
    /// If there is no such row.
    pub fn add(&self, statistics: u16, timed_out: u64, expired: u64) -> Result<()> {
        let row = u32::from(statistics);
        let counts = [
            (offset_of!(SplitRow, timed_out), timed_out),
            (offset_of!(SplitRow, expired), expired),
        ];
        counts.into_iter().try_for_each(|(offset, more)| {
            let sum = self.splits.load_wide(row, offset)?.saturating_add(more);
            self.splits.store_wide(row, offset, sum)
        })
    }

    fn backend(&self, id: u32, endpoint: Endpoint) -> Result<()> {
        let rows = &self.backends;
        rows.write(id, offset_of!(Backend, address), &endpoint.address.0)?;
        rows.write(id, offset_of!(Backend, port), &endpoint.port)?;
        rows.store(id, offset_of!(Backend, flags), self.backend_flags(&endpoint))?;
        rows.write(id, offset_of!(Backend, protocol), &[endpoint.protocol, 0])
    }

    /// The flags of a backend's row.
    #[must_use]
    pub fn backend_flags(&self, endpoint: &Endpoint) -> u32 {
        let is_elsewhere = self.elsewhere.contains(&socket(endpoint).ip());
        if is_elsewhere { Backend::ELSEWHERE } else { 0 }
    }

    fn frontend(&self, id: u32, endpoint: Endpoint, service: u32) -> Result<()> {
        let rows = &self.frontends;
        rows.write(id, offset_of!(Frontend, address), &endpoint.address.0)?;
        rows.write(id, offset_of!(Frontend, port), &endpoint.port)?;
        rows.write(id, offset_of!(Frontend, protocol), &[endpoint.protocol, 0])?;
        rows.store(id, offset_of!(Frontend, flags), 0)?;
        rows.store(id, offset_of!(Frontend, service), service)
    }

    fn key(&self, bucket: u32, entry: u8, endpoint: Endpoint) -> Result<()> {
        let rows = &self.endpoints;
        let [a, b] = endpoint.address.words();
        rows.store(bucket, within(entry, offset_of!(Entry, tail)), 0)?;
        rows.store_wide(bucket, within(entry, offset_of!(Entry, address)), a)?;
        rows.store_wide(bucket, within(entry, offset_of!(Entry, address)).saturating_add(8), b)?;
        rows.store(bucket, within(entry, offset_of!(Entry, tail)), endpoint.tail())
    }

    fn overflowing(&mut self, endpoint: Endpoint, value: u32) -> Result<()> {
        let key = OverflowKey::of(endpoint);
        if value == 0 {
            self.overflow.remove(&key).context("delete from OVERFLOW")
        } else {
            self.overflow.insert(key, value, 0).context("insert into OVERFLOW")
        }
    }

    fn record(&self, index: u32, record: &Record) -> Result<()> {
        let rows = &self.services;
        rows.write(index, offset_of!(Record, bounds), &words(&record.bounds))?;
        rows.write(index, offset_of!(Record, slots), &words(record.slots.as_flattened()))?;
        rows.write(index, offset_of!(Record, lengths), &words(record.lengths.as_flattened()))?;
        let statistics: Vec<u8> =
            record.statistics.iter().flat_map(|id| id.to_ne_bytes()).collect();
        rows.write(index, offset_of!(Record, statistics), &statistics)?;
        rows.store(index, offset_of!(Record, count), record.count)?;
        rows.store(index, offset_of!(Record, flags), record.flags)
    }

    fn name(&self, service: u32, name: &str) -> Result<()> {
        let label = ServiceLabel::new(&[name]).context("a service's name is too long")?;
        self.names.write(service, offset_of!(ServiceLabel, text), &label.text)?;
        self.names.write(service, 0, &label.lengths)
    }
}

/// The row of a slot, and the offset in it.
pub(super) fn of_slot(slot: u32) -> (u32, usize) {
    (slot >> 1, if slot & 1 == 0 { 0 } else { 4 })
}

/// The offset of a field of an entry within its bucket.
fn within(entry: u8, field: usize) -> usize {
    usize::from(entry).saturating_mul(size_of::<Entry>()).saturating_add(field)
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}
