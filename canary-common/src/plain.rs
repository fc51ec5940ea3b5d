//! The plain case in front: the next packet of an ordinary, established TCP connection.
//!
//! No decision is made here. What is not plain falls through to the whole logic, which does the
//! same for a packet that is, and which tests hold this against, packet by packet.

use crate::account::count_bytes;
use crate::backend::State;
use crate::endpoint::{Endpoint, TCP, Version};
use crate::flows::{self, Client, Entry, Flows, Head, Key, Kind, Values};
use crate::hooks::Outcome;
use crate::limits;
use crate::node::Node;
use crate::packet::Packet;
use crate::route::Origin;
use crate::segment::{Segment, Side};
use crate::stats::Counter;
use crate::tables::Tables;
use crate::wire::{ipv4, ipv6, tcp};

/// States that a flow of the plain case does not have.
const RARE: u64 =
    Head::FIN | Head::RESET | Head::OVER | Head::SEVERED | Head::AGAIN | Head::JUDGED | Head::UDP;
/// Flags that a packet of the plain case does not have.
const RARE_FLAGS: u8 = tcp::SYN | tcp::FIN | tcp::RST;

/// The segment with its offsets as constants, if it is one of the plain case.
#[inline(always)]
fn ordinary(segment: &Segment, l2: usize) -> Option<Segment> {
    let ip = match segment.version {
        Version::V4 => ipv4::LEN,
        Version::V6 => ipv6::LEN,
    };
    let l4_at = l2.wrapping_add(ip);
    let plain =
        segment.source.protocol == TCP && segment.flags & RARE_FLAGS == 0 && segment.l4_at == l4_at;
    let with_tcp = |end: Endpoint| Endpoint { protocol: TCP, ..end };
    let (source, destination) = (with_tcp(segment.source), with_tcp(segment.destination));
    plain.then_some(Segment { l3_at: l2, l4_at, source, destination, ..*segment })
}

/// The entry of a packet, if it is in the state of the plain case and was seen in this minute.
#[inline(always)]
fn entry<'t, T: Tables + ?Sized>(
    node: Node<'t, T>,
    segment: &Segment,
    client: Client,
    kind: Kind,
) -> Option<Entry<'t>> {
    let entry = node.flow(&Key::new(segment.source, segment.destination), client)?;
    let head = entry.head;
    let wanted = Head::ANSWERED | if segment.payload > 0 { Head::PAYLOAD } else { 0 };
    let plain = head.0 & (RARE | wanted) == wanted
        && head.kind() == kind
        && !entry.values.has(Values::TRANSLATED | Values::DIRECT | Values::MASKED)
        && head.idle(node.now) < limits::SYN_REUSE_IDLE;
    plain.then_some(entry)
}

/// Forwards a packet of the plain case; `None` for any other, which is unchanged.
#[inline(always)]
pub(crate) fn forward<P, T>(
    packet: &mut P,
    node: Node<'_, T>,
    segment: &Segment,
    l2: usize,
    origin: Origin,
) -> Option<Outcome>
where
    P: Packet + ?Sized,
    T: Tables + ?Sized,
{
    let segment = ordinary(segment, l2)?;
    let entry = entry(node, &segment, Client::IsSource, Kind::Forward)?;
    let values = entry.values;
    let own = match origin {
        Origin::Pod => node.tables.interface_index(),
        Origin::Net | Origin::Behind => 0,
    };
    let backend = node.tables.backend(values.backend)?;
    let to = Endpoint { protocol: TCP, ..backend.endpoint() };
    if values.interface != own
        || backend.state() == State::Gone
        || to.address.words() == segment.source.address.words()
    {
        return None;
    }
    if values.has(Values::TIMED) && segment.ends_a_write() {
        ask(node, values.partner, entry.place)?;
    }
    segment.readdress(packet, Side::Destination, to).ok()?;
    flows::touch(node.tables, &entry, node.now);
    count_bytes(node, &segment, &values, Counter::BytesToBackend);
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
    segment: &Segment,
    l2: usize,
) -> Option<Outcome>
where
    P: Packet + ?Sized,
    T: Tables + ?Sized,
{
    let segment = ordinary(segment, l2)?;
    let entry = entry(node, &segment, Client::IsDestination, Kind::Return)?;
    let values = entry.values;
    // The time of an exchange ends with the first payload of its answer.
    if segment.payload > 0 && values.mark != 0 {
        return None;
    }
    let frontend = node.tables.frontend(values.frontend)?;
    let from = Endpoint { protocol: TCP, ..frontend.endpoint() };
    segment.readdress(packet, Side::Source, from).ok()?;
    flows::touch(node.tables, &entry, node.now);
    count_bytes(node, &segment, &values, Counter::BytesToClient);
    Some(Outcome::ON)
}

#[cfg(test)]
mod tests;
