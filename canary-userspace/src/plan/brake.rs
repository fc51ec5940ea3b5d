//! The brake on tables whose services nobody knows: one record, made of what is in force.

use canary_common::limits::MAX_SPLITS;
use canary_common::service::{BRAKE, Record, WHOLE, bounds};

use super::build::SERVICES;
use super::{Blocked, Published, Short, Write};
use crate::compile::SplitKey;
use crate::entry::Units;

impl Published {
    /// The shares in force of a service of an earlier agent, by its record.
    #[must_use]
    pub fn found_shares(&self, service: &str) -> Option<Vec<(SplitKey, Units)>> {
        let record = self.found(service)?;
        let count = usize::try_from(record.count).unwrap_or(usize::MAX);
        let mut before = 0_u64;
        let shares = record.bounds.iter().zip(&record.statistics).take(count);
        let shares = shares.map(|(bound, statistics)| {
            let end = u64::from(*bound).saturating_add(1);
            let part = end.saturating_sub(std::mem::replace(&mut before, end));
            // To the nearest: a bound was rounded when it was made.
            let share = part.saturating_mul(WHOLE.into()).saturating_add(1 << 31) >> 32;
            (self.key_of(*statistics), Units::try_from(share).unwrap_or(WHOLE))
        });
        Some(shares.collect())
    }

    /// Services whose records say that they stand by the brake, and by what.
    #[must_use]
    pub fn braked(&self) -> Vec<(String, SplitKey)> {
        let services = self.tables().services.all().iter();
        let braked = services.filter_map(|(name, row)| {
            let record = row.found.as_ref().filter(|record| record.flags & BRAKE != 0)?;
            let [statistics, ..] = record.statistics;
            Some((name.clone(), self.key_of(statistics)))
        });
        braked.collect()
    }

    fn found(&self, service: &str) -> Option<&Record> {
        self.tables().services.get(&service.to_owned())?.found.as_deref()
    }

    fn key_of(&self, statistics: u16) -> SplitKey {
        let found = self.counted().find(|(_, id, _)| *id == statistics);
        found.map(|(key, ..)| key.clone()).unwrap_or_default()
    }
}

/// The two stores that send all new flows of a service of an earlier agent to one of the splits
/// that its record has; none if there is no such split.
///
/// # Errors
///
/// [`Blocked`], with `published` unchanged.
pub fn brake(
    published: &mut Published,
    service: &str,
    split: &SplitKey,
) -> Result<Vec<Write>, Blocked> {
    let shares = published.found_shares(service).unwrap_or_default();
    let Some(place) = shares.iter().position(|(key, _)| key == split) else {
        return Ok(Vec::new());
    };
    let result = published.plan(|tables, _| {
        let Some(row) = tables.services.get_mut(&service.to_owned()) else { return Ok(Vec::new()) };
        let Some(found) = row.found.take() else { return Ok(Vec::new()) };
        let record = alone(&found, place);
        let (old, id) = (row.record, row.id);
        row.found = Some(Box::new(record));
        let records = &mut tables.records;
        let index =
            records.take().map_err(|spent| SERVICES.short(service, spent, records.limit()))?;
        records.free(old, ());
        if let Some(row) = tables.services.get_mut(&service.to_owned()) {
            row.record = index;
        }
        Ok::<_, Short>(vec![
            Write::Record { index, record: Box::new(record) },
            Write::Current { service: id, record: index },
        ])
    });
    result.map_err(|short| short.blocks(published))
}

/// The record whose only split is the one at `place` of `record`.
fn alone(record: &Record, place: usize) -> Record {
    let mut only = Record {
        bounds: bounds(&[WHOLE]),
        count: 1,
        flags: record.flags | BRAKE,
        ..Record::default()
    };
    let first = |row: &[u32; MAX_SPLITS]| row.get(place).copied().unwrap_or(0);
    for (to, from) in only.slots.iter_mut().zip(&record.slots) {
        to[0] = first(from);
    }
    for (to, from) in only.lengths.iter_mut().zip(&record.lengths) {
        to[0] = first(from);
    }
    only.statistics[0] = record.statistics.get(place).copied().unwrap_or(0);
    only
}
