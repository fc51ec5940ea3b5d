//! What is at a segment's destination, as a step of its own.

use canary_common::directory::Occupant;
use canary_common::node::Node;
use canary_common::reason::Reason;

use crate::maps::{self, Maps};
use crate::steps::{NONE, code, tell, told};

/// What is at the segment's destination, as [`occupant`] tells it.
#[inline(always)]
pub(crate) fn occupant_now() -> u32 {
    occupant();
    told()
}

/// Tells what is at the segment's destination, as a word of the directory; 0 for nothing.
#[inline(never)]
pub(crate) fn occupant() -> u32 {
    let tables = Maps { context: core::ptr::null_mut(), interface: 0, came_by: 0 };
    let (Some(scratch), Ok(node)) = (maps::scratch(), Node::new(&tables)) else { return tell(0) };
    tell(node.find(scratch.segment.destination).map_or(0, Occupant::to_value))
}

/// Tells that nothing is at the segment's destination, if so.
#[inline(always)]
pub(crate) fn closed_port() -> u32 {
    occupant();
    tell(if told() == 0 { code(Reason::ClosedPort) } else { NONE })
}
