//! Packets that the ordinary way does not know: fragments, ICMP, and what stands behind extension
//! headers.

use crate::addresses;
use crate::decide::{Decided, decide};
use crate::endpoint::Version;
use crate::fragment::{self, Way};
use crate::headers::{Carried, Headers};
use crate::hooks::{
    Outcome, Verdict, inbound_end, outbound_end, refused, to_frontend, unforwarded, unrestored,
};
use crate::icmp::{self, Quote};
use crate::node::Node;
use crate::packet::Packet;
use crate::reason::{Action, Reason};
use crate::relay::{errors, pieces};
use crate::restore::ends;
use crate::route::{Origin, Sent};
use crate::segment::Segment;
use crate::tables::Tables;
use crate::tunnel::{self, Outer, arrive};
use crate::wire::icmp::Says;

/// Whether a packet that the ordinary way does not take may be one of these.
#[inline(always)]
#[must_use]
pub const fn may_be(reason: Reason) -> bool {
    matches!(reason, Reason::Fragment | Reason::NotTcpOrUdp | Reason::Malformed)
}

/// One of these towards a frontend.
#[inline(always)]
pub(crate) fn inbound<P, T>(
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
    let outcome = inbound_any(packet, tables, l2, origin, version, bits);
    match outcome.reason {
        Some(reason) if outcome.verdict == Verdict::Pass => {
            Outcome { reason: Some(heard(reason, bits)), ..outcome }
        }
        _ => outcome,
    }
}

/// The reason that counts: most of what comes to the node's own address has nothing to do with us.
#[inline(always)]
#[must_use]
pub fn heard(reason: Reason, bits: u64) -> Reason {
    if bits == addresses::NODE && reason.action() == Action::Pass {
        Reason::NotOurs
    } else {
        reason
    }
}

#[inline(always)]
fn inbound_any<P, T>(
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
    let headers = match Headers::read(packet, l2, version) {
        Ok(headers) => headers,
        Err(reason) => return unforwarded(reason),
    };
    match headers.carried() {
        Carried::Segment => inbound_segment(packet, tables, l2, origin, bits, &headers),
        Carried::Fragment => {
            if origin.is_net() {
                let mut outer = Outer::NONE;
                let goes =
                    Node::new(tables).and_then(|node| tunnel::follow(node, &headers, &mut outer));
                if let Some(outcome) = wrapped(packet, version, l2, goes, &outer) {
                    return outcome;
                }
                match Node::new(tables).and_then(|node| pieces::follow(node, &headers)) {
                    Ok(Some(follows)) => return pieces::send(packet, &headers, &follows),
                    Ok(None) => {}
                    Err(reason) => return unforwarded(reason),
                }
            }
            let follows = Node::new(tables)
                .and_then(|node| fragment::follow(node, &headers, origin, Way::In));
            sent(follows.and_then(|follows| fragment::act(packet, &headers, &follows)))
        }
        Carried::Icmp => inbound_icmp(packet, tables, l2, origin, &headers),
        Carried::Packet if origin.is_net() => arrive::inbound(packet, tables, l2, &headers),
        Carried::Packet | Carried::Other => unforwarded(Reason::NotTcpOrUdp),
    }
}

/// TCP or UDP behind extension headers, or the first fragment of a datagram.
#[inline(always)]
fn inbound_segment<P, T>(
    packet: &mut P,
    tables: &T,
    l2: usize,
    origin: Origin,
    bits: u64,
    headers: &Headers,
) -> Outcome
where
    P: Packet + ?Sized,
    T: Tables + ?Sized,
{
    let (segment, node) = match Segment::behind(packet, headers)
        .and_then(|segment| Ok((segment, Node::new(tables)?)))
    {
        Ok(both) => both,
        Err(reason) => return unforwarded(reason),
    };
    let decided = decide(node, &segment, origin, bits);
    let request = match &decided {
        Ok(Decided::Here(decision)) => {
            fragment::of_first(node, headers, &segment, origin, &Ok(*decision))
        }
        Ok(Decided::Forth(relay) | Decided::Back(relay)) => pieces::of_first(node, headers, relay),
        Ok(Decided::Within(outer)) => tunnel::of_first(node, headers, outer),
        Err(_) if bits == addresses::NODE => None,
        Err(reason) => fragment::of_first(node, headers, &segment, origin, &Err(*reason)),
    };
    if let Some(request) = request {
        fragment::store(node, &request);
    }
    match decided {
        Err(reason)
            if reason != Reason::TooLong && !fragment::can_be_answered(headers, &segment) =>
        {
            unforwarded(reason)
        }
        decided => inbound_end(packet, tables, l2, origin, &segment, decided),
    }
}

#[inline(always)]
fn inbound_icmp<P, T>(
    packet: &mut P,
    tables: &T,
    l2: usize,
    origin: Origin,
    headers: &Headers,
) -> Outcome
where
    P: Packet + ?Sized,
    T: Tables + ?Sized,
{
    match icmp::says(packet, headers) {
        Ok(Says::Error) => {
            let quote = match Quote::read(packet, headers) {
                Ok(quote) => quote,
                Err(reason) => return unforwarded(reason),
            };
            if origin.is_net() {
                let mut outer = Outer::NONE;
                let goes =
                    Node::new(tables).and_then(|node| tunnel::about(node, &quote, &mut outer));
                if let Some(outcome) = wrapped(packet, headers.version, l2, goes, &outer) {
                    return outcome;
                }
                match Node::new(tables).and_then(|node| errors::find(node, &quote)) {
                    Ok(Some(mended)) => return errors::send(packet, &quote, &mended),
                    Ok(None) => {}
                    Err(reason) => return unforwarded(reason),
                }
            }
            let mended = Node::new(tables)
                .and_then(|node| Ok((quote, icmp::inbound(node, &quote, origin)?)));
            sent(mended.and_then(|(quote, mended)| icmp::mend(packet, &quote, &mended)))
        }
        Ok(Says::Redirect) => unforwarded(Reason::IcmpRedirect),
        Ok(Says::EchoRequest) => echo(packet, tables, l2, headers),
        Ok(Says::Else) => unforwarded(Reason::NotTcpOrUdp),
        Err(reason) => unforwarded(reason),
    }
}

/// Answers an echo request to an address that is only virtual.
#[inline(always)]
pub fn echo<P, T>(packet: &mut P, tables: &T, l2: usize, headers: &Headers) -> Outcome
where
    P: Packet + ?Sized,
    T: Tables + ?Sized,
{
    if !tables.is_virtual(headers.destination) {
        return unforwarded(Reason::NotTcpOrUdp);
    }
    let Ok(node) = Node::new(tables) else { return unforwarded(Reason::NotReady) };
    if !tables.may_refuse(node.now) {
        return Outcome { verdict: Verdict::Drop, reason: Some(Reason::RefusalLimited) };
    }
    let verdict = match icmp::echo(packet, headers, l2) {
        Ok(()) => Verdict::Back,
        Err(_) => Verdict::Drop,
    };
    Outcome { verdict, reason: Some(Reason::Echo) }
}

/// A packet on its way out that is still to a virtual address: nobody has translated it, and but
/// for us nobody would answer. `None` for one that is not, or that need not be answered.
///
/// Not on the way in: other ports of the same address may be somebody else's to translate.
#[inline(always)]
pub fn unserved<P, T>(packet: &mut P, tables: &T, l2: usize) -> Option<Outcome>
where
    P: Packet + ?Sized,
    T: Tables + ?Sized,
{
    let (version, address) = to_frontend(packet, tables, l2)?;
    if !tables.is_virtual(address) {
        return None;
    }
    let headers = Headers::read(packet, l2, version).ok()?;
    let segment = match headers.carried() {
        Carried::Segment => Segment::behind(packet, &headers).ok()?,
        Carried::Packet | Carried::Other => Segment::without_ports(&headers),
        Carried::Icmp if icmp::says(packet, &headers) == Ok(Says::EchoRequest) => {
            return Some(echo(packet, tables, l2, &headers));
        }
        Carried::Icmp | Carried::Fragment => return None,
    };
    if Node::new(tables).ok()?.find(segment.destination).is_some() {
        return None;
    }
    if fragment::can_be_answered(&headers, &segment) {
        Some(refused(packet, tables, l2, &segment, Reason::ClosedPort))
    } else {
        Some(unforwarded(Reason::ClosedPort))
    }
}

/// One of these that may be a backend's, or about what went to one.
#[inline(always)]
pub(crate) fn outbound<P, T>(packet: &mut P, tables: &T, l2: usize, version: Version) -> Outcome
where
    P: Packet + ?Sized,
    T: Tables + ?Sized,
{
    let headers = match Headers::read(packet, l2, version) {
        Ok(headers) => headers,
        Err(reason) => return unrestored(reason),
    };
    match headers.carried() {
        Carried::Segment => {
            let (segment, node) = match Segment::behind(packet, &headers)
                .and_then(|segment| Ok((segment, Node::new(tables)?)))
            {
                Ok(both) => both,
                Err(reason) => return unrestored(reason),
            };
            let ends = ends(node, &segment);
            if let Ok(ends) = &ends
                && let Some(request) = fragment::of_first_back(node, &headers, ends.from.address)
            {
                fragment::store(node, &request);
            }
            outbound_end(packet, tables, l2, &segment, ends)
        }
        Carried::Fragment => {
            let follows = Node::new(tables)
                .and_then(|node| fragment::follow(node, &headers, Origin::Net, Way::Out));
            sent(follows.and_then(|follows| fragment::act(packet, &headers, &follows)))
        }
        Carried::Icmp => outbound_icmp(packet, tables, &headers),
        Carried::Packet | Carried::Other => unrestored(Reason::NotTcpOrUdp),
    }
}

#[inline(always)]
fn outbound_icmp<P, T>(packet: &mut P, tables: &T, headers: &Headers) -> Outcome
where
    P: Packet + ?Sized,
    T: Tables + ?Sized,
{
    if icmp::says(packet, headers) != Ok(Says::Error) {
        return unrestored(Reason::NotOurs);
    }
    let mended = Quote::read(packet, headers)
        .and_then(|quote| Ok((quote, icmp::outbound(Node::new(tables)?, &quote)?)));
    match mended.map_err(icmp::unrestored) {
        Ok((quote, mended)) => sent(icmp::mend(packet, &quote, &mended)),
        Err(reason) => unrestored(reason),
    }
}

/// The outcome of a packet if it goes within another, or would and cannot.
#[inline(always)]
fn wrapped<P: Packet + ?Sized>(
    packet: &mut P,
    version: Version,
    l2: usize,
    goes: Result<bool, Reason>,
    outer: &Outer,
) -> Option<Outcome> {
    match goes {
        Ok(true) => Some(tunnel::send(packet, version, l2, outer)),
        Ok(false) => None,
        Err(reason) => Some(unforwarded(reason)),
    }
}

/// The outcome of what was sent, or of why not.
#[inline(always)]
pub(crate) fn sent(sent: Result<Sent, Reason>) -> Outcome {
    match sent {
        Ok(sent) => Outcome::of(sent),
        Err(reason) => unforwarded(reason),
    }
}
