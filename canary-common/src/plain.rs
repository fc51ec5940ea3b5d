//! The plain case in front: the next packet of an ordinary, established TCP connection.
//!
//! No decision is made here. What is not plain falls through to the whole logic, which does the
//! same for a packet that is, and which tests hold this against, packet by packet.

use self::headers::{Headers, V4, V6};
use crate::account::count_payload;
use crate::backend::State;
use crate::endpoint::{Endpoint, TCP, Version};
use crate::flows::{self, Client, Entry, Flows, Head, Key, Kind, Values};
use crate::hooks::Outcome;
use crate::limits;
use crate::node::Node;
use crate::packet::Packet;
use crate::route::Origin;
use crate::segment::Side;
use crate::stats::Counter;
use crate::tables::Tables;
use crate::wire::tcp;

/// States that a flow of the plain case does not have.
const RARE: u64 =
    Head::FIN | Head::RESET | Head::OVER | Head::SEVERED | Head::AGAIN | Head::JUDGED | Head::UDP;
/// Flags that a packet of the plain case does not have.
const RARE_FLAGS: u8 = tcp::SYN | tcp::FIN | tcp::RST;

/// The entry of a packet, if it is in the state of the plain case and was seen in this minute.
#[inline(always)]
fn entry<'t, H: Headers, T: Tables + ?Sized>(
    node: Node<'t, T>,
    headers: &H,
    client: Client,
    kind: Kind,
) -> Option<Entry<'t>> {
    if headers.flags() & RARE_FLAGS != 0 {
        return None;
    }
    let key = Key::of_words(headers.source(), headers.destination(), headers.ports(), TCP);
    let entry = node.flow(&key, client)?;
    let head = entry.head;
    let wanted = Head::ANSWERED | if headers.payload() > 0 { Head::PAYLOAD } else { 0 };
    let plain = head.0 & (RARE | wanted) == wanted
        && head.kind() == kind
        && !entry.values.has(Values::TRANSLATED | Values::UNCOUNTED | Values::MASKED)
        && head.idle(node.now) < limits::SYN_REUSE_IDLE;
    plain.then_some(entry)
}

/// Forwards a packet of the plain case; `None` for any other, which is unchanged.
#[inline(always)]
pub(crate) fn forward<P, T>(
    packet: &mut P,
    node: Node<'_, T>,
    version: Version,
    l2: usize,
    origin: Origin,
) -> Option<Outcome>
where
    P: Packet + ?Sized,
    T: Tables + ?Sized,
{
    match version {
        Version::V4 => forward_of::<V4, P, T>(packet, node, l2, origin),
        Version::V6 => forward_of::<V6, P, T>(packet, node, l2, origin),
    }
}

#[inline(always)]
fn forward_of<H, P, T>(
    packet: &mut P,
    node: Node<'_, T>,
    l2: usize,
    origin: Origin,
) -> Option<Outcome>
where
    H: Headers,
    P: Packet + ?Sized,
    T: Tables + ?Sized,
{
    let headers = H::read(packet, l2)?;
    let entry = entry(node, &headers, Client::IsSource, Kind::Forward)?;
    let values = entry.values;
    let own = match origin {
        Origin::Pod => node.tables.interface_index(),
        Origin::Net | Origin::Behind => 0,
    };
    let backend = node.tables.backend(values.backend)?;
    let Endpoint { address, port, .. } = backend.endpoint();
    let to = address.words();
    if values.interface != own
        || backend.state() == State::Gone
        || to == headers.source()
        || to == headers.destination()
    {
        return None;
    }
    if values.has(Values::TIMED) && headers.payload() > 0 && headers.flags() & tcp::PSH != 0 {
        ask(node, values.partner, entry.place)?;
    }
    headers.rewrite(packet, l2, Side::Destination, (to, port)).ok()?;
    flows::touch(node.tables, &entry, node.now);
    count_payload(node, headers.payload(), &values, Counter::BytesToBackend);
    Some(Outcome::ON)
}

/// Notes the tick of a question in its `return`, if that still points to the `forward`.
#[inline(always)]
fn ask<T: Tables + ?Sized>(node: Node<'_, T>, place: u32, forward: u32) -> Option<()> {
    let bucket = Flows::flows(node.tables, place >> 3)?;
    let [.., word] = &bucket.bodies.get(flows::index(place))?.words;
    let seen = node.tables.load(word);
    if flows::low(seen) == forward {
        node.tables.exchange(word, seen, flows::both(forward, node.tables.tick()));
    }
    Some(())
}

/// Restores a packet of the plain case; `None` for any other, which is unchanged.
#[inline(always)]
pub(crate) fn restore<P, T>(
    packet: &mut P,
    node: Node<'_, T>,
    version: Version,
    l2: usize,
) -> Option<Outcome>
where
    P: Packet + ?Sized,
    T: Tables + ?Sized,
{
    match version {
        Version::V4 => restore_of::<V4, P, T>(packet, node, l2),
        Version::V6 => restore_of::<V6, P, T>(packet, node, l2),
    }
}

#[inline(always)]
fn restore_of<H, P, T>(packet: &mut P, node: Node<'_, T>, l2: usize) -> Option<Outcome>
where
    H: Headers,
    P: Packet + ?Sized,
    T: Tables + ?Sized,
{
    let headers = H::read(packet, l2)?;
    let entry = entry(node, &headers, Client::IsDestination, Kind::Return)?;
    let values = entry.values;
    // The time of an exchange ends with the first payload of its answer.
    if headers.payload() > 0 && values.mark != 0 {
        return None;
    }
    let Endpoint { address, port, .. } = node.tables.frontend(values.frontend)?.endpoint();
    let from = address.words();
    if from == headers.source() {
        return None;
    }
    headers.rewrite(packet, l2, Side::Source, (from, port)).ok()?;
    flows::touch(node.tables, &entry, node.now);
    count_payload(node, headers.payload(), &values, Counter::BytesToClient);
    Some(Outcome::ON)
}

mod headers;
#[cfg(test)]
mod tests;
