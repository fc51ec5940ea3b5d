//! One function a hook: a packet in, an outcome out.

use crate::flow::Family;
use crate::forward::{Node, Origin, Sent, forward};
use crate::packet::Packet;
use crate::reason::{Action, Reason};
use crate::refuse;
use crate::restore::restore;
use crate::segment::{self, Segment, Version};
use crate::tables::{FlowTables, Tables};

/// What the hook does with the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on, untouched or rewritten.
    Pass,
    /// It was rewritten and goes back to the interface it came from.
    Back,
    /// It goes nowhere.
    Drop,
}

/// A verdict, and why, if the packet was not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What to do.
    pub verdict: Verdict,
    /// The reason to count; `None` for a packet that was forwarded or restored.
    pub reason: Option<Reason>,
}

impl Outcome {
    #[inline(always)]
    const fn of(sent: Sent) -> Self {
        let verdict = match sent {
            Sent::On => Verdict::Pass,
            Sent::Back => Verdict::Back,
        };
        Self { verdict, reason: None }
    }

    #[inline(always)]
    const fn because(verdict: Verdict, reason: Reason) -> Self {
        Self { verdict, reason: Some(reason) }
    }
}

/// The family of a packet; `l2` is 14, or 0 without Ethernet.
///
/// # Errors
///
/// The outcome for a packet that is neither IPv4 nor IPv6.
#[inline(always)]
pub fn version<P: Packet + ?Sized>(packet: &P, l2: usize) -> Result<Version, Outcome> {
    segment::version(packet, l2).map_err(|reason| Outcome::because(Verdict::Pass, reason))
}

/// A packet of one family towards a frontend, from a pod or from the network.
#[inline(always)]
pub fn inbound<F, P, T>(packet: &mut P, tables: &T, l2: usize, origin: Origin) -> Outcome
where
    F: Family,
    P: Packet + ?Sized,
    T: Tables + FlowTables<F> + ?Sized,
{
    let parts = Node::new(tables).and_then(|node| Ok((node, F::segment(packet, l2)?)));
    match parts {
        Ok((node, segment)) => forward_or_refuse::<F, P, T>(packet, node, &segment, l2, origin),
        Err(reason) => Outcome::because(Verdict::Pass, reason),
    }
}

/// A packet of one family that may be a backend's answer, on its way to a pod or the network.
#[inline(always)]
pub fn outbound<F, P, T>(packet: &mut P, tables: &T, l2: usize) -> Outcome
where
    F: Family,
    P: Packet + ?Sized,
    T: Tables + FlowTables<F> + ?Sized,
{
    let restored = Node::new(tables)
        .and_then(|node| restore::<F, P, T>(packet, node, &F::segment(packet, l2)?));
    match restored {
        Ok(sent) => Outcome::of(sent),
        Err(reason) => Outcome::because(Verdict::Pass, reason),
    }
}

#[inline(always)]
fn forward_or_refuse<F, P, T>(
    packet: &mut P,
    node: Node<'_, T>,
    segment: &Segment,
    l2: usize,
    origin: Origin,
) -> Outcome
where
    F: Family,
    P: Packet + ?Sized,
    T: Tables + FlowTables<F> + ?Sized,
{
    let reason = match forward::<F, P, T>(packet, node, segment, origin) {
        Ok(sent) => return Outcome::of(sent),
        Err(reason) => reason,
    };
    match reason.action() {
        Action::Pass => Outcome::because(Verdict::Pass, reason),
        Action::Drop => Outcome::because(Verdict::Drop, reason),
        Action::Refuse if !node.tables.may_refuse() => {
            Outcome::because(Verdict::Drop, Reason::RefusalLimited)
        }
        Action::Refuse => match refuse::refuse(packet, segment, l2) {
            Ok(()) => Outcome::because(Verdict::Back, reason),
            Err(_) => Outcome::because(Verdict::Drop, reason),
        },
    }
}
