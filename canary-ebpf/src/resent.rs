//! Segments that sockets send once more, from the kernel's tracepoint `tcp:tcp_retransmit_skb`.

use aya_ebpf::programs::TracePointContext;
use canary_common::endpoint::{Address, Endpoint, TCP};
use canary_common::node::Node;
use canary_common::resent;

use crate::maps::Maps;

/// No interface belongs to a socket.
const TABLES: Maps = Maps { context: core::ptr::null_mut(), interface: 0, came_by: 0 };

/// Offsets of the tracepoint's fields: the agent attaches only where they are these.
const STATE: usize = 24;
const SOURCE_PORT: usize = 28;
const DESTINATION_PORT: usize = 30;
const SOURCE: usize = 42;
const DESTINATION: usize = 58;

/// What the kernel calls a socket that has sent its SYN: hooks count those.
const SYN_SENT: u32 = 2;

/// Counts it, if the socket is an end of a connection of ours.
#[inline(always)]
pub(crate) fn count(context: &TracePointContext) -> u32 {
    if let Some([from, to]) = ends(context)
        && let Ok(node) = Node::new(&TABLES)
    {
        resent::resent(node, from, to);
    }
    0
}

/// Both ends of the socket; IPv4 addresses are mapped ones of IPv6 there, too.
#[inline(always)]
fn ends(context: &TracePointContext) -> Option<[Endpoint; 2]> {
    if read::<u32>(context, STATE)? == SYN_SENT {
        return None;
    }
    let end = |address, port| -> Option<Endpoint> {
        Some(Endpoint {
            address: Address(read(context, address)?),
            port: read::<u16>(context, port)?.to_be_bytes(),
            protocol: TCP,
        })
    };
    Some([end(SOURCE, SOURCE_PORT)?, end(DESTINATION, DESTINATION_PORT)?])
}

#[expect(unsafe_code, reason = "calls a helper")]
#[inline(always)]
fn read<T>(context: &TracePointContext, offset: usize) -> Option<T> {
    // SAFETY: the helper reads what the kernel allows, and every value of these types is one.
    unsafe { context.read_at(offset) }.ok()
}
