//! The steps of the whole logic as functions of their own, the same for every kind of packet.
//!
//! Verifier: all functions of a call have 512 bytes of stack together, so what one step decides,
//! the next finds in the scratch row. So does it what the step gave, although that is a number: one
//! that is returned is known to the verifier, which then walks all that follows once for each.

use core::ffi::c_void;

use canary_common::addresses;
use canary_common::directory::Occupant;
use canary_common::endpoint::Version;
use canary_common::forward::of_flow;
use canary_common::hooks;
use canary_common::node::Node;
use canary_common::packet::Packet;
use canary_common::reason::{Action, Reason};
use canary_common::restore::ends;
use canary_common::route::{Decision, Origin};
use canary_common::segment::Segment;
use canary_common::start::{self, Beginning, Begun, at};
use canary_common::straight::straight;
use canary_common::wire::ethernet;

use crate::calls::{self, Scratch};
use crate::maps::{self, Maps};
use crate::relays;

/// No flow is there.
pub(crate) const NONE: u32 = 0;
/// The decision is in the scratch row.
pub(crate) const DECIDED: u32 = 1;
/// A flow begins, which is in the scratch row.
pub(crate) const BEGINS: u32 = 2;
/// A trace is to be left, which is in the scratch row.
const TRACES: u32 = 3;
/// The flow is there, and its backend elsewhere.
pub(crate) const MASKED: u32 = 4;
/// Both ends for which it is sent on to a backend elsewhere are in the scratch row.
pub(crate) const FORTH: u32 = 5;
/// The same for the answer of one.
pub(crate) const BACK: u32 = 6;
/// This and the slot of the reason why not.
const REASON: u32 = 7;

/// What a step needs to know of a packet, as bits of a number.
#[derive(Clone, Copy)]
pub(crate) struct About(u32);

impl About {
    const IS_V6: u32 = 1;
    const HAS_L2: u32 = 1 << 1;
    const IS_POD: u32 = 1 << 2;
    const IS_BEHIND: u32 = 1 << 3;
    const IS_FRAME: u32 = 1 << 4;
    /// The bits of `ADDRESSES` follow.
    const BITS: u32 = 5;

    #[inline(always)]
    pub(crate) fn new(version: Version, l2: usize, origin: Origin, bits: u64) -> Self {
        let v6 = if version == Version::V6 { Self::IS_V6 } else { 0 };
        let has_l2 = if l2 == 0 { 0 } else { Self::HAS_L2 };
        let origin = match origin {
            Origin::Pod => Self::IS_POD,
            Origin::Net => 0,
            Origin::Behind => Self::IS_BEHIND,
        };
        Self(v6 | has_l2 | origin | maps::low(bits) << Self::BITS)
    }

    /// The same of a packet that is still the driver's.
    #[inline(always)]
    pub(crate) const fn in_driver(self) -> Self {
        Self(self.0 | Self::IS_FRAME)
    }

    /// Whether the packet may be the answer of a backend elsewhere.
    #[inline(always)]
    pub(crate) fn may_be_answer(self) -> bool {
        self.0 & maps::low(addresses::NODE) << Self::BITS != 0
    }

    /// Whether the packet is still the driver's.
    #[inline(always)]
    pub(crate) const fn is_frame(self) -> bool {
        self.0 & Self::IS_FRAME != 0
    }

    #[inline(always)]
    pub(crate) const fn version(self) -> Version {
        if self.0 & Self::IS_V6 == 0 { Version::V4 } else { Version::V6 }
    }

    #[inline(always)]
    pub(crate) const fn l2(self) -> usize {
        if self.0 & Self::HAS_L2 == 0 { 0 } else { ethernet::LEN }
    }

    #[inline(always)]
    pub(crate) const fn origin(self) -> Origin {
        match self.0 & (Self::IS_POD | Self::IS_BEHIND) {
            0 => Origin::Net,
            Self::IS_POD => Origin::Pod,
            _ => Origin::Behind,
        }
    }
}

/// Tells the steps what the packet is.
#[inline(always)]
pub(crate) fn start(about: About) {
    if let Some(scratch) = maps::scratch() {
        scratch.about = about.0;
        scratch.code = NONE;
    }
}

/// What the packet is.
#[inline(always)]
pub(crate) fn about() -> About {
    About(maps::scratch().map_or(0, |scratch| scratch.about))
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

/// What becomes of a packet whose flow is there.
#[inline(always)]
pub(crate) fn known<P: Packet>(packet: &P, tables: &Maps) -> u32 {
    let about = about();
    let bits = u64::from(about.0 >> About::BITS);
    let segment = match hooks::inbound_segment(packet, tables, about.l2(), about.version(), bits) {
        Ok(segment) => segment,
        Err(reason) => return tell(code(reason)),
    };
    let (Some(scratch), Ok(node)) = (maps::scratch(), Node::new(tables)) else {
        return tell(code(Reason::NotReady));
    };
    scratch.segment = segment;
    match of_flow(node, &segment, about.origin(), bits) {
        Ok(Some(Decision::Masked(_))) => tell(MASKED),
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
    if is_net && relays::is_masked() {
        relays::prepare_back(context, came_by);
    } else {
        prepare_back(context, came_by);
    }
    begun = told();
    if begun != BEGINS {
        return;
    }
    let number = calls::put();
    if number >> 32 != 0 {
        tell(code(at(calls::stored(number)).err().unwrap_or(Reason::Busy)));
        return;
    }
    prepare_forth(maps::low(number));
    finish(calls::put());
    if is_net {
        relays::begun();
    }
}

/// Tells what is at the segment's destination, as a word of the directory; 0 for nothing.
#[inline(never)]
fn occupant() -> u32 {
    let tables = Maps { context: core::ptr::null_mut(), interface: 0, came_by: 0 };
    let (Some(scratch), Ok(node)) = (maps::scratch(), Node::new(&tables)) else { return tell(0) };
    tell(node.find(scratch.segment.destination).map_or(0, Occupant::to_value))
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
fn keep(scratch: &mut Scratch, beginning: Beginning) -> u32 {
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
fn finish(number: u64) -> u32 {
    let tables = Maps { context: core::ptr::null_mut(), interface: 0, came_by: 0 };
    let (Some(scratch), Ok(node)) = (maps::scratch(), Node::new(&tables)) else {
        return tell(code(Reason::NotReady));
    };
    let stored = calls::stored(number);
    match start::finish(node, &scratch.segment, &scratch.beginning, &scratch.request, stored) {
        Ok(route) => {
            scratch.decision = Decision::Forward(route);
            tell(DECIDED)
        }
        Err(reason) => tell(code(reason)),
    }
}

/// Whether the packet's sender is to be told.
#[inline(always)]
pub(crate) fn is_refused() -> bool {
    reason(told()).is_some_and(|reason| reason.action() == Action::Refuse)
}

/// Rewrites the packet, and tells the outcome in one number.
#[inline(always)]
pub(crate) fn act<P: Packet>(packet: &mut P) -> u32 {
    let about = about();
    let (None, Some(scratch)) = (reason(told()), maps::scratch()) else {
        return tell(hooks::unforwarded(reason(told()).unwrap_or(Reason::NotReady)).to_word());
    };
    let (l2, decision) = (about.l2(), scratch.decision);
    tell(hooks::inbound_act(packet, l2, about.origin(), about.version(), decision).to_word())
}

/// Tells the packet's sender, and the outcome in one number.
#[inline(always)]
pub(crate) fn refuse<P: Packet>(packet: &mut P, tables: &Maps) -> u32 {
    let about = about();
    let reason = reason(told()).unwrap_or(Reason::NotReady);
    tell(hooks::refused(packet, tables, about.l2(), about.version(), reason).to_word())
}

/// Whom an answer comes from and goes to.
#[inline(always)]
pub(crate) fn known_back<P: Packet>(packet: &P, tables: &Maps) -> u32 {
    let about = about();
    let segment = match Segment::of(packet, about.l2(), about.version()) {
        Ok(segment) => segment,
        Err(reason) => return tell(code(reason)),
    };
    let (Some(scratch), Ok(node)) = (maps::scratch(), Node::new(tables)) else {
        return tell(code(Reason::NotReady));
    };
    match ends(node, &segment) {
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
    tell(hooks::outbound_act(packet, about.l2(), about.version(), scratch.ends).to_word())
}

#[inline(always)]
pub(crate) const fn code(reason: Reason) -> u32 {
    reason.slot().wrapping_add(REASON)
}

/// The reason in a number that a step gave.
#[inline(always)]
fn reason(decided: u32) -> Option<Reason> {
    if decided == NONE {
        return Some(Reason::NotReady);
    }
    decided.checked_sub(REASON).map(Reason::of_slot)
}
