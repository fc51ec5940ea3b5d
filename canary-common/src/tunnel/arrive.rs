//! Packets within packets that come to a backend of this node.
//!
//! Nothing of the outer packet is believed but whom it is for, and that only where the inner one is
//! for a frontend whose service would have this client served there: by the draw, or by that of
//! another of its splits, for the nodes may differ in the weights for a moment. What it carries is
//! then served as if it had come without it.

use crate::decide::{Decided, decide_arrived};
use crate::directory::Occupant;
use crate::draw;
use crate::endpoint::{Address, Endpoint};
use crate::flows::{Client, Key, Kind};
use crate::fragment::{self, Way};
use crate::headers::{Carried, Headers};
use crate::hooks::{Outcome, Verdict, inbound_end, unforwarded};
use crate::icmp::{self, Quote};
use crate::interface::Interface;
use crate::node::Node;
use crate::packet::Packet;
use crate::rare::sent;
use crate::reason::Reason;
use crate::route::Origin;
use crate::segment::Segment;
use crate::service::Picked;
use crate::start::{Beginning, to_picked};
use crate::tables::Tables;
use crate::wire::header_len;
use crate::wire::icmp::Says;

/// An inner packet that is served here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    /// TCP or UDP; if no flow is there, it begins one to what was picked.
    Segment(Option<Picked>),
    /// A fragment that follows its first.
    Follows,
    /// An ICMP error about a flow.
    Error,
}

/// The headers of the packet within the one of `outer`.
///
/// # Errors
///
/// The [`Reason`] why it passes as it is: it is cut, or longer than the outer packet says, or none
/// of ours.
#[inline(always)]
pub fn inner<P: Packet + ?Sized>(packet: &P, outer: &Headers) -> Result<Headers, Reason> {
    let inner = Headers::read(packet, outer.l4_at, outer.version)?;
    let length = inner.l4_at.wrapping_sub(inner.l3_at).wrapping_add(inner.length);
    if length > outer.length { Err(Reason::Malformed) } else { Ok(inner) }
}

/// Tells whether a segment that came within a packet to `to` is served there, and what was picked, in
/// case no flow is there.
///
/// # Errors
///
/// [`Reason::Encapsulated`] if not.
#[inline(always)]
pub fn look<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
    to: Address,
) -> Result<Option<Picked>, Reason> {
    let Some(Occupant::Frontend(id)) = node.find(segment.destination) else {
        return Err(Reason::Encapsulated);
    };
    let frontend = node.tables.frontend(id).ok_or(Reason::Encapsulated)?;
    let ends = [segment.source, segment.destination];
    let picked = draw::at(node, ends, frontend.service.load(), to);
    if picked.is_none() && !is_known(node, ends, to) {
        return Err(Reason::Encapsulated);
    }
    Ok(picked)
}

/// Tells whether a flow is there between two ends, and its backend at an address of this node.
#[inline(always)]
fn is_known<T: Tables + ?Sized>(
    node: Node<'_, T>,
    [client, frontend]: [Endpoint; 2],
    to: Address,
) -> bool {
    let Some(entry) = node.entry(&Key::new(client, frontend), Client::IsSource) else {
        return false;
    };
    let backend = node.tables.backend(entry.values.backend);
    entry.head.kind() == Kind::Forward && backend.is_some_and(|backend| backend.is_here_at(to))
}

/// Begins what comes within a packet of another node, to the backend that it came for.
///
/// # Errors
///
/// The [`Reason`] why it is not forwarded.
#[inline(always)]
pub fn begin<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
    id: u32,
    picked: Picked,
) -> Result<Beginning, Reason> {
    let flags = node.tables.interface().map_or(0, |interface| interface.flags.load());
    if flags & Interface::CROWDED != 0 {
        return Err(Reason::FlowTableFull);
    }
    to_picked(node, segment, Origin::Net, id, picked, flags)
}

/// Tells what the inner packet is, if it is served at `to`.
#[inline(always)]
fn look_at<P, T>(
    packet: &P,
    node: Node<'_, T>,
    inner: &Headers,
    to: Address,
) -> Result<Within, Reason>
where
    P: Packet + ?Sized,
    T: Tables + ?Sized,
{
    match inner.carried() {
        Carried::Segment => look(node, &Segment::behind(packet, inner)?, to).map(Within::Segment),
        Carried::Fragment => {
            let follows = fragment::follow(node, inner, Origin::Net, Way::In)?;
            let is_its = follows.destination.words() == to.words();
            if is_its { Ok(Within::Follows) } else { Err(Reason::Encapsulated) }
        }
        Carried::Icmp if icmp::says(packet, inner)? == Says::Error => {
            let mended = icmp::inbound(node, &Quote::read(packet, inner)?, Origin::Net)?;
            let is_its = mended.destination.words() == to.words();
            if is_its { Ok(Within::Error) } else { Err(Reason::Encapsulated) }
        }
        Carried::Icmp | Carried::Packet | Carried::Other => Err(Reason::NotTcpOrUdp),
    }
}

/// A packet within a packet, from the network.
#[inline(always)]
pub(crate) fn inbound<P, T>(packet: &mut P, tables: &T, l2: usize, outer: &Headers) -> Outcome
where
    P: Packet + ?Sized,
    T: Tables + ?Sized,
{
    let found = Node::new(tables).and_then(|node| {
        let inner = inner(packet, outer)?;
        Ok((node, inner, look_at(packet, node, &inner, outer.destination)?))
    });
    let (node, inner, within) = match found {
        Ok(found) => found,
        Err(reason) => return unforwarded(reason),
    };
    if let Err(reason) = packet.remove_header(outer.l3_at, outer.version) {
        return Outcome::because(Verdict::Drop, reason);
    }
    let by = header_len(outer.version);
    let inner = Headers { l3_at: outer.l3_at, l4_at: inner.l4_at.wrapping_sub(by), ..inner };
    match within {
        Within::Segment(picked) => segment(packet, node, l2, &inner, picked),
        Within::Follows => sent(
            fragment::follow(node, &inner, Origin::Net, Way::In)
                .and_then(|follows| fragment::act(packet, &inner, &follows)),
        ),
        Within::Error => sent(Quote::read(packet, &inner).and_then(|quote| {
            let mended = icmp::inbound(node, &quote, Origin::Net)?;
            icmp::mend(packet, &quote, &mended)
        })),
    }
}

#[inline(always)]
fn segment<P, T>(
    packet: &mut P,
    node: Node<'_, T>,
    l2: usize,
    headers: &Headers,
    picked: Option<Picked>,
) -> Outcome
where
    P: Packet + ?Sized,
    T: Tables + ?Sized,
{
    let segment = match Segment::behind(packet, headers) {
        Ok(segment) => segment,
        Err(reason) => return unforwarded(reason),
    };
    let decided = decide_arrived(node, &segment, picked);
    let first = match &decided {
        Ok(Decided::Here(decision)) => {
            fragment::of_first(node, headers, &segment, Origin::Net, &Ok(*decision))
        }
        _ => None,
    };
    if let Some(request) = first {
        fragment::store(node, &request);
    }
    match decided {
        Err(reason) if !fragment::can_be_answered(headers, &segment) => unforwarded(reason),
        decided => inbound_end(packet, node.tables, l2, Origin::Net, &segment, decided),
    }
}
