//! Where something listens: address, port and protocol.

use network_types::ip::IpProto;

/// IANA number of TCP.
pub const TCP: u8 = proto(IpProto::Tcp);
/// IANA number of UDP.
pub const UDP: u8 = proto(IpProto::Udp);

#[expect(clippy::as_conversions, reason = "the discriminant of a field-less repr(u8) enum")]
const fn proto(protocol: IpProto) -> u8 {
    protocol as u8
}

/// An address, IPv4 ones mapped into IPv6 (`::ffff:a.b.c.d`), in network order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Address(pub [u8; 16]);

impl Address {
    /// The mapped form of an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn v4(bytes: [u8; 4]) -> Self {
        // Whole words, not bytes: the compiler would keep all sixteen apart from here on.
        let words = [[0; 4], [0; 4], [0, 0, 0xff, 0xff], bytes];
        match words.as_flattened().first_chunk() {
            Some(bytes) => Self(*bytes),
            None => Self([0; 16]),
        }
    }

    /// The IPv4 address this maps, if it maps one.
    #[inline(always)]
    #[must_use]
    pub const fn as_v4(self) -> Option<[u8; 4]> {
        match self.0 {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => Some([a, b, c, d]),
            _ => None,
        }
    }

    /// The address as two words in memory order: what the directory compares and hashes.
    #[inline(always)]
    #[must_use]
    pub const fn words(self) -> [u64; 2] {
        match self.0.as_chunks().0 {
            [a, b] => [u64::from_ne_bytes(*a), u64::from_ne_bytes(*b)],
            _ => [0; 2],
        }
    }
}

/// Where something listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Its address.
    pub address: Address,
    /// Its port, in network order.
    pub port: [u8; 2],
    /// IANA protocol number: [`TCP`] or [`UDP`].
    pub protocol: u8,
}

impl Endpoint {
    /// Port and protocol in one word in memory order, the last byte 0.
    #[inline(always)]
    #[must_use]
    pub const fn tail(self) -> u32 {
        match [self.port, [self.protocol, 0]].as_flattened().first_chunk() {
            Some(bytes) => u32::from_ne_bytes(*bytes),
            None => 0,
        }
    }
}
