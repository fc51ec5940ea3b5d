//! A tuple as packets carry it.

use crate::endpoint::{Address, Endpoint};

/// A tuple as packets carry it, in memory order: source address, destination address, then
/// source port, destination port and protocol in the first five bytes of the last word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct Key(pub [u64; 5]);

/// The bytes of a body's fifth word that belong to the key.
pub(super) const TAIL: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0]);

/// The destination port in that word.
pub(super) const DESTINATION_PORT: u64 = u64::from_ne_bytes([0, 0, 0xff, 0xff, 0, 0, 0, 0]);

impl Key {
    /// The tuple of a packet.
    #[inline(always)]
    #[must_use]
    pub const fn new(source: Endpoint, destination: Endpoint) -> Self {
        let ([a, b], [c, d]) = (source.address.words(), destination.address.words());
        let ([e, f], [g, h]) = (source.port, destination.port);
        Self([a, b, c, d, u64::from_ne_bytes([e, f, g, h, source.protocol, 0, 0, 0])])
    }

    /// The same of words.
    #[inline(always)]
    #[must_use]
    pub const fn of_words(
        [a, b]: [u64; 2],
        [c, d]: [u64; 2],
        [e, f, g, h]: [u8; 4],
        protocol: u8,
    ) -> Self {
        Self([a, b, c, d, u64::from_ne_bytes([e, f, g, h, protocol, 0, 0, 0])])
    }

    /// Who sends.
    #[inline(always)]
    #[must_use]
    pub const fn source(&self) -> Endpoint {
        let ([a, b, ..], [c, d, _, _, protocol, ..]) = (self.0, self.tail());
        Endpoint { address: Address::of_words([a, b]), port: [c, d], protocol }
    }

    /// To whom.
    #[inline(always)]
    #[must_use]
    pub const fn destination(&self) -> Endpoint {
        let ([_, _, a, b, _], [_, _, c, d, protocol, ..]) = (self.0, self.tail());
        Endpoint { address: Address::of_words([a, b]), port: [c, d], protocol }
    }

    /// Port of whom it goes to, network order.
    #[inline(always)]
    #[must_use]
    pub const fn destination_port(&self) -> [u8; 2] {
        let [_, _, a, b, ..] = self.tail();
        [a, b]
    }

    /// The tuple with another port of whom it goes to.
    #[inline(always)]
    #[must_use]
    pub const fn with_destination_port(self, [a, b]: [u8; 2]) -> Self {
        let [k, l, m, n, tail] = self.0;
        let port = u64::from_ne_bytes([0, 0, a, b, 0, 0, 0, 0]);
        Self([k, l, m, n, tail & !DESTINATION_PORT | port])
    }

    #[inline(always)]
    const fn tail(&self) -> [u8; 8] {
        let [.., tail] = self.0;
        tail.to_ne_bytes()
    }
}
