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

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// How the second word of a mapped IPv4 address begins.
const MAPPED: u64 = u64::from_ne_bytes([0, 0, 0xff, 0xff, 0, 0, 0, 0]);
const MAPPED_MASK: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);

/// An address, IPv4 ones mapped into IPv6 (`::ffff:a.b.c.d`), in network order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
// Aligned as the words it is moved by: the compiler would go byte by byte.
#[repr(C, align(8))]
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

    /// The IPv4 address of an address that is known to map one.
    #[inline(always)]
    #[must_use]
    pub const fn last_four(self) -> [u8; 4] {
        match self.0.last_chunk() {
            Some(bytes) => *bytes,
            None => [0; 4],
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

    /// The address of two words in memory order.
    #[inline(always)]
    #[must_use]
    pub const fn of_words([a, b]: [u64; 2]) -> Self {
        match [a.to_ne_bytes(), b.to_ne_bytes()].as_flattened().first_chunk() {
            Some(bytes) => Self(*bytes),
            None => Self([0; 16]),
        }
    }

    /// Which family's address it is.
    #[inline(always)]
    #[must_use]
    pub const fn version(self) -> Version {
        let [a, b] = self.words();
        if a == 0 && b & MAPPED_MASK == MAPPED { Version::V4 } else { Version::V6 }
    }

    /// Whether it is one that packets from elsewhere never reach: `127.0.0.0/8` or `::1`.
    #[inline(always)]
    #[must_use]
    pub const fn is_loopback(self) -> bool {
        const LAST: u64 = u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, 1]);
        const NET: u64 = u64::from_ne_bytes([0, 0, 0xff, 0xff, 127, 0, 0, 0]);
        const NET_MASK: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0]);
        let [a, b] = self.words();
        a == 0 && (b == LAST || b & NET_MASK == NET)
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
