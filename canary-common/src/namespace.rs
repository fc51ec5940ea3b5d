//! Network namespaces of pods, whose sockets are served when they connect.

use crate::endpoint::{Address, Endpoint, Version};
use crate::layout::assert_map_type;

/// A namespace whose sockets are served: value of `NAMESPACES`, by the namespace's cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Namespace {
    /// Its pod's address of IPv4, as words in memory order; zeros for none.
    pub v4: [u64; 2],
    /// The same of IPv6.
    pub v6: [u64; 2],
}

assert_map_type!(Namespace { v4: [u64; 2], v6: [u64; 2] } is 32 bytes);

impl Namespace {
    /// Its pod's address.
    #[inline(always)]
    #[must_use]
    pub const fn address(&self, version: Version) -> Address {
        match version {
            Version::V4 => Address::of_words(self.v4),
            Version::V6 => Address::of_words(self.v6),
        }
    }
}

/// A loopback address and port that a service has in one scope alone: key of `LOCALS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C)]
pub struct Local {
    /// Whose: the cookie of a network namespace.
    pub scope: u64,
    /// The address, as [`Address`] has it, as words in memory order.
    pub address: [u64; 2],
    /// Port in network order, and the protocol in the third byte.
    pub tail: u64,
}

assert_map_type!(Local { scope: u64, address: [u64; 2], tail: u64 } is 32 bytes);

impl Local {
    /// That of an endpoint.
    #[inline(always)]
    #[must_use]
    pub const fn new(scope: u64, at: Endpoint) -> Self {
        let [a, b] = at.port;
        let tail = u64::from_ne_bytes([a, b, at.protocol, 0, 0, 0, 0, 0]);
        Self { scope, address: at.address.words(), tail }
    }
}
