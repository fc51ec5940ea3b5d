//! A segment that an end of a connection on this node sends once more: the kernel tells of the
//! socket, its packets are not looked at.

use crate::endpoint::Endpoint;
use crate::flows::{Client, Entry, Key, Kind, Values};
use crate::node::Node;
use crate::stats::Exchange;
use crate::tables::Tables;

/// Counts a segment that a socket at `from` sends to `to` once more, if its connection is ours.
#[inline(always)]
pub fn resent<T: Tables + ?Sized>(node: Node<'_, T>, from: Endpoint, to: Endpoint) {
    let key = Key::new(from, to);
    let entry = |client, kind| {
        // Not by the scratch row: a packet may come in between.
        node.flow(&key, client).filter(|entry: &Entry<'_>| entry.head.kind() == kind)
    };
    let Some(entry) = entry(Client::IsSource, Kind::Forward)
        .or_else(|| entry(Client::IsDestination, Kind::Return))
    else {
        return;
    };
    if !entry.values.has(Values::DIRECT) {
        node.tables.show(entry.values.statistics, Exchange::SegmentAgain);
    }
}

#[cfg(test)]
mod tests;
