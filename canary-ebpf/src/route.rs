//! Where the node would send a packet back to.

use core::ffi::c_void;

use aya_ebpf::bindings::bpf_fib_lookup as Lookup;
use aya_ebpf::helpers::bpf_fib_lookup;
use canary_common::endpoint::{Address, Version};

use crate::maps::low;

/// `AF_INET`, `AF_INET6`.
const INET: u8 = 2;
const INET6: u8 = 10;
/// The lookup found a route, and the neighbour, or only the route.
const FOUND: i64 = 0;
const NO_NEIGHBOUR: i64 = 7;

/// Index of the interface by which a packet from `destination` to `source` would leave that came
/// by `interface`; 0 if it would not be forwarded: every refusal leaves the input's index in
/// place, so only the code tells.
#[expect(unsafe_code, reason = "calls a helper, fills its unions")]
#[inline(always)]
pub(crate) fn back(
    context: *mut c_void,
    interface: u32,
    source: Address,
    destination: Address,
) -> u32 {
    // SAFETY: a struct of integers and unions of integers; all 0 is a value of it.
    let mut lookup: Lookup = unsafe { core::mem::zeroed() };
    lookup.ifindex = interface;
    match source.version() {
        Version::V4 => {
            lookup.family = INET;
            lookup.__bindgen_anon_3.ipv4_src = u32::from_ne_bytes(destination.last_four());
            lookup.__bindgen_anon_4.ipv4_dst = u32::from_ne_bytes(source.last_four());
        }
        Version::V6 => {
            lookup.family = INET6;
            lookup.__bindgen_anon_3.ipv6_src = halves(destination);
            lookup.__bindgen_anon_4.ipv6_dst = halves(source);
        }
    }
    let size = i32::try_from(size_of::<Lookup>()).unwrap_or(0);
    // SAFETY: the context is the kernel's own, the struct is ours and as large as said.
    let code = unsafe { bpf_fib_lookup(context, &raw mut lookup, size, 0) };
    if code == FOUND || code == NO_NEIGHBOUR { lookup.ifindex } else { 0 }
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
