//! The XDP hook's steps, as in `skb.rs`.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use canary_common::hooks::{self, First};
use canary_common::route::Origin;
use canary_common::wire::ethernet;

use crate::relays;
use crate::steps::{self, About, MASKED, NONE};
use crate::verdict::{PASS, of_frame};
use crate::xdp::Frame;

/// Towards frontends.
#[inline(always)]
pub(crate) fn inbound(context: &XdpContext) -> u32 {
    let mut frame = Frame::new(context);
    let tables = frame.tables();
    let outcome = match hooks::inbound_plain(&mut frame, &tables, ethernet::LEN, Origin::Net) {
        First::Done(outcome) => outcome.to_word(),
        // Not in the plain case: a frame of a flow that this node has does no harm here, and is
        // another's at most where the interface is promiscuous.
        First::Whole { .. } if !frame.is_for_node(&tables) => return PASS,
        First::Whole { version, bits } => whole(
            frame.context(),
            tables.came_by,
            About::new(version, ethernet::LEN, Origin::Net, bits).in_driver(),
        ),
    };
    of_frame(outcome)
}

#[inline(always)]
fn whole(context: *mut xdp_md, came_by: u32, about: About) -> u32 {
    steps::start(about);
    let is_net = about.origin().is_net();
    if is_net {
        inbound_answer(context);
    }
    if steps::told() == NONE {
        inbound_known(context);
    }
    match steps::told() {
        NONE => steps::none(context.cast(), came_by, is_net),
        MASKED if is_net => _ = inbound_forth(context),
        _ => {}
    }
    if steps::is_refused() {
        inbound_refuse(context);
    } else if is_net && relays::is_sent_on() {
        inbound_send(context);
    } else {
        inbound_act(context);
    }
    steps::told()
}

#[inline(never)]
fn inbound_known(context: *mut xdp_md) -> u32 {
    let frame = Frame::of(context);
    steps::known(&frame, &frame.tables())
}

#[inline(never)]
fn inbound_answer(context: *mut xdp_md) -> u32 {
    let frame = Frame::of(context);
    relays::answer(&frame, &frame.tables())
}

#[inline(never)]
fn inbound_forth(context: *mut xdp_md) -> u32 {
    relays::forth(&Frame::of(context).tables())
}

#[inline(never)]
fn inbound_send(context: *mut xdp_md) -> u32 {
    let mut frame = Frame::of(context);
    relays::send(&mut frame);
    relays::aim(&mut frame);
    0
}

#[inline(never)]
fn inbound_refuse(context: *mut xdp_md) -> u32 {
    let mut frame = Frame::of(context);
    let tables = frame.tables();
    steps::refuse(&mut frame, &tables)
}

#[inline(never)]
fn inbound_act(context: *mut xdp_md) -> u32 {
    steps::act(&mut Frame::of(context))
}
