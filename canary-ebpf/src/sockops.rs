//! What becomes of streams that were sent somewhere when they connected.

use aya_ebpf::bindings::{
    BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_RETRANS_CB, BPF_SOCK_OPS_RETRANS_CB_FLAG,
    BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG,
};
use aya_ebpf::programs::SockOpsContext;
use canary_common::node::Node;
use canary_common::socket::{self, End, Pick, state};

use crate::maps::{self, Maps};

/// The only tables there are for a socket: no interface belongs to it.
const TABLES: Maps = Maps { context: core::ptr::null_mut(), interface: 0, came_by: 0 };
/// What the kernel does where there is no program. It takes no other answer.
const AS_EVER: u32 = 1;

/// A socket of TCP has come to something.
#[inline(always)]
pub(crate) fn watch(context: &SockOpsContext) -> u32 {
    match context.op() {
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => established(context),
        BPF_SOCK_OPS_RETRANS_CB => resent(context),
        BPF_SOCK_OPS_STATE_CB if context.arg(1) == state::CLOSE => ended(context),
        _ => {}
    }
    AS_EVER
}

#[inline(always)]
fn established(context: &SockOpsContext) {
    let Some(pick) = pick(context) else { return };
    let Ok(node) = Node::new(&TABLES) else { return };
    if socket::established(node, pick) {
        let wanted = BPF_SOCK_OPS_STATE_CB_FLAG | BPF_SOCK_OPS_RETRANS_CB_FLAG;
        let flags = context.cb_flags() | wanted;
        // Where it is refused, neither is counted.
        let _: Result<(), i32> = context.set_cb_flags(flags.cast_signed());
    }
}

/// The socket sends a segment once more.
#[inline(always)]
fn resent(context: &SockOpsContext) {
    if let Some(pick) = pick(context) {
        socket::resent(&TABLES, pick);
    }
}

#[expect(unsafe_code, reason = "reads the context")]
#[inline(always)]
fn ended(context: &SockOpsContext) {
    let was = context.arg(0);
    // SAFETY: the context is valid for the whole run.
    let acked = unsafe { (*context.ops).bytes_acked };
    // SAFETY: as above.
    let received = unsafe { (*context.ops).bytes_received };
    let Some(pick) = pick(context) else { return };
    let Ok(node) = Node::new(&TABLES) else { return };
    socket::ended(node, pick, End { was, acked, received });
}

/// The socket's pick; `None` for most sockets.
#[expect(unsafe_code, reason = "reads the context")]
#[inline(always)]
fn pick<'a>(context: &SockOpsContext) -> Option<&'a Pick> {
    // SAFETY: the context is valid for the whole run.
    let ops = unsafe { &*context.ops };
    // SAFETY: of the union every byte is set.
    let socket = unsafe { ops.__bindgen_anon_2.sk };
    if socket.is_null() { None } else { maps::pick(socket.cast(), false) }
}
