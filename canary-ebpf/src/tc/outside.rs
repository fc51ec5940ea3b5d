//! The tcx hooks' steps that concern nothing but packets of the network.

use aya_ebpf::bindings::__sk_buff;

use super::{inbound_follow, inbound_relate, rare_quote, rare_read, rare_segment, tunnel};
use crate::rare;
use crate::relays;
use crate::skb::Skb;
use crate::steps::{self, ERROR, FOLLOWS_ON, FRAGMENT, PACKET, QUOTES, SEGMENT};

/// What the ordinary way does not know and comes by the network: it may be sent on.
#[inline(always)]
pub(super) fn read_rare(context: *mut __sk_buff) {
    rare_read(context);
    if steps::told() == PACKET {
        tunnel::take_out(context);
    }
    match steps::told() {
        SEGMENT => {
            rare_segment(context);
        }
        FRAGMENT => {
            follow(context);
            if steps::told() == FRAGMENT {
                tunnel::follow(context);
            }
            if steps::told() == FRAGMENT {
                inbound_follow(context);
            }
        }
        ERROR => {
            rare_quote(context);
            if steps::told() == QUOTES {
                relate(context);
            }
            if steps::told() == QUOTES {
                tunnel::relate(context);
            }
            if steps::told() == QUOTES {
                inbound_relate(context);
            }
        }
        _ => {}
    }
    relays::hush();
}

#[inline(never)]
fn follow(context: *mut __sk_buff) -> u32 {
    let length = Skb::of(context).sent_length(steps::about().l2(), 0);
    relays::follow(&Skb::of(context).tables_in(), length)
}

#[inline(never)]
fn relate(context: *mut __sk_buff) -> u32 {
    relays::relate(&Skb::of(context).tables_in())
}

#[inline(never)]
pub(super) fn too_long(context: *mut __sk_buff) -> u32 {
    let mut skb = Skb::of(context);
    let tables = skb.tables_in();
    relays::too_long(&mut skb, &tables)
}

#[inline(always)]
pub(super) fn remember(context: *mut __sk_buff) {
    let decided = steps::told();
    prepare(context);
    rare::store(decided);
}

#[inline(never)]
fn prepare(context: *mut __sk_buff) -> u32 {
    relays::remember(&Skb::of(context).tables_in())
}

/// Rewrites what is no segment and is sent on.
#[inline(always)]
pub(super) fn send_rare(context: *mut __sk_buff) -> u32 {
    if steps::told() == FOLLOWS_ON {
        piece(context);
    } else {
        error(context);
    }
    steps::told()
}

#[inline(never)]
fn piece(context: *mut __sk_buff) -> u32 {
    relays::send_piece(&mut Skb::of(context))
}

#[inline(never)]
fn error(context: *mut __sk_buff) -> u32 {
    relays::send_error(&mut Skb::of(context))
}
