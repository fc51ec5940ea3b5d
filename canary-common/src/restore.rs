//! From a backend back to its client.

use crate::account::count_end;
use crate::backend::{Backend, State};
use crate::directory::Occupant;
use crate::endpoint::{Address, Endpoint};
use crate::flow::{Family, Flow, FlowKey, Marks};
use crate::forward::{Node, Sent};
use crate::packet::Packet;
use crate::reason::Reason;
use crate::segment::{Segment, Side};
use crate::stats::{Counter, Timing};
use crate::tables::{FlowTables, Stage, Tables};
use crate::wire::{ethernet, tcp};

/// Gives an answer its frontend's address, if it belongs to a flow through one.
///
/// # Errors
///
/// The [`Reason`] why it was not; the packet is unchanged then.
#[inline(always)]
pub fn restore<F, P, T>(
    packet: &mut P,
    node: Node<'_, T>,
    segment: &Segment,
) -> Result<Sent, Reason>
where
    F: Family,
    P: Packet + ?Sized,
    T: Tables + FlowTables<F> + ?Sized,
{
    let frontend = frontend_of_flow::<F, T>(node, segment, segment.destination)?;
    segment.readdress(packet, Side::Source, frontend)?;
    Ok(Sent::On)
}

/// The same for the answer of a pod to itself, which goes back to that pod.
///
/// # Errors
///
/// The [`Reason`] why it was not; the packet is unchanged then.
#[inline(always)]
pub fn hairpin<F, P, T>(
    packet: &mut P,
    node: Node<'_, T>,
    segment: &Segment,
) -> Result<Sent, Reason>
where
    F: Family,
    P: Packet + ?Sized,
    T: Tables + FlowTables<F> + ?Sized,
{
    // Client and backend are the same pod; only the ports differ.
    let client = Endpoint { address: segment.source.address, ..segment.destination };
    let frontend = frontend_of_flow::<F, T>(node, segment, client)?;
    segment.readdress(packet, Side::Source, frontend)?;
    segment.readdress(packet, Side::Destination, client)?;
    ethernet::swap(packet)?;
    Ok(Sent::Back)
}

/// The frontend through which `client` talks to the packet's sender.
#[inline(always)]
fn frontend_of_flow<F, T>(
    node: Node<'_, T>,
    segment: &Segment,
    client: Endpoint,
) -> Result<Endpoint, Reason>
where
    F: Family,
    T: Tables + FlowTables<F> + ?Sized,
{
    let Some(Occupant::Backend(id)) = node.find(segment.source) else {
        return Err(Reason::NotOurs);
    };
    let backend = node.tables.backend(id).ok_or(Reason::NotOurs)?;
    if backend.status().state() == State::Gone {
        return Err(Reason::NotOurs);
    }
    let key = client_key::<F, T>(node, client, id, backend);
    if !note::<F, T>(node, segment, &key, Stage::Established, id, backend)
        && !note::<F, T>(node, segment, &key, Stage::Opening, id, backend)
    {
        return Err(Reason::NotOurs);
    }
    let frontend = node.tables.frontend(key.peer).ok_or(Reason::NotOurs)?;
    Ok(Endpoint {
        address: Address(frontend.address),
        port: frontend.port,
        protocol: segment.source.protocol,
    })
}

/// The key of the flow that `client` would have with a backend.
#[inline(always)]
pub(crate) fn client_key<F, T>(
    node: Node<'_, T>,
    client: Endpoint,
    id: u32,
    backend: &Backend,
) -> FlowKey<F::Bytes>
where
    F: Family,
    T: Tables + FlowTables<F> + ?Sized,
{
    let status = backend.status();
    let mut key = FlowKey {
        client: F::bytes(client.address),
        peer: id,
        port: client.port,
        generation: status.generation(),
    };
    if status.has_returns()
        && let Some([frontend, generation]) = FlowTables::<F>::return_through(node.tables, &key)
    {
        key.peer = frontend;
        key.generation = crate::backend::low_half(generation);
        return key;
    }
    key.peer = backend.home.load();
    key.generation = crate::backend::low_half(backend.home_generation.load());
    key
}

/// Notes what a backend's packet says of its flow; `false` if it is of no flow in this table.
#[inline(always)]
fn note<F, T>(
    node: Node<'_, T>,
    segment: &Segment,
    key: &FlowKey<F::Bytes>,
    stage: Stage,
    id: u32,
    backend: &Backend,
) -> bool
where
    F: Family,
    T: Tables + FlowTables<F> + ?Sized,
{
    let Some(flow) = FlowTables::<F>::flow(node.tables, stage, key) else { return false };
    let flow = &*flow;
    if flow.backend() != id
        || flow.generation() != backend.status().generation()
        || flow.expired(node.settings, node.now)
    {
        return false;
    }
    flow.server_was_seen(node.now);
    let before = flow.marks();
    let bits = bits_of(segment, before);
    if segment.payload > 0 {
        node.tables.count(flow.statistics(), Counter::BytesToClient, u64::from(segment.payload));
    }
    if bits & !before.0 != 0 {
        let before = Marks(node.tables.add_bits(&flow.marks, bits));
        let answered = !before.has(Marks::ANSWERED) && bits & Marks::ANSWERED != 0;
        if answered {
            node.tables.count(flow.statistics(), Counter::Established, 1);
        }
        if answered && !segment.is_udp() {
            take_time(node, flow, Timing::Connect);
        }
        count_end(node, flow, before, Marks(before.0 | bits));
    }
    if segment.payload > 0 {
        take_time(node, flow, Timing::Response);
    }
    true
}

/// What a backend's packet adds to the marks of its flow.
#[inline(always)]
fn bits_of(segment: &Segment, before: Marks) -> u32 {
    let mut bits = 0;
    if segment.is_udp() || segment.has(tcp::SYN) && segment.has(tcp::ACK) {
        bits |= Marks::ANSWERED;
    }
    if segment.payload > 0 {
        bits |= Marks::SERVER_PAYLOAD;
        if before.has(Marks::CLIENT_FIN) && !before.has(Marks::SERVER_PAYLOAD) {
            bits |= Marks::LATE;
        }
    }
    if segment.has(tcp::FIN) {
        bits |= Marks::SERVER_FIN;
    }
    if segment.has(tcp::RST) {
        bits |= Marks::SERVER_RST;
    }
    bits
}

/// Takes the time since the open question, and closes it.
#[inline(always)]
fn take_time<T: Tables + ?Sized>(node: Node<'_, T>, flow: &Flow, timing: Timing) {
    let asked = flow.asked.load();
    if asked == 0 {
        return;
    }
    flow.asked.store(0);
    let ticks = node.tables.tick().wrapping_sub(asked);
    // A tick is 1.024 µs.
    let us = u64::from(ticks).wrapping_mul(1_024).wrapping_div(1_000);
    node.tables.observe(flow.statistics(), timing, u32::try_from(us).unwrap_or(u32::MAX));
}

#[cfg(test)]
mod tests;
