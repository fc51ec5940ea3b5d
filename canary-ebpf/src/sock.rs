//! Sockets of the host.

use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::{
    bpf_get_netns_cookie, bpf_get_prandom_u32, bpf_get_socket_cookie, bpf_set_retval,
};
use aya_ebpf::programs::SockAddrContext;
use canary_common::endpoint::{Address, Endpoint, TCP};
use canary_common::node::Node;
use canary_common::reason::{Action, Reason};
use canary_common::socket;
use canary_common::tables::Tables;

use crate::maps::{self, Maps};
use crate::tc::wide;

/// The kernel goes on with the call.
const GO_ON: i32 = 1;
/// The kernel fails the call with the code that was set.
const FAIL: i32 = 0;
/// What a closed port answers a connect with.
const ECONNREFUSED: i32 = 111;
/// The only tables there are for a socket: no interface belongs to it.
const TABLES: Maps = Maps { context: core::ptr::null_mut(), interface: 0, came_by: 0 };

/// A socket's address in a call of `connect` or `getpeername`.
struct Call {
    context: *mut bpf_sock_addr,
}

#[expect(unsafe_code, reason = "reads and writes the context, calls helpers")]
impl Call {
    const fn new(context: &SockAddrContext) -> Self {
        Self { context: context.sock_addr }
    }

    /// Whether the socket is one of the agent's network namespace, and TCP.
    #[inline(always)]
    fn is_ours(&self) -> bool {
        let Some(settings) = TABLES.settings() else { return false };
        // SAFETY: the context is the kernel's own.
        let netns = unsafe { bpf_get_netns_cookie(self.context.cast()) };
        // SAFETY: the context is valid for the whole run.
        let protocol = unsafe { (*self.context).protocol };
        netns == settings.netns.load() && protocol == u32::from(TCP)
    }

    #[inline(always)]
    fn cookie(&self) -> u64 {
        // SAFETY: the context is the kernel's own.
        unsafe { bpf_get_socket_cookie(self.context.cast()) }
    }

    /// An endpoint that no other socket has: the draw needs something to hash.
    #[inline(always)]
    fn client() -> Endpoint {
        // SAFETY: the helper has no conditions.
        let random = unsafe { bpf_get_prandom_u32() };
        let [a, b, c, d] = random.to_ne_bytes();
        Endpoint { address: Address::v4([a, b, c, d]), port: [c, d], protocol: TCP }
    }

    #[inline(always)]
    fn v4(&self) -> Endpoint {
        // SAFETY: the context is valid for the whole run.
        let ip = unsafe { (*self.context).user_ip4 };
        // SAFETY: as above.
        let port = unsafe { (*self.context).user_port };
        let [a, b, ..] = port.to_ne_bytes();
        Endpoint { address: Address::v4(ip.to_ne_bytes()), port: [a, b], protocol: TCP }
    }

    #[inline(always)]
    fn v6(&self) -> Endpoint {
        // SAFETY: the context is valid for the whole run.
        let ip = unsafe { (*self.context).user_ip6 };
        // SAFETY: as above.
        let port = unsafe { (*self.context).user_port };
        let [a, b, ..] = port.to_ne_bytes();
        let [[c, d, e, f], [g, h, i, j], [k, l, m, n], [o, p, q, r]] = ip.map(u32::to_ne_bytes);
        let address = Address([c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r]);
        Endpoint { address, port: [a, b], protocol: TCP }
    }

    #[inline(always)]
    fn set_v4(&self, to: Endpoint) {
        let [.., a, b, c, d] = to.address.0;
        // SAFETY: the context is valid for the whole run, and the hook may write this field.
        unsafe { (*self.context).user_ip4 = u32::from_ne_bytes([a, b, c, d]) };
        self.set_port(to.port);
    }

    #[inline(always)]
    fn set_v6(&self, to: Endpoint) {
        let (words, _) = to.address.0.as_chunks::<4>();
        for (index, word) in words.iter().enumerate().take(wide(4)) {
            // SAFETY: only the address of the field is taken.
            let field = unsafe { &raw mut (*self.context).user_ip6 }.cast::<u32>();
            let word = u32::from_ne_bytes(*word);
            // SAFETY: the field has four words, and the hook may write them. Verifier: each
            // store is one of 32 bits; the compiler would join them.
            unsafe { field.wrapping_add(index).write_volatile(word) };
        }
        self.set_port(to.port);
    }

    #[inline(always)]
    fn set_port(&self, [a, b]: [u8; 2]) {
        // SAFETY: the context is valid for the whole run, and the hook may write this field.
        unsafe { (*self.context).user_port = u32::from_ne_bytes([a, b, 0, 0]) };
    }

    #[inline(always)]
    fn refuse(reason: Reason) -> i32 {
        maps::count(reason.slot());
        if reason.action() == Action::Pass {
            return GO_ON;
        }
        // SAFETY: the helper only notes the code for when the program returns.
        unsafe { bpf_set_retval(-ECONNREFUSED) };
        FAIL
    }

    /// Picks for a connect; `None` if the call goes on as it is.
    #[inline(always)]
    fn pick(&self, destination: Endpoint) -> Result<Option<Endpoint>, Reason> {
        if !self.is_ours() {
            return Ok(None);
        }
        let node = Node::new(&TABLES)?;
        match socket::connect(node, Self::client(), destination) {
            Ok((to, pick)) => {
                maps::remember(self.cookie(), &pick);
                Ok(Some(to))
            }
            Err(Reason::NotOurs) => Ok(None),
            Err(reason) => Err(reason),
        }
    }

    #[inline(always)]
    fn peer(&self) -> Option<Endpoint> {
        maps::remembered(self.cookie()).map(|pick| socket::peer(&pick))
    }
}

/// `connect` over IPv4.
#[inline(always)]
pub(crate) fn connect4(context: &SockAddrContext) -> i32 {
    let call = Call::new(context);
    match call.pick(call.v4()) {
        Ok(Some(to)) => call.set_v4(to),
        Ok(None) => {}
        Err(reason) => return Call::refuse(reason),
    }
    GO_ON
}

/// `connect` over IPv6.
#[inline(always)]
pub(crate) fn connect6(context: &SockAddrContext) -> i32 {
    let call = Call::new(context);
    match call.pick(call.v6()) {
        Ok(Some(to)) => call.set_v6(to),
        Ok(None) => {}
        Err(reason) => return Call::refuse(reason),
    }
    GO_ON
}

/// `getpeername` over IPv4.
#[inline(always)]
pub(crate) fn getpeername4(context: &SockAddrContext) -> i32 {
    let call = Call::new(context);
    if let Some(peer) = call.peer() {
        call.set_v4(peer);
    }
    GO_ON
}

/// `getpeername` over IPv6.
#[inline(always)]
pub(crate) fn getpeername6(context: &SockAddrContext) -> i32 {
    let call = Call::new(context);
    if let Some(peer) = call.peer() {
        call.set_v6(peer);
    }
    GO_ON
}
