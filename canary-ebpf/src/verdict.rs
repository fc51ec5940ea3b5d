//! From outcomes to what the hooks return: one place to see every drop.

use aya_ebpf::bindings::{TC_ACT_SHOT, xdp_action};
use canary_common::hooks::{Outcome, Verdict};
use canary_common::reason::Reason;
use canary_common::route::Origin;

use crate::maps;
use crate::skb::Skb;
use crate::steps;

/// `TCX_NEXT`: the next program of the chain, a CNI's policy say, has its turn. `TC_ACT_OK`
/// would end the chain.
pub(crate) const NEXT: i32 = -1;

/// The verdict of a tcx hook.
#[inline(always)]
pub(crate) fn of_skb(outcome: u32, skb: &Skb, origin: Origin) -> i32 {
    let sent = match (verdict(outcome), origin) {
        (Verdict::Pass, _) => return NEXT,
        (Verdict::Back, Origin::Pod) => skb.send_to_pod(),
        (Verdict::Back, Origin::Net | Origin::Behind) => skb.send_to_net(),
        (Verdict::Away, _) => skb.send_away(steps::about().l2()),
        (Verdict::Drop, _) => return DROP,
    };
    i32::try_from(sent).unwrap_or(DROP)
}

/// The verdict of a tcx hook on the way out: what goes back comes in again.
#[inline(always)]
pub(crate) fn of_skb_out(outcome: u32, skb: &Skb) -> i32 {
    match verdict(outcome) {
        Verdict::Pass => NEXT,
        Verdict::Back => i32::try_from(skb.send_in()).unwrap_or(DROP),
        // Nothing is sent on from here.
        Verdict::Drop | Verdict::Away => DROP,
    }
}

/// The verdict of an outcome, whose reason is counted, unless it has nothing to do with us.
#[inline(always)]
fn verdict(outcome: u32) -> Verdict {
    let (verdict, reason) = Outcome::of_word(outcome);
    if let Some(reason) = reason
        && reason != Reason::NotOurs.slot()
        && reason != Reason::NotIp.slot()
    {
        maps::count(reason);
    }
    verdict
}

/// The verdict of the XDP hook.
#[inline(always)]
pub(crate) fn of_frame(outcome: u32) -> u32 {
    match verdict(outcome) {
        Verdict::Pass => xdp_action::XDP_PASS,
        Verdict::Back | Verdict::Away => xdp_action::XDP_TX,
        Verdict::Drop => xdp_action::XDP_DROP,
    }
}

const DROP: i32 = TC_ACT_SHOT;
/// The verdict of the XDP hook for a frame that is not ours.
pub(crate) const PASS: u32 = xdp_action::XDP_PASS;
