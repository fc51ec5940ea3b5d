//! The draw for a new flow: a hash that is the same on every node, against a service's record.

use crate::endpoint::{Address, Endpoint};
use crate::limits::MAX_SPLITS;
use crate::node::Node;
use crate::reason::Reason;
use crate::service::{self, AFFINITY_SOURCE, FOLLOW_WEIGHTS};
use crate::tables::Tables;

/// Draws a split and a backend of a service for a client.
///
/// # Errors
///
/// [`Reason::BadRecord`] if the service's record is empty.
#[inline(always)]
pub fn pick<T: Tables + ?Sized>(
    node: Node<'_, T>,
    client: Endpoint,
    destination: Endpoint,
    service: u32,
) -> Result<service::Picked, Reason> {
    let record = node.tables.record(service).ok_or(Reason::BadRecord)?;
    let seed = node.settings.seed.load();
    let hash = flow_hash(seed, client, destination, record.flags & AFFINITY_SOURCE != 0);
    service::pick(node.tables, record, destination.address.version(), hash).ok_or(Reason::BadRecord)
}

/// The backend at an address that a client is given by the draw, or would be by that of another of
/// the service's splits; with its split.
///
/// Another node may have weights of a moment ago or ahead. So the split may differ, but the place in
/// it does not, and a backend that is found is one of the service. The draw's own split is looked
/// at first.
#[inline(always)]
#[must_use]
pub fn at<T: Tables + ?Sized>(
    node: Node<'_, T>,
    [client, destination]: [Endpoint; 2],
    service: u32,
    to: Address,
) -> Option<service::Picked> {
    let record = node.tables.record(service)?;
    let seed = node.settings.seed.load();
    let hash = flow_hash(seed, client, destination, record.flags & AFFINITY_SOURCE != 0);
    let version = destination.address.version();
    let drawn = record.draw(hash)?;
    for turn in 0..=MAX_SPLITS {
        let split = if turn == 0 { drawn } else { turn.wrapping_sub(1) };
        if u32::try_from(split).is_ok_and(|split| split < record.count)
            && let Some(picked) = service::pick_in(node.tables, record, version, hash, split)
            && let Some(backend) = node.tables.backend(picked.backend.unwrap_or(u32::MAX))
            && backend.is_here_at(to)
        {
            return Some(picked);
        }
    }
    None
}

/// Whether the draw of a flow from a client to a frontend falls to another split than the one that
/// it was begun in.
///
/// Not where the service is gone or does not say (any more) that its datagrams follow.
#[inline(always)]
#[must_use]
pub fn falls_elsewhere<T: Tables + ?Sized>(
    tables: &T,
    seed: u64,
    [client, destination]: [Endpoint; 2],
    frontend: u32,
    is_net: bool,
    statistics: u16,
) -> bool {
    let Some(frontend) = tables.frontend(frontend) else { return false };
    let Some(record) = tables.record(frontend.service_of(is_net)) else { return false };
    if record.flags & FOLLOW_WEIGHTS == 0 {
        return false;
    }
    let hash = flow_hash(seed, client, destination, record.flags & AFFINITY_SOURCE != 0);
    record.statistics_of(hash) != Some(statistics)
}

/// The hash that both draws of a pick come from: the same on every node of a cluster.
#[inline(always)]
#[must_use]
pub fn flow_hash(seed: u64, client: Endpoint, destination: Endpoint, by_address: bool) -> u64 {
    let client_tail = if by_address { 0 } else { u64::from(client.tail()) };
    let tails = client_tail << 32 | u64::from(destination.tail());
    let [a, b] = client.address.words();
    let [c, d] = destination.address.words();
    let mut hash = seed;
    for word in [a, b, c, d, tails] {
        // The multiplier of splitmix64; each word is spread over the upper half before the next.
        hash = (hash ^ word).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash ^= hash >> 32;
    }
    // The finalizer of MurmurHash3: every bit of the input reaches every bit of the output.
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}
