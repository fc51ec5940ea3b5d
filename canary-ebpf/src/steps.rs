//! The steps of the whole logic as functions of their own, the same for every kind of packet.
//!
//! Verifier: all functions of a call have 512 bytes of stack together, so what one step decides,
//! the next finds in the scratch row. So does it what the step gave, although that is a number: one
//! that is returned is known to the verifier, which then walks all that follows once for each.

use core::ffi::c_void;

use canary_common::directory::Occupant;
use canary_common::forward::{self, of_forward, of_hairpin};
use canary_common::headers::Headers;
use canary_common::hooks;
use canary_common::http;
use canary_common::node::Node;
use canary_common::packet::Packet;
use canary_common::reason::{Action, Reason};
use canary_common::restore::ends;
use canary_common::route::{Decision, Origin};
use canary_common::segment::Segment;
use canary_common::start::{self, Beginning, Begun, at};
use canary_common::straight::straight;

use crate::about::About;
use crate::calls::{self, Scratch};
use crate::maps::{self, Maps};
use crate::occupant::occupant;
use crate::relays;
use crate::tunnels;

/// No flow is there.
pub(crate) const NONE: u32 = 0;
/// The decision is in the scratch row.
pub(crate) const DECIDED: u32 = 1;
/// A flow begins, which is in the scratch row.
pub(crate) const BEGINS: u32 = 2;
/// A trace is to be left, which is in the scratch row.
const TRACES: u32 = 3;
/// TCP or UDP where the ordinary way does not see it: it is in the scratch row.
pub(crate) const SEGMENT: u32 = 4;
/// A fragment behind the first.
pub(crate) const FRAGMENT: u32 = 5;
/// What is done with it is in the scratch row.
pub(crate) const FOLLOWS: u32 = 6;
/// An ICMP error.
pub(crate) const ERROR: u32 = 7;
/// What it quotes is in the scratch row.
pub(crate) const QUOTES: u32 = 8;
/// How it is translated is in the scratch row.
pub(crate) const MENDS: u32 = 9;
/// An echo request.
pub(crate) const ECHO: u32 = 10;
/// An entry is to be stored, or not.
pub(crate) const STORES: u32 = 11;
/// The flow is there, and its backend elsewhere.
pub(crate) const MASKED: u32 = 12;
/// Both ends for which it is sent on to a backend elsewhere are in the scratch row.
pub(crate) const FORTH: u32 = 13;
/// The same for the answer of one.
pub(crate) const BACK: u32 = 14;
/// A fragment that is sent on: its addresses then are in the scratch row.
pub(crate) const FOLLOWS_ON: u32 = 15;
/// An ICMP error that is sent on: how it is translated is in the scratch row.
pub(crate) const MENDS_ON: u32 = 16;
/// The flow is there, and its packets go to its backend within others.
pub(crate) const WRAPPED: u32 = 17;
/// The packet that this one goes within is in the scratch row.
pub(crate) const WRAPS: u32 = 18;
/// A packet within a packet.
pub(crate) const PACKET: u32 = 19;
/// This and the slot of the reason why not.
const REASON: u32 = 32;

/// Largest offset of a transport header. Verifier: it has to know one of what comes from a map.
const MAX_L4_AT: usize = 0x1ff;

/// Tells the steps what the packet is.
#[inline(always)]
pub(crate) fn start(about: About) {
    if let Some(scratch) = maps::scratch() {
        scratch.about = about.to_word();
        scratch.seen = 0;
    }
}

/// What the packet is.
#[inline(always)]
pub(crate) fn about() -> About {
    About::of_word(maps::scratch().map_or(0, |scratch| scratch.about))
}

/// Leaves a step's result for whoever asks next. What the step returns: the verifier wants
/// something.
#[inline(always)]
pub(crate) fn tell(code: u32) -> u32 {
    if let Some(scratch) = maps::scratch() {
        scratch.code = code;
    }
    0
}

/// What the last step gave.
#[inline(always)]
#[expect(unsafe_code, reason = "a load that the compiler must not do without")]
pub(crate) fn told() -> u32 {
    let Some(scratch) = maps::scratch() else { return NONE };
    // SAFETY: the pointer comes from a reference to an aligned word.
    unsafe { (&raw const scratch.code).read_volatile() }
}

/// Reads the packet's segment into the scratch row.
#[inline(always)]
pub(crate) fn read<P: Packet>(packet: &P) -> u32 {
    let about = about();
    let Some(scratch) = maps::scratch() else { return 0 };
    match Segment::of(packet, about.l2(), about.version()) {
        Ok(segment) => {
            scratch.segment = segment;
            if about.is_out() {
                scratch.segment.answer = http::answer(packet, &segment);
            }
            scratch.seen = Scratch::SEGMENT;
            tell(SEGMENT)
        }
        Err(reason) => tell(code(reason)),
    }
}

/// The segment of the scratch row, as steps that reach into the packet need it.
#[inline(always)]
pub(crate) fn segment(about: About, scratch: &Scratch) -> Segment {
    let l4_at = scratch.segment.l4_at & MAX_L4_AT;
    Segment { l3_at: about.l2(), l4_at, version: about.version(), ..scratch.segment }
}

/// The headers of the scratch row, as such steps need them.
#[inline(always)]
pub(crate) fn headers(about: About, scratch: &Scratch) -> Headers {
    let l4_at = scratch.headers.l4_at & MAX_L4_AT;
    Headers { l3_at: about.l2(), l4_at, version: about.version(), ..scratch.headers }
}

/// Whether the packet is the answer of a pod to itself.
#[inline(always)]
pub(crate) fn is_of_hairpin() -> bool {
    let about = about();
    maps::scratch().is_some_and(|scratch| forward::is_of_hairpin(&scratch.segment, about.origin()))
}

/// What becomes of such an answer.
#[inline(always)]
pub(crate) fn hairpin(tables: &Maps) -> u32 {
    let (Some(scratch), Ok(node)) = (maps::scratch(), Node::new(tables)) else {
        return tell(code(Reason::NotReady));
    };
    match of_hairpin(node, &scratch.segment) {
        Ok(decision) => {
            scratch.decision = decision;
            tell(DECIDED)
        }
        Err(reason) => tell(code(reason)),
    }
}

/// What becomes of any other packet whose flow is there.
#[inline(always)]
pub(crate) fn known(tables: &Maps) -> u32 {
    let about = about();
    let bits = about.bits();
    let (Some(scratch), Ok(node)) = (maps::scratch(), Node::new(tables)) else {
        return tell(code(Reason::NotReady));
    };
    if let Err(reason) = hooks::is_ours(tables, &scratch.segment, bits) {
        return tell(code(reason));
    }
    match of_forward(node, &scratch.segment, about.origin(), bits) {
        Ok(Some(Decision::Forward(route))) if route.wrapped => tell(WRAPPED),
        Ok(Some(Decision::Forward(route))) if route.masked => tell(MASKED),
        Ok(Some(decision)) => {
            scratch.decision = decision;
            tell(DECIDED)
        }
        Ok(None) => tell(NONE),
        Err(reason) => tell(code(reason)),
    }
}

/// What becomes of one whose flow is not there: stores what begins.
///
/// The steps take turns in one function without a frame to speak of.
#[inline(always)]
pub(crate) fn none(context: *mut c_void, came_by: u32, is_net: bool) {
    occupant();
    match told() {
        0 => {
            tell(code(Reason::NotOurs));
            return;
        }
        value if Occupant::is_backend(value) && about().origin() == Origin::Behind => {
            tell(code(Reason::NotOurs));
            return;
        }
        value if Occupant::is_backend(value) => begin_straight(context, came_by),
        _ if is_net && about().is_arrived() => tunnels::begin(context, came_by),
        _ => begin(context, came_by),
    };
    let mut begun = told();
    if begun == TRACES {
        prepare_trace();
        calls::put();
        tell(code(Reason::Straight));
        return;
    }
    if begun != BEGINS {
        return;
    }
    if is_net && tunnels::is_wrapped() {
        tunnels::prepare_back();
    } else if is_net && relays::is_masked() {
        relays::prepare_back(context, came_by);
    } else {
        prepare_back(context, came_by);
    }
    begun = told();
    if begun != BEGINS {
        return;
    }
    let number = calls::put();
    if let Err(reason) = at(calls::stored(number)) {
        tell(code(reason));
        return;
    }
    prepare_forth(number);
    finish(calls::put());
    if is_net && tunnels::is_wrapped() {
        tunnels::begun();
    } else if is_net {
        relays::begun();
    }
}

#[inline(never)]
fn begin(context: *mut c_void, came_by: u32) -> u32 {
    let tables = Maps { context, interface: came_by, came_by };
    let value = told();
    let (Some(scratch), Ok(node)) = (maps::scratch(), Node::new(&tables)) else {
        return tell(code(Reason::NotReady));
    };
    let origin = about().origin();
    match start::fresh(node, &scratch.segment, origin, Occupant::id(value)) {
        Ok(beginning) => tell(keep(scratch, beginning)),
        Err(reason) => tell(code(reason)),
    }
}

#[inline(never)]
fn begin_straight(context: *mut c_void, came_by: u32) -> u32 {
    let tables = Maps { context, interface: came_by, came_by };
    let value = told();
    let (Some(scratch), Ok(node)) = (maps::scratch(), Node::new(&tables)) else {
        return tell(code(Reason::NotReady));
    };
    let origin = about().origin();
    match straight(node, &scratch.segment, origin, Occupant::id(value)) {
        Ok(beginning) => tell(keep(scratch, beginning)),
        Err(reason) => tell(code(reason)),
    }
}

#[inline(always)]
pub(crate) fn keep(scratch: &mut Scratch, beginning: Beginning) -> u32 {
    scratch.beginning = beginning;
    match beginning.begun {
        Begun::Passes => {
            scratch.decision = Decision::Forward(beginning.as_it_is());
            DECIDED
        }
        Begun::Flow => BEGINS,
        Begun::Trace => TRACES,
    }
}

#[inline(never)]
fn prepare_trace() -> u32 {
    let tables = Maps { context: core::ptr::null_mut(), interface: 0, came_by: 0 };
    let (Some(scratch), Ok(node)) = (maps::scratch(), Node::new(&tables)) else { return NONE };
    scratch.request = start::trace(node, &scratch.segment, &scratch.beginning);
    TRACES
}

#[inline(never)]
fn prepare_back(context: *mut c_void, came_by: u32) -> u32 {
    let tables = Maps { context, interface: came_by, came_by };
    let (Some(scratch), Ok(node)) = (maps::scratch(), Node::new(&tables)) else {
        return tell(code(Reason::NotReady));
    };
    match start::back(node, &scratch.segment, about().origin(), &scratch.beginning) {
        Ok(request) => {
            scratch.request = request;
            tell(BEGINS)
        }
        Err(reason) => tell(code(reason)),
    }
}

#[inline(never)]
fn prepare_forth(place: u32) -> u32 {
    let Some(scratch) = maps::scratch() else { return NONE };
    scratch.request = start::forth(&scratch.segment, &scratch.request, place);
    BEGINS
}

#[inline(never)]
fn finish(number: u32) -> u32 {
    let tables = Maps { context: core::ptr::null_mut(), interface: 0, came_by: 0 };
    let (Some(scratch), Ok(node)) = (maps::scratch(), Node::new(&tables)) else {
        return tell(code(Reason::NotReady));
    };
    let stored = calls::stored(number);
    match start::finish(node, &scratch.segment, &scratch.beginning, &scratch.request, stored) {
        Ok(route) => {
            scratch.decision = Decision::Forward(route);
            scratch.seen |= Scratch::BEGAN;
            tell(DECIDED)
        }
        Err(reason) => tell(code(reason)),
    }
}

/// Whether the packet's sender is to be told.
#[inline(always)]
pub(crate) fn is_refused() -> bool {
    !about().is_mute() && reason(told()).is_some_and(|reason| reason.action() == Action::Refuse)
}

/// Rewrites the packet, and tells the outcome in one number.
#[inline(always)]
pub(crate) fn act<P: Packet>(packet: &mut P) -> u32 {
    let about = about();
    let (None, Some(scratch)) = (reason(told()), maps::scratch()) else {
        return tell(hooks::unforwarded(reason(told()).unwrap_or(Reason::NotReady)).to_word());
    };
    let (segment, decision) = (segment(about, scratch), scratch.decision);
    tell(hooks::inbound_act(packet, &segment, about.origin(), decision).to_word())
}

/// Tells the packet's sender, and the outcome in one number.
#[inline(always)]
pub(crate) fn refuse<P: Packet>(packet: &mut P, tables: &Maps) -> u32 {
    let about = about();
    let reason = reason(told()).unwrap_or(Reason::NotReady);
    let Some(scratch) = maps::scratch() else { return 0 };
    let segment = segment(about, scratch);
    tell(hooks::refused(packet, tables, about.l2(), &segment, reason).to_word())
}

/// Whom an answer comes from and goes to.
#[inline(always)]
pub(crate) fn known_back(tables: &Maps) -> u32 {
    let (Some(scratch), Ok(node)) = (maps::scratch(), Node::new(tables)) else {
        return tell(code(Reason::NotReady));
    };
    match ends(node, &scratch.segment) {
        Ok(ends) => {
            scratch.ends = ends;
            tell(DECIDED)
        }
        Err(reason) => tell(code(reason)),
    }
}

/// Rewrites an answer, and tells the outcome in one number.
#[inline(always)]
pub(crate) fn act_back<P: Packet>(packet: &mut P) -> u32 {
    let about = about();
    let (None, Some(scratch)) = (reason(told()), maps::scratch()) else {
        return tell(hooks::unrestored(reason(told()).unwrap_or(Reason::NotReady)).to_word());
    };
    tell(hooks::outbound_act(packet, &segment(about, scratch), scratch.ends).to_word())
}

/// The code of a reason.
#[inline(always)]
pub(crate) const fn code(reason: Reason) -> u32 {
    reason.slot().wrapping_add(REASON)
}

/// The reason in a number that a step gave.
#[inline(always)]
pub(crate) fn reason(decided: u32) -> Option<Reason> {
    if decided == NONE {
        return Some(Reason::NotReady);
    }
    decided.checked_sub(REASON).map(Reason::of_slot)
}
