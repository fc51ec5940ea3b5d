//! The tcx hooks' steps, a family each.
//!
//! Verifier: a program has 512 bytes of stack. Each family's step is a function of its own, with
//! nothing but scalars in and out, so that only one of them is on the stack.

use aya_ebpf::programs::TcContext;
use canary_common::flow::{V4, V6};
use canary_common::forward::Origin;
use canary_common::hooks;
use canary_common::segment::Version;

use crate::tc::Skb;
use crate::verdict::of_skb;

/// Towards frontends.
#[inline(always)]
pub(crate) fn inbound(context: &TcContext, l2: usize, origin: Origin) -> i32 {
    let skb = Skb::new(context);
    match hooks::version(&skb, l2) {
        Ok(Version::V4) => inbound4(skb, l2, origin),
        Ok(Version::V6) => inbound6(skb, l2, origin),
        Err(outcome) => of_skb(outcome, &skb),
    }
}

/// Back to clients.
#[inline(always)]
pub(crate) fn outbound(context: &TcContext, l2: usize) -> i32 {
    let skb = Skb::new(context);
    match hooks::version(&skb, l2) {
        Ok(Version::V4) => outbound4(skb, l2),
        Ok(Version::V6) => outbound6(skb, l2),
        Err(outcome) => of_skb(outcome, &skb),
    }
}

#[inline(always)]
fn inbound4(mut skb: Skb, l2: usize, origin: Origin) -> i32 {
    let tables = skb.tables();
    of_skb(hooks::inbound::<V4, _, _>(&mut skb, &tables, l2, origin), &skb)
}

#[inline(always)]
fn inbound6(mut skb: Skb, l2: usize, origin: Origin) -> i32 {
    let tables = skb.tables();
    of_skb(hooks::inbound::<V6, _, _>(&mut skb, &tables, l2, origin), &skb)
}

#[inline(always)]
fn outbound4(mut skb: Skb, l2: usize) -> i32 {
    let tables = skb.tables();
    of_skb(hooks::outbound::<V4, _, _>(&mut skb, &tables, l2), &skb)
}

#[inline(always)]
fn outbound6(mut skb: Skb, l2: usize) -> i32 {
    let tables = skb.tables();
    of_skb(hooks::outbound::<V6, _, _>(&mut skb, &tables, l2), &skb)
}
