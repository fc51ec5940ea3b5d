//! Entry points: a hook in, a verdict out. All logic is in `canary-common`.
#![no_std]
#![no_main]
// `core` offers atomics as methods only where compare-and-swap is a method, which it is not here.
#![feature(core_intrinsics, asm_experimental_arch)]
#![expect(clippy::needless_pass_by_value, reason = "the macros hand over contexts whole")]
#![expect(internal_features, reason = "the only way to atomics on this target")]

mod about;
mod agent;
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
mod resent;
mod route;
mod skb;
mod sock;
mod sockops;
mod steps;
mod tc;
mod tunnels;
mod verdict;
mod xdp;

use aya_ebpf::macros::{cgroup_sock_addr, classifier, sock_ops, tracepoint, xdp};
use aya_ebpf::programs::{
    SockAddrContext, SockOpsContext, TcContext, TracePointContext, XdpContext,
};
use canary_common::route::Origin;
use canary_common::wire::ethernet;

/// Pod to node: towards frontends, and both halves of a pod's talk with itself.
#[classifier]
#[inline(always)]
fn from_pod(context: TcContext) -> i32 {
    tc::inbound(&context, ethernet::LEN, Origin::Pod)
}

/// Node to pod: answers of backends.
#[classifier]
#[inline(always)]
fn to_pod(context: TcContext) -> i32 {
    tc::outbound(&context, ethernet::LEN)
}

/// Network to node, where the driver has no XDP of its own or sums are not checked yet.
#[classifier]
#[inline(always)]
fn from_net(context: TcContext) -> i32 {
    tc::inbound(&context, ethernet::LEN, Origin::Net)
}

/// Node to network: answers of backends.
#[classifier]
#[inline(always)]
fn to_net(context: TcContext) -> i32 {
    tc::outbound(&context, ethernet::LEN)
}

/// Network to node, for interfaces whose packets begin with the IP header.
#[classifier]
#[inline(always)]
fn from_net_l3(context: TcContext) -> i32 {
    tc::inbound(&context, 0, Origin::Net)
}

/// Node to network, for interfaces whose packets begin with the IP header.
#[classifier]
#[inline(always)]
fn to_net_l3(context: TcContext) -> i32 {
    tc::outbound(&context, 0)
}

/// Network to node, behind `from_net_xdp`: what only the stack's hook can send on.
#[classifier]
#[inline(always)]
fn from_net_rest(context: TcContext) -> i32 {
    tc::inbound(&context, ethernet::LEN, Origin::Behind)
}

/// Network to node, in the driver.
#[xdp(frags)]
#[inline(always)]
fn from_net_xdp(context: XdpContext) -> u32 {
    xdp::inbound(&context)
}

/// Stores an entry of `FLOWS` for the agent, which runs this itself; it is attached nowhere.
#[classifier]
fn put_flow(context: TcContext) -> i32 {
    agent::put(&context)
}

/// A program of the host connects over IPv4.
#[cgroup_sock_addr(connect4)]
fn connect4(context: SockAddrContext) -> i32 {
    sock::connect4(&context)
}

/// A program of the host connects over IPv6.
#[cgroup_sock_addr(connect6)]
fn connect6(context: SockAddrContext) -> i32 {
    sock::connect6(&context)
}

/// A program of the host sends a datagram over IPv4.
#[cgroup_sock_addr(sendmsg4)]
fn sendmsg4(context: SockAddrContext) -> i32 {
    sock::sendmsg4(&context)
}

/// A program of the host sends a datagram over IPv6.
#[cgroup_sock_addr(sendmsg6)]
fn sendmsg6(context: SockAddrContext) -> i32 {
    sock::sendmsg6(&context)
}

/// A program of the host receives a datagram over IPv4.
#[cgroup_sock_addr(recvmsg4)]
fn recvmsg4(context: SockAddrContext) -> i32 {
    sock::recvmsg4(&context)
}

/// A program of the host receives a datagram over IPv6.
#[cgroup_sock_addr(recvmsg6)]
fn recvmsg6(context: SockAddrContext) -> i32 {
    sock::recvmsg6(&context)
}

/// A program of the host asks where its IPv4 socket is connected to.
#[cgroup_sock_addr(getpeername4)]
fn getpeername4(context: SockAddrContext) -> i32 {
    sock::getpeername4(&context)
}

/// A program of the host asks where its IPv6 socket is connected to.
#[cgroup_sock_addr(getpeername6)]
fn getpeername6(context: SockAddrContext) -> i32 {
    sock::getpeername6(&context)
}

/// A stream of a program of the host is established, or ends.
#[sock_ops]
fn streams(context: SockOpsContext) -> u32 {
    sockops::watch(&context)
}

/// A socket of this node, in whatever namespace, sends a segment once more.
#[tracepoint]
fn resent(context: TracePointContext) -> u32 {
    resent::count(&context)
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
