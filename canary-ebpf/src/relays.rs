//! The steps for clients outside and backends elsewhere, as in `steps.rs`.

use core::ffi::c_void;

use canary_common::flows::Values;
use canary_common::hooks::{Outcome, Verdict};
use canary_common::node::Node;
use canary_common::packet::Packet;
use canary_common::reason::Reason;
use canary_common::relay;
use canary_common::route::Origin;

use crate::calls::Scratch;
use crate::maps::{self, Maps};
use crate::steps::{self, BACK, BEGINS, DECIDED, FORTH, about, code, tell, told};

/// Whether a packet is the answer of a backend elsewhere, and whom it goes to.
#[inline(always)]
pub(crate) fn answer(tables: &Maps) -> u32 {
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
