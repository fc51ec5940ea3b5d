//! Where the node would send a packet, back or on.

use core::ffi::c_void;

use aya_ebpf::bindings::{bpf_fib_lookup as Lookup, bpf_redir_neigh as Hop};
use aya_ebpf::helpers::{bpf_fib_lookup, bpf_redirect_neigh};
use canary_common::endpoint::{Address, Version};
use canary_common::tables::Way;

use crate::maps::low;

/// `AF_INET`, `AF_INET6`.
const INET: u8 = 2;
const INET6: u8 = 10;
/// The lookup found a route, and the neighbour, or only the route.
const FOUND: i64 = 0;
const NO_NEIGHBOUR: i64 = 7;
/// The packet is too long for it.
const TOO_LONG: i64 = 8;

/// Index of the interface by which a packet from `destination` to `source` would leave that came
/// by `interface`; 0 if it would not be forwarded: every refusal leaves the input's index in
/// place, so only the code tells.
#[inline(always)]
pub(crate) fn back(
    context: *mut c_void,
    interface: u32,
    source: Address,
    destination: Address,
) -> u32 {
    let mut lookup = empty();
    let code = ask(context, interface, [destination, source], &mut lookup);
    if code == FOUND || code == NO_NEIGHBOUR { lookup.ifindex } else { 0 }
}

/// How a packet leaves that is sent on past the stack.
#[derive(Clone, Copy)]
pub(crate) struct Exit {
    /// Index of the interface.
    interface: u32,
    /// How long a packet may be that was too long.
    pub(crate) width: u16,
    /// The next hop.
    hop: Hop,
    /// Destination and source of its Ethernet header, for a frame that is still the driver's.
    pub(crate) macs: [u8; 12],
}

impl Exit {
    /// Has the kernel send the packet by this way; the verdict to return.
    #[expect(unsafe_code, reason = "calls a helper")]
    #[inline(always)]
    pub(crate) fn redirect(&mut self) -> i64 {
        let size = i32::try_from(size_of::<Hop>()).unwrap_or(0);
        // SAFETY: the hop is ours and as large as said; the helper copies it.
        unsafe { bpf_redirect_neigh(self.interface, &raw mut self.hop, size, 0) }
    }
}

/// Whether a packet from one address to the other that came by `interface` can be sent on.
///
/// A frame that is still the driver's only by the interface it came by, and where the neighbour
/// is known: not every driver sends what another gives it, and none waits for a neighbour.
#[expect(unsafe_code, reason = "reads a union")]
#[inline(always)]
pub(crate) fn on(
    context: *mut c_void,
    interface: u32,
    [from, to]: [Address; 2],
    length: u32,
    is_frame: bool,
    exit: &mut Exit,
) -> Way {
    let mut lookup = empty();
    // By it the kernel asks the route, which may know of a narrow place far away; without it, the
    // interface.
    lookup.__bindgen_anon_1.tot_len = u16::try_from(length).unwrap_or(u16::MAX);
    let code = ask(context, interface, [from, to], &mut lookup);
    if code == TOO_LONG && length != 0 {
        // SAFETY: both of the union are the same integer.
        exit.width = unsafe { lookup.__bindgen_anon_1.mtu_result };
        return Way::Narrow;
    }
    if is_frame && (code != FOUND || lookup.ifindex != interface) {
        return Way::Later;
    }
    if code != FOUND && code != NO_NEIGHBOUR {
        return Way::Closed;
    }
    exit.interface = lookup.ifindex;
    exit.hop.nh_family = u32::from(lookup.family);
    // SAFETY: all of these are integers; IPv4's is the first of the four of IPv6.
    exit.hop.__bindgen_anon_1.ipv6_nh = unsafe { lookup.__bindgen_anon_4.ipv6_dst };
    let [a, b, c, d, e, f] = lookup.dmac;
    let [g, h, i, j, k, l] = lookup.smac;
    exit.macs = [a, b, c, d, e, f, g, h, i, j, k, l];
    Way::Open
}

/// A question that asks nothing yet.
#[expect(unsafe_code, reason = "a struct that has no other constructor")]
#[inline(always)]
fn empty() -> Lookup {
    // SAFETY: a struct of integers and unions of integers; all 0 is a value of it.
    unsafe { core::mem::zeroed() }
}

/// Asks the node's routes for the way from one address to another.
#[expect(unsafe_code, reason = "calls a helper, fills its unions")]
#[inline(always)]
fn ask(context: *mut c_void, interface: u32, [from, to]: [Address; 2], lookup: &mut Lookup) -> i64 {
    lookup.ifindex = interface;
    match to.version() {
        Version::V4 => {
            lookup.family = INET;
            lookup.__bindgen_anon_3.ipv4_src = u32::from_ne_bytes(from.last_four());
            lookup.__bindgen_anon_4.ipv4_dst = u32::from_ne_bytes(to.last_four());
        }
        Version::V6 => {
            lookup.family = INET6;
            lookup.__bindgen_anon_3.ipv6_src = halves(from);
            lookup.__bindgen_anon_4.ipv6_dst = halves(to);
        }
    }
    let size = i32::try_from(size_of::<Lookup>()).unwrap_or(0);
    // SAFETY: the context is the kernel's own, the struct is ours and as large as said.
    unsafe { bpf_fib_lookup(context, lookup, size, 0) }
}

/// An address as four words in memory order.
#[inline(always)]
fn halves(address: Address) -> [u32; 4] {
    let [a, b] = address.words();
    let split = |word: u64| {
        let [upper, lower] = [low(word >> 32), low(word)];
        if cfg!(target_endian = "little") { [lower, upper] } else { [upper, lower] }
    };
    let ([a, b], [c, d]) = (split(a), split(b));
    [a, b, c, d]
}
