//! Source ports for connections that cannot keep their own.

use crate::flows::{Back, Client, Hash, Head, Key, Kind, low};
use crate::limits;
use crate::node::Node;
use crate::tables::Tables;

/// Source ports of the node's range, in an order that a tuple draws.
pub(crate) struct Ports {
    draw: u32,
}

impl Ports {
    #[inline(always)]
    pub(crate) fn new<T: Tables + ?Sized>(node: Node<'_, T>, of: &Key) -> Self {
        let hash = Hash::of(of, Client::IsDestination, node.settings.flows());
        Self { draw: low(hash.draw()) }
    }

    /// The next of `count` ports behind the first `skip` of the range.
    #[inline(always)]
    pub(crate) fn next<T: Tables + ?Sized>(
        &mut self,
        node: Node<'_, T>,
        skip: u32,
        count: u32,
    ) -> [u8; 2] {
        let step = low(u64::from(self.draw).wrapping_mul(u64::from(count)) >> 32);
        // The multiplier of Knuth's multiplicative hashing: the next draw is far from this one.
        self.draw = self.draw.wrapping_mul(2_654_435_761).wrapping_add(1);
        let first = node.settings.first_port.load().wrapping_add(skip);
        let [a, b, ..] = first.wrapping_add(step).to_le_bytes();
        [b, a]
    }
}

/// Whether a tuple from a backend to a client belongs to a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    No,
    /// To one that closed less than a minute ago: where it is, and its head.
    Closed(u32, Head),
    Yes,
}

/// Whether a tuple from a backend to a client is taken; one that nothing came by for a minute is
/// freed.
#[inline(always)]
pub(crate) fn is_taken<T: Tables + ?Sized>(node: Node<'_, T>, key: &Key) -> Taken {
    let by = node.settings.flows();
    let Some((head, place)) = node.tables.find_flow(key, Client::IsDestination, by) else {
        return Taken::No;
    };
    let silent = head.kind() == Kind::Straight && !head.has(Head::ANSWERED);
    match (head.ended(), head.idle(node.now) < limits::PORT_REUSE_IDLE) {
        (true, true) => Taken::Closed(place, head),
        (false, true) => Taken::Yes,
        (false, false) if !silent => Taken::Yes,
        (_, false) if node.tables.free_flow(place, head, by, Back::Goes) => Taken::No,
        (_, false) => Taken::Yes,
    }
}
