//! The steps for packets that the ordinary way does not know, as in `steps.rs`.

use canary_common::fragment::{self, Way};
use canary_common::headers::{Carried, Headers, Piece};
use canary_common::hooks::{Outcome, unforwarded};
use canary_common::icmp::{self, Mended, Quote};
use canary_common::node::Node;
use canary_common::packet::Packet;
use canary_common::rare;
use canary_common::reason::Reason;
use canary_common::route::{Origin, Sent};
use canary_common::segment::Segment;
use canary_common::wire::icmp::Says;

use crate::about::About;
use crate::calls::{self, Scratch};
use crate::maps::{self, Maps};
use crate::steps::{
    self, BACK, DECIDED, ECHO, ERROR, FOLLOWS, FORTH, FRAGMENT, MENDS, PACKET, QUOTES, SEGMENT,
    STORES, WRAPS, about, code, reason, tell, told,
};

/// Bytes in front of a packet that these steps may read: headers, and the headers of what is
/// quoted behind them.
pub(crate) const HEADERS: u32 = 704;
/// Largest offsets in a quote. Verifier: as in `steps.rs`.
const MAX_AT: usize = 0x3ff;

/// Whether the last step gave up because it does not know such packets.
#[inline(always)]
pub(crate) fn may_be() -> bool {
    reason(told()).is_some_and(rare::may_be)
}

/// Walks the headers, and tells what the packet is.
#[inline(always)]
pub(crate) fn read<P: Packet>(packet: &P) -> u32 {
    let about = about();
    let Some(scratch) = maps::scratch() else { return tell(code(Reason::NotReady)) };
    let headers = match Headers::read(packet, about.l2(), about.version()) {
        Ok(headers) => headers,
        Err(reason) => return tell(code(reason)),
    };
    scratch.headers = headers;
    match headers.carried() {
        Carried::Segment => tell(SEGMENT),
        Carried::Fragment => {
            scratch.seen = Scratch::FRAGMENT;
            tell(FRAGMENT)
        }
        Carried::Icmp => tell(match (icmp::says(packet, &headers), about.is_out()) {
            (Ok(Says::Error), _) => ERROR,
            (Ok(_) | Err(_), true) => code(Reason::NotOurs),
            (Ok(Says::Redirect), false) => code(Reason::IcmpRedirect),
            (Ok(Says::EchoRequest), false) => ECHO,
            (Ok(Says::Else), false) => code(Reason::NotTcpOrUdp),
            (Err(reason), false) => code(reason),
        }),
        Carried::Packet if about.origin().is_net() && !about.is_out() && !about.is_arrived() => {
            tell(PACKET)
        }
        Carried::Packet | Carried::Other => tell(code(Reason::NotTcpOrUdp)),
    }
}

/// Reads the segment behind headers that were walked; what was told stays, or is why not.
#[inline(always)]
pub(crate) fn segment<P: Packet>(packet: &P) -> u32 {
    let about = about();
    let Some(scratch) = maps::scratch() else { return tell(code(Reason::NotReady)) };
    let headers = steps::headers(about, scratch);
    let segment = match Segment::behind(packet, &headers) {
        Ok(segment) => segment,
        Err(reason) => return tell(code(reason)),
    };
    scratch.segment = segment;
    let is_mute = !fragment::can_be_answered(&headers, &segment);
    steps::start(about.walked(headers.piece == Piece::First, is_mute));
    scratch.seen = Scratch::SEGMENT;
    tell(SEGMENT)
}

/// Leaves what is neither TCP, UDP nor ICMP as a segment without ports.
#[inline(always)]
pub(crate) fn without_ports() -> u32 {
    let about = about();
    let Some(scratch) = maps::scratch() else { return tell(0) };
    let headers = steps::headers(about, scratch);
    let is_other = told() == code(Reason::NotTcpOrUdp) || told() == PACKET;
    if !is_other || !matches!(headers.carried(), Carried::Packet | Carried::Other) {
        return tell(0);
    }
    let segment = Segment::without_ports(&headers);
    scratch.segment = segment;
    steps::start(about.walked(false, !fragment::can_be_answered(&headers, &segment)));
    scratch.seen = Scratch::SEGMENT;
    tell(SEGMENT)
}

/// Tells what is done with a fragment that follows its first.
#[inline(always)]
pub(crate) fn follow(tables: &Maps) -> u32 {
    let about = about();
    let (Some(scratch), Ok(node)) = (maps::scratch(), Node::new(tables)) else {
        return tell(code(Reason::NotReady));
    };
    let (origin, way) =
        if about.is_out() { (Origin::Net, Way::Out) } else { (about.origin(), Way::In) };
    match fragment::follow(node, &steps::headers(about, scratch), origin, way) {
        Ok(follows) => {
            scratch.follows = follows;
            tell(FOLLOWS)
        }
        Err(reason) => tell(code(reason)),
    }
}

/// Reads what an ICMP error quotes.
#[inline(always)]
pub(crate) fn quote<P: Packet>(packet: &P) -> u32 {
    let about = about();
    let Some(scratch) = maps::scratch() else { return tell(code(Reason::NotReady)) };
    match Quote::read(packet, &steps::headers(about, scratch)) {
        Ok(quote) => {
            scratch.quote = quote;
            tell(QUOTES)
        }
        Err(reason) if about.is_out() => tell(code(icmp::unrestored(reason))),
        Err(reason) => tell(code(reason)),
    }
}

/// Tells whose flow an ICMP error is about.
#[inline(always)]
pub(crate) fn relate(tables: &Maps) -> u32 {
    let about = about();
    let (Some(scratch), Ok(node)) = (maps::scratch(), Node::new(tables)) else {
        return tell(code(Reason::NotReady));
    };
    let quote = &scratch.quote;
    let mended: Result<Mended, Reason> = if about.is_out() {
        icmp::outbound(node, quote).map_err(icmp::unrestored)
    } else {
        icmp::inbound(node, quote, about.origin())
    };
    match mended {
        Ok(mended) => {
            scratch.mended = mended;
            tell(MENDS)
        }
        Err(reason) => tell(code(reason)),
    }
}

/// Rewrites an ICMP error, and tells the outcome in one number.
#[inline(always)]
pub(crate) fn mend<P: Packet>(packet: &mut P) -> u32 {
    let Some(scratch) = maps::scratch() else { return tell(failed()) };
    let quote = quoted(about(), scratch);
    tell(outcome(icmp::mend(packet, &quote, &scratch.mended)))
}

/// The quote of the scratch row, as steps that reach into the packet need it.
#[inline(always)]
pub(crate) fn quoted(about: About, scratch: &Scratch) -> Quote {
    Quote {
        version: about.version(),
        l3_at: about.l2(),
        icmp_at: scratch.quote.icmp_at & MAX_AT,
        inner_at: scratch.quote.inner_at & MAX_AT,
        ports_at: scratch.quote.ports_at & MAX_AT,
        checksum_at: scratch.quote.checksum_at & MAX_AT,
        ..scratch.quote
    }
}

/// Rewrites a fragment that follows its first, and tells the outcome in one number.
#[inline(always)]
pub(crate) fn act<P: Packet>(packet: &mut P) -> u32 {
    let Some(scratch) = maps::scratch() else { return tell(failed()) };
    let headers = steps::headers(about(), scratch);
    tell(outcome(fragment::act(packet, &headers, &scratch.follows)))
}

/// Answers an echo request, and tells the outcome in one number.
#[inline(always)]
pub(crate) fn echo<P: Packet>(packet: &mut P, tables: &Maps) -> u32 {
    let about = about();
    let Some(scratch) = maps::scratch() else { return tell(failed()) };
    let headers = steps::headers(about, scratch);
    tell(rare::echo(packet, tables, about.l2(), &headers).to_word())
}

#[inline(always)]
fn outcome(sent: Result<Sent, Reason>) -> u32 {
    match sent {
        Ok(sent) => Outcome::of(sent).to_word(),
        Err(reason) => unforwarded(reason).to_word(),
    }
}

#[inline(always)]
const fn failed() -> u32 {
    unforwarded(Reason::NotReady).to_word()
}

/// Stores what the fragments behind a first need; what was told stays.
#[inline(always)]
pub(crate) fn remember(tables: &Maps) {
    let decided = told();
    prepare(tables, decided);
    store(decided);
}

/// Stores the entry that was prepared, if it is to be, and tells again what was decided before.
#[inline(always)]
pub(crate) fn store(decided: u32) {
    if told() == STORES {
        calls::put();
    }
    tell(decided);
}

/// Makes room for the entry of the scratch row, and tells whether it is to be stored.
#[inline(always)]
pub(crate) fn replace(node: Node<'_, Maps>, scratch: &Scratch) -> u32 {
    tell(if fragment::replaces(node, &scratch.request) { STORES } else { 0 })
}

#[inline(always)]
fn prepare(tables: &Maps, decided: u32) -> u32 {
    let about = about();
    let (Some(scratch), Ok(node)) = (maps::scratch(), Node::new(tables)) else { return tell(0) };
    let headers = &scratch.headers;
    let request = if about.is_out() {
        match decided {
            DECIDED => fragment::of_first_back(node, headers, scratch.ends.from.address),
            _ => None,
        }
    } else {
        let decided = match reason(decided) {
            // That is a step of its own.
            None if matches!(decided, FORTH | BACK | WRAPS) => return tell(0),
            None => Ok(scratch.decision),
            Some(reason) => Err(reason),
        };
        fragment::of_first(node, headers, &scratch.segment, about.origin(), &decided)
    };
    let Some(request) = request else { return tell(0) };
    scratch.request = request;
    replace(node, scratch)
}
