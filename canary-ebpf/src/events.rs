//! Tells those who observe what becomes of packets.
//!
//! One look at the settings where nobody observes: nothing is built, and nothing asked.

use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_ktime_get_ns};
use canary_common::directory::Occupant;
use canary_common::endpoint::{TCP, UDP};
use canary_common::event::{self, Event, Kind, What};
use canary_common::flows::{self, Client, Head, Key, Values};
use canary_common::headers::Headers;
use canary_common::hooks::Outcome;
use canary_common::node::Node;
use canary_common::segment::Segment;

use crate::calls::{self, Scratch};
use crate::maps::{self, Maps};
use crate::occupant;

/// Which way a packet goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// To a frontend.
    Forth,
    /// From a backend.
    Back,
}

/// Passes a packet's outcome on, and tells of it if anybody wants to know.
#[inline(always)]
pub(crate) fn look(outcome: u32, interface: u32, way: Way) -> u32 {
    if maps::settings().is_some_and(|settings| settings.observed.load() != 0) {
        tell(outcome, interface, u32::from(way == Way::Back));
    }
    outcome
}

/// Tells of a packet: a function of its own, whose data are in the scratch row.
#[inline(never)]
#[expect(unsafe_code, reason = "calls helpers")]
fn tell(outcome: u32, interface: u32, is_back: u32) -> u32 {
    let tables = Maps { context: core::ptr::null_mut(), interface, came_by: interface };
    let (Some(scratch), Ok(node)) = (maps::scratch(), Node::new(&tables)) else { return 0 };
    let is_back = is_back != 0 || scratch.seen & Scratch::ANSWER != 0;
    let (verdict, reason) = Outcome::of_word(outcome);
    let Some(kind) = Kind::of(verdict, reason, what(scratch)) else { return 0 };
    if node.settings.observed.load() & kind.bit() == 0 {
        return 0;
    }
    let mut draw = 0;
    if kind == Kind::Connection {
        // SAFETY: the helper has no conditions.
        draw = unsafe { bpf_get_prandom_u32() };
        if !event::is_in_sample(draw, node.settings.sample.load()) {
            return 0;
        }
    }
    let lost = scratch.event.lost;
    scratch.event = Event {
        // SAFETY: the helper has no conditions.
        time: unsafe { bpf_ktime_get_ns() },
        kind: kind.number(),
        reason: reason.map_or(Event::NO_REASON, lowest),
        flags: if is_back { Event::FROM_BACKEND } else { 0 },
        interface,
        draw,
        lost,
        ..Event::default()
    };
    if scratch.seen & Scratch::SEGMENT != 0 {
        name_ends(&mut scratch.event, &scratch.segment);
        name_flow(node, scratch);
    } else if scratch.seen & Scratch::FRAGMENT != 0
        && matches!(scratch.headers.datagram_protocol, TCP | UDP)
    {
        name_addresses(&mut scratch.event, &scratch.headers);
    }
    scratch.event.lost = if maps::send(&scratch.event) { 0 } else { lost.wrapping_add(1) };
    0
}

/// What the packet did, if it was forwarded.
#[inline(always)]
fn what(scratch: &Scratch) -> What {
    if scratch.seen & Scratch::BEGAN == 0 {
        if scratch.seen & Scratch::SEGMENT == 0 {
            return What::Nothing;
        }
        return What::of(&scratch.segment);
    }
    // The last request is that of the `forward`. Towards a backend elsewhere the port is never the
    // client's own, whatever is taken.
    let values = scratch.request.values;
    if values.has(Values::TRANSLATED) && !values.has(Values::MASKED) {
        What::BeganTranslated
    } else {
        What::Began
    }
}

#[inline(always)]
fn name_ends(event: &mut Event, segment: &Segment) {
    event.source = segment.source.address.0;
    event.destination = segment.destination.address.0;
    event.source_port = segment.source.port;
    event.destination_port = segment.destination.port;
    event.protocol = segment.source.protocol;
    event.tcp_flags = segment.flags;
    event.flags |= Event::TUPLE;
}

/// Names what a fragment has of its ends: no ports.
#[inline(always)]
fn name_addresses(event: &mut Event, headers: &Headers) {
    event.source = headers.source.0;
    event.destination = headers.destination.0;
    event.protocol = headers.datagram_protocol;
    event.flags |= Event::TUPLE;
}

/// Names the connection, or at least what the packet goes to.
#[inline(always)]
fn name_flow(node: Node<'_, Maps>, scratch: &mut Scratch) {
    let key = Key::new(scratch.segment.source, scratch.segment.destination);
    let is_back = scratch.event.flags & Event::FROM_BACKEND != 0;
    let client = if is_back { Client::IsDestination } else { Client::IsSource };
    if let Some((head, place)) = calls::find(&key, client, false)
        && let Some(entry) = flows::find_at(node.tables, place)
        && entry.head.is_of_same(head)
    {
        scratch.event.statistics = entry.values.statistics;
        scratch.event.backend = entry.values.backend;
        scratch.event.frontend = entry.values.frontend;
        scratch.event.port = entry.values.port;
        scratch.event.flags |= Event::FLOW | Event::BACKEND;
        if !entry.values.has(Values::DIRECT) {
            scratch.event.flags |= Event::SPLIT | Event::FRONTEND;
        }
        if entry.head.has(Head::ANSWERED) {
            scratch.event.flags |= Event::ANSWERED;
        }
        return;
    }
    if is_back {
        return;
    }
    match occupant::occupant_now() {
        0 => {}
        value if Occupant::is_backend(value) => {
            scratch.event.backend = Occupant::id(value);
            scratch.event.flags |= Event::BACKEND;
        }
        value => {
            scratch.event.frontend = Occupant::id(value);
            scratch.event.flags |= Event::FRONTEND;
        }
    }
}

/// The lowest byte of a word.
#[inline(always)]
const fn lowest(word: u32) -> u8 {
    let [a, ..] = word.to_le_bytes();
    a
}
