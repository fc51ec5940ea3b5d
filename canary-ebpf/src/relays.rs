//! The steps for clients outside and backends elsewhere, as in `steps.rs`.

use core::ffi::c_void;

use canary_common::addresses;
use canary_common::flows::Values;
use canary_common::hooks::{self, Outcome, Verdict};
use canary_common::node::Node;
use canary_common::packet::Packet;
use canary_common::rare::heard;
use canary_common::reason::Reason;
use canary_common::relay::{self, errors, pieces};
use canary_common::route::Origin;

use crate::calls::Scratch;
use crate::maps::{self, Maps};
use crate::rare;
use crate::steps::{
    self, BACK, BEGINS, DECIDED, FOLLOWS_ON, FORTH, FRAGMENT, MENDS_ON, QUOTES, about, code,
    reason, tell, told,
};

/// Whether a packet is the answer of a backend elsewhere, and whom it goes to; notes how long it is,
/// for all that look for a way.
#[inline(always)]
pub(crate) fn answer(tables: &Maps, length: u32) -> u32 {
    if let Some(scratch) = maps::scratch() {
        scratch.length = length;
    }
    if !about().may_be_answer() {
        return 0;
    }
    let (Some(scratch), Ok(node)) = (maps::scratch(), Node::new(tables)) else { return 0 };
    match relay::answer(node, &scratch.segment) {
        Ok(Some(relay)) => {
            scratch.relay = relay;
            scratch.seen |= Scratch::ANSWER;
            tell(BACK)
        }
        Ok(None) => 0,
        Err(reason) => tell(code(reason)),
    }
}

/// Whom a packet of a flow goes to whose backend is elsewhere.
#[inline(always)]
pub(crate) fn forth(tables: &Maps) -> u32 {
    let (Some(scratch), Ok(node)) = (maps::scratch(), Node::new(tables)) else {
        return tell(code(Reason::NotReady));
    };
    match relay::forth(node, &scratch.segment, Origin::Net) {
        Ok(relay) => {
            scratch.relay = relay;
            tell(FORTH)
        }
        Err(reason) => tell(code(reason)),
    }
}

/// Prepares the `return` of a flow that begins.
#[inline(never)]
pub(crate) fn prepare_back(context: *mut c_void, came_by: u32) -> u32 {
    let tables = Maps { context, interface: came_by, came_by };
    let (Some(scratch), Ok(node)) = (maps::scratch(), Node::new(&tables)) else {
        return tell(code(Reason::NotReady));
    };
    match relay::back(node, &scratch.segment, &scratch.beginning) {
        Ok(request) => {
            scratch.request = request;
            tell(BEGINS)
        }
        Err(reason) => tell(code(reason)),
    }
}

/// Whether the flow that begins goes to a backend elsewhere.
///
/// Verifier: read each time, for what is kept is known, and all that follows is walked twice.
#[inline(always)]
#[expect(unsafe_code, reason = "a load that the compiler must not do without")]
pub(crate) fn is_masked() -> bool {
    let Some(scratch) = maps::scratch() else { return false };
    // SAFETY: the pointer comes from a reference.
    unsafe { (&raw const scratch.beginning.values.flags).read_volatile() & Values::MASKED != 0 }
}

/// Whom the first packet goes to of the flow that was stored last, if its backend is elsewhere.
#[inline(never)]
pub(crate) fn begun() -> u32 {
    if !is_masked() || told() != DECIDED {
        return 0;
    }
    let tables = Maps { context: core::ptr::null_mut(), interface: 0, came_by: 0 };
    let (Some(scratch), Ok(node)) = (maps::scratch(), Node::new(&tables)) else {
        return tell(code(Reason::NotReady));
    };
    match relay::begun(node, scratch.request.values.partner) {
        Ok(relay) => {
            scratch.relay = relay;
            tell(FORTH)
        }
        Err(reason) => tell(code(reason)),
    }
}

/// Tells that a pod's packet is of no flow whose client was outside.
#[inline(always)]
pub(crate) fn not_of_pod() {
    tell(code(Reason::FlowLost));
}

/// Whether the packet is sent on.
#[inline(always)]
pub(crate) fn is_sent_on() -> bool {
    matches!(told(), FORTH | BACK)
}

/// Rewrites a packet that is sent on, and tells the outcome in one number.
#[inline(always)]
pub(crate) fn send<P: Packet>(packet: &mut P) -> u32 {
    let is_answer = told() == BACK;
    let Some(scratch) = maps::scratch() else { return tell(code(Reason::NotReady)) };
    let segment = steps::segment(about(), scratch);
    tell(relay::send(packet, &segment, scratch.relay, is_answer).to_word())
}

/// Bytes behind the segment's headers.
#[inline(always)]
pub(crate) fn payload() -> u32 {
    maps::scratch().map_or(0, |scratch| scratch.segment.payload)
}

/// Tells whether a fragment is sent on, as its first was.
#[inline(always)]
pub(crate) fn follow(tables: &Maps, length: u32) -> u32 {
    let about = about();
    let (Some(scratch), Ok(node)) = (maps::scratch(), Node::new(tables)) else {
        return tell(code(Reason::NotReady));
    };
    scratch.length = length;
    match pieces::follow(node, &steps::headers(about, scratch)) {
        Ok(Some(follows)) => {
            scratch.follows = follows;
            tell(FOLLOWS_ON)
        }
        Ok(None) => tell(FRAGMENT),
        Err(reason) => tell(code(reason)),
    }
}

/// Tells whether an ICMP error is about a packet that was sent on.
#[inline(always)]
pub(crate) fn relate(tables: &Maps) -> u32 {
    let (Some(scratch), Ok(node)) = (maps::scratch(), Node::new(tables)) else {
        return tell(code(Reason::NotReady));
    };
    scratch.length = 0;
    match errors::find(node, &scratch.quote) {
        Ok(Some(mended)) => {
            scratch.mended = mended;
            tell(MENDS_ON)
        }
        Ok(None) => tell(QUOTES),
        Err(reason) => tell(code(reason)),
    }
}

/// Has what is no segment, to the node's own address, and passes count as nothing of ours.
#[inline(always)]
pub(crate) fn hush() {
    if let Some(reason) = reason(told()) {
        tell(code(heard(reason, about().bits())));
    }
}

/// Whether the packet is to the node's own address alone.
#[inline(always)]
pub(crate) fn is_nodes_own() -> bool {
    about().bits() == addresses::NODE
}

/// Whether what is no segment is sent on.
#[inline(always)]
pub(crate) fn is_rare_sent_on() -> bool {
    matches!(told(), FOLLOWS_ON | MENDS_ON)
}

/// Rewrites a fragment that is sent on, and tells the outcome in one number.
#[inline(always)]
pub(crate) fn send_piece<P: Packet>(packet: &mut P) -> u32 {
    let Some(scratch) = maps::scratch() else { return tell(code(Reason::NotReady)) };
    let headers = steps::headers(about(), scratch);
    tell(pieces::send(packet, &headers, &scratch.follows).to_word())
}

/// The same of an ICMP error.
#[inline(always)]
pub(crate) fn send_error<P: Packet>(packet: &mut P) -> u32 {
    let Some(scratch) = maps::scratch() else { return tell(code(Reason::NotReady)) };
    let quote = rare::quoted(about(), scratch);
    tell(errors::send(packet, &quote, &scratch.mended).to_word())
}

/// Prepares the entry that the fragments behind a first need which is sent on.
#[inline(always)]
pub(crate) fn remember(tables: &Maps) -> u32 {
    let (Some(scratch), Ok(node)) = (maps::scratch(), Node::new(tables)) else { return tell(0) };
    match pieces::of_first(node, &scratch.headers, &scratch.relay) {
        Some(request) => {
            scratch.request = request;
            rare::replace(node, scratch)
        }
        None => tell(0),
    }
}

/// Whether the packet is too long for its way.
#[inline(always)]
pub(crate) fn is_too_long() -> bool {
    told() == code(Reason::TooLong)
}

/// Tells the packet's sender how long it may be, and the outcome in one number.
#[inline(always)]
pub(crate) fn too_long<P: Packet>(packet: &mut P, tables: &Maps) -> u32 {
    let about = about();
    let Some(scratch) = maps::scratch() else { return tell(code(Reason::NotReady)) };
    let segment = steps::segment(about, scratch);
    tell(hooks::too_long(packet, tables, about.l2(), &segment).to_word())
}

/// Aims a frame that is still the driver's at the next hop by which it leaves.
#[inline(always)]
pub(crate) fn aim<P: Packet>(packet: &mut P) {
    if let (Verdict::Away, _) = Outcome::of_word(told())
        && let Some(scratch) = maps::scratch()
    {
        // The header is there: it was read.
        let _: Result<(), Reason> = packet.write(0, scratch.exit.macs);
    }
}
