//! The tcx hooks' steps: the plain case in the hook's own function, which pays for no call.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::programs::TcContext;
use canary_common::hooks::{self, First};
use canary_common::route::Origin;

use crate::relays;
use crate::steps::{self, About, MASKED, NONE};
use crate::tc::Skb;
use crate::verdict::{NEXT, of_skb};

/// Towards frontends.
#[inline(always)]
pub(crate) fn inbound(context: &TcContext, l2: usize, origin: Origin) -> i32 {
    let mut skb = Skb::new(context);
    let tables = skb.tables_in();
    if !skb.is_for_node(&tables) {
        return NEXT;
    }
    let outcome = match hooks::inbound_plain(&mut skb, &tables, l2, origin) {
        First::Done(outcome) => outcome.to_word(),
        First::Whole { version, bits } => {
            whole(skb.context(), tables.came_by, About::new(version, l2, origin, bits))
        }
    };
    of_skb(outcome, &skb, origin)
}

#[inline(always)]
fn whole(context: *mut __sk_buff, came_by: u32, about: About) -> u32 {
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
fn inbound_known(context: *mut __sk_buff) -> u32 {
    let skb = Skb::of(context);
    steps::known(&skb, &skb.tables_in())
}

#[inline(never)]
fn inbound_answer(context: *mut __sk_buff) -> u32 {
    let skb = Skb::of(context);
    relays::answer(&skb, &skb.tables_in())
}

#[inline(never)]
fn inbound_forth(context: *mut __sk_buff) -> u32 {
    relays::forth(&Skb::of(context).tables_in())
}

#[inline(never)]
fn inbound_send(context: *mut __sk_buff) -> u32 {
    relays::send(&mut Skb::of(context))
}

#[inline(never)]
fn inbound_refuse(context: *mut __sk_buff) -> u32 {
    let mut skb = Skb::of(context);
    let tables = skb.tables_in();
    steps::refuse(&mut skb, &tables)
}

#[inline(never)]
fn inbound_act(context: *mut __sk_buff) -> u32 {
    steps::act(&mut Skb::of(context))
}

/// Back to clients.
#[inline(always)]
pub(crate) fn outbound(context: &TcContext, l2: usize) -> i32 {
    let mut skb = Skb::new(context);
    let tables = skb.tables_out();
    if skb.is_sent_back(&tables) {
        return NEXT;
    }
    let outcome = match hooks::outbound_plain(&mut skb, &tables, l2) {
        First::Done(outcome) => outcome.to_word(),
        First::Whole { version, bits } => {
            steps::start(About::new(version, l2, Origin::Net, bits));
            outbound_known(skb.context());
            outbound_act(skb.context());
            steps::told()
        }
    };
    of_skb(outcome, &skb, Origin::Net)
}

#[inline(never)]
fn outbound_known(context: *mut __sk_buff) -> u32 {
    let skb = Skb::of(context);
    steps::known_back(&skb, &skb.tables_out())
}

#[inline(never)]
fn outbound_act(context: *mut __sk_buff) -> u32 {
    steps::act_back(&mut Skb::of(context))
}
