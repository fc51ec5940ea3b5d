//! Where a flow goes: the datapath's own draw over copies of the rows in force.

use anyhow::{Context, Result};
use canary_common::draw::flow_hash;
use canary_common::endpoint::Endpoint;
use canary_common::flow::Flow;
use canary_common::memory::Memory;
use canary_common::service::{self, AFFINITY_SOURCE, Record};
use canary_common::tables::Stage;

use crate::compile::SplitKey;

/// The rows that a draw reads, whatever holds them.
pub(crate) trait Rows {
    /// The seed of the node's hash.
    fn seed(&self) -> Result<u64>;

    /// The frontend at an endpoint.
    fn frontend(&self, endpoint: &Endpoint) -> Result<Option<Frontend>>;

    /// The record in force of a service.
    fn record(&self, service: u32) -> Result<Record>;

    /// Slots: ids of backends.
    fn slots(&self, start: u32, length: u32) -> Result<Vec<u32>>;

    /// Where a backend serves; `None` if it is gone.
    fn backend(&self, id: u32) -> Result<Option<Endpoint>>;

    /// Whose counters a row of statistics is.
    fn split(&self, statistics: u16) -> Option<SplitKey>;

    /// The flow of a client through a frontend, and the seconds since its last packet.
    fn flow(&self, client: &Endpoint, frontend: &Frontend) -> Result<Option<(Stage, Flow, u32)>>;
}

/// A row of `FRONTENDS`, as far as a draw needs it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frontend {
    pub(crate) id: u32,
    pub(crate) generation: u16,
    pub(crate) service: u32,
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
    /// The backend drawn; `None` if the split has none.
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
    let Some(frontend) = rows.frontend(&endpoint)? else { return Ok(None) };
    let mut record = rows.record(frontend.service)?;
    let by_address = record.flags & AFFINITY_SOURCE != 0;
    let hash = flow_hash(rows.seed()?, client, endpoint, by_address);

    // The slots of all splits one after another, each holding its own place: the draw then
    // tells the slot, which it otherwise keeps to itself.
    let mut ids = Vec::new();
    for (start, length) in record.slots.iter_mut().zip(record.lengths) {
        if length > 1 {
            let slots = rows.slots(*start, length)?;
            *start = u32::try_from(ids.len())?;
            ids.extend(slots);
        }
    }
    let places = (0..u32::try_from(ids.len())?).collect();
    let memory = Memory { slots: places, ..Memory::default() };
    let picked = service::pick(&memory, &record, hash).context("the service's record is empty")?;

    let count = usize::try_from(record.count)?;
    let mut statistics = record.statistics.iter().take(count);
    let drawn = statistics.position(|id| *id == picked.statistics).unwrap_or_default();
    let [start, length] =
        [record.slots, record.lengths].map(|column| column.get(drawn).copied().unwrap_or_default());
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
        known: known(rows, client, &frontend)?,
    }))
}

fn known(rows: &impl Rows, client: Endpoint, frontend: &Frontend) -> Result<Option<Known>> {
    let Some((stage, flow, idle)) = rows.flow(&client, frontend)? else { return Ok(None) };
    let state = match stage {
        _ if flow.marks().ended() => "ended",
        Stage::Opening => "opening",
        Stage::Established => "established",
    };
    let backend = rows.backend(flow.backend())?;
    Ok(Some(Known { state, backend, split: named(rows, flow.statistics()), idle }))
}

fn named(rows: &impl Rows, statistics: u16) -> SplitKey {
    let nobody =
        || SplitKey { service: String::new(), target: String::new(), subset: String::new() };
    rows.split(statistics).unwrap_or_else(nobody)
}

#[cfg(test)]
pub(crate) mod tests;
