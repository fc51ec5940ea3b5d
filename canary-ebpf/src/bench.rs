//! Programs that only the benchmark loads: the hooks' steps on a packet that is made anew for each
//! run, and what their cost is compared with.
//!
//! The kernel repeats a test run on the same buffer, so after the first rewrite the packet is no
//! longer the one that was meant. Each program here first writes the headers again; that alone is
//! a program, too, and its time is taken off.
#![no_std]
#![no_main]
// As in `main.rs`.
#![feature(core_intrinsics, asm_experimental_arch)]
#![expect(clippy::needless_pass_by_value, reason = "the macros hand over contexts whole")]
#![expect(internal_features, reason = "the only way to atomics on this target")]
#![expect(
    dead_code,
    unused_imports,
    reason = "what sockets and the agent need is not measured here"
)]

mod about;
mod atomics;
mod calls;
mod events;
mod frame;
mod maps;
mod memory;
mod never;
mod occupant;
mod rare;
mod relays;
mod route;
mod skb;
mod steps;
mod tc;
mod tunnels;
mod verdict;
mod xdp;

use aya_ebpf::bindings::{BPF_NOEXIST, xdp_action};
use aya_ebpf::macros::{classifier, map, xdp};
use aya_ebpf::maps::{Array, HashMap, LruHashMap};
use aya_ebpf::programs::{TcContext, XdpContext};
use canary_common::flows::{Client, Key, Kind, Limit, NO_PARTNER, Request, Stored, Values};
use canary_common::node::Node;
use canary_common::packet::Packet;
use canary_common::reason::Reason;
use canary_common::route::Origin;
use canary_common::wire::ethernet;

use crate::frame::Frame;
use crate::maps::Maps;
use crate::skb::Skb;

/// What the next packet looks like. The agent's side of it is in the benchmark.
#[repr(C)]
struct Plan {
    /// Counts runs.
    run: u64,
    /// Runs times this are the number from which `mask` and `targets` take a flow's and a
    /// stranger's: an order no cache can guess.
    stride: u64,
    /// Flows minus one.
    mask: u64,
    /// Destinations minus one.
    targets: u64,
    /// 4 or 6.
    family: u32,
    /// The client is 0: the sender, or 1: the receiver.
    side: u32,
    /// The bytes behind the Ethernet header, in the pieces in which the steps read them: a load
    /// that spans two stores would wait for both.
    words: [u64; 8],
}

/// A client uses so many bits of its ports; the flow number's bits above are its address.
const PORT_BITS: u64 = 15;

/// A value as large as a flow of the releases before `FLOWS` was one table.
type Small = [u32; 6];
/// A value as large as what an entry of `FLOWS` holds beside its key.
type Large = [u64; 4];

#[map]
static PLAN: Array<Plan> = Array::with_max_entries(1, 0);
/// As many entries, of the same shape, as there are flows.
#[map]
static BENCH_HASH: HashMap<[u32; 3], Small> = HashMap::with_max_entries(131_072, 0);
/// The same, least recently used out first.
#[map]
static BENCH_LRU: LruHashMap<[u32; 3], Small> = LruHashMap::with_max_entries(131_072, 0);
/// Full: every insert is of a new key.
#[map]
static BENCH_INSERT: LruHashMap<[u32; 3], Small> = LruHashMap::with_max_entries(65_536, 0);
/// Keys and values as large as those of `FLOWS`, least recently used out first.
#[map]
static BENCH_TUPLES: LruHashMap<Key, Large> = LruHashMap::with_max_entries(131_072, 0);

/// The plan and the number of the next run.
#[expect(unsafe_code, reason = "reads and writes map memory")]
#[inline(always)]
fn next() -> Option<(&'static Plan, u64)> {
    let plan = PLAN.get_ptr_mut(0)?;
    // SAFETY: one program runs at a time, and no other writer exists while it does.
    let plan = unsafe { &mut *plan };
    let number = plan.run.wrapping_mul(plan.stride);
    plan.run = plan.run.wrapping_add(1);
    Some((plan, number))
}

/// The key that stands for a flow: client address, peer, client port and generation.
#[inline(always)]
fn next_key() -> Option<[u32; 3]> {
    let (plan, number) = next()?;
    let flow = number & plan.mask;
    Some([maps::low(flow >> PORT_BITS), 7, maps::low(flow & ((1 << PORT_BITS) - 1))])
}

/// The tuple that stands for a flow: that of its answers, made of the same bits.
#[inline(always)]
fn next_tuple() -> Option<Key> {
    let [address, peer, port] = next_key()?;
    let client = u64::from(address.to_be()) << 32 | 0xffff_0000;
    let ports = u64::from((port ^ 0x8000).to_be() >> 16) << 16 | 0x901f | 6 << 32;
    Some(Key([0, u64::from(peer) << 32 | 0xffff_0000, 0, client, ports]))
}

/// MAC addresses of a frame to the loopback's own: one that was refused has them the other way.
const MACS: [u8; 12] = [0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2];

/// Writes the headers of the next packet: its client's address and port are those of flow 0,
/// exclusive-or the flow's number; a stranger's address likewise.
#[inline(always)]
fn make<P: Packet>(packet: &mut P) -> Result<(), Reason> {
    let (plan, number) = next().ok_or(Reason::NotReady)?;
    let flow = number & plan.mask;
    // In the byte order of the packet, at the low end of a word.
    let address = (flow >> PORT_BITS).to_be() >> 32;
    let port = (flow & ((1 << PORT_BITS) - 1)).to_be() >> 48;
    let target = (number & plan.targets).to_be() >> 32;
    let [a, b, c, d, e, f, g, h] = plan.words;
    packet.write(0, MACS)?;
    if plan.family == 4 {
        // Source: the high half of `b`; destination: the low half of `c`; ports: low half of `d`.
        let (b, c, d) = match plan.side {
            0 => (b ^ address << 32, c ^ target, d ^ port),
            _ => (b, c ^ address, d ^ port << 16),
        };
        packet.write(14, a.to_ne_bytes())?;
        packet.write(22, b.to_ne_bytes())?;
        packet.write(30, maps::low(c).to_ne_bytes())?;
        packet.write(34, d.to_ne_bytes())?;
        packet.write(42, e.to_ne_bytes())?;
        return packet.write(50, maps::low(f).to_ne_bytes());
    }
    // Source: `b` and `c`; destination: `d` and `e`; ports: the low half of `f`.
    let (c, e, f) = match plan.side {
        0 => (c ^ address << 32, e ^ target << 32, f ^ port),
        _ => (c, e ^ address << 32, f ^ port << 16),
    };
    packet.write(14, a.to_ne_bytes())?;
    packet.write(22, b.to_ne_bytes())?;
    packet.write(30, c.to_ne_bytes())?;
    packet.write(38, d.to_ne_bytes())?;
    packet.write(46, e.to_ne_bytes())?;
    packet.write(54, f.to_ne_bytes())?;
    packet.write(62, g.to_ne_bytes())?;
    packet.write(70, maps::low(h).to_ne_bytes())
}

/// XDP that does nothing.
#[xdp(frags)]
fn xdp_floor(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// XDP that makes the packet.
#[xdp(frags)]
#[inline(always)]
fn xdp_make(context: XdpContext) -> u32 {
    match make(&mut Frame::new(&context)) {
        Ok(()) => xdp_action::XDP_PASS,
        Err(_) => xdp_action::XDP_ABORTED,
    }
}

/// XDP that makes the packet and forwards it.
#[xdp(frags)]
#[inline(always)]
fn xdp_inbound(context: XdpContext) -> u32 {
    match make(&mut Frame::new(&context)) {
        Ok(()) => xdp::inbound(&context),
        Err(_) => xdp_action::XDP_ABORTED,
    }
}

/// tcx that does nothing.
#[classifier]
fn tc_floor(_: TcContext) -> i32 {
    -1
}

/// tcx that makes the packet.
#[classifier]
#[inline(always)]
fn tc_make(context: TcContext) -> i32 {
    match make(&mut Skb::new(&context)) {
        Ok(()) => -1,
        Err(_) => 0,
    }
}

/// tcx that makes the packet and forwards it.
#[classifier]
#[inline(always)]
fn tc_inbound(context: TcContext) -> i32 {
    match make(&mut Skb::new(&context)) {
        Ok(()) => tc::inbound(&context, ethernet::LEN, Origin::Pod),
        Err(_) => 0,
    }
}

/// tcx that makes the packet and restores it.
#[classifier]
#[inline(always)]
fn tc_outbound(context: TcContext) -> i32 {
    match make(&mut Skb::new(&context)) {
        Ok(()) => tc::outbound(&context, ethernet::LEN),
        Err(_) => 0,
    }
}

/// Makes a key.
#[xdp]
fn key_make(_: XdpContext) -> u32 {
    match core::hint::black_box(next_key()) {
        Some(_) => xdp_action::XDP_PASS,
        None => xdp_action::XDP_ABORTED,
    }
}

/// Makes a key and looks it up in a hash: H.
#[xdp]
fn hash_lookup(_: XdpContext) -> u32 {
    match core::hint::black_box(next_key()) {
        Some(key) if BENCH_HASH.get_ptr(key).is_some() => xdp_action::XDP_PASS,
        _ => xdp_action::XDP_ABORTED,
    }
}

/// Makes a key and looks it up in a hash that does not hold it.
#[xdp]
fn hash_miss(_: XdpContext) -> u32 {
    match core::hint::black_box(next_key()) {
        Some(key) if BENCH_HASH.get_ptr(key).is_none() => xdp_action::XDP_PASS,
        _ => xdp_action::XDP_ABORTED,
    }
}

/// Makes a key and looks it up in an LRU hash.
#[xdp]
fn lru_lookup(_: XdpContext) -> u32 {
    match core::hint::black_box(next_key()) {
        Some(key) if BENCH_LRU.get_ptr(key).is_some() => xdp_action::XDP_PASS,
        _ => xdp_action::XDP_ABORTED,
    }
}

/// Makes a key and inserts it into an LRU hash.
#[xdp]
fn lru_insert(_: XdpContext) -> u32 {
    match core::hint::black_box(next_key()) {
        Some(key) if BENCH_INSERT.insert(key, [0; 6], u64::from(BPF_NOEXIST)).is_ok() => {
            xdp_action::XDP_PASS
        }
        _ => xdp_action::XDP_ABORTED,
    }
}

/// Makes a tuple.
#[xdp]
fn tuple_make(_: XdpContext) -> u32 {
    match core::hint::black_box(next_tuple()) {
        Some(_) => xdp_action::XDP_PASS,
        None => xdp_action::XDP_ABORTED,
    }
}

/// Makes a tuple and looks it up in `FLOWS`.
#[xdp]
fn flows_lookup(_: XdpContext) -> u32 {
    found(true)
}

/// Makes a tuple and looks it up in `FLOWS`, which does not hold it.
#[xdp]
fn flows_miss(_: XdpContext) -> u32 {
    found(false)
}

#[inline(always)]
fn found(wanted: bool) -> u32 {
    let tables = Maps { context: core::ptr::null_mut(), interface: 0, came_by: 0 };
    let (Some(key), Ok(node)) = (core::hint::black_box(next_tuple()), Node::new(&tables)) else {
        return xdp_action::XDP_ABORTED;
    };
    match node.flow(&key, Client::IsDestination) {
        Some(entry) if wanted && entry.values.backend == 1 => xdp_action::XDP_PASS,
        None if !wanted => xdp_action::XDP_PASS,
        _ => xdp_action::XDP_ABORTED,
    }
}

/// Makes a tuple and inserts it into `FLOWS`.
#[xdp]
fn flows_insert(_: XdpContext) -> u32 {
    let Some(key) = core::hint::black_box(next_tuple()) else { return xdp_action::XDP_ABORTED };
    let values = Values { backend: 1, partner: NO_PARTNER, ..Values::default() };
    let (kind, limit) = (Kind::Return, Limit::Idle);
    let request = Request { key, values, kind, state: 0, limit, spare: NO_PARTNER, now: 0 };
    match calls::put_entry(&request) {
        Stored::At(_) => xdp_action::XDP_PASS,
        Stored::Exists | Stored::Busy | Stored::Full => xdp_action::XDP_ABORTED,
    }
}

/// Makes a tuple and looks it up in an LRU hash.
#[xdp]
fn tuple_lookup(_: XdpContext) -> u32 {
    match core::hint::black_box(next_tuple()) {
        Some(key) if BENCH_TUPLES.get_ptr(key).is_some() => xdp_action::XDP_PASS,
        _ => xdp_action::XDP_ABORTED,
    }
}

/// Makes a tuple and looks it up in an LRU hash that does not hold it.
#[xdp]
fn tuple_miss(_: XdpContext) -> u32 {
    match core::hint::black_box(next_tuple()) {
        Some(key) if BENCH_TUPLES.get_ptr(key).is_none() => xdp_action::XDP_PASS,
        _ => xdp_action::XDP_ABORTED,
    }
}

/// Makes a tuple and inserts it into an LRU hash.
#[xdp]
fn tuple_insert(_: XdpContext) -> u32 {
    match core::hint::black_box(next_tuple()) {
        Some(key) if BENCH_TUPLES.insert(key, [0; 4], u64::from(BPF_NOEXIST)).is_ok() => {
            xdp_action::XDP_PASS
        }
        _ => xdp_action::XDP_ABORTED,
    }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[expect(unsafe_code, reason = "the kernel reads the licence from a section of this name")]
// Nothing else defines this symbol or uses this section.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
