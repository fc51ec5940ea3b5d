//! Sockets of the host: the pick is made when a program connects.

use crate::backend::State;
use crate::directory::Occupant;
use crate::draw::pick;
use crate::endpoint::{Address, Endpoint};
use crate::layout::assert_map_type;
use crate::node::Node;
use crate::reason::Reason;
use crate::stats::Counter;
use crate::tables::Tables;

/// A pick at connect time: value of `SOCKETS`, by socket cookie.
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

/// Where a socket that connects to `destination` is sent instead.
///
/// `client` need not be the socket's address, which may not be known yet: anything that
/// differs from socket to socket draws as well.
///
/// # Errors
///
/// [`Reason::NotOurs`] if nothing of ours is there; [`Reason::NoBackend`] if the connection is
/// to be refused.
#[inline(always)]
pub fn connect<T: Tables + ?Sized>(
    node: Node<'_, T>,
    client: Endpoint,
    destination: Endpoint,
) -> Result<(Endpoint, SocketPick), Reason> {
    let Some(Occupant::Frontend(id)) = node.find(destination) else { return Err(Reason::NotOurs) };
    let frontend = node.tables.frontend(id).ok_or(Reason::BadRecord)?;
    let picked = pick(node, client, destination, frontend)?;
    let backend_id = picked.backend.ok_or(Reason::NoBackend)?;
    let backend = node.tables.backend(backend_id).ok_or(Reason::NoBackend)?;
    if backend.state() == State::Gone {
        return Err(Reason::NoBackend);
    }
    node.tables.count(picked.statistics, Counter::Opened, 1);
    node.tables.count(picked.statistics, Counter::OpenedBySocket, 1);
    let chosen = SocketPick {
        address: destination.address.0,
        port: destination.port,
        statistics: picked.statistics,
        backend: backend_id,
        protocol: u64::from(destination.protocol),
    };
    Ok((Endpoint { protocol: destination.protocol, ..backend.endpoint() }, chosen))
}

/// The address a socket believes it is connected to.
#[inline(always)]
#[must_use]
pub fn peer(pick: &SocketPick) -> Endpoint {
    let [protocol, ..] = pick.protocol.to_le_bytes();
    Endpoint { address: Address(pick.address), port: pick.port, protocol }
}

#[cfg(test)]
mod tests;
