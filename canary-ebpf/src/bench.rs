//! Programs that only the benchmark loads: the hooks' steps on a packet that is made anew for each
//! run, and what their cost is compared with.
//!
//! The kernel repeats a test run on the same buffer, so after the first rewrite the packet is no
//! longer the one that was meant. Each program here first writes the headers again; that alone is
//! a program, too, and its time is taken off.
#![no_std]
#![no_main]
// As in `main.rs`.
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "the only way to an atomic OR on this target")]
#![expect(dead_code, reason = "what sockets need is not measured here")]

mod frame;
mod maps;
mod memory;
mod skb;
mod tc;
mod verdict;
mod xdp;

use aya_ebpf::bindings::{BPF_NOEXIST, xdp_action};
use aya_ebpf::macros::{classifier, map, xdp};
use aya_ebpf::maps::{Array, HashMap, LruHashMap};
use aya_ebpf::programs::{TcContext, XdpContext};
use canary_common::flow::FlowWords;
use canary_common::forward::Origin;
use canary_common::packet::Packet;
use canary_common::reason::Reason;
use canary_common::wire::ethernet;

use crate::tc::Skb;
use crate::xdp::Frame;

/// What the next packet looks like. The agent's side of it is in the benchmark.
#[repr(C)]
struct Plan {
    /// Counts runs.
    run: u64,
    /// Runs times this, within `mask`, is the flow's number: an order no cache can guess.
    stride: u64,
    /// Flows minus one.
    mask: u64,
    /// 4 or 6.
    family: u32,
    /// The client is 0: the sender, or 1: the receiver.
    side: u32,
    /// The bytes behind the Ethernet header, in the pieces in which the steps read them: a load
    /// that spans two stores would wait for both.
    words: [u64; 8],
}

#[map]
static PLAN: Array<Plan> = Array::with_max_entries(1, 0);
/// As many entries, of the same shape, as there are flows.
#[map]
static BENCH_HASH: HashMap<[u32; 3], FlowWords> = HashMap::with_max_entries(131_072, 0);
/// The same, least recently used out first.
#[map]
static BENCH_LRU: LruHashMap<[u32; 3], FlowWords> = LruHashMap::with_max_entries(131_072, 0);
/// As large as `OPENING`, and full: every insert is of a new key.
#[map]
static BENCH_INSERT: LruHashMap<[u32; 3], FlowWords> = LruHashMap::with_max_entries(65_536, 0);

/// The plan and the number of the next packet's flow.
#[expect(unsafe_code, reason = "reads and writes map memory")]
#[inline(always)]
fn next() -> Option<(&'static Plan, u64)> {
    let plan = PLAN.get_ptr_mut(0)?;
    // SAFETY: one program runs at a time, and nobody else writes while it does.
    let plan = unsafe { &mut *plan };
    let flow = plan.run.wrapping_mul(plan.stride) & plan.mask;
    plan.run = plan.run.wrapping_add(1);
    Some((plan, flow))
}

/// The key that stands for a flow: client address, peer, client port and generation.
#[inline(always)]
fn next_key() -> Option<[u32; 3]> {
    let (_, flow) = next()?;
    Some([maps::low(flow >> 16) << 16, 7, maps::low(flow & 0xffff)])
}

/// Writes the headers of the next packet.
#[inline(always)]
fn make<P: Packet>(packet: &mut P) -> Result<(), Reason> {
    let (plan, flow) = next().ok_or(Reason::NotReady)?;
    let (address, port) = (flow >> 16 << 48, flow & 0xffff);
    let [a, b, c, d, e, f, g, h] = plan.words;
    if plan.family == 4 {
        // Source: the high half of `b`; destination: the low half of `c`; ports: low half of `d`.
        let (b, c, d) = match plan.side {
            0 => (b ^ address, c, d ^ port),
            _ => (b, c ^ address >> 32, d ^ port << 16),
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
        0 => (c ^ address, e, f ^ port),
        _ => (c, e ^ address, f ^ port << 16),
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
        Ok(()) => frame::inbound(&context),
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
        Ok(()) => skb::inbound(&context, ethernet::LEN, Origin::Pod),
        Err(_) => 0,
    }
}

/// tcx that makes the packet and restores it.
#[classifier]
#[inline(always)]
fn tc_outbound(context: TcContext) -> i32 {
    match make(&mut Skb::new(&context)) {
        Ok(()) => skb::outbound(&context, ethernet::LEN),
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
        Some(key) if BENCH_HASH.get_ptr(&key).is_some() => xdp_action::XDP_PASS,
        _ => xdp_action::XDP_ABORTED,
    }
}

/// Makes a key and looks it up in a hash that does not hold it.
#[xdp]
fn hash_miss(_: XdpContext) -> u32 {
    match core::hint::black_box(next_key()) {
        Some(key) if BENCH_HASH.get_ptr(&key).is_none() => xdp_action::XDP_PASS,
        _ => xdp_action::XDP_ABORTED,
    }
}

/// Makes a key and looks it up in an LRU hash.
#[xdp]
fn lru_lookup(_: XdpContext) -> u32 {
    match core::hint::black_box(next_key()) {
        Some(key) if BENCH_LRU.get_ptr(&key).is_some() => xdp_action::XDP_PASS,
        _ => xdp_action::XDP_ABORTED,
    }
}

/// Makes a key and inserts it into an LRU hash.
#[xdp]
fn lru_insert(_: XdpContext) -> u32 {
    let flow = FlowWords::default();
    match core::hint::black_box(next_key()) {
        Some(key) if BENCH_INSERT.insert(key, flow, u64::from(BPF_NOEXIST)).is_ok() => {
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
// SAFETY: nothing else defines this symbol or uses this section.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
