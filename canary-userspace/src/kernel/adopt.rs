//! Reads the tables that an earlier agent left, so that this one goes on from there.

use anyhow::{Context, Result};
use canary_common::directory::OverflowKey;
use canary_common::endpoint::{Address, Endpoint};
use canary_common::stats::SplitRow;

use super::writer::{Writer, of_slot};
use crate::compile::SplitKey;
use crate::plan::{Image, Published, Sizes, Write};

/// How much the tables hold.
#[must_use]
pub fn sizes(writer: &Writer, overflow: u32, histograms: u32) -> Sizes {
    Sizes {
        services: writer.current.rows(),
        frontends: writer.frontends.rows(),
        backends: writer.backends.rows(),
        slots: writer.slots.rows().saturating_mul(2),
        buckets: writer.endpoints.rows(),
        overflow,
        statistics: writer.splits.rows(),
        histograms,
    }
}

/// The picture of tables that are in use, and the stores that sweep what nothing leads to.
///
/// # Errors
///
/// If a table cannot be read.
pub fn adopt(writer: &Writer, sizes: Sizes) -> Result<(Published, Vec<Write>)> {
    let overflow = writer
        .overflow
        .iter()
        .map(|entry| entry.map(|(key, value)| (endpoint_of(key), value)))
        .collect::<Result<Vec<_>, _>>()
        .context("read OVERFLOW")?;
    let image = Image {
        addresses: &addresses(writer)?,
        buckets: writer.endpoints.rows_as_they_are()?,
        overflow: &overflow,
        frontends: writer.frontends.rows_as_they_are()?,
        backends: writer.backends.rows_as_they_are()?,
        current: &current(writer)?,
        records: writer.services.rows_as_they_are()?,
        slots: &slots(writer)?,
        names: &names(writer)?,
        splits: &splits(writer)?,
    };
    Ok(Published::adopt(sizes, &image))
}

fn endpoint_of(key: OverflowKey) -> Endpoint {
    let [first, second] = key.address.map(u64::to_ne_bytes);
    let mut address = [0; 16];
    for (to, from) in address.iter_mut().zip(first.into_iter().chain(second)) {
        *to = from;
    }
    let [a, b, protocol, _] = key.tail.to_ne_bytes();
    Endpoint { address: Address(address), port: [a, b], protocol }
}

fn addresses(writer: &Writer) -> Result<Vec<u64>> {
    (0..writer.addresses.rows()).map(|row| writer.addresses.load_wide(row, 0)).collect()
}

fn current(writer: &Writer) -> Result<Vec<u32>> {
    (0..writer.current.rows()).map(|service| writer.current.load(service, 0)).collect()
}

fn slots(writer: &Writer) -> Result<Vec<u32>> {
    let slots = 0..writer.slots.rows().saturating_mul(2);
    let load = |slot| {
        let (row, offset) = of_slot(slot);
        writer.slots.load(row, offset)
    };
    slots.map(load).collect()
}

fn names(writer: &Writer) -> Result<Vec<(u32, String)>> {
    let rows = writer.names.rows_as_they_are()?;
    let named = (0..).zip(rows).filter(|(_, row)| !row.is_free());
    Ok(named.filter_map(|(id, row)| Some((id, row.name(0)?.to_owned()))).collect())
}

fn splits(writer: &Writer) -> Result<Vec<(u16, SplitKey, Option<u32>)>> {
    let rows = writer.labels.rows_as_they_are()?;
    let mut splits = Vec::new();
    for (id, row) in (0_u16..).zip(rows).filter(|(_, row)| !row.is_free()) {
        let [Some(service), Some(target), Some(subset)] = [0, 1, 2].map(|index| row.name(index))
        else {
            continue;
        };
        let key = SplitKey {
            service: service.to_owned(),
            target: target.to_owned(),
            subset: subset.to_owned(),
        };
        let histogram = writer
            .splits
            .load(u32::from(id), std::mem::offset_of!(SplitRow, histogram))?
            .checked_sub(1);
        splits.push((id, key, histogram));
    }
    Ok(splits)
}
