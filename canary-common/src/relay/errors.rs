//! ICMP errors about packets that were sent on, to a backend elsewhere or to its client outside.
//!
//! One about a question comes to the node's own address, and quotes that and a port of the node's;
//! one about an answer comes to the frontend. Both ends of either are in the partner's key.

use super::{Relay, is_masked, way};
use crate::flows::{Client, Entry, Head, Kind, partner};
use crate::hooks::{Outcome, Verdict};
use crate::icmp::{Mended, Quote, mend};
use crate::node::Node;
use crate::packet::Packet;
use crate::reason::Reason;
use crate::route::Sent;
use crate::segment::hop;
use crate::tables::Tables;

/// An error about a packet that was sent on, as whom it goes to knows both; `None` for any other.
///
/// # Errors
///
/// The [`Reason`] why it cannot be sent on.
#[inline(always)]
pub fn find<T: Tables + ?Sized>(
    node: Node<'_, T>,
    quote: &Quote,
) -> Result<Option<Mended>, Reason> {
    let Some(entry) = entry(node, quote) else { return Ok(None) };
    let other = partner(node.tables, &entry);
    if !other.is_there() || entry.head.has(Head::SEVERED) {
        return Ok(None);
    }
    let relay = Relay::against(node, &other).ok_or(Reason::Busy)?;
    // Not a router's own address: the same router may be the next hop here, and would take no packet
    // from itself.
    way(node, relay.source.address, relay.destination.address, 0)?;
    Ok(Some(Mended {
        source: relay.source.address,
        destination: relay.destination.address,
        from: relay.destination,
        to: relay.source,
        sent: Sent::On,
    }))
}

/// The entry of the packets that go against the quoted one, if that was sent on.
#[inline(always)]
fn entry<'t, T: Tables + ?Sized>(node: Node<'t, T>, quote: &Quote) -> Option<Entry<'t>> {
    let key = quote.reversed();
    let (client, kind) = if node.settings.is_source_port(quote.from.port) {
        (Client::IsDestination, Kind::Return)
    } else {
        (Client::IsSource, Kind::Forward)
    };
    let entry = node.entry(&key, client)?;
    (entry.head.kind() == kind && is_masked(&entry.values)).then_some(entry)
}

/// Rewrites an error that is sent on.
#[inline(always)]
pub fn send<P: Packet + ?Sized>(packet: &mut P, quote: &Quote, mended: &Mended) -> Outcome {
    let sent = hop(packet, quote.version, quote.l3_at).and_then(|()| mend(packet, quote, mended));
    match sent {
        Ok(_) => Outcome::AWAY,
        Err(reason) => Outcome::because(Verdict::Drop, reason),
    }
}
