//! Tells those who observe of picks and refusals when a socket connects.
//!
//! One look at the settings where nobody observes. Nothing is kept in the scratch row meanwhile: a
//! packet may come in between.

use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_ktime_get_ns};
use canary_common::endpoint::{Address, Endpoint};
use canary_common::event::{self, Event, Kind};
use canary_common::reason::Action;
use canary_common::socket::Refusal;

use super::Call;
use crate::maps;

/// What is said of a pick.
const NO_REASON: u32 = 0xff;

/// A backend was picked.
#[inline(always)]
pub(super) fn picked<const V6: bool>(call: &Call, client: Address, backend: u32, split: u16) {
    let by = u64::from(backend) << 32 | u64::from(split);
    tell::<V6>(call, client, Kind::Connection, NO_REASON, by);
}

/// A call was refused, or went on as it was although it has to do with us.
#[inline(always)]
pub(super) fn refused<const V6: bool>(call: &Call, client: Address, refusal: Refusal) {
    let Refusal { reason, service } = refusal;
    let kind = if reason.action() == Action::Pass { Kind::Passed } else { Kind::Refused };
    tell::<V6>(call, client, kind, reason.slot(), u64::from(service) << 32);
}

#[inline(always)]
fn tell<const V6: bool>(call: &Call, client: Address, kind: Kind, reason: u32, by: u64) {
    let is_wanted =
        maps::settings().is_some_and(|settings| settings.observed.load() & kind.bit() != 0);
    if !is_wanted {
        return;
    }
    let what = u32::from(kind.number()) << 8 | reason;
    let [a, b] = client.words();
    // A hook of one family may not look at the fields of the other's.
    if V6 {
        tell_v6(call.context, what, by, a, b);
    } else {
        tell_v4(call.context, what, by, a, b);
    }
}

#[inline(never)]
fn tell_v4(context: *mut bpf_sock_addr, what: u32, by: u64, a: u64, b: u64) -> u32 {
    say(Call { context }.v4(), what, by, Address::of_words([a, b]))
}

#[inline(never)]
fn tell_v6(context: *mut bpf_sock_addr, what: u32, by: u64, a: u64, b: u64) -> u32 {
    say(Call { context }.v6(), what, by, Address::of_words([a, b]))
}

#[expect(unsafe_code, reason = "calls helpers")]
#[inline(always)]
fn say(destination: Endpoint, what: u32, by: u64, client: Address) -> u32 {
    let [reason, kind, ..] = what.to_le_bytes();
    let is_pick = kind == Kind::Connection.number();
    let mut draw = 0;
    if is_pick {
        // SAFETY: the helper has no conditions.
        draw = unsafe { bpf_get_prandom_u32() };
    }
    let sample = maps::settings().map_or(0, |settings| settings.sample.load());
    if !event::is_in_sample(draw, sample) {
        return 0;
    }
    let [low, high, _, _, a, b, c, d] = by.to_le_bytes();
    let number = u32::from_le_bytes([a, b, c, d]);
    let (backend, service, of) = if is_pick {
        (number, 0, Event::SPLIT | Event::BACKEND)
    } else {
        (0, number, Event::SERVICE)
    };
    let event = Event {
        // SAFETY: the helper has no conditions.
        time: unsafe { bpf_ktime_get_ns() },
        source: client.0,
        destination: destination.address.0,
        destination_port: destination.port,
        protocol: destination.protocol,
        kind,
        reason,
        flags: Event::TUPLE | Event::SOCKET | of,
        statistics: u16::from_le_bytes([low, high]),
        backend,
        frontend: service,
        draw,
        ..Event::default()
    };
    if !maps::send(&event)
        && let Some(scratch) = maps::scratch()
    {
        scratch.event.lost = scratch.event.lost.wrapping_add(1);
    }
    0
}
