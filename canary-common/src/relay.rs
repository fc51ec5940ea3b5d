//! Clients outside and backends elsewhere: source translation, both ways.
//!
//! A backend on another node would answer its client past this one. So it sees this node's
//! address and one of its source ports, and the answer comes back here. The client's own address
//! has no room in the `return`: it is in the key of the `forward`, its partner.
//!
//! The node's own stack takes no packet from its own address, so these are sent on past it: only
//! where the route says how, which is asked before anything is noted or written.

use crate::account::{note_client, note_server};
use crate::addresses;
use crate::endpoint::{Address, Endpoint, TCP, UDP, Version};
use crate::flows::{
    Back, Client, Entry, Head, Key, Kind, Request, Values, find_at, key_of, partner,
};
use crate::forward::{is_late, is_reset};
use crate::hooks::{Outcome, Verdict, unforwarded};
use crate::limits;
use crate::node::Node;
use crate::packet::Packet;
use crate::ports::{Ports, Taken, is_taken};
use crate::reason::Reason;
use crate::route::Origin;
use crate::segment::{Segment, Side};
use crate::start::{Beginning, request, store_both};
use crate::tables::{Tables, Way};
use crate::tunnel;
use crate::wire::icmp::{self, Says};
use crate::wire::{ipv4, ipv6};

pub mod errors;
pub mod pieces;

/// Offset of the destination port in the headers of TCP and UDP.
const DESTINATION_PORT_AT: usize = 2;

/// Both ends of a packet that is sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Whom it comes from.
    pub source: Endpoint,
    /// To whom it goes.
    pub destination: Endpoint,
    /// The entry of the other direction: its place, and its head then.
    pub other: (u32, Head),
}

impl Relay {
    /// Against the tuple of the other direction.
    #[inline(always)]
    fn against<T: Tables + ?Sized>(node: Node<'_, T>, other: &Entry<'_>) -> Option<Self> {
        let key = whole_key(node, other)?;
        let (source, destination) = (key.destination(), key.source());
        Some(Self { source, destination, other: (other.place, other.head) })
    }
}

/// The bits of `ADDRESSES` that count for packets from there: what a pod sends to the node is
/// never the answer of a backend elsewhere, and what goes straight to a backend is done behind a
/// hook in the driver.
#[inline(always)]
pub(crate) const fn bits(origin: Origin) -> u64 {
    match origin {
        Origin::Pod => addresses::ALL & !addresses::NODE,
        Origin::Net => addresses::ALL,
        Origin::Behind => addresses::ALL & !addresses::TRANSLATED,
    }
}

/// Whether a packet to the node's own address may be the answer of a backend elsewhere, or be about
/// what went to one: TCP or UDP to one of the source ports, as far as it can be read without a walk,
/// a fragment behind the first, or an ICMP error.
#[inline(always)]
pub(crate) fn may_be_answer<P, T>(packet: &P, tables: &T, l2: usize, version: Version) -> bool
where
    P: Packet + ?Sized,
    T: Tables + ?Sized,
{
    let Some(settings) = tables.settings() else { return false };
    let found = match version {
        Version::V4 => port_of_v4(packet, l2),
        Version::V6 => port_of_v6(packet, l2),
    };
    match found {
        Ok(Some(port)) => settings.is_source_port(port),
        Ok(None) => true,
        Err(_) => false,
    }
}

/// The destination port of a packet; `None` behind options, and where there is none.
#[inline(always)]
fn port_of_v4<P: Packet + ?Sized>(packet: &P, l3_at: usize) -> Result<Option<[u8; 2]>, Reason> {
    let [first, _] = packet.read(l3_at)?;
    let [flags, offset] = packet.read(l3_at.wrapping_add(ipv4::FRAGMENT_AT))?;
    let [protocol, _] = packet.read(l3_at.wrapping_add(ipv4::PROTOCOL_AT))?;
    if !has_ports(protocol) {
        let is_about = protocol == icmp::V4 && first & 0x0f == 5;
        return error_at(packet, is_about, Version::V4, l3_at.wrapping_add(ipv4::LEN));
    }
    if first & 0x0f != 5 || [flags & 0x1f, offset] != [0, 0] {
        return Ok(None);
    }
    packet.read(l3_at.wrapping_add(ipv4::LEN + DESTINATION_PORT_AT)).map(Some)
}

/// The same behind an IPv6 header, which no other follows.
#[inline(always)]
fn port_of_v6<P: Packet + ?Sized>(packet: &P, l3_at: usize) -> Result<Option<[u8; 2]>, Reason> {
    let [protocol, _] = packet.read(l3_at.wrapping_add(ipv6::NEXT_AT))?;
    match protocol {
        ipv6::FRAGMENT => Ok(None),
        _ if has_ports(protocol) => {
            packet.read(l3_at.wrapping_add(ipv6::LEN + DESTINATION_PORT_AT)).map(Some)
        }
        _ => {
            let at = l3_at.wrapping_add(ipv6::LEN);
            error_at(packet, protocol == icmp::V6, Version::V6, at)
        }
    }
}

/// `None` for an ICMP error.
#[inline(always)]
fn error_at<P: Packet + ?Sized>(
    packet: &P,
    is_icmp: bool,
    version: Version,
    at: usize,
) -> Result<Option<[u8; 2]>, Reason> {
    let [kind, _] = packet.read(at)?;
    let is_error = is_icmp && Says::of(version, kind) == Says::Error;
    if is_error { Ok(None) } else { Err(Reason::NotTcpOrUdp) }
}

const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, TCP | UDP)
}

/// What a flow begins with that goes to a backend elsewhere: a flag of its values.
///
/// # Errors
///
/// The [`Reason`] why none begins.
#[inline(always)]
pub(crate) fn begin<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
    to: Endpoint,
) -> Result<u8, Reason> {
    let Some(source) = node.settings.source(segment.version) else {
        return Err(Reason::NotServedHere);
    };
    if node.settings.wraps() {
        // In the middle as well: the backend knows the client itself, by whichever node it comes.
        way(node, source, to.address, tunnel::more(segment.version))?;
        return Ok(Values::MASKED | Values::WRAPPED);
    }
    if is_late(segment) {
        // The backend knows the client by another node's address, or by another port.
        return Err(Reason::FlowLost);
    }
    way(node, source, to.address, 0)?;
    Ok(Values::MASKED)
}

/// The `return` of a flow that begins: to one of the node's source ports that is free towards the
/// backend, never to the client's own.
///
/// # Errors
///
/// [`Reason::NoPort`] if each that was tried is taken.
#[inline(always)]
pub fn back<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
    beginning: &Beginning,
) -> Result<Request, Reason> {
    let source = node.settings.source(segment.version).ok_or(Reason::NotServedHere)?;
    let own = Key::new(beginning.to, Endpoint { address: source, ..segment.source });
    let key = free_key(node, segment, own)?;
    Ok(request(node, segment, beginning, key))
}

#[inline(always)]
fn free_key<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
    own: Key,
) -> Result<Key, Reason> {
    // By the client's own address as well: clients have the same ports, and the node is one for
    // all of them.
    let mut ports = Ports::new(node, &Key::new(segment.source, own.destination()));
    let mut closed = segment.source.port;
    let tries = if node.settings.ports.load() == 0 { 0 } else { limits::PORT_TRIES };
    for _ in 0..tries {
        let port = ports.next(node, 0, node.settings.ports.load());
        let key = own.with_destination_port(port);
        match is_taken(node, &key) {
            Taken::No => return Ok(key),
            Taken::Closed(..) => closed = port,
            Taken::Yes => {}
        }
    }
    // Nothing better is free: the backend's side of it may be over as well.
    let key = own.with_destination_port(closed);
    match is_taken(node, &key) {
        Taken::Closed(place, head) if node.settings.is_source_port(closed) => {
            node.tables.free_flow(place, head, node.settings.flows(), Back::Goes);
            Ok(key)
        }
        Taken::No | Taken::Closed(..) | Taken::Yes => Err(Reason::NoPort),
    }
}

/// Stores both entries of a flow that begins.
///
/// # Errors
///
/// The [`Reason`] why it cannot be: it is not forwarded then.
#[inline(always)]
pub(crate) fn store<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
    beginning: &Beginning,
) -> Result<Relay, Reason> {
    let back = back(node, segment, beginning)?;
    let (_, place) = store_both(node, segment, beginning, &back)?;
    begun(node, place)
}

/// Both ends of the first packet of a flow whose `return` is at a place.
///
/// # Errors
///
/// [`Reason::Busy`] if it is gone already.
#[inline(always)]
pub fn begun<T: Tables + ?Sized>(node: Node<'_, T>, back: u32) -> Result<Relay, Reason> {
    let back = find_at(node.tables, back).ok_or(Reason::Busy)?;
    Relay::against(node, &back).ok_or(Reason::Busy)
}

/// Both ends of a packet of a flow that is there.
///
/// # Errors
///
/// The [`Reason`] why it cannot be sent on.
#[inline(always)]
pub fn forth<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
    origin: Origin,
) -> Result<Relay, Reason> {
    // Its client was outside; the backend knows a pod by no such port.
    if !origin.is_net() {
        return Err(Reason::FlowLost);
    }
    let key = Key::new(segment.source, segment.destination);
    let entry = node.entry(&key, Client::IsSource).ok_or(Reason::Busy)?;
    let back = partner(node.tables, &entry);
    if !back.is_there() {
        return Err(Reason::Busy);
    }
    let relay = Relay::against(node, &back).ok_or(Reason::Busy)?;
    way(node, relay.source.address, relay.destination.address, 0)?;
    note_client(node, segment, &entry, &back);
    Ok(relay)
}

/// Tells whether the backend knows this node as its client.
#[inline(always)]
const fn is_masked(values: &Values) -> bool {
    values.flags & (Values::MASKED | Values::WRAPPED) == Values::MASKED
}

/// Both ends of the answer of a backend elsewhere; `None` for a packet that is none.
///
/// # Errors
///
/// The [`Reason`] why it cannot be sent on.
#[inline(always)]
pub fn answer<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
) -> Result<Option<Relay>, Reason> {
    if !node.settings.is_source_port(segment.destination.port) {
        return Ok(None);
    }
    let key = Key::new(segment.source, segment.destination);
    let Some(entry) = node.entry(&key, Client::IsDestination) else { return Ok(None) };
    if entry.head.kind() != Kind::Return || !is_masked(&entry.values) {
        return Ok(None);
    }
    // Of datagrams the way forth alone ends: what is under way still comes back.
    if entry.head.has(Head::SEVERED) && !segment.is_udp() && !is_reset(segment) {
        node.tables.end_severed(entry.place, entry.head, node.now);
        return Err(Reason::Severed);
    }
    let forward = partner(node.tables, &entry);
    if !forward.is_there() {
        return Err(Reason::FlowLost);
    }
    let relay = Relay::against(node, &forward).ok_or(Reason::Busy)?;
    way(node, relay.source.address, relay.destination.address, 0)?;
    note_server(node, segment, &forward, &entry);
    Ok(Some(relay))
}

/// Rewrites a packet that is sent on.
#[inline(always)]
pub fn send<P: Packet + ?Sized>(
    packet: &mut P,
    segment: &Segment,
    relay: Relay,
    is_answer: bool,
) -> Outcome {
    match rewrite(packet, segment, relay) {
        Ok(()) => Outcome::AWAY,
        // Passed, the stack would reset it as none of its own sockets'.
        Err(reason) if is_answer => Outcome::because(Verdict::Drop, reason),
        Err(reason) => unforwarded(reason),
    }
}

#[inline(always)]
fn rewrite<P: Packet + ?Sized>(
    packet: &mut P,
    segment: &Segment,
    relay: Relay,
) -> Result<(), Reason> {
    segment.hop(packet)?;
    segment.readdress(packet, Side::Destination, relay.destination)?;
    segment.readdress(packet, Side::Source, relay.source)
}

/// The whole tuple of an entry; `None` if the place has got another since.
#[inline(always)]
fn whole_key<T: Tables + ?Sized>(node: Node<'_, T>, entry: &Entry<'_>) -> Option<Key> {
    let key = key_of(node.tables, entry);
    let [a, b, c, d, tail] = key.0;
    let word = node.tables.after(entry.word, a | b | c | d | tail);
    Head(node.tables.load(word)).is_of_same(entry.head).then_some(key)
}

/// Tells whether a packet from one address to the other can be sent on from here, with `more` bytes
/// in front of it.
#[inline(always)]
pub(crate) fn way<T: Tables + ?Sized>(
    node: Node<'_, T>,
    from: Address,
    to: Address,
    more: u32,
) -> Result<(), Reason> {
    match node.tables.way(from, to, more) {
        Way::Open => Ok(()),
        Way::Later => Err(Reason::NotOurs),
        Way::Closed => Err(Reason::NoRoute),
        Way::Narrow => Err(Reason::TooLong),
    }
}

#[cfg(test)]
mod tests;
