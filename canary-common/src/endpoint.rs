//! Where something listens: address, port and protocol.

/// IANA number of TCP.
pub const TCP: u8 = network_types::ip::IpProto::Tcp as u8;
/// IANA number of UDP.
pub const UDP: u8 = network_types::ip::IpProto::Udp as u8;

/// An address, IPv4 ones mapped into IPv6 (`::ffff:a.b.c.d`), in network order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Address(pub [u8; 16]);

impl Address {
    /// The mapped form of an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn v4([a, b, c, d]: [u8; 4]) -> Self {
        Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
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
