//! Sockets of the node and of its pods.

mod excepted;
mod told;

use core::ffi::c_void;

use aya_ebpf::Global;
use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::{
    bpf_get_netns_cookie, bpf_get_prandom_u32, bpf_get_socket_cookie, bpf_set_retval,
    generated::bpf_skc_to_mptcp_sock,
};
use aya_ebpf::programs::SockAddrContext;
use canary_common::endpoint::{Address, Endpoint, TCP, UDP, Version};
use canary_common::limits;
use canary_common::node::Node;
use canary_common::reason::{Action, Reason};
use canary_common::settings::Settings;
use canary_common::socket::{self, Caller, Datagrams, Pick, Sent, Socket};
use canary_common::tables::Tables;
use canary_common::word::Word;

use crate::maps::{self, Maps};
use crate::skb::wide;

/// The kernel goes on with the call.
const GO_ON: i32 = 1;
/// The kernel fails the call with the code that was set.
const FAIL: i32 = 0;
/// What a closed port answers a connect with.
const ECONNREFUSED: i32 = 111;
/// What the kernel calls a connected socket, of UDP as well (`TCP_ESTABLISHED`).
const ESTABLISHED: u32 = 1;
/// The only tables there are for a socket: no interface belongs to it.
const TABLES: Maps = Maps { context: core::ptr::null_mut(), interface: 0, came_by: 0 };

/// 1 if the kernel has MPTCP: the agent says so before it loads. A program that calls a helper for
/// a type that the kernel does not have is refused.
#[expect(unsafe_code, reason = "the loader finds it by its name")]
// Nothing else defines this symbol.
#[unsafe(no_mangle)]
static HAS_MPTCP: Global<u32> = Global::new(0);

/// A socket's address in a call of `connect`, `sendmsg`, `recvmsg` or `getpeername`.
struct Call {
    context: *mut bpf_sock_addr,
}

#[expect(unsafe_code, reason = "reads and writes the context, calls helpers")]
impl Call {
    const fn new(context: &SockAddrContext) -> Self {
        Self { context: context.sock_addr }
    }

    /// Who calls, if the socket is TCP or UDP of a namespace that is served.
    #[inline(always)]
    fn caller(&self, version: Version) -> Option<Caller> {
        let protocol = self.protocol();
        if protocol != u32::from(TCP) && protocol != u32::from(UDP) {
            return None;
        }
        let settings = TABLES.settings()?;
        // SAFETY: the context is the kernel's own.
        let scope = unsafe { bpf_get_netns_cookie(self.context.cast()) };
        let flags = settings.sockets.load();
        let own = if scope == settings.netns.load() {
            of_node(settings, version)
        } else if flags & Settings::ALL != 0 {
            maps::namespace(scope)?.address(version)
        } else {
            return None;
        };
        if flags & Settings::EXCEPTED != 0 && excepted::is_excepted(limits::MAX_CGROUP_LEVELS) != 0
        {
            return None;
        }
        Some(Caller { client: self.client(version, own), scope })
    }

    #[inline(always)]
    fn protocol(&self) -> u32 {
        // SAFETY: the context is valid for the whole run.
        unsafe { (*self.context).protocol }
    }

    /// The protocol that frontends are found by.
    #[inline(always)]
    fn wire_protocol(&self) -> u8 {
        if self.protocol() == u32::from(UDP) { UDP } else { TCP }
    }

    #[inline(always)]
    fn socket(&self) -> *mut c_void {
        // SAFETY: the context is valid for the whole run.
        let context = unsafe { &*self.context };
        // SAFETY: of the union every byte is set.
        unsafe { context.__bindgen_anon_1.sk }.cast()
    }

    #[inline(always)]
    fn cookie(&self) -> u64 {
        // SAFETY: the context is the kernel's own.
        unsafe { bpf_get_socket_cookie(self.context.cast()) }
    }

    /// Whom the draw is for: the address that the socket is bound to, else its node's or pod's own,
    /// which holds affinity; and a port that no other socket has, for the kernel has not chosen it
    /// yet.
    #[inline(always)]
    fn client(&self, version: Version, own: Address) -> Endpoint {
        // SAFETY: the helper has no conditions.
        let [a, b, ..] = unsafe { bpf_get_prandom_u32() }.to_ne_bytes();
        let bound = self.bound(version);
        let is_bound = match version {
            Version::V4 => bound.words() != Address::v4([0; 4]).words(),
            Version::V6 => bound.words() != [0, 0],
        };
        let address = if is_bound { bound } else { own };
        Endpoint { address, port: [a, b], protocol: self.wire_protocol() }
    }

    /// The address that the socket is bound to; zeros for none.
    #[inline(always)]
    fn bound(&self, version: Version) -> Address {
        // SAFETY: the context is valid for the whole run.
        let context = unsafe { &*self.context };
        // SAFETY: of the union every byte is set.
        let socket = unsafe { context.__bindgen_anon_1.sk };
        match version {
            // SAFETY: the kernel checks each field of its own socket.
            Version::V4 => Address::v4(unsafe { (*socket).src_ip4 }.to_ne_bytes()),
            Version::V6 => {
                // SAFETY: as above.
                let [a, b, c, d] = unsafe { (*socket).src_ip6 };
                let halves = [(a, b), (c, d)];
                Address::of_words(halves.map(|(a, b)| u64::from(a) | u64::from(b) << 32))
            }
        }
    }

    #[inline(always)]
    fn v4(&self) -> Endpoint {
        // SAFETY: the context is valid for the whole run.
        let ip = unsafe { (*self.context).user_ip4 };
        Endpoint { address: Address::v4(ip.to_ne_bytes()), ..self.port() }
    }

    #[inline(always)]
    fn v6(&self) -> Endpoint {
        // SAFETY: the context is valid for the whole run.
        let [a, b, c, d] = unsafe { (*self.context).user_ip6 };
        let words = [u64::from(a) | u64::from(b) << 32, u64::from(c) | u64::from(d) << 32];
        Endpoint { address: Address::of_words(words), ..self.port() }
    }

    /// Port and protocol; the address is still to come.
    #[inline(always)]
    fn port(&self) -> Endpoint {
        // SAFETY: the context is valid for the whole run.
        let port = unsafe { (*self.context).user_port };
        let [a, b, ..] = port.to_ne_bytes();
        let address = Address::of_words([0, 0]);
        Endpoint { address, port: [a, b], protocol: self.wire_protocol() }
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

    /// Picks for a datagram, if `DATAGRAM`, or for a connect; `None` if the call goes on as it is.
    #[inline(always)]
    fn pick_for<const DATAGRAM: bool, const V6: bool>(
        &self,
        destination: Endpoint,
    ) -> Result<Option<Endpoint>, Reason> {
        let Some(caller) = self.caller(destination.address.version()) else { return Ok(None) };
        let own = caller.client.address;
        let node = Node::new(&TABLES)?;
        let sent = if DATAGRAM {
            socket::send(node, self, caller, destination)
        } else {
            let picked = socket::connect(node, self, caller, destination);
            picked.map(|picked| Sent { picked, is_new: true })
        };
        match sent {
            Ok(Sent { picked, is_new }) => {
                if is_new {
                    told::picked::<V6>(self, own, picked.id, picked.statistics);
                }
                Ok(Some(picked.backend))
            }
            Err(refusal) if refusal.reason == Reason::NotOurs => Ok(None),
            Err(refusal) => {
                told::refused::<V6>(self, own, refusal);
                Err(refusal.reason)
            }
        }
    }

    #[inline(always)]
    fn peer(&self, actual: Endpoint) -> Option<Endpoint> {
        if self.pick(false).is_none() {
            return maps::brought(self.cookie()).and_then(|pick| pick.peer(&TABLES, actual));
        }
        socket::peer(&TABLES, self, actual)
    }
}

/// The node's own address.
#[inline(always)]
fn of_node(settings: &Settings, version: Version) -> Address {
    match version {
        Version::V4 => Address::v4(settings.node_v4.load().to_ne_bytes()),
        Version::V6 => Address::of_words(settings.node_v6.each_ref().map(Word::load)),
    }
}

#[expect(unsafe_code, reason = "reads the context, calls helpers")]
impl Socket for Call {
    #[inline(always)]
    fn pick(&self, create: bool) -> Option<&Pick> {
        maps::pick(self.socket(), create)
    }

    #[inline(always)]
    fn outer(&self, create: bool) -> Option<&Pick> {
        if HAS_MPTCP.load() == 0 || self.protocol() != u32::from(TCP) {
            return None;
        }
        // SAFETY: the socket is the context's own.
        let outer = unsafe { bpf_skc_to_mptcp_sock(self.socket()) };
        if outer.is_null() { None } else { maps::pick(outer.cast(), create) }
    }

    #[inline(always)]
    fn datagrams(&self, create: bool) -> Option<&Datagrams> {
        if self.protocol() != u32::from(UDP) {
            return None;
        }
        maps::datagrams(self.socket(), create)
    }

    #[inline(always)]
    fn note(&self, backend: Option<u32>) {
        if self.protocol() == u32::from(UDP) {
            maps::note_peer(self.cookie(), backend);
        }
    }

    #[inline(always)]
    fn is_connected(&self) -> bool {
        // SAFETY: the context is valid for the whole run.
        let context = unsafe { &*self.context };
        // SAFETY: of the union every byte is set.
        let socket = unsafe { context.__bindgen_anon_1.sk };
        // SAFETY: the kernel checks each field of its own socket.
        let state = unsafe { (*socket).state };
        state == ESTABLISHED
    }
}

/// `connect` over IPv4.
#[inline(always)]
pub(crate) fn connect4(context: &SockAddrContext) -> i32 {
    let call = Call::new(context);
    match call.pick_for::<false, false>(call.v4()) {
        Ok(Some(to)) => call.set_v4(to),
        Ok(None) => {}
        Err(reason) => return Call::refuse(reason),
    }
    GO_ON
}

/// `sendmsg` over IPv4, of a datagram to an address that the program names.
#[inline(always)]
pub(crate) fn sendmsg4(context: &SockAddrContext) -> i32 {
    let call = Call::new(context);
    match call.pick_for::<true, false>(call.v4()) {
        Ok(Some(to)) => call.set_v4(to),
        Ok(None) => {}
        Err(reason) => return Call::refuse(reason),
    }
    GO_ON
}

/// `recvmsg` over IPv4, of a datagram whose source the program asks for.
#[inline(always)]
pub(crate) fn recvmsg4(context: &SockAddrContext) -> i32 {
    let call = Call::new(context);
    if let Some(source) = socket::source(&TABLES, &call, call.v4()) {
        call.set_v4(source);
    }
    GO_ON
}

/// `getpeername` over IPv4.
#[inline(always)]
pub(crate) fn getpeername4(context: &SockAddrContext) -> i32 {
    let call = Call::new(context);
    if let Some(peer) = call.peer(call.v4()) {
        call.set_v4(peer);
    }
    GO_ON
}

/// `connect` over IPv6.
#[inline(always)]
pub(crate) fn connect6(context: &SockAddrContext) -> i32 {
    let call = Call::new(context);
    match call.pick_for::<false, true>(call.v6()) {
        Ok(Some(to)) => call.set_v6(to),
        Ok(None) => {}
        Err(reason) => return Call::refuse(reason),
    }
    GO_ON
}

/// `sendmsg` over IPv6, of a datagram to an address that the program names.
#[inline(always)]
pub(crate) fn sendmsg6(context: &SockAddrContext) -> i32 {
    let call = Call::new(context);
    match call.pick_for::<true, true>(call.v6()) {
        Ok(Some(to)) => call.set_v6(to),
        Ok(None) => {}
        Err(reason) => return Call::refuse(reason),
    }
    GO_ON
}

/// `recvmsg` over IPv6, of a datagram whose source the program asks for.
#[inline(always)]
pub(crate) fn recvmsg6(context: &SockAddrContext) -> i32 {
    let call = Call::new(context);
    if let Some(source) = socket::source(&TABLES, &call, call.v6()) {
        call.set_v6(source);
    }
    GO_ON
}

/// `getpeername` over IPv6.
#[inline(always)]
pub(crate) fn getpeername6(context: &SockAddrContext) -> i32 {
    let call = Call::new(context);
    if let Some(peer) = call.peer(call.v6()) {
        call.set_v6(peer);
    }
    GO_ON
}
