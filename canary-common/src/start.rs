//! The first packet of a flow that we know of: the pick, a source port, and both entries.

use crate::account::{count, count_bytes};
use crate::backend::{Frontend, State};
use crate::draw::pick;
use crate::endpoint::Endpoint;
use crate::flows::{
    Back, Client, Head, Key, Kind, Limit, NO_PARTNER, Request, Stored, Values, link,
};
use crate::forward::{interface, is_believed, is_late, is_reset};
use crate::interface::Interface;
use crate::limits;
use crate::node::Node;
use crate::ports::{Ports, Taken, is_taken};
use crate::reason::Reason;
use crate::relay;
use crate::route::{Origin, Route, client};
use crate::segment::Segment;
use crate::service::Picked;
use crate::stats::Counter;
use crate::tables::Tables;
use crate::wire::tcp;

/// What a packet leads to that no flow is known for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It goes to the backend, and nothing begins.
    Passes,
    /// A flow begins with it.
    Flow,
    /// It passes as it is, and leaves a trace if there is room for one.
    Trace,
}

/// A flow or a trace that is to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning {
    /// Which of these.
    pub begun: Begun,
    /// Its backend.
    pub to: Endpoint,
    /// What both entries hold, but for port, partner and mark of the `forward`.
    pub values: Values,
    /// The interface's flags.
    pub flags: u32,
}

impl Beginning {
    /// Where the packet goes with its own source port.
    #[inline(always)]
    #[must_use]
    pub const fn as_it_is(&self) -> Route {
        Route { to: self.to, port: self.values.port, masked: false, wrapped: false }
    }

    /// Tells whether its packets go to the backend within packets of this node's.
    #[inline(always)]
    #[must_use]
    pub const fn is_wrapped(&self) -> bool {
        self.values.has(Values::WRAPPED)
    }

    /// Tells whether the backend is elsewhere, and this node sends its packets on.
    #[inline(always)]
    #[must_use]
    pub const fn is_masked(&self) -> bool {
        self.values.has(Values::MASKED)
    }
}

/// Picks for a packet to a frontend that no flow is known for.
///
/// # Errors
///
/// The [`Reason`] why it is not forwarded.
#[inline(always)]
pub fn fresh<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
    origin: Origin,
    id: u32,
) -> Result<Beginning, Reason> {
    let frontend = node.tables.frontend(id).ok_or(Reason::BadRecord)?;
    if origin.is_net() && frontend.flags.load() & Frontend::EXTERNAL == 0 {
        return Err(Reason::NotServedHere);
    }
    let flags = node.tables.interface().map_or(0, |interface| interface.flags.load());
    if is_late(segment) && flags & Interface::YOUNG != 0 {
        return Err(Reason::Foreign);
    }
    if !is_believed(node, segment, origin) {
        return Err(Reason::Spoofed);
    }
    if flags & Interface::CROWDED != 0 {
        return Err(Reason::FlowTableFull);
    }
    let service = frontend.service_of(origin.is_net());
    let picked = pick(node, segment.source, segment.destination, service)?;
    to_picked(node, segment, origin, id, picked, flags)
}

/// Begins a flow to a backend that was picked.
#[inline(always)]
pub(crate) fn to_picked<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
    origin: Origin,
    id: u32,
    picked: Picked,
    flags: u32,
) -> Result<Beginning, Reason> {
    let backend_id = picked.backend.ok_or(Reason::NoBackend)?;
    let backend = node.tables.backend(backend_id).ok_or(Reason::NoBackend)?;
    // A loopback address is reached by the node's own processes alone, which connect to it.
    if backend.state() == State::Gone || backend.endpoint().address.is_loopback() {
        return Err(Reason::NoBackend);
    }
    let to = Endpoint { protocol: segment.source.protocol, ..backend.endpoint() };
    let masked = if origin.is_net() && backend.is_elsewhere() {
        relay::begin(node, segment, to)?
    } else {
        0
    };
    if is_reset(segment) {
        // It has the client's own port, which may be another connection's towards the backend.
        let own = Key::new(to, client(segment, origin, to.address, segment.source.port));
        if node.tables.find_flow(&own, Client::IsDestination, node.settings.flows()).is_some() {
            return Err(Reason::Stray);
        }
    }
    let timed = if node.tables.is_timed(picked.statistics) { Values::TIMED } else { 0 };
    let follows = if picked.follows && segment.is_udp() { Values::FOLLOWS } else { 0 };
    let values = Values {
        statistics: picked.statistics,
        flags: timed | follows | masked,
        backend: backend_id,
        interface: interface(node, origin),
        port: segment.source.port,
        frontend: id,
        partner: NO_PARTNER,
        // What begins a flow is a question, but for the likes of a keep-alive probe.
        mark: if timed == 0 || is_late(segment) && !segment.ends_a_write() {
            0
        } else {
            node.tables.tick()
        },
    };
    // A reset ends what is there, if anything is, and begins nothing.
    let begun = if is_reset(segment) { Begun::Passes } else { Begun::Flow };
    Ok(Beginning { begun, to, values, flags })
}

/// The `return` of a flow that begins, which is stored first; with a source port that is free.
///
/// # Errors
///
/// The [`Reason`] why there is none.
#[inline(always)]
pub fn back<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
    origin: Origin,
    beginning: &Beginning,
) -> Result<Request, Reason> {
    let to = beginning.to;
    let own = Key::new(to, client(segment, origin, to.address, segment.source.port));
    let key = free_key(node, segment, own, beginning.flags)?;
    Ok(request(node, segment, beginning, key))
}

/// The `return` of a flow whose answers will have a tuple.
#[inline(always)]
pub(crate) fn request<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
    beginning: &Beginning,
    key: Key,
) -> Request {
    let values = &beginning.values;
    let port = key.destination_port();
    let translated = if port == segment.source.port { 0 } else { Values::TRANSLATED };
    let again = if is_late(segment) { Head::AGAIN } else { 0 };
    let udp = if segment.is_udp() { Head::UDP } else { 0 };
    let limit = if again == 0 { Limit::Idle } else { Limit::Again };
    Request {
        key,
        values: Values { flags: values.flags | translated, ..*values },
        kind: Kind::Return,
        state: again | udp,
        limit,
        spare: NO_PARTNER,
        now: node.now,
    }
}

/// The trace of a packet that passes as it is.
#[inline(always)]
#[must_use]
pub fn trace<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
    beginning: &Beginning,
) -> Request {
    Request {
        key: Key::new(segment.destination, segment.source),
        values: beginning.values,
        kind: Kind::Straight,
        state: if segment.is_udp() { Head::UDP } else { 0 },
        limit: Limit::Traces,
        spare: NO_PARTNER,
        now: node.now,
    }
}

/// The `forward` of a flow whose `return` was stored at `place` as `back` asked.
#[inline(always)]
#[must_use]
pub fn forth(segment: &Segment, back: &Request, place: u32) -> Request {
    Request {
        key: Key::new(segment.source, segment.destination),
        values: Values {
            port: back.key.destination_port(),
            partner: place,
            mark: back.now,
            ..back.values
        },
        kind: Kind::Forward,
        state: back.state | first_bits(segment),
        spare: place,
        ..*back
    }
}

/// Ends a beginning: both entries are there, or neither.
///
/// # Errors
///
/// The [`Reason`] why the `forward` could not be stored; the `return` is taken back then.
#[inline(always)]
pub fn finish<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
    beginning: &Beginning,
    forth: &Request,
    stored: Stored,
) -> Result<Route, Reason> {
    let back = forth.values.partner;
    match at(stored) {
        Ok(place) => {
            link(node.tables, back, place);
            count(node, &beginning.values, Counter::Opened);
            count_bytes(node, segment, &beginning.values, Counter::BytesToBackend);
            Ok(Route { to: beginning.to, port: forth.values.port, masked: false, wrapped: false })
        }
        Err(reason) => {
            release_back(node, back);
            Err(reason)
        }
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
    origin: Origin,
    beginning: &Beginning,
) -> Result<Route, Reason> {
    let back = back(node, segment, origin, beginning)?;
    store_both(node, segment, beginning, &back).map(|(route, _)| route)
}

/// Stores both entries of a flow, and tells the place of its `return`.
#[inline(always)]
pub(crate) fn store_both<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
    beginning: &Beginning,
    back: &Request,
) -> Result<(Route, u32), Reason> {
    let by = node.settings.flows();
    let place = at(node.tables.store_flow(back, by))?;
    let forth = forth(segment, back, place);
    let stored = node.tables.store_flow(&forth, by);
    finish(node, segment, beginning, &forth, stored).map(|route| (route, place))
}

/// The place of an entry that was stored.
///
/// # Errors
///
/// The [`Reason`] why there is none.
#[inline(always)]
pub fn at(stored: Stored) -> Result<u32, Reason> {
    match stored {
        Stored::At(place) => Ok(place),
        // Another packet of the same flow was faster, or another flow at the same place: the
        // client's stack sends again.
        Stored::Exists | Stored::Busy => Err(Reason::Busy),
        Stored::Full => Err(Reason::FlowTableFull),
    }
}

/// Takes back a `return` whose `forward` found no place.
#[inline(always)]
fn release_back<T: Tables + ?Sized>(node: Node<'_, T>, place: u32) {
    if let Some(entry) = crate::flows::find_at(node.tables, place)
        && entry.values.partner == NO_PARTNER
    {
        crate::flows::free(node.tables, &entry, node.settings.flows());
    }
}

/// The state of a client's direction after its first packet.
#[inline(always)]
fn first_bits(segment: &Segment) -> u64 {
    let payload = if segment.payload > 0 { Head::PAYLOAD } else { 0 };
    let fin = if segment.has(tcp::FIN) { Head::FIN } else { 0 };
    payload | fin
}

/// The tuple of a flow's answers: with the client's own port, unless that is taken towards the
/// backend.
#[inline(always)]
fn free_key<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
    own: Key,
    flags: u32,
) -> Result<Key, Reason> {
    // Who is in the middle of a connection keeps its port: the backend knows it by no other.
    let must = flags & (Interface::YOUNG | Interface::BLIND) != 0 && !is_late(segment);
    let is_free = is_taken(node, &own) == Taken::No;
    if !must {
        if is_free {
            return Ok(own);
        }
        if is_late(segment) {
            return Err(Reason::FlowLost);
        }
    }
    let count = node.settings.ports.load();
    // What is done as a precaution leaves an eighth of the ports to those whose own is taken.
    let rest = count >> 3;
    let mut ports = Ports::new(node, &own);
    let tries = match (count, is_free) {
        (0, _) => 0,
        (_, true) => limits::PORT_TRIES,
        (_, false) => limits::PORT_TRIES * 2,
    };
    for number in 0..tries {
        let (skip, count) = match (is_free, number < limits::PORT_TRIES) {
            (true, _) => (0, count.wrapping_sub(rest)),
            (false, false) if rest != 0 => (count.wrapping_sub(rest), rest),
            (false, _) => (0, count),
        };
        let port = ports.next(node, skip, count);
        // Not keys: they would be compared byte by byte.
        if port == segment.source.port {
            continue;
        }
        let key = own.with_destination_port(port);
        if is_taken(node, &key) == Taken::No {
            return Ok(key);
        }
    }
    match is_taken(node, &own) {
        Taken::No => Ok(own),
        Taken::Closed(place, head) => {
            // Nothing better is free: the backend's side of it may be over as well.
            node.tables.free_flow(place, head, node.settings.flows(), Back::Goes);
            Ok(own)
        }
        Taken::Yes => Err(Reason::NoPort),
    }
}

#[cfg(test)]
mod tests;
