//! Fragments of datagrams that are sent on.
//!
//! The first leaves the place and the head of the entry of the other direction, whose key has both
//! ends: there is no room for two addresses.

use super::{Relay, way};
use crate::flows::{Client, Head, Kind, Request, Values, find_at, touch};
use crate::fragment::{self, Follows};
use crate::headers::Headers;
use crate::hooks::{Outcome, Verdict};
use crate::limits::FRAGMENT_IDLE;
use crate::node::Node;
use crate::packet::Packet;
use crate::reason::Reason;
use crate::route::Sent;
use crate::segment::hop;
use crate::tables::Tables;

/// The entry that the first fragment of a datagram stores that is sent on; `None` for a packet
/// that is none.
#[inline(always)]
#[must_use]
pub fn of_first<T: Tables + ?Sized>(
    node: Node<'_, T>,
    headers: &Headers,
    relay: &Relay,
) -> Option<Request> {
    let (place, Head(head)) = relay.other;
    let [a, b, c, d, e, f, g, h] = head.to_ne_bytes();
    let values = Values {
        flags: Values::AWAY,
        backend: u32::from_ne_bytes([a, b, c, d]),
        frontend: u32::from_ne_bytes([e, f, g, h]),
        partner: place,
        ..Values::default()
    };
    fragment::request(node, headers, fragment::Way::In, values, false)
}

/// Both addresses of a fragment that follows its first and is sent on; `None` for any other.
///
/// # Errors
///
/// The [`Reason`] why it cannot be sent on.
#[inline(always)]
pub fn follow<T: Tables + ?Sized>(
    node: Node<'_, T>,
    headers: &Headers,
) -> Result<Option<Follows>, Reason> {
    let Some(entry) = node.entry(&fragment::key(headers, fragment::Way::In), Client::IsUnknown)
    else {
        return Ok(None);
    };
    let values = entry.values;
    let is_sent_on = values.has(Values::AWAY) && !values.has(Values::PASSES);
    let is_ours = entry.head.kind() == Kind::Fragment && is_sent_on;
    if !is_ours || values.interface != 0 || entry.head.idle(node.now) >= FRAGMENT_IDLE {
        return Ok(None);
    }
    touch(node.tables, &entry, node.now);
    let [[a, b, c, d], [e, f, g, h]] = [values.backend, values.frontend].map(u32::to_ne_bytes);
    let head = Head(u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
    let other = find_at(node.tables, values.partner).ok_or(Reason::FragmentEarly)?;
    if !other.head.is_of_same(head) {
        return Err(Reason::FragmentEarly);
    }
    let relay = Relay::against(node, &other).ok_or(Reason::FragmentEarly)?;
    let (source, destination) = (relay.source.address, relay.destination.address);
    way(node, source, destination, 0)?;
    Ok(Some(Follows { source, destination, sent: Sent::On }))
}

/// Rewrites a fragment that is sent on: its addresses alone.
#[inline(always)]
pub fn send<P: Packet + ?Sized>(packet: &mut P, headers: &Headers, follows: &Follows) -> Outcome {
    let sent = hop(packet, headers.version, headers.l3_at)
        .and_then(|()| fragment::act(packet, headers, follows));
    match sent {
        Ok(_) => Outcome::AWAY,
        Err(reason) => Outcome::because(Verdict::Drop, reason),
    }
}
