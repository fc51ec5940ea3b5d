//! Where a flow goes: the datapath's own draw over copies of the rows in force.

use anyhow::{Context, Result};
use canary_common::draw::flow_hash;
use canary_common::endpoint::{Endpoint, Version};
use canary_common::flows::{Head, Values};
use canary_common::memory::Memory;
use canary_common::service::{self, AFFINITY_SOURCE, Record};

use crate::compile::SplitKey;

/// The rows that a draw reads, whatever holds them.
pub(crate) trait Rows {
    /// The seed of the node's hash.
    fn seed(&self) -> Result<u64>;

    /// The service of the frontend at an endpoint; `None` if no frontend is there.
    fn service(&self, frontend: &Endpoint) -> Result<Option<u32>>;

    /// The record in force of a service.
    fn record(&self, service: u32) -> Result<Record>;

    /// Slots: ids of backends.
    fn slots(&self, start: u32, length: u32) -> Result<Vec<u32>>;

    /// Where a backend serves; `None` if it is gone.
    fn backend(&self, id: u32) -> Result<Option<Endpoint>>;

    /// Whose counters a row of statistics is.
    fn split(&self, statistics: u16) -> Option<SplitKey>;

    /// The flow of a client through a frontend, by its `forward` entry, and the seconds since a
    /// packet of either direction.
    fn flow(&self, client: &Endpoint, frontend: &Endpoint) -> Result<Option<(Head, Values, u32)>>;
}

/// What a flow gets and has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreseen {
    /// The flow's hash; its upper half draws the split, its lower half the backend.
    pub hash: u64,
    /// Only the client's address is hashed, not its port.
    pub by_address: bool,
    /// The splits with a share: whose, and the end of its part of the upper half, inclusive.
    pub splits: Vec<(SplitKey, u32)>,
    /// Which of them is drawn.
    pub drawn: usize,
    /// The slot drawn, and how many the split has; `None` where it needs none.
    pub slot: Option<(u32, u32)>,
    /// The backend drawn; `None` if the split has none of the frontend's family.
    pub backend: Option<Endpoint>,
    /// The flow, if it is in the tables.
    pub known: Option<Known>,
}

/// A flow in the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// `opening`, `established` or `ended`.
    pub state: &'static str,
    /// Its backend; `None` if that is gone.
    pub backend: Option<Endpoint>,
    /// Whose counters it moves.
    pub split: SplitKey,
    /// Seconds since its last packet.
    pub idle: u32,
}

/// What a flow from `client` to `frontend` gets and has; `None` if nothing of ours is there.
pub(crate) fn foresee(
    rows: &impl Rows,
    client: Endpoint,
    endpoint: Endpoint,
) -> Result<Option<Foreseen>> {
    let Some(service) = rows.service(&endpoint)? else { return Ok(None) };
    let mut record = rows.record(service)?;
    let version = endpoint.address.version();
    let by_address = record.flags & AFFINITY_SOURCE != 0;
    let hash = flow_hash(rows.seed()?, client, endpoint, by_address);

    // The slots of all splits one after another, each holding its own place: the draw then
    // tells the slot, which it otherwise keeps to itself.
    let mut ids = Vec::new();
    let [lengths4, lengths6] = record.lengths;
    let [slots4, slots6] = &mut record.slots;
    let (slots, lengths) = match version {
        Version::V4 => (slots4, lengths4),
        Version::V6 => (slots6, lengths6),
    };
    for (start, length) in slots.iter_mut().zip(lengths) {
        if length > 1 {
            let slots = rows.slots(*start, length)?;
            *start = u32::try_from(ids.len())?;
            ids.extend(slots);
        }
    }
    let places = (0..u32::try_from(ids.len())?).collect();
    let starts = *slots;
    let memory = Memory { slots: places, ..Memory::default() };
    let picked =
        service::pick(&memory, &record, version, hash).context("the service's record is empty")?;

    let count = usize::try_from(record.count)?;
    let mut statistics = record.statistics.iter().take(count);
    let drawn = statistics.position(|id| *id == picked.statistics).unwrap_or_default();
    let [start, length] =
        [starts, lengths].map(|column| column.get(drawn).copied().unwrap_or_default());
    let has_slots = length > 1;
    let id = match picked.backend {
        Some(place) if has_slots => ids.get(usize::try_from(place)?).copied(),
        alone => alone,
    };
    let slot =
        picked.backend.filter(|_| has_slots).map(|place| (place.wrapping_sub(start), length));
    let splits = record.statistics.iter().zip(record.bounds).take(count);
    Ok(Some(Foreseen {
        hash,
        by_address,
        splits: splits.map(|(id, bound)| (named(rows, *id), bound)).collect(),
        drawn,
        slot,
        backend: id.map(|id| rows.backend(id)).transpose()?.flatten(),
        known: known(rows, &client, &endpoint)?,
    }))
}

fn known(rows: &impl Rows, client: &Endpoint, frontend: &Endpoint) -> Result<Option<Known>> {
    let Some((head, values, idle)) = rows.flow(client, frontend)? else { return Ok(None) };
    let state = if head.ended() {
        "ended"
    } else if head.has(Head::ANSWERED) {
        "established"
    } else {
        "opening"
    };
    let backend = rows.backend(values.backend)?;
    Ok(Some(Known { state, backend, split: named(rows, values.statistics), idle }))
}

fn named(rows: &impl Rows, statistics: u16) -> SplitKey {
    let nobody =
        || SplitKey { service: String::new(), target: String::new(), subset: String::new() };
    rows.split(statistics).unwrap_or_else(nobody)
}

#[cfg(test)]
pub(crate) mod tests;
