//! Two ways to one backend from the same client address and port: its answers look alike.

use crate::backend::Backend;
use crate::flow::{Family, FlowKey};
use crate::forward::Node;
use crate::reason::Reason;
use crate::restore;
use crate::segment::Segment;
use crate::tables::{FlowTables, Stage, Tables};

/// Whether this client's address and port have a live connection to the backend already, by way
/// of another frontend: the backend could not tell the two apart, and would end both.
#[inline(always)]
pub(crate) fn is_live_by_another<F, T>(
    node: Node<'_, T>,
    segment: &Segment,
    key: &FlowKey<F::Bytes>,
    id: u32,
    backend: &Backend,
) -> bool
where
    F: Family,
    T: Tables + FlowTables<F> + ?Sized,
{
    let other = restore::client_key::<F, T>(node, segment.source, id, backend);
    if other == *key {
        return false;
    }
    let Some(flow) = FlowTables::<F>::flow(node.tables, Stage::Established, &other) else {
        return false;
    };
    let is_its = flow.backend() == id && flow.generation() == backend.status().generation();
    is_its && !flow.marks().ended() && !flow.expired(node.settings, node.now)
}

/// A client's packet to a backend's own address: it passes, unless its answers could not be
/// told from those of a flow through a frontend.
#[inline(always)]
pub(crate) fn straight<F, T>(node: Node<'_, T>, segment: &Segment, id: u32) -> Reason
where
    F: Family,
    T: Tables + FlowTables<F> + ?Sized,
{
    if !segment.is_udp() && !segment.is_syn() {
        return Reason::Straight;
    }
    let Some(backend) = node.tables.backend(id) else { return Reason::Straight };
    let client = segment.source;
    let key = restore::client_key::<F, T>(node, client, id, backend);
    for stage in [Stage::Established, Stage::Opening] {
        let Some(flow) = FlowTables::<F>::flow(node.tables, stage, &key) else { continue };
        if flow.backend() != id || flow.generation() != backend.status().generation() {
            continue;
        }
        // A datagram is its own question: the client has turned to the backend itself.
        let alive = !flow.marks().ended() && !flow.expired(node.settings, node.now);
        if alive && !segment.is_udp() {
            return Reason::TupleClash;
        }
        FlowTables::<F>::remove_flow(node.tables, stage, &key);
    }
    Reason::Straight
}
