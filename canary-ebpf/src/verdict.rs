//! From outcomes to what the hooks return: one place to see every drop.

use aya_ebpf::bindings::{TC_ACT_SHOT, xdp_action};
use canary_common::hooks::{Outcome, Verdict};

use crate::maps;
use crate::tc::Skb;

/// `TCX_NEXT`: the next program of the chain, a CNI's policy say, has its turn. `TC_ACT_OK`
/// would end the chain.
const NEXT: i32 = -1;

/// The verdict of a tcx hook.
#[inline(always)]
pub(crate) fn of_skb(outcome: Outcome, skb: &Skb) -> i32 {
    if let Some(reason) = outcome.reason {
        maps::count(reason);
    }
    match outcome.verdict {
        Verdict::Pass => NEXT,
        Verdict::Back => i32::try_from(skb.send_back()).unwrap_or(DROP),
        Verdict::Drop => DROP,
    }
}

/// The verdict of the XDP hook.
#[inline(always)]
pub(crate) fn of_frame(outcome: Outcome) -> u32 {
    if let Some(reason) = outcome.reason {
        maps::count(reason);
    }
    match outcome.verdict {
        Verdict::Pass => xdp_action::XDP_PASS,
        Verdict::Back => xdp_action::XDP_TX,
        Verdict::Drop => xdp_action::XDP_DROP,
    }
}

const DROP: i32 = TC_ACT_SHOT;
