//! From a backend back to its client.

use crate::account::note_server;
use crate::endpoint::Endpoint;
use crate::flows::{Client, Entry, Head, Key, Kind, Values, mark, partner, touch};
use crate::node::Node;
use crate::reason::Reason;
use crate::route::Ends;
use crate::segment::Segment;
use crate::tables::Tables;
use crate::wire::tcp;

/// Whom a backend's packet comes from and goes to as its client sees it, if it is an answer of a
/// flow through us.
///
/// # Errors
///
/// The [`Reason`] why it passes as it is.
#[inline(always)]
pub fn ends<T: Tables + ?Sized>(node: Node<'_, T>, segment: &Segment) -> Result<Ends, Reason> {
    let key = Key::new(segment.source, segment.destination);
    let entry = node.entry(&key, Client::IsDestination).ok_or(Reason::NotOurs)?;
    if entry.head.kind() == Kind::Straight {
        note_straight(node, segment, &entry);
        return Err(Reason::NotOurs);
    }
    let values = entry.values;
    if changes_state(segment, entry.head)
        && !node.tables.leads_back(&segment.source.address, &segment.destination.address)
    {
        return Err(Reason::Spoofed);
    }
    if values.has(Values::MASKED) {
        // It is for this node, and comes by the network.
        return Err(Reason::NotOurs);
    }
    // Of datagrams the way forth alone ends: what is under way still comes back.
    let severed = entry.head.has(Head::SEVERED) && !segment.is_udp() && !segment.has(tcp::RST);
    if severed && entry.head.has(Head::RESET) {
        return Err(Reason::Severed);
    }
    if severed {
        node.tables.end_severed(entry.place, entry.head, node.now);
    } else {
        note_server(node, segment, &partner(node.tables, &entry), &entry);
    }
    if values.has(Values::DIRECT) {
        return Ok(Ends { from: segment.source, port: values.port, severed });
    }
    let frontend = node.tables.frontend(values.frontend).ok_or(Reason::NotOurs)?;
    let from = Endpoint { protocol: segment.source.protocol, ..frontend.endpoint() };
    Ok(Ends { from, port: values.port, severed })
}

/// Whether a backend's packet says more than that it is alive.
#[inline(always)]
fn changes_state(segment: &Segment, head: Head) -> bool {
    // Not answered, or reset: then it would go on. Severed: then it ends.
    head.0 & (Head::ANSWERED | Head::RESET | Head::SEVERED) != Head::ANSWERED
        || segment.flags & (tcp::FIN | tcp::RST) != 0
}

/// Notes the answer of a connection that came without us.
#[inline(always)]
fn note_straight<T: Tables + ?Sized>(node: Node<'_, T>, segment: &Segment, entry: &Entry<'_>) {
    touch(node.tables, entry, node.now);
    let mut set = 0;
    if segment.has(tcp::RST) {
        set |= Head::RESET;
    } else {
        set |= Head::ANSWERED;
    }
    if segment.has(tcp::FIN) {
        set |= Head::FIN;
    }
    let clear = if set & Head::RESET == 0 { Head::RESET } else { 0 };
    if (set & !entry.head.0 != 0 || entry.head.0 & clear != 0)
        && node.tables.leads_back(&segment.source.address, &segment.destination.address)
    {
        mark(node.tables, entry, set, clear);
    }
}

#[cfg(test)]
mod tests;
