//! Functions of their own: what is called from several places, or would be too much for the
//! verifier, or for the stack, in one with its caller.

use core::ffi::c_void;

use canary_common::draw;
use canary_common::endpoint::Address;
use canary_common::event::Event;
use canary_common::flows::{self, Back, Client, Hash, Head, Key, Request, Stored};
use canary_common::fragment::Follows;
use canary_common::headers::Headers;
use canary_common::icmp::{Mended, Quote};
use canary_common::relay::Relay;
use canary_common::route::{Decision, Ends};
use canary_common::segment::Segment;
use canary_common::service::Picked;
use canary_common::start::Beginning;
use canary_common::tables::Way;
use canary_common::tunnel::Outer;

use crate::maps::{Maps, Table, scratch, settings};
use crate::route::{self, Exit};
use crate::steps;

/// What one step leaves for the next: programs have 512 bytes of stack, for all functions of a
/// call together.
#[derive(Clone, Copy)]
pub(crate) struct Scratch {
    /// What the steps need to know of the packet.
    pub(crate) about: u32,
    /// What the last step gave.
    pub(crate) code: u32,
    /// [`Scratch::SEGMENT`], [`Scratch::BEGAN`] and [`Scratch::FRAGMENT`].
    pub(crate) seen: u32,
    pub(crate) segment: Segment,
    pub(crate) headers: Headers,
    pub(crate) follows: Follows,
    pub(crate) quote: Quote,
    pub(crate) mended: Mended,
    pub(crate) decision: Decision,
    pub(crate) ends: Ends,
    pub(crate) beginning: Beginning,
    pub(crate) request: Request,
    /// Argument of [`find_flow`].
    key: Key,
    /// Its result.
    place: u32,
    /// Arguments of [`route_back`] and [`route_on`].
    addresses: [Address; 2],
    pub(crate) relay: Relay,
    /// The packet that this one goes within.
    pub(crate) outer: Outer,
    /// The backend that this one came within another for.
    pub(crate) picked: Option<Picked>,
    /// Bytes of this packet from its IP header on, as they are sent on; 0 for one of any length.
    pub(crate) length: u32,
    /// The way that [`route_on`] found.
    pub(crate) exit: Exit,
    /// The second in which something was last said that must never happen.
    pub(crate) said: u32,
    /// What is told of the packet; its count of lost ones stays from one to the next.
    pub(crate) event: Event,
}

impl Scratch {
    /// `segment` is this packet's.
    pub(crate) const SEGMENT: u32 = 1;
    /// This packet has begun a connection.
    pub(crate) const BEGAN: u32 = 1 << 1;
    /// `headers` is this packet's, a fragment's behind the first.
    pub(crate) const FRAGMENT: u32 = 1 << 2;
    /// It is the answer of a backend elsewhere.
    pub(crate) const ANSWER: u32 = 1 << 3;
}

/// Stores the entry that the scratch row asks for: a function of its own, for two of them in one
/// are more than the verifier walks. What became of it, as [`Stored::to_number`] says it.
#[expect(unsafe_code, reason = "a name that lasts makes it global")]
// Nothing else has this name.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn put() -> u32 {
    let (Some(settings), Some(scratch)) = (settings(), scratch()) else {
        return Stored::Full.to_number();
    };
    flows::insert(&Table, &scratch.request, settings.flows()).to_number()
}

/// What a number that [`put`] gave means.
#[inline(always)]
pub(crate) const fn stored(number: u32) -> Stored {
    match Stored::of_number(number) {
        Some(stored) => stored,
        None => Stored::Full,
    }
}

/// Frees the connection of an entry: a function of its own, as above.
#[expect(unsafe_code, reason = "a name that lasts makes it global")]
// Nothing else has this name.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn release(place: u32, head: u64, stays: u32) -> u32 {
    let Some(settings) = settings() else { return 0 };
    let back = if stays == 0 { Back::Goes } else { Back::Stays };
    let Some(entry) = flows::find_at(&Table, place) else { return 0 };
    let freed = entry.head.is_of_same(Head(head))
        && flows::free_pair(&Table, &entry, settings.flows(), back);
    u32::from(freed)
}

/// Notes that an end of a severed connection is told: a function of its own, as above.
#[expect(unsafe_code, reason = "a name that lasts makes it global")]
// Nothing else has this name.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sever(place: u32, head: u64, now: u32) -> u32 {
    if let Some(entry) = flows::find_at(&Table, place)
        && entry.head.is_of_same(Head(head))
    {
        flows::end_severed(&Table, &entry, now);
    }
    0
}

/// Whether the draw of the scratch row's segment falls to another split than this one: a function
/// of its own for the draw's stack.
#[expect(unsafe_code, reason = "a name that lasts makes it global")]
// Nothing else has this name.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn falls_elsewhere(frontend: u32, is_net: u32, statistics: u32) -> u32 {
    let tables = Maps { context: core::ptr::null_mut(), interface: 0, came_by: 0 };
    let (Some(settings), Some(scratch), Ok(statistics)) =
        (settings(), scratch(), u16::try_from(statistics))
    else {
        return 0;
    };
    let Segment { source, destination, .. } = scratch.segment;
    let seed = settings.seed.load();
    let ends = [source, destination];
    let falls = draw::falls_elsewhere(&tables, seed, ends, frontend, is_net != 0, statistics);
    u32::from(falls)
}

/// The head of the entry of the scratch row's tuple, 0 if there is none; its place goes to the
/// scratch row.
#[expect(unsafe_code, reason = "a name that lasts makes it global")]
// Nothing else has this name.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_flow(client: u32, is_new: u32) -> u64 {
    let (Some(settings), Some(scratch)) = (settings(), scratch()) else {
        return 0;
    };
    let client = match client {
        0 => Client::IsDestination,
        1 => Client::IsSource,
        _ => Client::IsUnknown,
    };
    let hash = Hash::of(&scratch.key, client, settings.flows());
    if is_new != 0 {
        flows::expect(&Table, hash);
    }
    match flows::find(&Table, &scratch.key, hash, client) {
        Some(entry) => {
            scratch.place = entry.place;
            entry.head.0
        }
        None => 0,
    }
}

/// Where the route from one address of the scratch row to the other leads: a function of its own
/// for the lookup's 64 bytes.
#[inline(never)]
fn route_back(context: *mut c_void, interface: u32) -> u32 {
    let Some(scratch) = scratch() else { return 0 };
    let [source, destination] = scratch.addresses;
    route::back(context, interface, source, destination)
}

/// Whether a packet from one address of the scratch row to the other can be sent on; how, goes to
/// the scratch row. A function of its own for the same reason.
#[inline(never)]
fn route_on(context: *mut c_void, interface: u32, more: u32) -> u32 {
    let Some(scratch) = scratch() else { return CLOSED };
    let [from, to] = scratch.addresses;
    let is_frame = steps::about().is_frame();
    if is_frame && more != 0 {
        // The hook behind makes room in front of it.
        return LATER;
    }
    let length = if scratch.length == 0 { 0 } else { scratch.length.wrapping_add(more) };
    match route::on(context, interface, [from, to], length, is_frame, &mut scratch.exit) {
        Way::Open => OPEN,
        Way::Later => LATER,
        Way::Closed => CLOSED,
        Way::Narrow => {
            let more = u16::try_from(more).unwrap_or(0);
            scratch.exit.width = scratch.exit.width.wrapping_sub(more);
            NARROW
        }
    }
}

const OPEN: u32 = 0;
const LATER: u32 = 1;
const CLOSED: u32 = 2;
const NARROW: u32 = 3;

/// Whether a packet can be sent on past the stack; the way stays in the scratch row.
#[inline(always)]
pub(crate) fn way(context: *mut c_void, came_by: u32, ends: [Address; 2], more: u32) -> Way {
    let Some(scratch) = scratch() else { return Way::Closed };
    scratch.addresses = ends;
    match route_on(context, came_by, more) {
        OPEN => Way::Open,
        LATER => Way::Later,
        NARROW => Way::Narrow,
        _ => Way::Closed,
    }
}

/// Stores an entry; as [`put`].
#[inline(always)]
pub(crate) fn put_entry(request: &Request) -> Stored {
    let Some(scratch) = scratch() else { return Stored::Full };
    scratch.request = *request;
    stored(put())
}

/// As [`release`].
#[inline(always)]
pub(crate) fn free_flow(place: u32, head: Head, back: Back) -> bool {
    release(place, head.0, u32::from(back == Back::Stays)) != 0
}

/// The entry of a tuple: its head and its place. One that is most likely new is looked up so that
/// its insert waits for memory no more.
#[inline(always)]
pub(crate) fn find(key: &Key, client: Client, is_new: bool) -> Option<(Head, u32)> {
    let scratch = scratch()?;
    scratch.key = *key;
    let client = match client {
        Client::IsDestination => 0,
        Client::IsSource => 1,
        Client::IsUnknown => 2,
    };
    let head = find_flow(client, u32::from(is_new));
    (head != 0).then_some((Head(head), scratch.place))
}

/// Index of the interface by which the route leads back to a packet's source; 0 for none.
#[inline(always)]
pub(crate) fn interface_back(
    context: *mut c_void,
    came_by: u32,
    source: &Address,
    destination: &Address,
) -> u32 {
    let Some(scratch) = scratch() else { return 0 };
    scratch.addresses = [*source, *destination];
    route_back(context, came_by)
}
