//! The XDP hook's steps, a family each; see `skb.rs` for why.

use aya_ebpf::programs::XdpContext;
use canary_common::flow::{V4, V6};
use canary_common::forward::Origin;
use canary_common::hooks;
use canary_common::segment::Version;
use canary_common::wire::ethernet;

use crate::verdict::of_frame;
use crate::xdp::Frame;

/// Towards frontends.
#[inline(always)]
pub(crate) fn inbound(context: &XdpContext) -> u32 {
    let frame = Frame::new(context);
    match hooks::version(&frame, ethernet::LEN) {
        Ok(Version::V4) => inbound4(frame),
        Ok(Version::V6) => inbound6(frame),
        Err(outcome) => of_frame(outcome),
    }
}

#[inline(always)]
fn inbound4(mut frame: Frame) -> u32 {
    let tables = frame.tables();
    of_frame(hooks::inbound::<V4, _, _>(&mut frame, &tables, ethernet::LEN, Origin::Net))
}

#[inline(always)]
fn inbound6(mut frame: Frame) -> u32 {
    let tables = frame.tables();
    of_frame(hooks::inbound::<V6, _, _>(&mut frame, &tables, ethernet::LEN, Origin::Net))
}
