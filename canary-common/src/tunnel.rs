//! Packets within packets (RFC 2003, RFC 2473): direct return from backends elsewhere.
//!
//! A client outside comes by this node, and its backend is on another. The client's packet goes
//! there as it is, within one from this node to the backend; that node takes it out and serves it
//! ([`arrive`]), and the backend's answers leave from there straight to the client.
//!
//! This node sees one direction alone. The `return` that the table wants has the tuple of the
//! answers, which no other connection has; the flags `MASKED` and `WRAPPED` keep it from every other
//! step. It is the backend's node that counts the connection.

use crate::account::note_alone;
use crate::checksum::Difference;
use crate::endpoint::{Address, Version};
use crate::flows::{Back, Client, Entry, Head, Key, Kind, Request, Values, partner};
use crate::fragment;
use crate::headers::Headers;
use crate::hooks::{Outcome, Verdict, unforwarded};
use crate::icmp::Quote;
use crate::limits::FRAGMENT_IDLE;
use crate::node::Node;
use crate::packet::Packet;
use crate::reason::Reason;
use crate::relay::way;
use crate::route::Origin;
use crate::segment::{Segment, hop};
use crate::start::{Beginning, request};
use crate::tables::Tables;
use crate::wire::{header_len, ipv4, ipv6};

pub mod arrive;

/// Time to live of a packet around another.
const TTL: u8 = 64;

/// Both ends of the packet that another goes within.
///
/// Steps leave it in place: the verifier refuses the merge of one that is there and one that is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer {
    /// This node.
    pub source: Address,
    /// The backend.
    pub destination: Address,
}

impl Outer {
    /// Before anything is left there.
    pub const NONE: Self = Self { source: Address([0; 16]), destination: Address([0; 16]) };
}

/// Length of the header in front of a packet that goes within another, as [`Tables::way`] wants it.
#[inline(always)]
#[must_use]
pub fn more(version: Version) -> u32 {
    u32::try_from(header_len(version)).unwrap_or(0)
}

/// Leaves the packet around those to a backend.
///
/// # Errors
///
/// [`Reason::NotServedHere`] if the node has no address for it (any more).
#[inline(always)]
pub fn around<T: Tables + ?Sized>(
    node: Node<'_, T>,
    to: Address,
    outer: &mut Outer,
) -> Result<(), Reason> {
    let Some(source) = node.settings.source(to.version()) else {
        return Err(Reason::NotServedHere);
    };
    outer.source = source;
    outer.destination = to;
    Ok(())
}

/// The `return` of a flow that begins; one that an earlier flow has left makes room for it: no
/// answer is under way to it.
#[inline(always)]
#[must_use]
pub fn back<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
    beginning: &Beginning,
) -> Request {
    let key = Key::new(segment.destination, segment.source);
    let by = node.settings.flows();
    if let Some((head, place)) = node.tables.find_flow(&key, Client::IsDestination, by) {
        node.tables.free_flow(place, head, by, Back::Goes);
    }
    request(node, segment, beginning, key)
}

/// Leaves the packet around one of a flow that is there.
///
/// # Errors
///
/// The [`Reason`] why it cannot be sent on.
#[inline(always)]
pub fn forth<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
    origin: Origin,
    outer: &mut Outer,
) -> Result<(), Reason> {
    // Its client was outside.
    if !origin.is_net() {
        return Err(Reason::FlowLost);
    }
    let key = Key::new(segment.source, segment.destination);
    let entry = node.entry(&key, Client::IsSource).ok_or(Reason::Busy)?;
    let back = partner(node.tables, &entry);
    if !back.is_there() {
        return Err(Reason::Busy);
    }
    to_backend(node, &entry, outer)?;
    note_alone(node, segment, &entry, &back);
    Ok(())
}

/// Leaves the packet around one to the backend of an entry, if it can be sent on.
#[inline(always)]
fn to_backend<T: Tables + ?Sized>(
    node: Node<'_, T>,
    entry: &Entry<'_>,
    outer: &mut Outer,
) -> Result<(), Reason> {
    let backend = node.tables.backend(entry.values.backend).ok_or(Reason::BackendGone)?;
    to_address(node, backend.endpoint().address, outer)
}

/// The same of one to an address.
#[inline(always)]
fn to_address<T: Tables + ?Sized>(
    node: Node<'_, T>,
    to: Address,
    outer: &mut Outer,
) -> Result<(), Reason> {
    around(node, to, outer)?;
    way(node, outer.source, outer.destination, more(to.version()))
}

/// Leaves the packet around an ICMP error about an answer of such a flow; whether it is one.
///
/// # Errors
///
/// The [`Reason`] why it cannot be sent on.
#[inline(always)]
pub fn about<T: Tables + ?Sized>(
    node: Node<'_, T>,
    quote: &Quote,
    outer: &mut Outer,
) -> Result<bool, Reason> {
    let Some(entry) = node.entry(&quote.reversed(), Client::IsSource) else { return Ok(false) };
    let is_ours = entry.head.kind() == Kind::Forward && entry.values.has(Values::WRAPPED);
    if !is_ours || entry.head.has(Head::SEVERED) {
        return Ok(false);
    }
    to_backend(node, &entry, outer)?;
    Ok(true)
}

/// The entry that the first fragment of a datagram stores that goes within another packet; `None`
/// for a packet that is none.
#[inline(always)]
#[must_use]
pub fn of_first<T: Tables + ?Sized>(
    node: Node<'_, T>,
    headers: &Headers,
    outer: &Outer,
) -> Option<Request> {
    let flags = Values::AWAY | Values::PASSES;
    let values = Values { flags, ..fragment::of(outer.destination) };
    fragment::request(node, headers, fragment::Way::In, values, false)
}

/// Leaves the packet around a fragment that follows its first; whether it is one.
///
/// # Errors
///
/// The [`Reason`] why it cannot be sent on.
#[inline(always)]
pub fn follow<T: Tables + ?Sized>(
    node: Node<'_, T>,
    headers: &Headers,
    outer: &mut Outer,
) -> Result<bool, Reason> {
    let key = fragment::key(headers, fragment::Way::In);
    let Some(entry) = node.entry(&key, Client::IsUnknown) else { return Ok(false) };
    let values = entry.values;
    let is_ours = values.has(Values::AWAY) && values.has(Values::PASSES) && values.interface == 0;
    if !is_ours || entry.head.idle(node.now) >= FRAGMENT_IDLE {
        return Ok(false);
    }
    crate::flows::touch(node.tables, &entry, node.now);
    to_address(node, fragment::address(&values), outer)?;
    Ok(true)
}

/// Puts a packet into another, and sends it on.
#[inline(always)]
pub fn send<P: Packet + ?Sized>(
    packet: &mut P,
    version: Version,
    l3_at: usize,
    outer: &Outer,
) -> Outcome {
    if let Err(reason) = hop(packet, version, l3_at) {
        return unforwarded(reason);
    }
    let put = match version {
        Version::V4 => put_v4(packet, l3_at, outer),
        Version::V6 => put_v6(packet, l3_at, outer),
    };
    match put {
        Ok(()) => Outcome::AWAY,
        Err(reason) => Outcome::because(Verdict::Drop, reason),
    }
}

/// The length that the outer header says. One that no header can say is 0, as of any packet that is
/// so long before it is cut.
#[inline(always)]
fn told(length: [u8; 2], version: Version) -> [u8; 2] {
    let more = u16::try_from(header_len(version)).unwrap_or(0);
    match u16::from_be_bytes(length) {
        0 => [0, 0],
        length => length.checked_add(more).map_or([0, 0], u16::to_be_bytes),
    }
}

/// Puts an outer header in front: with the class of the inner one and no mark of congestion, which
/// the other node would not take over (RFC 6040, section 4.3: compatibility mode). It may not be cut.
#[expect(clippy::many_single_char_names, reason = "a letter a byte, in order")]
#[inline(always)]
fn put_v4<P: Packet + ?Sized>(packet: &mut P, l3_at: usize, outer: &Outer) -> Result<(), Reason> {
    const CUT_NEVER: u8 = 0x40;
    let [_, class, high, low] = packet.read::<4>(l3_at)?;
    let [high, low] = told([high, low], Version::V4);
    let [a, b, c, d] = outer.source.last_four();
    let [e, f, g, h] = outer.destination.last_four();
    let (class, protocol) = (class & 0xfc, ipv4::WITHIN);
    let header =
        [0x45, class, high, low, 0, 0, CUT_NEVER, 0, TTL, protocol, 0, 0, a, b, c, d, e, f, g, h];
    let checksum = Difference::between([0; ipv4::LEN], header).patch([0xff, 0xff]);
    packet.insert_header(l3_at, Version::V4)?;
    packet.write(l3_at, header)?;
    packet.write(l3_at.wrapping_add(ipv4::CHECKSUM_AT), checksum)
}

#[inline(always)]
fn put_v6<P: Packet + ?Sized>(packet: &mut P, l3_at: usize, outer: &Outer) -> Result<(), Reason> {
    let [first, class, _, _, high, low] = packet.read::<6>(l3_at)?;
    let [high, low] = told([high, low], Version::V6);
    packet.insert_header(l3_at, Version::V6)?;
    packet.write(l3_at, [first, class & 0xc0, 0, 0, high, low, ipv6::WITHIN, TTL])?;
    packet.write(l3_at.wrapping_add(ipv6::SOURCE_AT), outer.source.0)?;
    packet.write(l3_at.wrapping_add(ipv6::DESTINATION_AT), outer.destination.0)
}

#[cfg(test)]
mod tests;
