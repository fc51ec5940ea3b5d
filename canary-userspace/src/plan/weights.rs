//! The short way: only shares changed, so one record and one store for each service.

use super::published::{Published, Tables};
use super::{Blocked, Write};
use crate::compile::{Desired, DesiredService, DesiredSplit};

/// The plan, if every change between what is published and `desired` is one of shares or of
/// their order, also if there is no change; `None` if anything else changed.
pub(super) fn plan(
    published: &mut Published,
    desired: &Desired,
) -> Option<Result<Vec<Write>, Blocked>> {
    if published.is_adopted() {
        return None;
    }
    let old = &published.desired().services;
    let new = &desired.services;
    if old.len() != new.len() {
        return None;
    }
    let changed: Vec<usize> = (0..)
        .zip(old.iter().zip(new))
        .filter(|(_, (old, new))| old != new)
        .map(|(place, _)| place)
        .collect();
    let pairs = changed.iter().filter_map(|&place| Some((old.get(place)?, new.get(place)?)));
    if !pairs.into_iter().all(|(old, new)| alike(old, new)) {
        return None;
    }
    if !published.tables().records.has(changed.len()) {
        return published.tables().records.waits().then_some(Err(Blocked::Grace));
    }
    let mut writes = Vec::with_capacity(changed.len().saturating_mul(2));
    for place in changed {
        let service = new.get(place)?;
        publish(published.tables_mut(), service, &mut writes)?;
        published.desired_mut().services.get_mut(place)?.clone_from(service);
    }
    Some(Ok(writes))
}

/// Whether both differ in nothing but shares, their order, and which subset is the default.
fn alike(old: &DesiredService, new: &DesiredService) -> bool {
    old.name == new.name
        && old.frontends == new.frontends
        && old.histograms == new.histograms
        && old.splits.len() == new.splits.len()
        && new
            .splits
            .iter()
            .all(|split| old.splits.iter().any(|other| same_but_share(other, split)))
}

fn same_but_share(old: &DesiredSplit, new: &DesiredSplit) -> bool {
    old.key == new.key && old.backends == new.backends
}

fn publish(tables: &mut Tables, service: &DesiredService, writes: &mut Vec<Write>) -> Option<()> {
    let (index, _) = tables.records.take().ok()?;
    let row = tables.services.get(&service.name)?;
    let record = Box::new(tables.record(service, &row.slices));
    let (id, old) = (row.id, row.record);
    writes.push(Write::Record { index, record });
    writes.push(Write::Current { service: id, record: index });
    tables.records.free(old, 0);
    let row = tables.services.get_mut(&service.name)?;
    (row.record, row.found) = (index, None);
    Some(())
}
