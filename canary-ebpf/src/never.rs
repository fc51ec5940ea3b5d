//! Says what must never happen, into the agent's log.
//!
//! A function of its own, called where something is counted that cannot be: no packet that means
//! well comes by. At most once a second and CPU, so that a flood of bad news stays readable.

use aya_log_ebpf::error;
use canary_common::reason::Reason;
use canary_common::tables::Tables;

use crate::maps::{self, Maps};

/// What [`say`] is told by, beside slots of reasons.
pub(crate) const NO_PICK_KEPT: u32 = u32::MAX;

/// Says that a packet was not forwarded for a reason that tables in order never give.
#[inline(always)]
pub(crate) fn look(reason: u32) {
    if reason == Reason::BadRecord.slot() || reason == Reason::NotReady.slot() {
        say(reason);
    }
}

/// Says it, unless something was said in this second.
#[inline(never)]
pub(crate) fn say(what: u32) -> u32 {
    let tables = Maps { context: core::ptr::null_mut(), interface: 0, came_by: 0 };
    let (Some(scratch), Some(settings)) = (maps::scratch(), maps::settings()) else { return 0 };
    let now = tables.now(settings);
    if scratch.said == now {
        return 0;
    }
    scratch.said = now;
    if what == NO_PICK_KEPT {
        error!((), "PICKS refuses a pick: its socket will not be told the virtual address");
    } else if what == Reason::BadRecord.slot() {
        error!((), "a packet met a service's record that contradicts itself");
    } else {
        error!((), "a packet met tables that are not set up");
    }
    0
}
