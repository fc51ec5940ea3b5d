//! Sockets: the pick is made when a program connects, or sends a datagram.
//!
//! A connected socket has one pick, in `PICKS`. One that sends datagrams to several addresses
//! has several, in `DATAGRAMS`. Both are memory of the socket itself, so they go with it and
//! nothing evicts them. What a pick says is believed only where the kernel's own peer, or the
//! source of the datagram, is the pick's backend: a socket that went elsewhere has a stale one.

mod datagrams;
mod pick;
mod watch;

pub use self::datagrams::Datagrams;
pub use self::pick::{Pick, Picked};
pub use self::watch::{End, ended, established, resent, state};

use crate::addresses;
use crate::backend::State;
use crate::directory::Occupant;
use crate::draw::pick;
use crate::endpoint::{Address, Endpoint};
use crate::layout::assert_map_type;
use crate::node::Node;
use crate::reason::Reason;
use crate::settings::{Idle, Settings};
use crate::stats::Counter;
use crate::tables::Tables;

/// A pick that came along from the tables of an earlier layout: value of `BROUGHT`, by cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct SocketPick {
    /// The address the program connected to, as [`Address`] has it.
    pub address: [u8; 16],
    /// The port, network order.
    pub port: [u8; 2],
    /// Whose counters moved.
    pub statistics: u16,
    /// The backend it was sent to.
    pub backend: u32,
    /// IANA protocol number, widened so that no padding is left.
    pub protocol: u64,
}

assert_map_type!(SocketPick {
    address: [u8; 16], port: [u8; 2], statistics: u16, backend: u32, protocol: u64,
} is 32 bytes);

impl SocketPick {
    /// The address its socket believes it is connected to, where the kernel says `actual`.
    #[inline(always)]
    #[must_use]
    pub fn peer<T: Tables + ?Sized>(&self, tables: &T, actual: Endpoint) -> Option<Endpoint> {
        let at = tables.backend(self.backend)?.endpoint();
        let is_there = at.address == actual.address && at.port == actual.port;
        is_there.then(|| self.frontend())
    }

    /// The address its program connected to.
    #[inline(always)]
    #[must_use]
    pub fn frontend(&self) -> Endpoint {
        let [protocol, ..] = self.protocol.to_le_bytes();
        Endpoint { address: Address(self.address), port: self.port, protocol }
    }
}

/// The memory of one socket.
pub trait Socket {
    /// The pick of a connected socket; made if `create`.
    fn pick(&self, create: bool) -> Option<&Pick>;

    /// The pick of the MPTCP socket that this is a subflow of, if it is one.
    fn outer(&self, create: bool) -> Option<&Pick>;

    /// The picks of its datagrams; made if `create`.
    fn datagrams(&self, create: bool) -> Option<&Datagrams>;

    /// Notes that it is connected to a backend, or to none, where its storage cannot be listed.
    fn note(&self, backend: Option<u32>);

    /// Whether it is connected now.
    fn is_connected(&self) -> bool;
}

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Whom the draw is for.
    pub client: Endpoint,
    /// The cookie of its network namespace.
    pub scope: u64,
}

impl Caller {
    /// Whether it is a socket of the node's own.
    #[inline(always)]
    fn is_node<T: ?Sized>(&self, node: Node<'_, T>) -> bool {
        self.scope == node.settings.netns.load()
    }
}

/// Why a call goes on as it is, or is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// The service that was called; 0 for none.
    pub service: u32,
}

impl From<Reason> for Refusal {
    #[inline(always)]
    fn from(reason: Reason) -> Self {
        Self { reason, service: 0 }
    }
}

/// Where a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// By this.
    pub picked: Picked,
    /// It was picked just now.
    pub is_new: bool,
}

/// Where a socket that connects to `destination` is sent instead.
///
/// # Errors
///
/// [`Reason::NotOurs`] if nothing of ours is there; [`Reason::NoBackend`] and others if the
/// connection is to be refused. What the socket was sent to before stands then: it is still connected there.
#[inline(always)]
pub fn connect<T: Tables + ?Sized, S: Socket>(
    node: Node<'_, T>,
    socket: &S,
    caller: Caller,
    destination: Endpoint,
) -> Result<Picked, Refusal> {
    let Some(service) = service_at(node, caller, destination) else {
        leave(node, socket, destination);
        return Err(Reason::NotOurs.into());
    };
    let refusal = |reason| Refusal { reason, service };
    // Without a pick its answers would come from an address that it never named.
    let pick = socket.pick(true).ok_or(refusal(Reason::FlowTableFull))?;
    let picked = draw(node, caller, destination, service).map_err(refusal)?;
    let tick = node.tables.tick();
    pick.set(node.tables, &picked, node.now, tick);
    socket.note(Some(picked.id));
    if let Some(pick) = socket.outer(true) {
        pick.set(node.tables, &picked, node.now, tick);
    }
    Ok(picked)
}

/// The service at an endpoint, as a caller sees it: a loopback address is another one in each
/// namespace, and those of the directory are the node's.
#[inline(always)]
fn service_at<T: Tables + ?Sized>(
    node: Node<'_, T>,
    caller: Caller,
    destination: Endpoint,
) -> Option<u32> {
    if destination.address.is_loopback() {
        let local = local_at(node, caller, destination);
        if local.is_some() || !caller.is_node(node) {
            return local;
        }
    }
    match node.find(destination)? {
        Occupant::Frontend(id) => Some(node.tables.frontend(id)?.service_of(false)),
        Occupant::Backend(_) => None,
    }
}

#[inline(always)]
fn local_at<T: Tables + ?Sized>(
    node: Node<'_, T>,
    caller: Caller,
    destination: Endpoint,
) -> Option<u32> {
    let has_locals = node.settings.sockets.load() & Settings::LOCALS != 0;
    if has_locals { node.tables.local(caller.scope, destination) } else { None }
}

/// A socket connects to an address that is no frontend.
#[inline(always)]
fn leave<T: Tables + ?Sized, S: Socket>(node: Node<'_, T>, socket: &S, destination: Endpoint) {
    // A further subflow of an MPTCP socket has no pick of its own, and says nothing of the socket.
    if let Some(pick) = socket.pick(false)
        && pick.get(node.tables).is_some()
    {
        pick.clear(node.tables);
        socket.note(None);
        if let Some(outer) = socket.outer(false) {
            outer.clear(node.tables);
        }
    }
    if let Some(datagrams) = socket.datagrams(false) {
        datagrams.forget(node.tables, destination);
    }
}

/// Where a datagram to `destination` is sent instead: to the same backend as the one before it,
/// for as long as that is alive and the socket goes on.
///
/// # Errors
///
/// As [`connect`].
#[inline(always)]
pub fn send<T: Tables + ?Sized, S: Socket>(
    node: Node<'_, T>,
    socket: &S,
    caller: Caller,
    destination: Endpoint,
) -> Result<Sent, Refusal> {
    let bits = node.bits(destination.address);
    let is_known = bits & (addresses::FRONTEND | addresses::BACKEND) != 0;
    if !is_known && !destination.address.is_loopback() {
        return Err(Reason::NotOurs.into());
    }
    let Some(service) = service_at(node, caller, destination) else {
        if bits & addresses::BACKEND != 0 {
            send_straight(node, socket, destination);
        }
        return Err(Reason::NotOurs.into());
    };
    let refusal = |reason| Refusal { reason, service };
    let tick = node.tables.tick();
    let datagrams = socket.datagrams(true).ok_or(refusal(Reason::FlowTableFull))?;
    if let Some(pick) = datagrams.to(node.tables, destination) {
        if let Some(picked) = still(node, pick) {
            pick.touch(node.tables, node.now, tick);
            return Ok(Sent { picked, is_new: false });
        }
        // What is under way still comes back by it.
        pick.retire(node.tables);
    }
    let picked = draw(node, caller, destination, service).map_err(refusal)?;
    datagrams.store(node.tables, &picked, node.now, tick);
    Ok(Sent { picked, is_new: true })
}

/// What a pick says, if further datagrams may go there.
#[inline(always)]
fn still<T: Tables + ?Sized>(node: Node<'_, T>, pick: &Pick) -> Option<Picked> {
    let picked = pick.get(node.tables)?;
    let idle = node.now.wrapping_sub(pick.used(node.tables));
    let row = node.tables.backend(picked.id)?;
    let at = row.endpoint();
    let is_same = at.address == picked.backend.address && at.port == picked.backend.port;
    let stays = is_same && row.state() == State::Alive && idle < node.settings.idle(Idle::Stream);
    stays.then_some(picked)
}

/// A datagram goes straight to what may be a backend: what comes from there is its answer.
#[inline(always)]
fn send_straight<T: Tables + ?Sized, S: Socket>(
    node: Node<'_, T>,
    socket: &S,
    destination: Endpoint,
) {
    if let Some(datagrams) = socket.datagrams(false) {
        datagrams.forget(node.tables, destination);
    }
    if !socket.is_connected()
        && let Some(pick) = socket.pick(false)
        && pick.is_of(node.tables, destination)
    {
        pick.clear(node.tables);
    }
}

/// Draws a backend for a client, and counts that.
#[inline(always)]
fn draw<T: Tables + ?Sized>(
    node: Node<'_, T>,
    caller: Caller,
    destination: Endpoint,
    service: u32,
) -> Result<Picked, Reason> {
    let picked = pick(node, caller.client, destination, service)?;
    let backend_id = picked.backend.ok_or(Reason::NoBackend)?;
    let backend = node.tables.backend(backend_id).ok_or(Reason::NoBackend)?;
    let at = backend.endpoint();
    // A loopback address is the node's own.
    if backend.state() == State::Gone || (at.address.is_loopback() && !caller.is_node(node)) {
        return Err(Reason::NoBackend);
    }
    node.tables.count(picked.statistics, Counter::Opened, 1);
    node.tables.count(picked.statistics, Counter::OpenedBySocket, 1);
    Ok(Picked {
        frontend: destination,
        backend: Endpoint { protocol: destination.protocol, ..at },
        id: backend_id,
        statistics: picked.statistics,
    })
}

/// The address that a socket believes it is connected to, where the kernel says `actual`.
#[inline(always)]
#[must_use]
pub fn peer<T: Tables + ?Sized, S: Socket>(
    tables: &T,
    socket: &S,
    actual: Endpoint,
) -> Option<Endpoint> {
    socket.pick(false)?.get(tables)?.of(actual)
}

/// The address that a datagram seems to come from, where the kernel says `actual`.
#[inline(always)]
#[must_use]
pub fn source<T: Tables + ?Sized, S: Socket>(
    tables: &T,
    socket: &S,
    actual: Endpoint,
) -> Option<Endpoint> {
    if socket.is_connected()
        && let Some(frontend) = peer(tables, socket, actual)
    {
        return Some(frontend);
    }
    if let Some(datagrams) = socket.datagrams(false)
        && let Some(pick) = datagrams.from(tables, actual)
        && let Some(picked) = pick.get(tables)
    {
        return picked.of(actual);
    }
    // What was asked while it was connected may come when it is not any more.
    peer(tables, socket, actual)
}

#[cfg(test)]
mod tests;
