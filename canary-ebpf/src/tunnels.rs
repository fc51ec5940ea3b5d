//! The steps for packets within packets, as in `steps.rs`.

use core::ffi::c_void;

use canary_common::directory::Occupant;
use canary_common::flows::Values;
use canary_common::headers::{Carried, Headers};
use canary_common::icmp;
use canary_common::node::Node;
use canary_common::packet::Packet;
use canary_common::reason::Reason;
use canary_common::route::Origin;
use canary_common::segment::Segment;
use canary_common::tunnel::{self, arrive};
use canary_common::wire::header_len;
use canary_common::wire::icmp::Says;

use crate::maps::{self, Maps};
use crate::rare;
use crate::steps::{
    self, BEGINS, ERROR, FOLLOWS, FRAGMENT, PACKET, QUOTES, SEGMENT, WRAPS, about, code, tell, told,
};

/// Tells that the packet that this one goes within is in the scratch row, or why not.
#[inline(always)]
fn left(found: Result<bool, Reason>, otherwise: u32) -> u32 {
    match found {
        Ok(true) => tell(WRAPS),
        Ok(false) => tell(otherwise),
        Err(reason) => tell(code(reason)),
    }
}

/// The tables of a step that asks for no interface.
#[inline(always)]
fn nowhere() -> Maps {
    Maps { context: core::ptr::null_mut(), interface: 0, came_by: 0 }
}

/// Whether the packets of the flow that begins go within others.
///
/// Verifier: read each time, as in `relays.rs`.
#[inline(always)]
#[expect(unsafe_code, reason = "a load that the compiler must not do without")]
pub(crate) fn is_wrapped() -> bool {
    let Some(scratch) = maps::scratch() else { return false };
    // SAFETY: the pointer comes from a reference.
    unsafe { (&raw const scratch.beginning.values.flags).read_volatile() & Values::WRAPPED != 0 }
}

/// Prepares the `return` of such a flow.
#[inline(never)]
pub(crate) fn prepare_back() -> u32 {
    let tables = nowhere();
    let (Some(scratch), Ok(node)) = (maps::scratch(), Node::new(&tables)) else {
        return tell(code(Reason::NotReady));
    };
    scratch.request = tunnel::back(node, &scratch.segment, &scratch.beginning);
    tell(BEGINS)
}

/// The packet that the first one goes within of the flow that was stored last.
#[inline(never)]
pub(crate) fn begun() -> u32 {
    if told() != steps::DECIDED {
        return 0;
    }
    let tables = nowhere();
    let (Some(scratch), Ok(node)) = (maps::scratch(), Node::new(&tables)) else {
        return tell(code(Reason::NotReady));
    };
    let to = scratch.beginning.to.address;
    left(tunnel::around(node, to, &mut scratch.outer).map(|()| true), 0)
}

/// The packet that one of a flow goes within.
#[inline(always)]
pub(crate) fn forth(tables: &Maps) -> u32 {
    let (Some(scratch), Ok(node)) = (maps::scratch(), Node::new(tables)) else {
        return tell(code(Reason::NotReady));
    };
    let found = tunnel::forth(node, &scratch.segment, Origin::Net, &mut scratch.outer);
    left(found.map(|()| true), 0)
}

/// The packet that a fragment goes within, if its first did.
#[inline(always)]
pub(crate) fn follow(tables: &Maps) -> u32 {
    let (Some(scratch), Ok(node)) = (maps::scratch(), Node::new(tables)) else {
        return tell(code(Reason::NotReady));
    };
    let headers = steps::headers(about(), scratch);
    left(tunnel::follow(node, &headers, &mut scratch.outer), FRAGMENT)
}

/// The packet that an ICMP error goes within, if it is about the answer of such a flow.
#[inline(always)]
pub(crate) fn relate(tables: &Maps) -> u32 {
    let (Some(scratch), Ok(node)) = (maps::scratch(), Node::new(tables)) else {
        return tell(code(Reason::NotReady));
    };
    left(tunnel::about(node, &scratch.quote, &mut scratch.outer), QUOTES)
}

/// Prepares the entry that the fragments behind a first need.
#[inline(always)]
pub(crate) fn remember(tables: &Maps) -> u32 {
    let (Some(scratch), Ok(node)) = (maps::scratch(), Node::new(tables)) else { return tell(0) };
    match tunnel::of_first(node, &scratch.headers, &scratch.outer) {
        Some(request) => {
            scratch.request = request;
            rare::replace(node, scratch)
        }
        None => tell(0),
    }
}

/// Puts the packet into another, and tells the outcome in one number.
#[inline(always)]
pub(crate) fn wrap<P: Packet>(packet: &mut P) -> u32 {
    let about = about();
    let Some(scratch) = maps::scratch() else { return tell(code(Reason::NotReady)) };
    tell(tunnel::send(packet, about.version(), about.l2(), &scratch.outer).to_word())
}

/// Walks the headers of the packet within the one whose headers were walked, and tells what it is.
#[inline(always)]
pub(crate) fn inner<P: Packet>(packet: &P) -> u32 {
    let about = about();
    let Some(scratch) = maps::scratch() else { return tell(code(Reason::NotReady)) };
    let l3_at = about.l2();
    let l4_at = l3_at.wrapping_add(header_len(about.version()));
    let outer = Headers { l3_at, l4_at, version: about.version(), ..scratch.headers };
    scratch.outer.destination = outer.destination;
    let inner = match arrive::inner(packet, &outer) {
        Ok(inner) => inner,
        Err(reason) => return tell(code(reason)),
    };
    scratch.headers = inner;
    match inner.carried() {
        Carried::Segment => tell(SEGMENT),
        Carried::Fragment => tell(FRAGMENT),
        Carried::Icmp if icmp::says(packet, &inner) == Ok(Says::Error) => tell(ERROR),
        Carried::Icmp | Carried::Packet | Carried::Other => tell(code(Reason::NotTcpOrUdp)),
    }
}

/// Reads the segment of that packet.
#[inline(always)]
pub(crate) fn segment<P: Packet>(packet: &P) -> u32 {
    let about = about();
    let Some(scratch) = maps::scratch() else { return tell(code(Reason::NotReady)) };
    match Segment::behind(packet, &steps::headers(about, scratch)) {
        Ok(segment) => {
            scratch.segment = segment;
            tell(SEGMENT)
        }
        Err(reason) => tell(code(reason)),
    }
}

/// Tells whether that is served here.
#[inline(always)]
pub(crate) fn look(tables: &Maps) -> u32 {
    let (Some(scratch), Ok(node)) = (maps::scratch(), Node::new(tables)) else {
        return tell(code(Reason::NotReady));
    };
    match arrive::look(node, &scratch.segment, scratch.outer.destination) {
        Ok(picked) => {
            scratch.picked = picked;
            tell(PACKET)
        }
        Err(reason) => tell(code(reason)),
    }
}

/// Tells whether what is no segment is for the backend that the packet around it is for.
#[inline(always)]
pub(crate) fn same() -> u32 {
    let Some(scratch) = maps::scratch() else { return tell(code(Reason::NotReady)) };
    let to =
        if told() == FOLLOWS { scratch.follows.destination } else { scratch.mended.destination };
    let is_same = to.words() == scratch.outer.destination.words();
    tell(if is_same { PACKET } else { code(Reason::Encapsulated) })
}

/// Takes the packet out of the one around it.
#[inline(always)]
pub(crate) fn take_out<P: Packet>(packet: &mut P) -> u32 {
    let about = about();
    match packet.remove_header(about.l2(), about.version()) {
        Ok(()) => {
            steps::start(about.arrived());
            tell(PACKET)
        }
        Err(reason) => tell(code(reason)),
    }
}

/// Begins the flow of a packet that was taken out.
#[inline(never)]
pub(crate) fn begin(context: *mut c_void, came_by: u32) -> u32 {
    let tables = Maps { context, interface: came_by, came_by };
    let value = told();
    let (Some(scratch), Ok(node)) = (maps::scratch(), Node::new(&tables)) else {
        return tell(code(Reason::NotReady));
    };
    let Some(picked) = scratch.picked else { return tell(code(Reason::FlowLost)) };
    match arrive::begin(node, &scratch.segment, Occupant::id(value), picked) {
        Ok(beginning) if beginning.is_masked() => tell(code(Reason::FlowLost)),
        Ok(beginning) => tell(steps::keep(scratch, beginning)),
        Err(reason) => tell(code(reason)),
    }
}
