//! Fragments: each follows the first of its datagram, which alone has ports.
//!
//! The first stores an entry of its addresses, id and protocol, which holds what was done with it:
//! the others have only their addresses rewritten, for the transport checksum is in the first. An
//! entry holds an address, and no row that could mean another one later.

use crate::checksum::Difference;
use crate::endpoint::{Address, Endpoint, Version};
use crate::flows::{Back, Client, Entry, Key, Kind, Limit, Request, Stored, Values, touch};
use crate::forward::interface;
use crate::headers::{Headers, Piece};
use crate::interface::Interface;
use crate::limits::FRAGMENT_IDLE;
use crate::node::Node;
use crate::packet::Packet;
use crate::reason::{Action, Reason};
use crate::route::{Decision, Ends, Origin, Sent, hairpin_address, is_hairpin};
use crate::segment::Segment;
use crate::tables::Tables;
use crate::wire::{ethernet, ipv4, ipv6};

/// Set in the protocol of the key of a datagram on its way back to a client: the same one may pass
/// a hook on its way in as well.
const OUTBOUND: u8 = 0x80;

/// Which way a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Towards a frontend.
    In,
    /// Back to a client.
    Out,
}

/// What is done with a fragment that follows its first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Follows {
    /// Its source then.
    pub source: Address,
    /// Its destination then.
    pub destination: Address,
    /// Whether it goes on, or back to the pod that sent it.
    pub sent: Sent,
}

/// The key of a datagram.
#[inline(always)]
pub(crate) fn key(headers: &Headers, way: Way) -> Key {
    let direction = match way {
        Way::In => 0,
        Way::Out => OUTBOUND,
    };
    let protocol = headers.datagram_protocol | direction;
    let [a, b, c, d] = headers.id;
    Key::new(
        Endpoint { address: headers.source, port: [a, b], protocol },
        Endpoint { address: headers.destination, port: [c, d], protocol },
    )
}

/// The entry that the first fragment of a datagram towards a frontend stores; `None` for a packet
/// that is none, or whose others shall not follow it.
#[inline(always)]
#[must_use]
pub fn of_first<T: Tables + ?Sized>(
    node: Node<'_, T>,
    headers: &Headers,
    segment: &Segment,
    origin: Origin,
    decided: &Result<Decision, Reason>,
) -> Option<Request> {
    let (address, flags) = match decided {
        Ok(Decision::Forward(route)) => {
            let turns = is_hairpin(segment, origin, route.to.address);
            (route.to.address, if turns { Values::TURNS } else { 0 })
        }
        Ok(Decision::Hairpin(Ends { from, .. })) => {
            (from.address, Values::RESTORES | Values::TURNS)
        }
        Err(reason) if reason.action() == Action::Pass => (headers.destination, Values::PASSES),
        Err(_) => return None,
    };
    let flags_of = |interface: &Interface| interface.has(Interface::CROWDED);
    let crowded = node.tables.interface().is_some_and(flags_of);
    let own = interface(node, origin);
    request(node, headers, Way::In, Values { interface: own, flags, ..of(address) }, crowded)
}

/// The same of an answer's first fragment; its source is `from` then.
#[inline(always)]
#[must_use]
pub fn of_first_back<T: Tables + ?Sized>(
    node: Node<'_, T>,
    headers: &Headers,
    from: Address,
) -> Option<Request> {
    let values = Values { flags: Values::RESTORES, ..of(from) };
    request(node, headers, Way::Out, values, false)
}

#[inline(always)]
pub(crate) fn request<T: Tables + ?Sized>(
    node: Node<'_, T>,
    headers: &Headers,
    way: Way,
    values: Values,
    crowded: bool,
) -> Option<Request> {
    if headers.piece != Piece::First {
        return None;
    }
    Some(Request {
        key: key(headers, way),
        values,
        kind: Kind::Fragment,
        state: 0,
        limit: if crowded { Limit::Free } else { Limit::Traces },
        spare: crate::flows::NO_PARTNER,
        now: node.now,
    })
}

/// What an entry holds of an address: there is no partner, frontend, backend or question.
#[inline(always)]
pub(crate) fn of(address: Address) -> Values {
    let [a, b] = address.words().map(u64::to_ne_bytes);
    let [[a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]] = [a, b];
    Values {
        backend: u32::from_ne_bytes([a, b, c, d]),
        frontend: u32::from_ne_bytes([e, f, g, h]),
        partner: u32::from_ne_bytes([i, j, k, l]),
        mark: u32::from_ne_bytes([m, n, o, p]),
        ..Values::default()
    }
}

/// The address that an entry holds.
#[inline(always)]
pub(crate) fn address(values: &Values) -> Address {
    let [a, b, c, d] =
        [values.backend, values.frontend, values.partner, values.mark].map(u32::to_ne_bytes);
    match [a, b, c, d].as_flattened().first_chunk() {
        Some(bytes) => Address(*bytes),
        None => Address([0; 16]),
    }
}

/// Makes room for the entry of a first fragment, where one of its key is there: an id comes again.
///
/// Whether it is to be stored: not if what is there says the same.
#[inline(always)]
#[must_use]
pub fn replaces<T: Tables + ?Sized>(node: Node<'_, T>, request: &Request) -> bool {
    let by = node.settings.flows();
    let Some(entry) = node.entry(&request.key, Client::IsUnknown) else { return true };
    let values = Values { flags: entry.values.flags & !Values::SPILLED, ..entry.values };
    if values == request.values {
        touch(node.tables, &entry, node.now);
        return false;
    }
    // Of two firsts with one id within the time that fragments are waited for, the later counts:
    // the earlier one's others have most likely passed.
    node.tables.free_flow(entry.place, entry.head, by, Back::Goes)
}

/// Whether the sender of a packet can be told that nothing is there: a reset made of a fragment
/// would be one itself.
#[inline(always)]
#[must_use]
pub fn can_be_answered(headers: &Headers, segment: &Segment) -> bool {
    headers.piece != Piece::First || segment.is_udp() && headers.version == Version::V4
}

/// Stores the entry of a first fragment: without it the others are dropped, or pass.
#[inline(always)]
pub(crate) fn store<T: Tables + ?Sized>(node: Node<'_, T>, request: &Request) {
    if replaces(node, request) {
        let _: Stored = node.tables.store_flow(request, node.settings.flows());
    }
}

/// What is done with a fragment that is not the first of its datagram.
///
/// # Errors
///
/// [`Reason::FragmentEarly`] where its first was not seen and no other than we can have an answer
/// for it, [`Reason::Fragment`] where it passes as it is.
#[inline(always)]
pub fn follow<T: Tables + ?Sized>(
    node: Node<'_, T>,
    headers: &Headers,
    origin: Origin,
    way: Way,
) -> Result<Follows, Reason> {
    let Some(entry) = node.entry(&key(headers, way), Client::IsUnknown) else {
        return Err(unknown(node, headers, way));
    };
    if !is_same(node, &entry, origin, way) {
        return Err(unknown(node, headers, way));
    }
    touch(node.tables, &entry, node.now);
    let values = entry.values;
    if values.has(Values::PASSES) {
        return Err(Reason::Fragment);
    }
    let address = address(&values);
    let turns = values.has(Values::TURNS);
    let (source, destination) = match (values.has(Values::RESTORES), turns) {
        (false, false) => (headers.source, address),
        (false, true) => (hairpin_address(headers.version), address),
        (true, false) => (address, headers.destination),
        // Client and backend are the same pod.
        (true, true) => (address, headers.source),
    };
    Ok(Follows { source, destination, sent: if turns { Sent::Back } else { Sent::On } })
}

/// Whether an entry is of the datagram's own first fragment.
#[inline(always)]
fn is_same<T: Tables + ?Sized>(
    node: Node<'_, T>,
    entry: &Entry<'_>,
    origin: Origin,
    way: Way,
) -> bool {
    let own = match way {
        Way::In => interface(node, origin),
        Way::Out => 0,
    };
    entry.values.interface == own && entry.head.idle(node.now) < FRAGMENT_IDLE
}

#[inline(always)]
fn unknown<T: Tables + ?Sized>(node: Node<'_, T>, headers: &Headers, way: Way) -> Reason {
    if way == Way::In && node.tables.is_virtual(headers.destination) {
        Reason::FragmentEarly
    } else {
        Reason::Fragment
    }
}

/// Rewrites a fragment that follows its first: its addresses alone.
///
/// # Errors
///
/// [`Reason::Truncated`] if the packet is shorter than when it was read.
#[inline(always)]
pub fn act<P: Packet + ?Sized>(
    packet: &mut P,
    headers: &Headers,
    follows: &Follows,
) -> Result<Sent, Reason> {
    let Headers { version, l3_at, source, destination, .. } = *headers;
    match version {
        Version::V4 => {
            let [from, to] = [follows.source, follows.destination].map(Address::last_four);
            let change = Difference::between(source.last_four(), from)
                .and(Difference::between(destination.last_four(), to));
            let checksum_at = l3_at.wrapping_add(ipv4::CHECKSUM_AT);
            let checksum = change.patch(packet.read(checksum_at)?);
            packet.write(checksum_at, checksum)?;
            packet.write(l3_at.wrapping_add(ipv4::SOURCE_AT), from)?;
            packet.write(l3_at.wrapping_add(ipv4::DESTINATION_AT), to)?;
        }
        Version::V6 => {
            packet.write(l3_at.wrapping_add(ipv6::SOURCE_AT), follows.source.0)?;
            packet.write(l3_at.wrapping_add(ipv6::DESTINATION_AT), follows.destination.0)?;
        }
    }
    if follows.sent == Sent::Back {
        ethernet::swap(packet)?;
    }
    if version == Version::V6 {
        packet.note_change(
            Difference::between(source.0, follows.source.0)
                .and(Difference::between(destination.0, follows.destination.0)),
        );
    }
    Ok(follows.sent)
}

#[cfg(test)]
mod tests;
