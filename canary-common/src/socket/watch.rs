//! What becomes of a stream that was sent to a backend when it connected: its packets are not seen
//! by the hooks, the kernel tells.

use super::pick::Pick;
use crate::node::Node;
use crate::stats::{Counter, Exchange, Timing};
use crate::tables::Tables;

/// States of TCP, as the kernel numbers them (`include/net/tcp_states.h`).
pub mod state {
    /// Our end has sent FIN, and it was acknowledged.
    pub const FIN_WAIT2: u32 = 5;
    /// Nothing is left.
    pub const CLOSE: u32 = 7;
    /// The peer has sent FIN.
    pub const CLOSE_WAIT: u32 = 8;
    /// Both have sent FIN, the peer first.
    pub const LAST_ACK: u32 = 9;
    /// Both have sent FIN at the same time.
    pub const CLOSING: u32 = 11;
}

/// What the kernel counted of a stream that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The state that it was in.
    pub was: u32,
    /// Sequence numbers that the peer acknowledged.
    pub acked: u64,
    /// Sequence numbers that came from the peer behind its SYN.
    pub received: u64,
}

/// The connection was established: counted, and how long that took.
#[inline(always)]
pub fn established<T: Tables + ?Sized>(node: Node<'_, T>, pick: &Pick) -> bool {
    let Some(picked) = pick.get(node.tables) else { return false };
    node.tables.count(picked.statistics, Counter::Established, 1);
    if node.tables.is_timed(picked.statistics) {
        let ticks = node.tables.tick().wrapping_sub(pick.tick(node.tables));
        // A tick is 1.024 µs: times 67,109 / 65,536.
        let us = u64::from(ticks).wrapping_mul(67_109) >> 16;
        let us = u32::try_from(us).unwrap_or(u32::MAX);
        node.tables.observe(picked.statistics, Timing::Connect, us);
    }
    true
}

/// A segment of it is sent once more.
#[inline(always)]
pub fn resent<T: Tables + ?Sized>(tables: &T, pick: &Pick) {
    if let Some(picked) = pick.get(tables) {
        tables.show(picked.statistics, Exchange::SegmentAgain);
    }
}

/// An established connection ended, in whatever way: the kernel does not tell who reset it.
#[inline(always)]
pub fn ended<T: Tables + ?Sized>(node: Node<'_, T>, pick: &Pick, end: End) {
    let Some(picked) = pick.get(node.tables) else { return };
    let fin_acked = matches!(end.was, state::FIN_WAIT2 | state::LAST_ACK | state::CLOSING);
    let fin_received =
        matches!(end.was, state::FIN_WAIT2 | state::CLOSE_WAIT | state::LAST_ACK | state::CLOSING);
    // SYN and FIN have a sequence number each and are no payload.
    let to_backend = end.acked.saturating_sub(1).saturating_sub(u64::from(fin_acked));
    let to_client = end.received.saturating_sub(u64::from(fin_received));
    node.tables.count(picked.statistics, Counter::Closed, 1);
    node.tables.count(picked.statistics, Counter::BytesToBackend, to_backend);
    node.tables.count(picked.statistics, Counter::BytesToClient, to_client);
}
