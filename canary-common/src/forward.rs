//! From a client towards a backend.

use crate::account::{bits_of, note_client};
use crate::backend::{Backend, Frontend, State};
use crate::clash::{is_live_by_another, straight};
use crate::directory::{self, Occupant};
use crate::draw::pick;
use crate::endpoint::{Address, Endpoint};
use crate::flow::{Family, Flow, FlowKey, Marks};
use crate::packet::Packet;
use crate::reason::Reason;
use crate::restore;
use crate::segment::{Segment, Side, Version};
use crate::settings::Settings;
use crate::stats::Counter;
use crate::tables::{FlowTables, Refused, Stage, Tables};
use crate::wire::{ethernet, tcp};

/// Source of an IPv4 packet that a pod sends to itself through a frontend. Link-local, since a
/// pod's own stack takes no packet from its own or a loopback address.
pub const HAIRPIN_V4: Address = Address::v4([169, 254, 42, 1]);
/// The same for IPv6: a unique local address.
pub const HAIRPIN_V6: Address =
    Address([0xfd, 0x63, 0x61, 0x6e, 0x61, 0x72, 0x79, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

/// Where packets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A pod of this node.
    Pod,
    /// The network.
    Net,
}

/// What becomes of a packet that was rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It goes on to where its new destination is.
    On,
    /// It goes back to the interface it came from.
    Back,
}

/// What a step needs beside the packet: the tables, the settings and the second it is.
pub struct Node<'t, T: ?Sized> {
    /// The tables.
    pub tables: &'t T,
    /// The settings in them.
    pub settings: &'t Settings,
    /// Now, in seconds.
    pub now: u32,
}

impl<T: ?Sized> Clone for Node<'_, T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Node<'_, T> {}

impl<'t, T: Tables + ?Sized> Node<'t, T> {
    /// Looks at the clock and the settings once.
    ///
    /// # Errors
    ///
    /// [`Reason::NotReady`] before the settings are written.
    #[inline(always)]
    pub fn new(tables: &'t T) -> Result<Self, Reason> {
        let settings = tables.settings().ok_or(Reason::NotReady)?;
        Ok(Self { tables, settings, now: tables.now_by(settings) })
    }

    /// What is at an endpoint.
    #[inline(always)]
    #[must_use]
    pub fn find(&self, endpoint: Endpoint) -> Option<Occupant> {
        directory::find(self.tables, self.settings.bucket_mask.load(), endpoint)
    }
}

/// Sends a packet for a frontend to the backend of its flow.
///
/// # Errors
///
/// The [`Reason`] why it was not forwarded; the packet is unchanged then.
#[inline(always)]
pub fn forward<F, P, T>(
    packet: &mut P,
    node: Node<'_, T>,
    segment: &Segment,
    origin: Origin,
) -> Result<Sent, Reason>
where
    F: Family,
    P: Packet + ?Sized,
    T: Tables + FlowTables<F> + ?Sized,
{
    match node.find(segment.destination) {
        Some(Occupant::Frontend(id)) => {
            let frontend = node.tables.frontend(id).ok_or(Reason::BadRecord)?;
            let external = frontend.flags.load() & Frontend::EXTERNAL != 0;
            if origin == Origin::Net && !external {
                return Err(Reason::NotServedHere);
            }
            let backend = backend_of_flow::<F, T>(node, segment, id, frontend)?;
            send(packet, segment, origin, backend)
        }
        Some(Occupant::Backend(id)) => Err(straight::<F, T>(node, segment, id)),
        None if origin == Origin::Pod && is_hairpin(segment) => {
            restore::hairpin::<F, P, T>(packet, node, segment)
        }
        None => Err(Reason::NotOurs),
    }
}

#[inline(always)]
fn is_hairpin(segment: &Segment) -> bool {
    // Words: of arrays the compiler would compare byte by byte.
    segment.destination.address.words() == hairpin_address(segment.version).words()
}

#[inline(always)]
const fn hairpin_address(version: Version) -> Address {
    match version {
        Version::V4 => HAIRPIN_V4,
        Version::V6 => HAIRPIN_V6,
    }
}

/// The backend of the packet's flow, which is started if the packet may start one.
#[inline(always)]
fn backend_of_flow<'t, F, T>(
    node: Node<'t, T>,
    segment: &Segment,
    id: u32,
    frontend: &Frontend,
) -> Result<&'t Backend, Reason>
where
    F: Family,
    T: Tables + FlowTables<F> + ?Sized,
{
    let key = FlowKey {
        client: F::bytes(segment.source.address),
        peer: id,
        port: segment.source.port,
        generation: frontend.generation(),
    };
    if let Some(backend) = known::<F, T>(node, segment, &key, Stage::Established)? {
        return Ok(backend);
    }
    // A SYN that starts a flow is the common case by far: it asks OPENING by trying to insert.
    if !segment.is_syn()
        && let Some(backend) = known::<F, T>(node, segment, &key, Stage::Opening)?
    {
        return Ok(backend);
    }
    if !segment.is_syn() {
        may_start::<F, T>(node, segment, &key)?;
    }
    start::<F, T>(node, segment, frontend, &key)
}

/// Whether a packet without a flow may start one, though it is no SYN.
#[inline(always)]
fn may_start<F, T>(
    node: Node<'_, T>,
    segment: &Segment,
    key: &FlowKey<F::Bytes>,
) -> Result<(), Reason>
where
    F: Family,
    T: Tables + FlowTables<F> + ?Sized,
{
    if FlowTables::<F>::is_foreign(node.tables, key) {
        // Not by a FIN: the client has yet to acknowledge what the server still sends.
        if segment.has(tcp::RST) {
            FlowTables::<F>::remove_foreign(node.tables, key);
        }
        return Err(Reason::Foreign);
    }
    if segment.is_udp() {
        return Ok(());
    }
    if segment.has(tcp::RST) {
        return Err(Reason::Stray);
    }
    if node.tables.interface_is_young() {
        FlowTables::<F>::set_foreign(node.tables, key);
        return Err(Reason::Foreign);
    }
    Err(Reason::FlowLost)
}

/// The backend of a flow that is there; `None` if there is none or it is over.
#[inline(always)]
fn known<'t, F, T>(
    node: Node<'t, T>,
    segment: &Segment,
    key: &FlowKey<F::Bytes>,
    stage: Stage,
) -> Result<Option<&'t Backend>, Reason>
where
    F: Family,
    T: Tables + FlowTables<F> + ?Sized,
{
    let Some(flow) = FlowTables::<F>::flow(node.tables, stage, key) else { return Ok(None) };
    if is_over(&flow, node, segment) {
        FlowTables::<F>::remove_flow(node.tables, stage, key);
        return Ok(None);
    }
    let backend = node.tables.backend(flow.backend()).ok_or(Reason::BackendGone)?;
    let status = backend.status();
    if status.state() == State::Gone || status.generation() != flow.generation() {
        FlowTables::<F>::remove_flow(node.tables, stage, key);
        return if segment.is_udp() || segment.is_syn() {
            Ok(None)
        } else {
            Err(Reason::BackendGone)
        };
    }
    if backend.home.load() != key.peer {
        keep_return::<F, T>(node, key, flow.backend(), flow.generation())?;
    } else if segment.is_udp() && status.has_returns() {
        // The client has gone back to this frontend from another one of this backend.
        let key = return_key(key, flow.backend(), flow.generation());
        FlowTables::<F>::remove_return(node.tables, &key);
    }
    let flow = &*flow;
    note_client(node, segment, flow);
    if stage == Stage::Opening && flow.marks().has(Marks::ANSWERED) && !segment.is_syn() {
        promote::<F, T>(node, key, flow);
    }
    Ok(Some(backend))
}

/// Whether a flow that is found does not count for this packet.
#[inline(always)]
fn is_over<T: Tables + ?Sized>(flow: &Flow, node: Node<'_, T>, segment: &Segment) -> bool {
    flow.expired(node.settings, node.now)
        || segment.is_syn()
            && (flow.marks().ended() || flow.idle(node.now) > crate::limits::SYN_REUSE_IDLE)
}

/// Moves a flow that was answered out of reach of floods of SYNs.
#[inline(always)]
fn promote<F, T>(node: Node<'_, T>, key: &FlowKey<F::Bytes>, flow: &Flow)
where
    F: Family,
    T: Tables + FlowTables<F> + ?Sized,
{
    if FlowTables::<F>::add_flow(node.tables, Stage::Established, key, &flow.copy())
        == Err(Refused::Full)
    {
        return;
    }
    // What the backend's side noted between the copy and this moment must not be lost.
    if let Some(moved) = FlowTables::<F>::flow(node.tables, Stage::Established, key) {
        let late = flow.marks().0 & !moved.marks().0;
        if late != 0 {
            node.tables.add_bits(&moved.marks, late);
        }
    }
    FlowTables::<F>::remove_flow(node.tables, Stage::Opening, key);
}

/// Starts a flow: picks, and stores it. A packet whose flow is not stored is not forwarded.
#[inline(always)]
fn start<'t, F, T>(
    node: Node<'t, T>,
    segment: &Segment,
    frontend: &Frontend,
    key: &FlowKey<F::Bytes>,
) -> Result<&'t Backend, Reason>
where
    F: Family,
    T: Tables + FlowTables<F> + ?Sized,
{
    let picked = pick(node, segment.source, segment.destination, frontend)?;
    let id = picked.backend.ok_or(Reason::NoBackend)?;
    let backend = node.tables.backend(id).ok_or(Reason::NoBackend)?;
    let status = backend.status();
    if status.state() == State::Gone {
        return Err(Reason::NoBackend);
    }
    let has_names = status.has_returns() || backend.home.load() != key.peer;
    if has_names && segment.is_syn() && is_live_by_another::<F, T>(node, segment, key, id, backend)
    {
        return Err(Reason::TupleClash);
    }
    let tick = node.tables.tick();
    let protocol = segment.source.protocol;
    let flow = Flow::start(id, status.generation(), picked.statistics, protocol, node.now, tick);
    flow.marks.store(flow.marks().0 | bits_of(segment));
    match FlowTables::<F>::add_flow(node.tables, Stage::Opening, key, &flow) {
        Ok(()) => {}
        Err(Refused::Full) => return Err(Reason::FlowTableFull),
        Err(Refused::Exists) => {
            if let Some(backend) = known::<F, T>(node, segment, key, Stage::Opening)? {
                return Ok(backend);
            }
            FlowTables::<F>::add_flow(node.tables, Stage::Opening, key, &flow)
                .map_err(|_| Reason::FlowTableFull)?;
        }
    }
    if backend.home.load() != key.peer {
        keep_return::<F, T>(node, key, id, status.generation())?;
    } else if status.has_returns() {
        let key = return_key(key, id, status.generation());
        FlowTables::<F>::remove_return(node.tables, &key);
    }
    node.tables.count(picked.statistics, Counter::Opened, 1);
    if segment.payload > 0 {
        let bytes = u64::from(segment.payload);
        node.tables.count(picked.statistics, Counter::BytesToBackend, bytes);
    }
    Ok(backend)
}

/// Makes sure that answers find the frontend, which is not the backend's home.
#[inline(always)]
fn keep_return<F, T>(
    node: Node<'_, T>,
    key: &FlowKey<F::Bytes>,
    backend: u32,
    generation: u16,
) -> Result<(), Reason>
where
    F: Family,
    T: Tables + FlowTables<F> + ?Sized,
{
    let frontend = [key.peer, u32::from(key.generation)];
    let key = return_key(key, backend, generation);
    if FlowTables::<F>::return_through(node.tables, &key) == Some(frontend)
        || FlowTables::<F>::set_return(node.tables, &key, frontend)
    {
        Ok(())
    } else {
        Err(Reason::FlowTableFull)
    }
}

#[inline(always)]
fn return_key<B: Copy>(key: &FlowKey<B>, backend: u32, generation: u16) -> FlowKey<B> {
    FlowKey { client: key.client, peer: backend, port: key.port, generation }
}

/// Rewrites the packet for its backend.
#[inline(always)]
fn send<P: Packet + ?Sized>(
    packet: &mut P,
    segment: &Segment,
    origin: Origin,
    backend: &Backend,
) -> Result<Sent, Reason> {
    let to = Endpoint {
        address: Address(backend.address),
        port: backend.port,
        protocol: segment.destination.protocol,
    };
    segment.readdress(packet, Side::Destination, to)?;
    if origin == Origin::Net || to.address.words() != segment.source.address.words() {
        return Ok(Sent::On);
    }
    let from = Endpoint { address: hairpin_address(segment.version), ..segment.source };
    segment.readdress(packet, Side::Source, from)?;
    ethernet::swap(packet)?;
    Ok(Sent::Back)
}

#[cfg(test)]
mod tests;
