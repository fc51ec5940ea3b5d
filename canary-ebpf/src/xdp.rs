//! The XDP hook's steps, as in `tc.rs`.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use canary_common::hooks::{self, First};
use canary_common::reason::Reason;
use canary_common::route::Origin;
use canary_common::wire::ethernet;

use crate::about::About;
use crate::events::{self, Way};
use crate::frame::Frame;
use crate::rare;
use crate::relays;
use crate::steps::{
    self, ECHO, ERROR, FOLLOWS, FOLLOWS_ON, FRAGMENT, MASKED, MENDS, NONE, PACKET, QUOTES, SEGMENT,
    WRAPPED,
};
use crate::tunnels;
use crate::verdict::{PASS, of_frame};

/// Towards frontends.
#[inline(always)]
pub(crate) fn inbound(context: &XdpContext) -> u32 {
    let mut frame = Frame::new(context);
    let tables = frame.tables();
    let outcome = match hooks::inbound_plain(&mut frame, &tables, ethernet::LEN, Origin::Net) {
        First::Done(outcome) => outcome.to_word(),
        // Not in the plain case: a frame of a flow that this node has does no harm here, and is
        // another's at most where the interface is promiscuous.
        First::Whole { version, bits } => {
            steps::start(About::new(version, ethernet::LEN, Origin::Net, bits).in_driver());
            if is_for_node(frame.context()) == 0 {
                return PASS;
            }
            events::look(whole(frame.context()), frame.tables().came_by, Way::Forth)
        }
    };
    of_frame(outcome)
}

/// Whether the frame is for this node, as a number.
#[inline(never)]
fn is_for_node(context: *mut xdp_md) -> u32 {
    let frame = Frame::of(context);
    u32::from(frame.is_for_node(&frame.tables()))
}

#[inline(always)]
fn whole(context: *mut xdp_md) -> u32 {
    read(context);
    if rare::may_be() {
        inbound_rare(context);
        if relays::is_rare_sent_on() {
            return rare_send(context);
        }
        match steps::told() {
            FOLLOWS | MENDS => return rare_act(context),
            ECHO => return inbound_echo(context),
            _ => {}
        }
    }
    if steps::told() == SEGMENT {
        inbound_answer(context);
    }
    if steps::told() == SEGMENT {
        inbound_known(context);
    }
    match steps::told() {
        NONE => steps::none(context.cast(), Frame::of(context).tables().came_by, true),
        MASKED => _ = inbound_forth(context),
        // The hook behind makes room in front of it.
        WRAPPED => _ = wrapped_forth(context),
        _ => {}
    }
    if steps::about().is_first() {
        if relays::is_sent_on() {
            outside_remember(context);
        } else if !relays::is_nodes_own() {
            inbound_remember(context);
        }
    }
    if steps::is_refused() {
        inbound_refuse(context);
    } else if relays::is_sent_on() {
        inbound_send(context);
    } else if relays::is_too_long() {
        outside_too_long(context);
    } else {
        inbound_act(context);
    }
    steps::told()
}

#[inline(never)]
fn read(context: *mut xdp_md) -> u32 {
    steps::read(&Frame::of(context))
}

#[inline(never)]
fn inbound_known(context: *mut xdp_md) -> u32 {
    steps::known(&Frame::of(context).tables())
}

#[inline(never)]
fn inbound_answer(context: *mut xdp_md) -> u32 {
    let length = Frame::of(context).sent_length(steps::about().version());
    relays::answer(&Frame::of(context).tables(), length)
}

#[inline(never)]
fn inbound_forth(context: *mut xdp_md) -> u32 {
    relays::forth(&Frame::of(context).tables())
}

#[inline(never)]
fn wrapped_forth(context: *mut xdp_md) -> u32 {
    tunnels::forth(&Frame::of(context).tables())
}

#[inline(never)]
fn wrapped_follow(context: *mut xdp_md) -> u32 {
    tunnels::follow(&Frame::of(context).tables())
}

#[inline(never)]
fn wrapped_relate(context: *mut xdp_md) -> u32 {
    tunnels::relate(&Frame::of(context).tables())
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

/// What the ordinary way does not know: what it is, and what becomes of it.
#[inline(always)]
fn inbound_rare(context: *mut xdp_md) {
    rare_read(context);
    match steps::told() {
        SEGMENT => {
            rare_segment(context);
        }
        FRAGMENT => {
            outside_follow(context);
            if steps::told() == FRAGMENT {
                wrapped_follow(context);
            }
            if steps::told() == FRAGMENT {
                inbound_follow(context);
            }
        }
        ERROR => {
            rare_quote(context);
            if steps::told() == QUOTES {
                outside_relate(context);
            }
            if steps::told() == QUOTES {
                wrapped_relate(context);
            }
            if steps::told() == QUOTES {
                inbound_relate(context);
            }
        }
        // It is the hook's behind.
        PACKET => _ = steps::tell(steps::code(Reason::NotOurs)),
        _ => {}
    }
    relays::hush();
}

#[inline(never)]
fn outside_follow(context: *mut xdp_md) -> u32 {
    let length = Frame::of(context).sent_length(steps::about().version());
    relays::follow(&Frame::of(context).tables(), length)
}

#[inline(never)]
fn outside_relate(context: *mut xdp_md) -> u32 {
    relays::relate(&Frame::of(context).tables())
}

#[inline(never)]
fn outside_too_long(context: *mut xdp_md) -> u32 {
    let mut frame = Frame::of(context);
    let tables = frame.tables();
    relays::too_long(&mut frame, &tables)
}

#[inline(always)]
fn outside_remember(context: *mut xdp_md) {
    let decided = steps::told();
    outside_prepare(context);
    rare::store(decided);
}

#[inline(never)]
fn outside_prepare(context: *mut xdp_md) -> u32 {
    relays::remember(&Frame::of(context).tables())
}

/// Rewrites what is no segment and is sent on.
#[inline(always)]
fn rare_send(context: *mut xdp_md) -> u32 {
    if steps::told() == FOLLOWS_ON {
        outside_piece(context);
    } else {
        outside_error(context);
    }
    steps::told()
}

#[inline(never)]
fn outside_piece(context: *mut xdp_md) -> u32 {
    let mut frame = Frame::of(context);
    relays::send_piece(&mut frame);
    relays::aim(&mut frame);
    0
}

#[inline(never)]
fn outside_error(context: *mut xdp_md) -> u32 {
    let mut frame = Frame::of(context);
    relays::send_error(&mut frame);
    relays::aim(&mut frame);
    0
}

#[inline(never)]
fn rare_read(context: *mut xdp_md) -> u32 {
    let frame = Frame::of(context);
    rare::read(&frame)
}

#[inline(never)]
fn rare_segment(context: *mut xdp_md) -> u32 {
    rare::segment(&Frame::of(context))
}

#[inline(never)]
fn inbound_follow(context: *mut xdp_md) -> u32 {
    rare::follow(&Frame::of(context).tables())
}

#[inline(never)]
fn rare_quote(context: *mut xdp_md) -> u32 {
    rare::quote(&Frame::of(context))
}

#[inline(never)]
fn inbound_relate(context: *mut xdp_md) -> u32 {
    rare::relate(&Frame::of(context).tables())
}

#[inline(never)]
fn inbound_echo(context: *mut xdp_md) -> u32 {
    let mut frame = Frame::of(context);
    let tables = frame.tables();
    rare::echo(&mut frame, &tables);
    steps::told()
}

#[inline(never)]
fn inbound_remember(context: *mut xdp_md) -> u32 {
    rare::remember(&Frame::of(context).tables());
    0
}

/// Rewrites what is no segment.
#[inline(always)]
fn rare_act(context: *mut xdp_md) -> u32 {
    if steps::told() == FOLLOWS {
        rare_follow(context);
    } else {
        rare_mend(context);
    }
    steps::told()
}

#[inline(never)]
fn rare_follow(context: *mut xdp_md) -> u32 {
    rare::act(&mut Frame::of(context))
}

#[inline(never)]
fn rare_mend(context: *mut xdp_md) -> u32 {
    rare::mend(&mut Frame::of(context))
}
