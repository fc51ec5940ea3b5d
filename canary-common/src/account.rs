//! Keeps a flow's account: what happened in it, and what that adds to its split's counters.

use crate::flow::{Flow, Marks};
use crate::forward::Node;
use crate::segment::Segment;
use crate::stats::Counter;
use crate::tables::Tables;
use crate::wire::tcp;

/// Notes what a client's packet says of its flow.
#[inline(always)]
pub(crate) fn note_client<T: Tables + ?Sized>(node: Node<'_, T>, segment: &Segment, flow: &Flow) {
    flow.client_was_seen(node.now);
    if segment.payload > 0 {
        node.tables.count(flow.statistics(), Counter::BytesToBackend, u64::from(segment.payload));
        // Every datagram ends a write: a stream of them without answers reads the clock once.
        if segment.ends_a_write() && !(segment.is_udp() && flow.asked.load() != 0) {
            flow.asked.store(node.tables.tick());
        }
    }
    let bits = bits_of(segment);
    if bits & !flow.marks().0 != 0 {
        let before = Marks(node.tables.add_bits(&flow.marks, bits));
        count_end(node, flow, before, Marks(before.0 | bits));
    }
}

/// What a client's packet adds to the marks of its flow.
#[inline(always)]
pub(crate) fn bits_of(segment: &Segment) -> u32 {
    let mut bits = 0;
    if segment.payload > 0 {
        bits |= Marks::CLIENT_PAYLOAD;
    }
    if segment.has(tcp::FIN) {
        bits |= Marks::CLIENT_FIN;
    }
    if segment.has(tcp::RST) {
        bits |= Marks::CLIENT_RST;
    }
    bits
}

/// Counts how a flow ended, once, when it did with this change of its marks.
#[inline(always)]
pub(crate) fn count_end<T: Tables + ?Sized>(
    node: Node<'_, T>,
    flow: &Flow,
    before: Marks,
    after: Marks,
) {
    if !after.ended() || !after.has(Marks::TCP) {
        return;
    }
    let count = |counter| node.tables.count(flow.statistics(), counter, 1);
    if !before.ended() {
        if after.has(Marks::SERVER_RST) {
            count(if after.has(Marks::ANSWERED) {
                Counter::ResetByServer
            } else {
                Counter::Refused
            });
        } else if after.has(Marks::CLIENT_RST) {
            if after.has(Marks::ANSWERED) {
                count(Counter::ResetByClient);
            }
        } else {
            count(Counter::Closed);
        }
    }
    let no_answer = !after.has(Marks::SERVER_PAYLOAD);
    let too_late = after.has(Marks::LATE) && after.has(Marks::CLIENT_RST);
    let asked = after.has(Marks::ANSWERED) && after.has(Marks::CLIENT_PAYLOAD);
    if asked
        && (no_answer || too_late)
        && !Marks(node.tables.add_bits(&flow.marks, Marks::JUDGED)).has(Marks::JUDGED)
    {
        count(Counter::Unanswered);
    }
}
