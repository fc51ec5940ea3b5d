//! Keeps a connection's account: what happened in it, and what that adds to its split's counters.

use crate::flows::{self, Entry, Head, Values};
use crate::limits;
use crate::node::Node;
use crate::segment::Segment;
use crate::stats::{Counter, Timing};
use crate::tables::Tables;
use crate::wire::tcp;

/// Notes what a client's packet says of its connection.
#[inline(always)]
pub(crate) fn note_client<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
    forward: &Entry<'_>,
    back: &Entry<'_>,
) {
    flows::touch(node.tables, forward, node.now);
    count_bytes(node, segment, &forward.values, Counter::BytesToBackend);
    // Every datagram ends a write: a stream of them without answers reads the clock once.
    if forward.values.has(Values::TIMED)
        && segment.ends_a_write()
        && !(segment.is_udp() && back.values.mark != 0)
    {
        flows::ask(node.tables, back, node.tables.tick());
    }
    let answered = back.head.0 & Head::ANSWERED;
    let again = if answered == 0 { 0 } else { Head::AGAIN };
    let set = bits_of(segment) | answered | lasting(node, segment, forward);
    if set & !forward.head.0 != 0 {
        flows::mark(node.tables, forward, set, again);
    }
    let forward = Entry { head: Head(forward.head.0 | set), ..*forward };
    end(node, segment, &forward, back, End::Client);
}

/// Notes what a client's packet says of a connection whose answers go past this node.
///
/// Its second segment says that it was answered. It has one end alone, so that its own FIN ends it;
/// what comes later goes on with it, and if it is forgotten meanwhile, the draw is the same.
#[inline(always)]
pub(crate) fn note_alone<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
    forward: &Entry<'_>,
    back: &Entry<'_>,
) {
    flows::touch(node.tables, forward, node.now);
    let end = match (segment.is_udp(), segment.has(tcp::RST), segment.has(tcp::FIN)) {
        (true, ..) => lasting(node, segment, forward),
        (false, true, _) => Head::RESET,
        (false, false, true) => Head::OVER,
        (false, false, false) => 0,
    };
    let goes_on = !segment.is_syn() && !segment.has(tcp::RST);
    let answered = if goes_on { Head::ANSWERED } else { 0 };
    let clear = if goes_on { Head::AGAIN | Head::RESET } else { 0 };
    let set = bits_of(segment) | end | answered;
    for (entry, set) in [(forward, set), (back, set & !(Head::FIN | Head::PAYLOAD))] {
        if set & !entry.head.0 != 0 || clear & entry.head.0 != 0 {
            flows::mark(node.tables, entry, set, clear);
        }
    }
}

/// Notes what a backend's packet says of its connection.
#[inline(always)]
pub(crate) fn note_server<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
    forward: &Entry<'_>,
    back: &Entry<'_>,
) {
    flows::touch(node.tables, back, node.now);
    count_bytes(node, segment, &back.values, Counter::BytesToClient);
    let was = back.head;
    let mut set = bits_of(segment) | lasting(node, segment, forward);
    if answers(segment, was) {
        set |= Head::ANSWERED;
    }
    let late = segment.payload > 0
        && was.has(Head::ANSWERED)
        && !was.has(Head::PAYLOAD)
        && forward.head.has(Head::FIN);
    // A reset before the answer was none of an established connection: it is not revived.
    let clear = if set & Head::ANSWERED != 0 { Head::AGAIN | Head::RESET } else { 0 };
    if late {
        set |= Head::AGAIN;
    }
    if set & !was.0 != 0
        && let Some(before) = flows::mark(node.tables, back, set, clear & !set)
        && set & Head::ANSWERED != 0
        && !before.has(Head::ANSWERED)
    {
        answered(node, segment, forward, back);
    }
    if segment.payload > 0
        && take_time(node, back, Timing::Response)
        && let Some(exchange) = segment.answer
    {
        node.tables.show(back.values.statistics, exchange);
    }
    let back = Entry { head: Head(was.0 | set), ..*back };
    end(node, segment, forward, &back, End::Server);
}

/// Whether a backend's packet is its answer to the connection.
#[inline(always)]
fn answers(segment: &Segment, was: Head) -> bool {
    if was.has(Head::ANSWERED) || segment.has(tcp::RST) {
        return false;
    }
    segment.is_udp() || segment.has(tcp::SYN) && segment.has(tcp::ACK) || was.has(Head::AGAIN)
}

/// The first answer: it is counted, and both entries are worth keeping from here on.
#[inline(always)]
fn answered<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
    forward: &Entry<'_>,
    back: &Entry<'_>,
) {
    count(node, &back.values, Counter::Established);
    if forward.is_there() {
        flows::mark(node.tables, forward, Head::ANSWERED, Head::AGAIN);
    }
    if !segment.is_udp() && !back.head.has(Head::AGAIN) {
        take_time(node, back, Timing::Connect);
    }
}

/// What a packet adds to the state of its own direction.
#[inline(always)]
fn bits_of(segment: &Segment) -> u64 {
    let mut bits = 0;
    if segment.payload > 0 {
        bits |= Head::PAYLOAD;
    }
    if segment.has(tcp::FIN) {
        bits |= Head::FIN;
    }
    bits
}

/// The bit of a UDP flow that has lived long enough to be a stream.
#[inline(always)]
fn lasting<T: Tables + ?Sized>(node: Node<'_, T>, segment: &Segment, forward: &Entry<'_>) -> u64 {
    let age = node.now.wrapping_sub(forward.values.mark);
    if segment.is_udp() && forward.is_there() && age >= limits::UDP_LASTS { Head::OVER } else { 0 }
}

/// Which end sent a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Client,
    Server,
}

/// Notes and counts the end of a TCP connection, and that it was none after all.
#[inline(always)]
fn end<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
    forward: &Entry<'_>,
    back: &Entry<'_>,
    by: End,
) {
    if segment.is_udp() {
        return;
    }
    let fin = back.head.has(Head::FIN) && forward.head.has(Head::FIN) && !back.head.has(Head::OVER);
    if segment.has(tcp::RST) {
        close(node, forward, back, Head::RESET, by);
    } else if fin {
        // After a reset as well: then nothing goes on.
        close(node, forward, back, Head::OVER, by);
    } else if back.head.has(Head::RESET) {
        revive(node, forward, back);
    }
}

/// A connection that was reset goes on: the reset was not its own, or its receiver took no notice.
#[inline(always)]
fn revive<T: Tables + ?Sized>(node: Node<'_, T>, forward: &Entry<'_>, back: &Entry<'_>) {
    if forward.is_there() {
        flows::mark(node.tables, forward, 0, Head::RESET);
    }
    let Some(before) = flows::mark(node.tables, back, 0, Head::RESET) else { return };
    if before.has(Head::RESET) && before.has(Head::ANSWERED) && !before.has(Head::OVER) {
        count(node, &back.values, Counter::Revived);
    }
}

/// Marks a connection as ended, and counts how, once.
#[inline(always)]
fn close<T: Tables + ?Sized>(
    node: Node<'_, T>,
    forward: &Entry<'_>,
    back: &Entry<'_>,
    how: u64,
    by: End,
) {
    let Some(before) = flows::mark(node.tables, back, how, 0) else { return };
    if forward.is_there() {
        flows::mark(node.tables, forward, how, 0);
    }
    if !before.ended() {
        match (how == Head::RESET, by, before.has(Head::ANSWERED)) {
            (true, End::Server, true) => count(node, &back.values, Counter::ResetByServer),
            (true, End::Server, false) => count(node, &back.values, Counter::Refused),
            (true, End::Client, true) => count(node, &back.values, Counter::ResetByClient),
            (true, End::Client, false) => {}
            (false, ..) => count(node, &back.values, Counter::Closed),
        }
    }
    let reset_by_client = how == Head::RESET && by == End::Client;
    let late = reset_by_client && before.has(Head::AGAIN) && before.has(Head::ANSWERED);
    if late || !before.has(Head::PAYLOAD) {
        judge(node, forward, back, before);
    }
}

/// Counts a connection as unanswered, once: the client asked, and nothing came back, or too late.
#[inline(always)]
fn judge<T: Tables + ?Sized>(
    node: Node<'_, T>,
    forward: &Entry<'_>,
    back: &Entry<'_>,
    before: Head,
) {
    if forward.head.has(Head::PAYLOAD)
        && before.has(Head::ANSWERED)
        && let Some(before) = flows::mark(node.tables, back, Head::JUDGED, 0)
        && !before.has(Head::JUDGED)
    {
        count(node, &back.values, Counter::Unanswered);
    }
}

/// Takes the time since the open question, and closes it; whether one was open.
#[inline(always)]
fn take_time<T: Tables + ?Sized>(node: Node<'_, T>, back: &Entry<'_>, timing: Timing) -> bool {
    if back.values.mark == 0 || !back.values.has(Values::TIMED) {
        return false;
    }
    flows::ask(node.tables, back, 0);
    let ticks = node.tables.tick().wrapping_sub(back.values.mark);
    // A tick is 1.024 µs: times 67,109 / 65,536.
    let us = u64::from(ticks).wrapping_mul(67_109) >> 16;
    node.tables.observe(back.values.statistics, timing, u32::try_from(us).unwrap_or(u32::MAX));
    true
}

/// Moves a counter of a connection's split; one that dialled a backend itself has none.
#[inline(always)]
pub(crate) fn count<T: Tables + ?Sized>(node: Node<'_, T>, values: &Values, counter: Counter) {
    if !values.has(Values::UNCOUNTED) {
        node.tables.count(values.statistics, counter, 1);
    }
}

#[inline(always)]
pub(crate) fn count_bytes<T: Tables + ?Sized>(
    node: Node<'_, T>,
    segment: &Segment,
    values: &Values,
    counter: Counter,
) {
    count_payload(node, segment.payload, values, counter);
}

/// Adds payload to a counter of a connection's split; one that dialled a backend has none.
#[inline(always)]
pub(crate) fn count_payload<T: Tables + ?Sized>(
    node: Node<'_, T>,
    payload: u32,
    values: &Values,
    counter: Counter,
) {
    if payload > 0 && !values.has(Values::UNCOUNTED) {
        node.tables.count(values.statistics, counter, u64::from(payload));
    }
}
