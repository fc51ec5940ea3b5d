//! The tcx hooks' steps for packets within packets.

use aya_ebpf::bindings::__sk_buff;

use super::{inbound_follow, inbound_relate, rare_quote, rare_read};
use crate::rare;
use crate::skb::Skb;
use crate::steps::{self, ERROR, FOLLOWS, FRAGMENT, MENDS, PACKET, QUOTES, SEGMENT};
use crate::tunnels;

/// Takes a packet out of the one around it and tells what it is, if it is served here; else it
/// stays as it is.
#[inline(always)]
pub(super) fn take_out(context: *mut __sk_buff) {
    inner(context);
    match steps::told() {
        SEGMENT => {
            segment(context);
            if steps::told() == SEGMENT {
                look(context);
            }
        }
        FRAGMENT => {
            inbound_follow(context);
        }
        ERROR => {
            rare_quote(context);
            if steps::told() == QUOTES {
                inbound_relate(context);
            }
        }
        _ => {}
    }
    if matches!(steps::told(), FOLLOWS | MENDS) {
        same(context);
    }
    if steps::told() == PACKET {
        strip(context);
    }
    if steps::told() == PACKET {
        rare_read(context);
    }
}

#[inline(never)]
fn inner(context: *mut __sk_buff) -> u32 {
    tunnels::inner(&Skb::of(context))
}

#[inline(never)]
fn segment(context: *mut __sk_buff) -> u32 {
    tunnels::segment(&Skb::of(context))
}

#[inline(never)]
fn look(context: *mut __sk_buff) -> u32 {
    tunnels::look(&Skb::of(context).tables_in())
}

#[inline(never)]
fn same(_: *mut __sk_buff) -> u32 {
    tunnels::same()
}

#[inline(never)]
fn strip(context: *mut __sk_buff) -> u32 {
    tunnels::take_out(&mut Skb::of(context))
}

#[inline(never)]
pub(super) fn follow(context: *mut __sk_buff) -> u32 {
    tunnels::follow(&Skb::of(context).tables_in())
}

#[inline(never)]
pub(super) fn relate(context: *mut __sk_buff) -> u32 {
    tunnels::relate(&Skb::of(context).tables_in())
}

#[inline(never)]
pub(super) fn forth(context: *mut __sk_buff) -> u32 {
    tunnels::forth(&Skb::of(context).tables_in())
}

#[inline(never)]
pub(super) fn wrap(context: *mut __sk_buff) -> u32 {
    tunnels::wrap(&mut Skb::of(context))
}

#[inline(always)]
pub(super) fn remember(context: *mut __sk_buff) {
    let decided = steps::told();
    prepare(context);
    rare::store(decided);
}

#[inline(never)]
fn prepare(context: *mut __sk_buff) -> u32 {
    tunnels::remember(&Skb::of(context).tables_in())
}
