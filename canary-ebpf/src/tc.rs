//! The tcx hooks' steps: the plain case in the hook's own function, which pays for no call.

mod outside;
mod tunnel;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::programs::TcContext;
use canary_common::hooks::{self, First, Outcome, Verdict};
use canary_common::route::Origin;
use canary_common::tables::Tables as _;

use crate::about::About;
use crate::events::{self, Way};
use crate::occupant;
use crate::rare;
use crate::relays;
use crate::skb::Skb;
use crate::steps::{
    self, ECHO, ERROR, FOLLOWS, FRAGMENT, MASKED, MENDS, NONE, QUOTES, SEGMENT, WRAPPED, WRAPS,
};
use crate::verdict::{NEXT, of_skb, of_skb_out};

/// Towards frontends.
#[inline(always)]
pub(crate) fn inbound(context: &TcContext, l2: usize, origin: Origin) -> i32 {
    let mut skb = Skb::new(context);
    let tables = skb.tables_in();
    if !skb.is_for_node(&tables) {
        return NEXT;
    }
    let outcome = match hooks::inbound_plain(&mut skb, &tables, l2, origin) {
        // It passes, and the hook in front has counted it.
        First::Done(_) if origin == Origin::Behind => return NEXT,
        First::Done(outcome) => outcome.to_word(),
        First::Whole { version, bits } => {
            let about = About::new(version, l2, origin, bits);
            let outcome = whole(skb.context(), tables.came_by, about);
            // So it has this, but what goes within others.
            if origin == Origin::Behind
                && Outcome::of_word(outcome).0 == Verdict::Pass
                && !steps::about().is_within()
            {
                return NEXT;
            }
            let outcome = events::look(outcome, tables.came_by, Way::Forth);
            // Verifier: not `bits`, which it would keep apart all the way through.
            if steps::about().is_to_frontend() && Outcome::is_untouched(outcome) {
                skb.doubt();
            }
            outcome
        }
    };
    of_skb(outcome, &skb, origin)
}

#[inline(always)]
fn whole(context: *mut __sk_buff, came_by: u32, about: About) -> u32 {
    steps::start(about);
    let is_net = about.origin().is_net();
    read(context);
    if rare::may_be() {
        if is_net {
            outside::read_rare(context);
            if steps::told() == WRAPS {
                tunnel::wrap(context);
                return steps::told();
            }
            if relays::is_rare_sent_on() {
                return outside::send_rare(context);
            }
        } else {
            inbound_rare(context);
        }
        match steps::told() {
            FOLLOWS | MENDS => return rare_act(context),
            ECHO => return inbound_echo(context),
            _ => {}
        }
    }
    if is_net && steps::told() == SEGMENT {
        inbound_answer(context);
    }
    if steps::told() == SEGMENT {
        if !is_net && steps::is_of_hairpin() {
            inbound_hairpin(context);
        } else {
            inbound_known(context);
        }
    }
    match steps::told() {
        NONE => steps::none(context.cast(), came_by, is_net),
        WRAPPED | MASKED if is_net && steps::about().is_arrived() => relays::not_of_pod(),
        WRAPPED if is_net => _ = tunnel::forth(context),
        WRAPPED => relays::not_of_pod(),
        MASKED if is_net => _ = inbound_forth(context),
        MASKED => relays::not_of_pod(),
        _ => {}
    }
    end(context, is_net);
    steps::told()
}

/// Leaves what fragments need that follow, and does what was told.
#[inline(always)]
fn end(context: *mut __sk_buff, is_net: bool) {
    if steps::about().is_first() {
        if is_net && steps::told() == WRAPS {
            tunnel::remember(context);
        } else if is_net && relays::is_sent_on() {
            outside::remember(context);
        } else if !is_net || !relays::is_nodes_own() {
            inbound_remember(context);
        }
    }
    if steps::is_refused() {
        inbound_refuse(context);
    } else if is_net && steps::told() == WRAPS {
        tunnel::wrap(context);
    } else if is_net && relays::is_sent_on() {
        inbound_send(context);
    } else if is_net && relays::is_too_long() {
        outside::too_long(context);
    } else {
        inbound_act(context);
    }
}

#[inline(never)]
fn read(context: *mut __sk_buff) -> u32 {
    steps::read(&Skb::of(context))
}

#[inline(never)]
fn inbound_hairpin(context: *mut __sk_buff) -> u32 {
    steps::hairpin(&Skb::of(context).tables_in())
}

#[inline(never)]
fn inbound_known(context: *mut __sk_buff) -> u32 {
    steps::known(&Skb::of(context).tables_in())
}

#[inline(never)]
fn inbound_answer(context: *mut __sk_buff) -> u32 {
    let length = Skb::of(context).sent_length(steps::about().l2(), relays::payload());
    relays::answer(&Skb::of(context).tables_in(), length)
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

/// What the ordinary way does not know: what it is, and what becomes of it.
#[inline(always)]
fn inbound_rare(context: *mut __sk_buff) {
    rare_read(context);
    match steps::told() {
        SEGMENT => {
            rare_segment(context);
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
}

#[inline(never)]
fn rare_read(context: *mut __sk_buff) -> u32 {
    let skb = Skb::of(context);
    skb.reach(rare::HEADERS);
    rare::read(&skb)
}

#[inline(never)]
fn rare_segment(context: *mut __sk_buff) -> u32 {
    rare::segment(&Skb::of(context))
}

#[inline(never)]
fn inbound_follow(context: *mut __sk_buff) -> u32 {
    rare::follow(&Skb::of(context).tables_in())
}

#[inline(never)]
fn rare_quote(context: *mut __sk_buff) -> u32 {
    rare::quote(&Skb::of(context))
}

#[inline(never)]
fn inbound_relate(context: *mut __sk_buff) -> u32 {
    rare::relate(&Skb::of(context).tables_in())
}

#[inline(never)]
fn inbound_echo(context: *mut __sk_buff) -> u32 {
    let mut skb = Skb::of(context);
    let tables = skb.tables_in();
    rare::echo(&mut skb, &tables);
    steps::told()
}

#[inline(never)]
fn inbound_remember(context: *mut __sk_buff) -> u32 {
    rare::remember(&Skb::of(context).tables_in());
    0
}

/// Rewrites what is no segment.
#[inline(always)]
fn rare_act(context: *mut __sk_buff) -> u32 {
    if steps::told() == FOLLOWS {
        rare_follow(context);
    } else {
        rare_mend(context);
    }
    steps::told()
}

#[inline(never)]
fn rare_follow(context: *mut __sk_buff) -> u32 {
    rare::act(&mut Skb::of(context))
}

#[inline(never)]
fn rare_mend(context: *mut __sk_buff) -> u32 {
    rare::mend(&mut Skb::of(context))
}

/// Back to clients.
#[inline(always)]
pub(crate) fn outbound(context: &TcContext, l2: usize) -> i32 {
    let mut skb = Skb::new(context);
    let tables = skb.tables_out();
    if skb.is_sent_back(&tables) {
        return NEXT;
    }
    if skb.is_doubted(&tables)
        && let Some((version, address)) = hooks::to_frontend(&skb, &tables, l2)
        && tables.is_virtual(address)
    {
        // The address may be a backend's, too: what is not refused goes its ordinary way.
        let outcome = unserved(skb.context(), About::new(version, l2, Origin::Net, 0));
        if outcome != NOTHING {
            events::look(outcome, tables.interface, Way::Forth);
            return of_skb_out(outcome, &skb);
        }
    }
    let outcome = match hooks::outbound_plain(&mut skb, &tables, l2) {
        First::Done(outcome) => outcome.to_word(),
        First::Whole { version, bits } => {
            let outcome =
                whole_out(skb.context(), About::new(version, l2, Origin::Net, bits).out());
            events::look(outcome, tables.interface, Way::Back)
        }
    };
    of_skb_out(outcome, &skb)
}

/// The outcome of what is not refused here.
const NOTHING: u32 = u32::MAX;

/// Refuses a packet to a virtual address that nobody serves.
#[inline(always)]
fn unserved(context: *mut __sk_buff, about: About) -> u32 {
    steps::start(about);
    rare_read(context);
    match steps::told() {
        SEGMENT => {
            rare_segment(context);
        }
        ECHO => return inbound_echo(context),
        _ => {
            unserved_other(context);
        }
    }
    if steps::told() != SEGMENT {
        return NOTHING;
    }
    unserved_port(context);
    if steps::told() == NONE {
        return NOTHING;
    }
    if steps::is_refused() {
        inbound_refuse(context);
    } else {
        inbound_act(context);
    }
    steps::told()
}

#[inline(never)]
fn unserved_other(_: *mut __sk_buff) -> u32 {
    rare::without_ports()
}

#[inline(never)]
fn unserved_port(_: *mut __sk_buff) -> u32 {
    occupant::closed_port()
}

#[inline(always)]
fn whole_out(context: *mut __sk_buff, about: About) -> u32 {
    steps::start(about);
    read(context);
    if rare::may_be() {
        rare_read(context);
        match steps::told() {
            SEGMENT => {
                rare_segment(context);
            }
            FRAGMENT => {
                outbound_follow(context);
            }
            ERROR => {
                rare_quote(context);
                if steps::told() == QUOTES {
                    outbound_relate(context);
                }
            }
            _ => {}
        }
        if matches!(steps::told(), FOLLOWS | MENDS) {
            return rare_act(context);
        }
    }
    if steps::told() == SEGMENT {
        outbound_known(context);
    }
    if steps::is_refused() {
        // As on the way in: to whom the packet came from.
        inbound_refuse(context);
        return steps::told();
    }
    if steps::about().is_first() {
        outbound_remember(context);
    }
    outbound_act(context);
    steps::told()
}

#[inline(never)]
fn outbound_follow(context: *mut __sk_buff) -> u32 {
    rare::follow(&Skb::of(context).tables_out())
}

#[inline(never)]
fn outbound_relate(context: *mut __sk_buff) -> u32 {
    rare::relate(&Skb::of(context).tables_out())
}

#[inline(never)]
fn outbound_remember(context: *mut __sk_buff) -> u32 {
    rare::remember(&Skb::of(context).tables_out());
    0
}

#[inline(never)]
fn outbound_known(context: *mut __sk_buff) -> u32 {
    steps::known_back(&Skb::of(context).tables_out())
}

#[inline(never)]
fn outbound_act(context: *mut __sk_buff) -> u32 {
    steps::act_back(&mut Skb::of(context))
}
