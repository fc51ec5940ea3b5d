//! Connections that a client begins straight to a backend's own address.
//!
//! Their answers look like those of a flow through a frontend, from the same backend to the same
//! client: so the first packet of each leaves a trace under the tuple of its answers, and one
//! that meets a tuple of ours is given another source port.

use crate::addresses::{self, Place};
use crate::flows::{Back, Client, Head, Key, Kind, NO_PARTNER, Values, find_at, mark, touch};
use crate::forward::{interface, is_believed, is_late, is_reset};
use crate::interface::Interface;
use crate::limits;
use crate::node::Node;
use crate::reason::Reason;
use crate::route::Origin;
use crate::segment::Segment;
use crate::start::{Beginning, Begun};
use crate::tables::Tables;

/// Where a packet goes that its client sent to a backend itself.
///
/// # Errors
///
/// [`Reason::Straight`] for one that passes as it is; otherwise as for a frontend.
#[inline(always)]
pub fn straight<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
    origin: Origin,
    id: u32,
) -> Result<Beginning, Reason> {
    let key = Key::new(segment.destination, segment.source);
    let flags = node.tables.interface().map_or(0, |interface| interface.flags.load());
    let values = Values {
        statistics: 0,
        flags: Values::DIRECT,
        backend: id,
        interface: interface(node, origin),
        port: segment.source.port,
        frontend: 0,
        partner: NO_PARTNER,
        mark: 0,
    };
    let by = node.settings.flows();
    if !is_believed(node, segment, origin) {
        return Err(Reason::Spoofed);
    }
    let trace = Beginning { begun: Begun::Trace, to: segment.destination, values, flags };
    let Some((head, place)) = node.tables.find_flow(&key, Client::IsDestination, by) else {
        // One that is crowded has had its half: who comes by it risks its own tuples.
        let leaves_none = is_reset(segment) || flags & Interface::CROWDED != 0;
        return if leaves_none { Err(Reason::Straight) } else { Ok(trace) };
    };
    if head.kind() == Kind::Straight {
        note(node, segment, place);
        return Err(Reason::Straight);
    }
    if is_late(segment) {
        // Of a connection that was there before the flow: untouched, as long as both last.
        return Err(Reason::Straight);
    }
    if head.ended() && head.idle(node.now) >= limits::PORT_REUSE_IDLE {
        node.tables.free_flow(place, head, by, Back::Goes);
        return Ok(trace);
    }
    if flags & Interface::CROWDED != 0 {
        return Err(Reason::FlowTableFull);
    }
    let Place { row, shift } = addresses::place(segment.destination.address);
    node.tables.add_addresses(row, addresses::TRANSLATED << shift);
    Ok(Beginning { begun: Begun::Flow, ..trace })
}

/// Notes a client's packet in its trace.
#[inline(always)]
fn note<T: Tables + ?Sized>(node: Node<'_, T>, segment: &Segment, place: u32) {
    let Some(entry) = find_at(node.tables, place) else { return };
    if entry.head.kind() != Kind::Straight {
        return;
    }
    touch(node.tables, &entry, node.now);
    if is_reset(segment) {
        mark(node.tables, &entry, Head::RESET, 0);
    } else if entry.head.has(Head::RESET) {
        // The port is used anew, or the reset was not its own.
        mark(node.tables, &entry, 0, Head::RESET);
    }
}

#[cfg(test)]
mod tests;
