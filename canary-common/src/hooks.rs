//! One function a hook: a packet in, an outcome out.

use crate::addresses;
use crate::decide::{Decided, decide};
use crate::endpoint::{Address, Version};
use crate::node::{Node, bits};
use crate::packet::Packet;
use crate::plain;
use crate::reason::{Action, Reason};
use crate::refuse;
use crate::relay;
use crate::restore::ends;
use crate::route::{Decision, Ends, Origin, Sent, act, act_back, hairpin_address};
use crate::segment::{self, Segment};
use crate::tables::Tables;
use crate::wire::{ipv4, ipv6, tcp};

/// What the hook does with the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It goes on, untouched or rewritten.
    Pass,
    /// It was rewritten and goes back to the interface it came from.
    Back,
    /// It goes nowhere.
    Drop,
    /// It was rewritten and leaves by the way that was found for it.
    Away,
}

/// A verdict, and why, if the packet was not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What to do.
    pub verdict: Verdict,
    /// The reason; `None` for a packet that was forwarded or restored.
    pub reason: Option<Reason>,
}

impl Outcome {
    /// What was rewritten and goes on.
    pub const ON: Self = Self { verdict: Verdict::Pass, reason: None };
    /// What was rewritten and leaves by the way that was found for it.
    pub const AWAY: Self = Self { verdict: Verdict::Away, reason: None };

    /// The outcome as one number, for functions that hand over nothing wider.
    #[inline(always)]
    #[must_use]
    pub const fn to_word(self) -> u32 {
        let verdict = match self.verdict {
            Verdict::Pass => 0,
            Verdict::Back => 1,
            Verdict::Drop => 2,
            Verdict::Away => 3,
        };
        let slot = match self.reason {
            Some(reason) => reason.slot().wrapping_add(1),
            None => 0,
        };
        verdict | slot << 8
    }

    /// The verdict of such a number, and the slot of its reason.
    #[inline(always)]
    #[must_use]
    pub const fn of_word(word: u32) -> (Verdict, Option<u32>) {
        let verdict = match word & 0xff {
            0 => Verdict::Pass,
            1 => Verdict::Back,
            3 => Verdict::Away,
            _ => Verdict::Drop,
        };
        (verdict, (word >> 8).checked_sub(1))
    }

    #[inline(always)]
    const fn of(sent: Sent) -> Self {
        let verdict = match sent {
            Sent::On => Verdict::Pass,
            Sent::Back => Verdict::Back,
        };
        Self { verdict, reason: None }
    }

    #[inline(always)]
    pub(crate) const fn because(verdict: Verdict, reason: Reason) -> Self {
        Self { verdict, reason: Some(reason) }
    }
}

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
    let bits = bits(tables, front.address) & relay::bits(origin);
    let is_hairpin =
        origin == Origin::Pod && front.address.words() == hairpin_address(front.version).words();
    if bits == 0 && !is_hairpin {
        return First::pass(Reason::NotOurs);
    }
    if bits == addresses::NODE && !relay::may_be_answer(packet, tables, l2, front.version) {
        return First::pass(Reason::NotOurs);
    }
    if bits & addresses::FRONTEND != 0
        && origin != Origin::Behind
        && let Ok(node) = Node::new(tables)
        && let Ok(segment) = Segment::of(packet, l2, front.version)
        && let Some(outcome) = plain::forward(packet, node, &segment, l2, origin)
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
    let decided = inbound_segment(packet, tables, l2, version, bits)
        .and_then(|segment| decide(Node::new(tables)?, &segment, origin, bits));
    match decided {
        Ok(Decided::Here(decision)) => inbound_act(packet, l2, origin, version, decision),
        Ok(Decided::Forth(relay)) => relay::send(packet, l2, version, relay, false),
        Ok(Decided::Back(relay)) => relay::send(packet, l2, version, relay, true),
        Err(reason) if reason.action() == Action::Refuse => {
            refused(packet, tables, l2, version, reason)
        }
        Err(reason) => unforwarded(reason),
    }
}

/// The segment that the whole logic is about.
///
/// # Errors
///
/// The [`Reason`] why it is not ours, or cannot be served.
#[inline(always)]
pub fn inbound_segment<P, T>(
    packet: &P,
    tables: &T,
    l2: usize,
    version: Version,
    bits: u64,
) -> Result<Segment, Reason>
where
    P: Packet + ?Sized,
    T: Tables + ?Sized,
{
    let segment = Segment::of(packet, l2, version)?;
    if bits & !addresses::NODE == addresses::BACKEND && is_of_straight(tables, &segment) {
        return Err(Reason::NotOurs);
    }
    Ok(segment)
}

/// The last step: the packet is rewritten.
#[inline(always)]
pub fn inbound_act<P: Packet + ?Sized>(
    packet: &mut P,
    l2: usize,
    origin: Origin,
    version: Version,
    decision: Decision,
) -> Outcome {
    let sent = Segment::of(packet, l2, version)
        .and_then(|segment| act(packet, &segment, origin, decision));
    match sent {
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
    version: Version,
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
    let told =
        Segment::of(packet, l2, version).and_then(|segment| refuse::refuse(packet, &segment, l2));
    match told {
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
    let bits = bits(tables, front.address);
    if bits & addresses::BACKEND == 0 {
        return First::pass(Reason::NotOurs);
    }
    if let Ok(node) = Node::new(tables)
        && let Ok(segment) = Segment::of(packet, l2, front.version)
        && let Some(outcome) = plain::restore(packet, node, &segment, l2)
    {
        return First::Done(outcome);
    }
    First::Whole { version: front.version, bits }
}

/// The whole logic for a packet that may be a backend's answer.
#[inline(always)]
pub fn outbound_whole<P, T>(packet: &mut P, tables: &T, l2: usize, version: Version) -> Outcome
where
    P: Packet + ?Sized,
    T: Tables + ?Sized,
{
    let ends =
        Segment::of(packet, l2, version).and_then(|segment| ends(Node::new(tables)?, &segment));
    match ends {
        Ok(ends) => outbound_act(packet, l2, version, ends),
        Err(reason) => unrestored(reason),
    }
}

/// Its last step: the answer is rewritten.
#[inline(always)]
pub fn outbound_act<P: Packet + ?Sized>(
    packet: &mut P,
    l2: usize,
    version: Version,
    ends: Ends,
) -> Outcome {
    let sent =
        Segment::of(packet, l2, version).and_then(|segment| act_back(packet, &segment, ends));
    match sent {
        Ok(sent) => Outcome::of(sent),
        Err(reason) => unrestored(reason),
    }
}

/// The outcome for a backend's packet that is not restored: the answer of a connection that was
/// severed does not reach its client.
#[inline(always)]
#[must_use]
pub fn unrestored(reason: Reason) -> Outcome {
    let is_severed = matches!(reason, Reason::Severed);
    Outcome::because(if is_severed { Verdict::Drop } else { Verdict::Pass }, reason)
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

/// Which end of a packet says whether it is ours.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Towards {
    Destination,
    Source,
}

/// As much of a packet as says whether it is ours.
struct Front {
    version: Version,
    address: Address,
}

impl Front {
    #[inline(always)]
    fn read<P: Packet + ?Sized>(packet: &P, l2: usize, end: Towards) -> Result<Self, Reason> {
        let version = segment::version(packet, l2)?;
        let address = match (version, end) {
            (Version::V4, Towards::Destination) => {
                Address::v4(packet.read(l2.wrapping_add(ipv4::DESTINATION_AT))?)
            }
            (Version::V4, Towards::Source) => {
                Address::v4(packet.read(l2.wrapping_add(ipv4::SOURCE_AT))?)
            }
            (Version::V6, Towards::Destination) => {
                Address(packet.read(l2.wrapping_add(ipv6::DESTINATION_AT))?)
            }
            (Version::V6, Towards::Source) => {
                Address(packet.read(l2.wrapping_add(ipv6::SOURCE_AT))?)
            }
        };
        Ok(Self { version, address })
    }
}
