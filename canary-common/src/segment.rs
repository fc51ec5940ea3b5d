//! A packet's addresses and ports, and what else the steps need to know of it.

use crate::checksum::Difference;
use crate::endpoint::{Address, Endpoint, TCP, UDP, Version};
use crate::headers::Headers;
use crate::packet::{Covers, Packet};
use crate::reason::Reason;
use crate::stats::Exchange;
use crate::wire::ipv4::{self, Ipv4Header};
use crate::wire::ipv6::{self, Ipv6Header};
use crate::wire::{ethernet, tcp, udp};

/// One TCP segment or UDP datagram and where it stands in its packet.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Offset of the IP header.
    pub l3_at: usize,
    /// Offset of the TCP or UDP header.
    pub l4_at: usize,
    /// The family.
    pub version: Version,
    /// Who sent it.
    pub source: Endpoint,
    /// Where to.
    pub destination: Endpoint,
    /// TCP flags; 0 for UDP.
    pub flags: u8,
    /// Bytes behind the TCP or UDP header.
    pub payload: u32,
    /// The HTTP answer that the payload begins with, where it was looked for.
    pub answer: Option<Exchange>,
}

/// Which end of a segment an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The sender.
    Source,
    /// The receiver.
    Destination,
}

/// The family of a packet with an Ethernet header (`l2` is 14) or without one (`l2` is 0).
///
/// # Errors
///
/// [`Reason::Truncated`], or [`Reason::NotIp`].
#[inline(always)]
pub fn version<P: Packet + ?Sized>(packet: &P, l2: usize) -> Result<Version, Reason> {
    if l2 == 0 {
        // Verifier: for one byte the check becomes `at >= end` in 32 bits, and `at` no packet pointer.
        let [first, _] = packet.read::<2>(0)?;
        return match first >> 4 {
            4 => Ok(Version::V4),
            6 => Ok(Version::V6),
            _ => Err(Reason::NotIp),
        };
    }
    match packet.read::<2>(ethernet::TYPE_AT)? {
        ethernet::IPV4 => Ok(Version::V4),
        ethernet::IPV6 => Ok(Version::V6),
        _ => Err(Reason::NotIp),
    }
}

/// Two bytes as one word: the compiler would keep them apart from here on.
#[inline(always)]
const fn whole(a: u8, b: u8) -> [u8; 2] {
    u16::from_ne_bytes([a, b]).to_ne_bytes()
}

impl Segment {
    /// Reads a packet whose IP header is at `l3_at`.
    ///
    /// # Errors
    ///
    /// Those of [`Ipv4Header::read`] or [`Ipv6Header::read`], and [`Reason::NotTcpOrUdp`],
    /// [`Reason::Malformed`]; [`Reason::NotOurs`] for an IPv6 packet with a mapped IPv4 address.
    #[inline(always)]
    pub fn of<P: Packet + ?Sized>(
        packet: &P,
        l3_at: usize,
        version: Version,
    ) -> Result<Self, Reason> {
        match version {
            Version::V4 => Self::read_v4(packet, l3_at),
            Version::V6 => Self::read_v6(packet, l3_at),
        }
    }

    /// A packet that is neither TCP nor UDP, as what refuses it needs it: without ports.
    #[inline(always)]
    #[must_use]
    pub fn without_ports(headers: &Headers) -> Self {
        let Headers { l3_at, l4_at, version, source, destination, protocol, .. } = *headers;
        let end = |address| Endpoint { address, port: [0, 0], protocol };
        Self {
            l3_at,
            l4_at,
            version,
            source: end(source),
            destination: end(destination),
            flags: 0,
            payload: 0,
            answer: None,
        }
    }

    /// Reads what stands behind headers that were walked.
    ///
    /// # Errors
    ///
    /// [`Reason::Truncated`], [`Reason::Malformed`], [`Reason::NotTcpOrUdp`].
    #[inline(always)]
    pub fn behind<P: Packet + ?Sized>(packet: &P, headers: &Headers) -> Result<Self, Reason> {
        let Headers { l3_at, l4_at, version, source, destination, protocol, length, .. } = *headers;
        Self::read(packet, [l3_at, l4_at], version, [source, destination], protocol, length)
    }

    #[inline(always)]
    fn read_v4<P: Packet + ?Sized>(packet: &P, l3_at: usize) -> Result<Self, Reason> {
        let ip = Ipv4Header::read(packet, l3_at)?;
        let addresses = [Address::v4(ip.source()), Address::v4(ip.destination())];
        let length = ip.payload_len().ok_or(Reason::Malformed)?;
        let l4_at = l3_at.wrapping_add(ip.header_len());
        Self::read(packet, [l3_at, l4_at], Version::V4, addresses, ip.protocol(), length)
    }

    #[inline(always)]
    fn read_v6<P: Packet + ?Sized>(packet: &P, l3_at: usize) -> Result<Self, Reason> {
        let ip = Ipv6Header::read(packet, l3_at)?;
        let addresses = [Address(ip.source()), Address(ip.destination())];
        if addresses.iter().any(|address| address.version() == Version::V4) {
            return Err(Reason::NotOurs);
        }
        let length = usize::from(ip.payload_len());
        let l4_at = l3_at.wrapping_add(ipv6::LEN);
        Self::read(packet, [l3_at, l4_at], Version::V6, addresses, ip.next_header(), length)
    }

    #[inline(always)]
    fn read<P: Packet + ?Sized>(
        packet: &P,
        [l3_at, l4_at]: [usize; 2],
        version: Version,
        [source, destination]: [Address; 2],
        protocol: u8,
        length: usize,
    ) -> Result<Self, Reason> {
        let (ports, flags, header_len) = match protocol {
            TCP => {
                let head = packet.read::<{ tcp::MIN_LEN }>(l4_at)?;
                let [a, b, c, d, _, _, _, _, _, _, _, _, offset, flags, ..] = head;
                let header_len = usize::from(offset >> 4) << 2;
                if header_len < tcp::MIN_LEN {
                    return Err(Reason::Malformed);
                }
                ([whole(a, b), whole(c, d)], flags, header_len)
            }
            UDP => {
                let [a, b, c, d, ..] = packet.read::<{ udp::LEN }>(l4_at)?;
                ([whole(a, b), whole(c, d)], 0, udp::LEN)
            }
            _ => return Err(Reason::NotTcpOrUdp),
        };
        let [source_port, destination_port] = ports;
        let payload = length.checked_sub(header_len).ok_or(Reason::Malformed)?;
        Ok(Self {
            l3_at,
            l4_at,
            version,
            source: Endpoint { address: source, port: source_port, protocol },
            destination: Endpoint { address: destination, port: destination_port, protocol },
            flags,
            payload: u32::try_from(payload).map_err(|_| Reason::Malformed)?,
            answer: None,
        })
    }

    /// Whether it is UDP.
    #[inline(always)]
    #[must_use]
    pub const fn is_udp(&self) -> bool {
        self.source.protocol == UDP
    }

    /// Whether it starts a TCP connection.
    #[inline(always)]
    #[must_use]
    pub const fn is_syn(&self) -> bool {
        self.flags & (tcp::SYN | tcp::ACK | tcp::RST) == tcp::SYN
    }

    /// Whether a TCP flag is set.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether it carries payload that ends its sender's write: where times are taken.
    #[inline(always)]
    #[must_use]
    pub const fn ends_a_write(&self) -> bool {
        self.payload > 0 && (self.is_udp() || self.has(tcp::PSH))
    }

    /// Offset of its checksum.
    #[inline(always)]
    #[must_use]
    pub const fn checksum_at(&self) -> usize {
        let within = if self.is_udp() { udp::CHECKSUM_AT } else { tcp::CHECKSUM_AT };
        self.l4_at.wrapping_add(within)
    }

    /// Gives one end another address and port.
    ///
    /// # Errors
    ///
    /// [`Reason::Truncated`] if the packet is shorter than when this was read from it.
    #[inline(always)]
    pub fn readdress<P: Packet + ?Sized>(
        &self,
        packet: &mut P,
        side: Side,
        to: Endpoint,
    ) -> Result<(), Reason> {
        let (old, port_at) = match side {
            Side::Source => (self.source, self.l4_at),
            Side::Destination => (self.destination, self.l4_at.wrapping_add(2)),
        };
        let port = Difference::between(old.port, to.port);
        let (at, udp) = (self.checksum_at(), self.is_udp());
        if old.port != to.port {
            packet.write(port_at, to.port)?;
        }
        if old.address.words() == to.address.words() {
            if old.port == to.port {
                return Ok(());
            }
            return packet.patch_checksum(at, udp, Covers::Segment, port);
        }
        let (change, covers) = match self.version {
            Version::V4 => {
                (self.write_v4(packet, side, old.address, to.address)?, Covers::Ipv4Address)
            }
            Version::V6 => {
                (self.write_v6(packet, side, old.address, to.address)?, Covers::Ipv6Address)
            }
        };
        if old.port == to.port {
            return packet.patch_checksum(at, udp, covers, change);
        }
        packet.patch_checksum_of_both(at, udp, covers, [change, port])
    }

    /// Takes a hop from what the packet has left.
    ///
    /// # Errors
    ///
    /// [`Reason::Expired`] if this is its last; it is unchanged then.
    #[inline(always)]
    pub fn hop<P: Packet + ?Sized>(&self, packet: &mut P) -> Result<(), Reason> {
        hop(packet, self.version, self.l3_at)
    }
    #[inline(always)]
    fn write_v4<P: Packet + ?Sized>(
        &self,
        packet: &mut P,
        side: Side,
        old: Address,
        new: Address,
    ) -> Result<Difference, Reason> {
        let within = match side {
            Side::Source => ipv4::SOURCE_AT,
            Side::Destination => ipv4::DESTINATION_AT,
        };
        let [old, new] = [old, new].map(Address::last_four);
        let change = Difference::between(old, new);
        let checksum_at = self.l3_at.wrapping_add(ipv4::CHECKSUM_AT);
        let checksum = change.patch(packet.read(checksum_at)?);
        packet.write(checksum_at, checksum)?;
        packet.write(self.l3_at.wrapping_add(within), new)?;
        Ok(change)
    }

    #[inline(always)]
    fn write_v6<P: Packet + ?Sized>(
        &self,
        packet: &mut P,
        side: Side,
        old: Address,
        new: Address,
    ) -> Result<Difference, Reason> {
        let within = match side {
            Side::Source => ipv6::SOURCE_AT,
            Side::Destination => ipv6::DESTINATION_AT,
        };
        packet.write(self.l3_at.wrapping_add(within), new.0)?;
        Ok(Difference::between(old.0, new.0))
    }
}

/// Takes a hop from what a packet has left.
///
/// # Errors
///
/// [`Reason::Expired`] if this is its last; it is unchanged then.
#[inline(always)]
pub(crate) fn hop<P: Packet + ?Sized>(
    packet: &mut P,
    version: Version,
    l3_at: usize,
) -> Result<(), Reason> {
    match version {
        Version::V4 => {
            let at = l3_at.wrapping_add(ipv4::TTL_AT);
            let [hops, protocol] = packet.read::<2>(at)?;
            let left = [one_less(hops)?, protocol];
            let sum_at = l3_at.wrapping_add(ipv4::CHECKSUM_AT);
            let sum = Difference::between([hops, protocol], left).patch(packet.read(sum_at)?);
            packet.write(sum_at, sum)?;
            packet.write(at, left)
        }
        Version::V6 => {
            // Two bytes: one would be checked in 32 bits.
            let at = l3_at.wrapping_add(ipv6::HOP_LIMIT_AT - 1);
            let [next, hops] = packet.read::<2>(at)?;
            packet.write(at, [next, one_less(hops)?])
        }
    }
}

/// The hops that are left after this one.
#[inline(always)]
const fn one_less(hops: u8) -> Result<u8, Reason> {
    if hops <= 1 { Err(Reason::Expired) } else { Ok(hops.wrapping_sub(1)) }
}
