//! From a client towards a backend.

use crate::account::note_client;
use crate::addresses;
use crate::backend::State;
use crate::directory::Occupant;
use crate::flows::{Back, Client, Entry, Head, Key, Kind, Values, partner, touch};
use crate::limits;
use crate::node::Node;
use crate::reason::Reason;
use crate::restore::ends;
use crate::route::{Decision, Origin, Route, hairpin_address};
use crate::segment::Segment;
use crate::settings::Idle;
use crate::start::{self, Beginning};
use crate::stats::Exchange;
use crate::straight::straight;
use crate::tables::Tables;
use crate::wire::tcp;

/// What becomes of a packet whose flow is there; `None` if none is.
///
/// `bits` are those of its destination in `ADDRESSES`.
///
/// # Errors
///
/// The [`Reason`] why it is not forwarded.
#[inline(always)]
pub fn of_flow<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
    origin: Origin,
    bits: u64,
) -> Result<Option<Decision>, Reason> {
    if is_of_hairpin(segment, origin) {
        of_hairpin(node, segment).map(Some)
    } else {
        of_forward(node, segment, origin, bits)
    }
}

/// Whether a packet is the answer of a pod to itself.
#[inline(always)]
#[must_use]
pub fn is_of_hairpin(segment: &Segment, origin: Origin) -> bool {
    // Words: of arrays the compiler would compare byte by byte.
    origin == Origin::Pod
        && segment.destination.address.words() == hairpin_address(segment.version).words()
}

/// What becomes of the answer of a pod to itself.
///
/// # Errors
///
/// As [`of_flow`].
#[inline(always)]
pub fn of_hairpin<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
) -> Result<Decision, Reason> {
    ends(node, segment).map(Decision::Hairpin)
}

/// What becomes of any other packet whose flow is there.
///
/// # Errors
///
/// As [`of_flow`].
#[inline(always)]
pub fn of_forward<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
    origin: Origin,
    bits: u64,
) -> Result<Option<Decision>, Reason> {
    if bits & (addresses::FRONTEND | addresses::TRANSLATED) == 0 {
        return Ok(None);
    }
    let key = Key::new(segment.source, segment.destination);
    let entry = if segment.is_syn() {
        node.entry_of_first(&key, Client::IsSource)
    } else {
        node.entry(&key, Client::IsSource)
    };
    match entry {
        Some(entry) => match known(node, segment, origin, &entry)? {
            Known::Lives(route) => Ok(Some(Decision::Forward(route))),
            Known::Over(back) => {
                release(node, &entry, back);
                Ok(None)
            }
        },
        None => Ok(None),
    }
}

/// What a packet without a flow leads to.
///
/// # Errors
///
/// The [`Reason`] why it is not forwarded.
#[inline(always)]
pub fn of_none<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
    origin: Origin,
) -> Result<Beginning, Reason> {
    match node.find(segment.destination) {
        Some(Occupant::Frontend(id)) => start::fresh(node, segment, origin, id),
        Some(Occupant::Backend(_)) if origin == Origin::Behind => Err(Reason::NotOurs),
        Some(Occupant::Backend(id)) => straight(node, segment, origin, id),
        None => Err(Reason::NotOurs),
    }
}

/// The interface that an entry remembers: uplinks and tunnels are one group.
#[inline(always)]
pub(crate) fn interface<T: Tables + ?Sized>(node: Node<'_, T>, origin: Origin) -> u32 {
    match origin {
        Origin::Pod => node.tables.interface_index(),
        Origin::Net | Origin::Behind => 0,
    }
}

/// Whether the packet's source may be its sender's.
#[inline(always)]
pub(crate) fn is_believed<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
    origin: Origin,
) -> bool {
    let (source, destination) = (&segment.source.address, &segment.destination.address);
    origin.is_net() || node.tables.leads_back(source, destination)
}

/// What is found of a flow that is there.
enum Known {
    /// Its packet goes there.
    Lives(Route),
    /// It is over, or has to be picked anew.
    Over(Back),
}

/// Where a packet of a flow that is there goes.
#[inline(always)]
fn known<'t, T: Tables + ?Sized>(
    node: Node<'t, T>,
    segment: &Segment,
    origin: Origin,
    entry: &Entry<'t>,
) -> Result<Known, Reason> {
    if entry.head.kind() == Kind::Foreign {
        // Of a second's packets the first is asked for: no liar keeps it alive.
        if entry.head.seen() != node.now && is_believed(node, segment, origin) {
            touch(node.tables, entry, node.now);
        }
        return Err(Reason::Foreign);
    }
    let first = segment.is_syn() || segment.is_udp();
    let is_elsewhere = entry.values.interface != interface(node, origin);
    if is_elsewhere && !is_believed(node, segment, origin) {
        return Err(Reason::Spoofed);
    }
    let back = partner(node.tables, entry);
    if !back.is_there() || is_over(node, segment, entry, &back) {
        // Nothing is under way to a client of expired datagrams, and its own port is free again.
        return Ok(Known::Over(if segment.is_udp() { Back::Goes } else { Back::Stays }));
    }
    if first && (entry.head.has(Head::SEVERED) || is_elsewhere) {
        return Ok(Known::Over(Back::Goes));
    }
    if entry.head.has(Head::SEVERED) && !is_reset(segment) {
        node.tables.end_severed(entry.place, entry.head, node.now);
        return Err(Reason::Severed);
    }
    let backend = node.tables.backend(entry.values.backend).ok_or(Reason::BackendGone)?;
    let unanswered_syn = segment.is_syn() && !back.head.has(Head::ANSWERED);
    if unanswered_syn && !entry.values.has(Values::UNCOUNTED) {
        node.tables.show(entry.values.statistics, Exchange::SynAgain);
    }
    // Who dialled the backend itself stays with it, whatever the service has of it.
    let is_direct = entry.values.has(Values::DIRECT);
    match if is_direct { State::Alive } else { backend.state() } {
        State::Draining | State::Resting if segment.is_udp() || unanswered_syn => {
            return Ok(Known::Over(Back::Stays));
        }
        State::Gone if first => {
            return Ok(Known::Over(Back::Stays));
        }
        State::Gone => return Err(Reason::BackendGone),
        State::Alive
            if entry.values.has(Values::FOLLOWS)
                && node.tables.falls_elsewhere(
                    node.settings.seed.load(),
                    [segment.source, segment.destination],
                    &entry.values,
                ) =>
        {
            return Ok(Known::Over(Back::Stays));
        }
        State::Alive | State::Draining | State::Resting => {}
    }
    let masked = entry.values.has(Values::MASKED);
    let wrapped = entry.values.has(Values::WRAPPED);
    // What is sent on is noted when its way is known.
    if !masked {
        note_client(node, segment, entry, &back);
    }
    Ok(Known::Lives(Route { to: backend.endpoint(), port: entry.values.port, masked, wrapped }))
}

/// Whether a flow that is found does not count for this packet.
#[inline(always)]
fn is_over<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
    forward: &Entry<'_>,
    back: &Entry<'_>,
) -> bool {
    let (to, from) = (forward.head.idle(node.now), back.head.idle(node.now));
    let idle = if to < from { to } else { from };
    if segment.is_udp() {
        let state = match (back.head.has(Head::ANSWERED), forward.head.has(Head::OVER)) {
            (false, _) => Idle::Opening,
            (true, false) => Idle::Exchange,
            (true, true) => Idle::Stream,
        };
        return idle > node.settings.idle(state);
    }
    segment.is_syn() && (forward.head.ended() || back.head.ended() || idle > limits::SYN_REUSE_IDLE)
}

/// Lets go of a flow; one that had not ended is counted, so that its split has one less.
#[inline(always)]
fn release<T: Tables + ?Sized>(node: Node<'_, T>, entry: &Entry<'_>, back: Back) {
    let by = node.settings.flows();
    let lives = entry.head.has(Head::ANSWERED) && !entry.head.ended();
    if node.tables.free_flow(entry.place, entry.head, by, back)
        && lives
        && !entry.values.has(Values::UNCOUNTED)
    {
        node.tables.pushed_out(entry.values.statistics);
    }
}

/// Whether a TCP packet may only belong to a connection that began before.
#[inline(always)]
pub(crate) const fn is_late(segment: &Segment) -> bool {
    !segment.is_udp() && !segment.is_syn()
}

/// Whether a packet gives its connection up.
#[inline(always)]
pub(crate) const fn is_reset(segment: &Segment) -> bool {
    segment.has(tcp::RST)
}

#[cfg(test)]
mod tests;
