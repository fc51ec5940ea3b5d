//! Sockets of the host: the pick is made when a program connects.

use crate::backend::State;
use crate::directory::Occupant;
use crate::draw::pick;
use crate::endpoint::{Address, Endpoint};
use crate::flow::SocketPick;
use crate::forward::Node;
use crate::reason::Reason;
use crate::stats::Counter;
use crate::tables::Tables;

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
    if backend.status().state() == State::Gone {
        return Err(Reason::NoBackend);
    }
    node.tables.count(picked.statistics, Counter::Opened, 1);
    node.tables.count(picked.statistics, Counter::OpenedBySocket, 1);
    let to = Endpoint {
        address: Address(backend.address),
        port: backend.port,
        protocol: destination.protocol,
    };
    let chosen = SocketPick {
        frontend: id,
        frontend_generation: u32::from(frontend.generation()),
        backend: backend_id,
        statistics: u32::from(picked.statistics),
    };
    Ok((to, chosen))
}

/// The address a socket believes it is connected to.
#[inline(always)]
pub fn peer<T: Tables + ?Sized>(tables: &T, pick: &SocketPick) -> Option<Endpoint> {
    let frontend = tables.frontend(pick.frontend)?;
    if frontend.generation.load() != pick.frontend_generation {
        return None;
    }
    let (address, port) = (Address(frontend.address), frontend.port);
    Some(Endpoint { address, port, protocol: frontend.protocol })
}

#[cfg(test)]
mod tests;
