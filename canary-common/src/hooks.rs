//! One function a hook: a packet in, an outcome out.

mod front;

use self::front::{Front, Towards};
use crate::addresses;
use crate::decide::{Decided, decide};
use crate::endpoint::{Address, Version};
use crate::http;
use crate::node::{Node, bits_of};
pub use crate::outcome::{Outcome, Verdict};
use crate::packet::Packet;
use crate::plain;
use crate::rare;
use crate::reason::{Action, Reason};
use crate::refuse;
use crate::relay;
use crate::restore::ends;
use crate::route::{Decision, Ends, Origin, act, act_back, hairpin_address};
use crate::segment::Segment;
use crate::tables::Tables;
use crate::tunnel;
use crate::wire::tcp;

/// What a first look at a packet gives: in the kernel, all that the plain case needs is in one
/// function, and the whole logic in another that it calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// It is done.
    Done(Outcome),
    /// The whole logic is needed.
    Whole {
        /// The packet's family.
        version: Version,
        /// The bits in `ADDRESSES` of the address that it was asked by.
        bits: u64,
    },
}

impl First {
    #[inline(always)]
    const fn pass(reason: Reason) -> Self {
        Self::Done(Outcome::because(Verdict::Pass, reason))
    }
}

/// A packet towards a frontend, from a pod or from the network; `l2` is the length of the header
/// in front of IP: 14, or 0.
#[inline(always)]
pub fn inbound<P, T>(packet: &mut P, tables: &T, l2: usize, origin: Origin) -> Outcome
where
    P: Packet + ?Sized,
    T: Tables + ?Sized,
{
    match inbound_plain(packet, tables, l2, origin) {
        First::Done(outcome) => outcome,
        First::Whole { version, bits } => inbound_whole(packet, tables, l2, origin, version, bits),
    }
}

/// The first look at a packet towards a frontend.
#[inline(always)]
pub fn inbound_plain<P, T>(packet: &mut P, tables: &T, l2: usize, origin: Origin) -> First
where
    P: Packet + ?Sized,
    T: Tables + ?Sized,
{
    let front = match Front::read(packet, l2, Towards::Destination) {
        Ok(front) => front,
        Err(reason) => return First::pass(reason),
    };
    let mut bits = bits_of(tables, front.address) & relay::bits(origin);
    // What else a hook in the driver has sent to a backend of this node is done.
    if origin == Origin::Behind && !front.is_around_another(packet, l2) {
        bits &= !addresses::BACKEND;
    }
    let is_hairpin =
        origin == Origin::Pod && front.address == hairpin_address(front.version).words();
    if bits == 0 && !is_hairpin {
        return First::pass(Reason::NotOurs);
    }
    if bits == addresses::NODE && !relay::may_be_answer(packet, tables, l2, front.version) {
        return First::pass(Reason::NotOurs);
    }
    if bits & addresses::FRONTEND != 0
        && origin != Origin::Behind
        && let Ok(node) = Node::new(tables)
        && let Some(outcome) = plain::forward(packet, node, front.version, l2, origin)
    {
        return First::Done(outcome);
    }
    First::Whole { version: front.version, bits }
}

/// The whole logic for a packet towards a frontend.
#[inline(always)]
pub fn inbound_whole<P, T>(
    packet: &mut P,
    tables: &T,
    l2: usize,
    origin: Origin,
    version: Version,
    bits: u64,
) -> Outcome
where
    P: Packet + ?Sized,
    T: Tables + ?Sized,
{
    let segment = match Segment::of(packet, l2, version) {
        Ok(segment) => segment,
        Err(reason) if rare::may_be(reason) => {
            return rare::inbound(packet, tables, l2, origin, version, bits);
        }
        Err(reason) => return unforwarded(reason),
    };
    let decided = Node::new(tables).and_then(|node| decide(node, &segment, origin, bits));
    inbound_end(packet, tables, l2, origin, &segment, decided)
}

/// Does with a segment what was decided.
#[inline(always)]
pub(crate) fn inbound_end<P, T>(
    packet: &mut P,
    tables: &T,
    l2: usize,
    origin: Origin,
    segment: &Segment,
    decided: Result<Decided, Reason>,
) -> Outcome
where
    P: Packet + ?Sized,
    T: Tables + ?Sized,
{
    match decided {
        Ok(Decided::Here(decision)) => inbound_act(packet, segment, origin, decision),
        Ok(Decided::Forth(relay)) => relay::send(packet, segment, relay, false),
        Ok(Decided::Back(relay)) => relay::send(packet, segment, relay, true),
        Ok(Decided::Within(outer)) => tunnel::send(packet, segment.version, segment.l3_at, &outer),
        Err(Reason::TooLong) => too_long(packet, tables, l2, segment),
        Err(reason) if reason.action() == Action::Refuse => {
            refused(packet, tables, l2, segment, reason)
        }
        Err(reason) => unforwarded(reason),
    }
}

/// Whether a segment has to do with us, as far as it says itself.
///
/// # Errors
///
/// [`Reason::NotOurs`] if not.
#[inline(always)]
pub fn is_ours<T: Tables + ?Sized>(tables: &T, segment: &Segment, bits: u64) -> Result<(), Reason> {
    if bits & !addresses::NODE == addresses::BACKEND && is_of_straight(tables, segment) {
        return Err(Reason::NotOurs);
    }
    Ok(())
}

/// The last step: the packet is rewritten.
#[inline(always)]
pub fn inbound_act<P: Packet + ?Sized>(
    packet: &mut P,
    segment: &Segment,
    origin: Origin,
    decision: Decision,
) -> Outcome {
    match act(packet, segment, origin, decision) {
        Ok(_) if matches!(decision, Decision::Hairpin(ends) if ends.severed) => {
            Outcome::because(Verdict::Back, Reason::Severed)
        }
        Ok(sent) => Outcome::of(sent),
        Err(reason) => unforwarded(reason),
    }
}

/// The outcome for a packet that is not forwarded, and whose sender is not told.
#[inline(always)]
#[must_use]
pub const fn unforwarded(reason: Reason) -> Outcome {
    match reason.action() {
        Action::Pass => Outcome::because(Verdict::Pass, reason),
        Action::Drop | Action::Refuse => Outcome::because(Verdict::Drop, reason),
    }
}

/// Tells a packet's sender that nothing is there, if one more may be told in this second.
#[inline(always)]
pub fn refused<P, T>(
    packet: &mut P,
    tables: &T,
    l2: usize,
    segment: &Segment,
    reason: Reason,
) -> Outcome
where
    P: Packet + ?Sized,
    T: Tables + ?Sized,
{
    let Ok(node) = Node::new(tables) else { return Outcome::because(Verdict::Drop, reason) };
    if !tables.may_refuse(node.now) {
        return Outcome::because(Verdict::Drop, Reason::RefusalLimited);
    }
    match refuse::refuse(packet, segment, l2) {
        Ok(()) => Outcome::because(Verdict::Back, reason),
        Err(_) => Outcome::because(Verdict::Drop, reason),
    }
}

/// Tells the sender of a packet that is too long to be sent on how long one may be, if one more may
/// be told something in this second.
#[inline(always)]
pub fn too_long<P, T>(packet: &mut P, tables: &T, l2: usize, segment: &Segment) -> Outcome
where
    P: Packet + ?Sized,
    T: Tables + ?Sized,
{
    let reason = Reason::TooLong;
    let Ok(node) = Node::new(tables) else { return Outcome::because(Verdict::Drop, reason) };
    if !tables.may_refuse(node.now) {
        return Outcome::because(Verdict::Drop, Reason::RefusalLimited);
    }
    match refuse::too_long(packet, segment, l2, tables.width()) {
        Ok(()) => Outcome::because(Verdict::Back, reason),
        Err(_) => Outcome::because(Verdict::Drop, reason),
    }
}

/// A packet that may be a backend's answer, on its way to a pod or the network.
#[inline(always)]
pub fn outbound<P, T>(packet: &mut P, tables: &T, l2: usize) -> Outcome
where
    P: Packet + ?Sized,
    T: Tables + ?Sized,
{
    match outbound_plain(packet, tables, l2) {
        First::Done(outcome) => outcome,
        First::Whole { version, .. } => outbound_whole(packet, tables, l2, version),
    }
}

/// The first look at a packet that may be a backend's answer.
#[inline(always)]
pub fn outbound_plain<P, T>(packet: &mut P, tables: &T, l2: usize) -> First
where
    P: Packet + ?Sized,
    T: Tables + ?Sized,
{
    let front = match Front::read(packet, l2, Towards::Source) {
        Ok(front) => front,
        Err(reason) => return First::pass(reason),
    };
    let bits = bits_of(tables, front.address);
    if bits & addresses::BACKEND == 0 {
        // An error comes from anywhere: only the packet that it quotes says whose it is.
        if front.is_icmp(packet, l2) {
            return First::Whole { version: front.version, bits };
        }
        return First::pass(Reason::NotOurs);
    }
    if let Ok(node) = Node::new(tables)
        && let Some(outcome) = plain::restore(packet, node, front.version, l2)
    {
        return First::Done(outcome);
    }
    First::Whole { version: front.version, bits }
}

/// The family and destination of a packet to a frontend's address, as far as its bits tell.
#[inline(always)]
pub fn to_frontend<P, T>(packet: &P, tables: &T, l2: usize) -> Option<(Version, Address)>
where
    P: Packet + ?Sized,
    T: Tables + ?Sized,
{
    let Front { version, address } = Front::read(packet, l2, Towards::Destination).ok()?;
    let is_frontends = bits_of(tables, address) & addresses::FRONTEND != 0;
    is_frontends.then_some((version, Address::of_words(address)))
}

/// The whole logic for a packet that may be a backend's answer.
#[inline(always)]
pub fn outbound_whole<P, T>(packet: &mut P, tables: &T, l2: usize, version: Version) -> Outcome
where
    P: Packet + ?Sized,
    T: Tables + ?Sized,
{
    let segment = match Segment::of(packet, l2, version) {
        Ok(segment) => segment,
        Err(reason) if rare::may_be(reason) => {
            return rare::outbound(packet, tables, l2, version);
        }
        Err(reason) => return unrestored(reason),
    };
    let segment = Segment { answer: http::answer(packet, &segment), ..segment };
    let ends = Node::new(tables).and_then(|node| ends(node, &segment));
    outbound_end(packet, tables, l2, &segment, ends)
}

/// What becomes of an answer whose ends are known, or why they are not.
#[inline(always)]
pub(crate) fn outbound_end<P, T>(
    packet: &mut P,
    tables: &T,
    l2: usize,
    segment: &Segment,
    ends: Result<Ends, Reason>,
) -> Outcome
where
    P: Packet + ?Sized,
    T: Tables + ?Sized,
{
    match ends {
        Ok(ends) => outbound_act(packet, segment, ends),
        // The client is told already: now its backend is.
        Err(reason) if reason.action() == Action::Refuse => {
            refused(packet, tables, l2, segment, reason)
        }
        Err(reason) => unrestored(reason),
    }
}

/// Its last step: the answer is rewritten.
#[inline(always)]
pub fn outbound_act<P: Packet + ?Sized>(packet: &mut P, segment: &Segment, ends: Ends) -> Outcome {
    match act_back(packet, segment, ends) {
        Ok(_) if ends.severed => Outcome::because(Verdict::Pass, Reason::Severed),
        Ok(sent) => Outcome::of(sent),
        Err(reason) => unrestored(reason),
    }
}

/// The outcome for a backend's packet that is not restored.
#[inline(always)]
#[must_use]
pub const fn unrestored(reason: Reason) -> Outcome {
    Outcome::because(Verdict::Pass, reason)
}

/// Whether a packet to a backend's own address is in the middle of its connection: only those
/// that begin one leave a trace.
#[inline(always)]
fn is_of_straight<T: Tables + ?Sized>(tables: &T, segment: &Segment) -> bool {
    if segment.is_udp() || segment.has(tcp::SYN) {
        return false;
    }
    !tables.interface().is_some_and(|interface| interface.has(crate::interface::Interface::YOUNG))
}
