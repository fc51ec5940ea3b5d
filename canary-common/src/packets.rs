//! Makes packets and judges their checksums, for tests and for tools.
//!
//! Sums are made from nothing here, never piece by piece as the datapath does it, so that each
//! way can be held against the other.

pub mod rare;

use core::net::{IpAddr, SocketAddr};

use crate::checksum::{fold, sum};
use crate::endpoint::{Address, Endpoint, TCP, UDP};
use crate::wire::{ethernet, ipv4, ipv6, tcp, udp};

/// Hardware address of whoever sends a [`Draft`].
pub const SENDER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
/// Hardware address of whoever it is for.
pub const RECEIVER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];

/// IANA numbers of ICMP.
const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;

/// Time to live of a [`Draft`].
const TTL: u8 = 61;

/// Where something listens, from the standard library's form.
#[must_use]
pub fn endpoint(at: SocketAddr, protocol: u8) -> Endpoint {
    let address = match at.ip() {
        IpAddr::V4(ip) => Address::v4(ip.octets()),
        IpAddr::V6(ip) => Address(ip.octets()),
    };
    Endpoint { address, port: at.port().to_be_bytes(), protocol }
}

/// A packet that is still to be made. As it begins, a plain one; each method changes one thing.
#[derive(Clone, Debug)]
pub struct Draft {
    source: Endpoint,
    destination: Endpoint,
    flags: u8,
    sequence: u32,
    acknowledgement: u32,
    payload: Vec<u8>,
    ip_options: Vec<u8>,
    tcp_options: Vec<u8>,
    has_ethernet: bool,
    has_sum: bool,
    hops: u8,
}

impl Draft {
    /// A packet between two endpoints of one family and protocol.
    #[must_use]
    pub const fn new(source: Endpoint, destination: Endpoint) -> Self {
        Self {
            source,
            destination,
            flags: 0,
            sequence: 0,
            acknowledgement: 0,
            payload: Vec::new(),
            ip_options: Vec::new(),
            tcp_options: Vec::new(),
            has_ethernet: true,
            has_sum: true,
            hops: TTL,
        }
    }

    /// With these flags of [`tcp`].
    #[must_use]
    pub const fn flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }

    /// With this sequence number.
    #[must_use]
    pub const fn sequence(mut self, number: u32) -> Self {
        self.sequence = number;
        self
    }

    /// With this acknowledgement number; its flag is another matter.
    #[must_use]
    pub const fn acknowledgement(mut self, number: u32) -> Self {
        self.acknowledgement = number;
        self
    }

    /// With this payload.
    #[must_use]
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// With this many words of 4 bytes of IPv4 options, at most 10; nothing in IPv6.
    #[must_use]
    pub fn ip_options(mut self, words: usize) -> Self {
        self.ip_options = no_operations(words.min(10));
        self
    }

    /// With this many words of 4 bytes of TCP options, at most 10; nothing in UDP.
    #[must_use]
    pub fn tcp_options(mut self, words: usize) -> Self {
        self.tcp_options = no_operations(words.min(10));
        self
    }

    /// Without an Ethernet header.
    #[must_use]
    pub const fn bare(mut self) -> Self {
        self.has_ethernet = false;
        self
    }

    /// With this time to live, or hop limit.
    #[must_use]
    pub const fn hops(mut self, hops: u8) -> Self {
        self.hops = hops;
        self
    }

    /// Without a UDP checksum: it is 0.
    #[must_use]
    pub const fn unsummed(mut self) -> Self {
        self.has_sum = false;
        self
    }

    /// The packet, all checksums right.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let segment = self.segment();
        let is_v4 = self.source.address.as_v4().is_some();
        let mut packet = Vec::new();
        if self.has_ethernet {
            packet.extend(RECEIVER_MAC);
            packet.extend(SENDER_MAC);
            packet.extend(if is_v4 { ethernet::IPV4 } else { ethernet::IPV6 });
        }
        if is_v4 {
            packet.extend(self.ipv4_header(segment.len()));
        } else {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend(length(segment.len()));
            packet.extend([self.source.protocol, self.hops]);
            packet.extend(self.source.address.0);
            packet.extend(self.destination.address.0);
        }
        packet.extend(segment);
        packet
    }

    fn ipv4_header(&self, payload: usize) -> Vec<u8> {
        let header_len = self.ip_options.len().saturating_add(20);
        let words = u8::try_from(header_len >> 2).unwrap_or(0);
        let mut header = vec![0x40 | words, 0];
        header.extend(length(header_len.saturating_add(payload)));
        // An identifier; do not fragment.
        header.extend([0x1c, 0x46, 0x40, 0, self.hops, self.source.protocol]);
        let addresses = [self.source, self.destination].map(|end| end.address.as_v4());
        let addresses = addresses.map(Option::unwrap_or_default).concat();
        let rest = [addresses, self.ip_options.clone()].concat();
        let covered = [header.as_slice(), &[0, 0], &rest].concat();
        header.extend((!fold(sum(&covered))).to_ne_bytes());
        header.extend(rest);
        header
    }

    /// The TCP or UDP header and what follows it.
    fn segment(&self) -> Vec<u8> {
        let ports = [self.source.port, self.destination.port].concat();
        let (before, after) = if self.source.protocol == UDP {
            let total = self.payload.len().saturating_add(udp::LEN);
            ([ports.as_slice(), &length(total)].concat(), Vec::new())
        } else {
            let header_len = self.tcp_options.len().saturating_add(tcp::MIN_LEN);
            let offset = u8::try_from(header_len << 2).unwrap_or(0);
            let numbers = [self.sequence, self.acknowledgement].map(u32::to_be_bytes).concat();
            let window = [0xfa, 0xf0];
            let before = [ports.as_slice(), &numbers, &[offset, self.flags], &window].concat();
            (before, [[0, 0].as_slice(), &self.tcp_options].concat())
        };
        let rest = [after.as_slice(), &self.payload].concat();
        let summed = [before.as_slice(), &[0, 0], &rest].concat();
        let checksum = match segment_checksum(self.source, self.destination, &summed) {
            _ if !self.has_sum => [0, 0],
            [0, 0] if self.source.protocol == UDP => [0xff, 0xff],
            checksum => checksum,
        };
        [before.as_slice(), &checksum, &rest].concat()
    }
}

/// Options that say nothing.
fn no_operations(words: usize) -> Vec<u8> {
    [1, 1, 1, 1].repeat(words)
}

fn length(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}

/// The checksum of a segment that lies between these ends, or 0 if its own is right.
fn segment_checksum(source: Endpoint, destination: Endpoint, segment: &[u8]) -> [u8; 2] {
    let words: Vec<u8> = [source, destination]
        .iter()
        .flat_map(|end| end.address.as_v4().map_or(end.address.0.to_vec(), |ip| ip.to_vec()))
        .collect();
    let tail = [[0, source.protocol], length(segment.len())].concat();
    let total = [words, tail].iter().fold(sum(segment), |total, part| {
        // Words of 16 bits, far fewer than 65,536 of them.
        total.wrapping_add(sum(part))
    });
    (!fold(total)).to_ne_bytes()
}

/// Holds every length and checksum of a packet against its bytes.
///
/// # Errors
///
/// What is wrong with it, in words.
pub fn check(packet: &[u8], has_ethernet: bool) -> Result<(), String> {
    let l3_at = if has_ethernet { ethernet::TYPE_AT.saturating_add(2) } else { 0 };
    let ip = packet.get(l3_at..).ok_or("no IP header")?;
    let (protocol, [source, destination], segment) = match ip.first().map(|first| first >> 4) {
        Some(4) => check_ipv4(ip)?,
        Some(6) => check_ipv6(ip)?,
        version => return Err(format!("IP version {version:?}")),
    };
    // Of a fragment no sum covers just what is there.
    if protocol == ipv6::FRAGMENT {
        return Ok(());
    }
    if matches!(protocol, ICMP | ICMP_V6) {
        return check_icmp(protocol, [source, destination], segment);
    }
    if matches!((ip.first().map(|first| first >> 4), protocol), (Some(4), 4) | (Some(6), 41)) {
        return check(segment, false).map_err(|error| format!("within: {error}"));
    }
    let port = |at: usize| segment.get(at..)?.first_chunk::<2>().copied();
    let (Some(from), Some(to)) = (port(0), port(2)) else { return Err("no ports".to_owned()) };
    let source = Endpoint { address: source, port: from, protocol };
    let destination = Endpoint { address: destination, port: to, protocol };
    if protocol == UDP {
        let wanted = length(segment.len());
        if port(4) != Some(wanted) {
            return Err(format!("UDP length {:?}, not {wanted:?}", port(4)));
        }
        if port(udp::CHECKSUM_AT) == Some([0, 0]) {
            return Ok(());
        }
    } else if protocol != TCP {
        return Err(format!("protocol {protocol}"));
    }
    match segment_checksum(source, destination, segment) {
        [0, 0] => Ok(()),
        off => Err(format!("checksum of protocol {protocol} is off by {off:02x?}")),
    }
}

/// Holds the checksum of an ICMP error, and the addresses it quotes, against its bytes.
fn check_icmp(protocol: u8, [from, to]: [Address; 2], message: &[u8]) -> Result<(), String> {
    let end = |address| Endpoint { address, port: [0, 0], protocol };
    let off = if protocol == ICMP {
        (!fold(sum(message))).to_ne_bytes()
    } else {
        segment_checksum(end(from), end(to), message)
    };
    if off != [0, 0] {
        return Err(format!("checksum of ICMP is off by {off:02x?}"));
    }
    if message
        .first()
        .is_some_and(|kind| matches!((protocol, kind), (ICMP, 0 | 8) | (ICMP_V6, 128..)))
    {
        return Ok(());
    }
    // Any router on the way may have sent it, but only to whom the packet came from.
    let quoted = message.get(8..).unwrap_or_default();
    let at = if protocol == ICMP { ipv4::SOURCE_AT } else { ipv6::SOURCE_AT };
    let wanted = to.as_v4().map_or(to.0.to_vec(), |ip| ip.to_vec());
    if quoted.get(at..).is_none_or(|quoted| !quoted.starts_with(&wanted)) {
        return Err("the error quotes a packet of somebody else".to_owned());
    }
    check_quoted(protocol, quoted)
}

/// Holds the sums of a quoted packet against its bytes, as far as they are there.
fn check_quoted(protocol: u8, quoted: &[u8]) -> Result<(), String> {
    let told = |at: usize| {
        let word = quoted.get(at..).and_then(<[u8]>::first_chunk).copied();
        word.map_or(usize::MAX, |word| usize::from(u16::from_be_bytes(word)))
    };
    if protocol == ICMP {
        let header = quoted.get(..ipv4::LEN).unwrap_or_default();
        if header.first() == Some(&0x45) && fold(sum(header)) != u16::MAX {
            return Err(format!("quoted IPv4 header sums to {:#06x}", fold(sum(header))));
        }
    }
    let whole = if protocol == ICMP { told(2) } else { told(4).saturating_add(ipv6::LEN) };
    if quoted.len() < whole {
        return Ok(());
    }
    check(quoted, false).map_err(|error| format!("quoted: {error}"))
}

type Parts<'p> = (u8, [Address; 2], &'p [u8]);

fn check_ipv4(ip: &[u8]) -> Result<Parts<'_>, String> {
    let Some(&[first, _, high, low, _, _, more, offset, _, protocol, _, _, ref ends @ ..]) =
        ip.first_chunk::<20>()
    else {
        return Err("IPv4 header cut".to_owned());
    };
    let header_len = usize::from(first & 0x0f) << 2;
    let total = usize::from(u16::from_be_bytes([high, low]));
    let is_fragment = [more & 0x3f, offset] != [0, 0];
    let header = ip.get(..header_len).ok_or("IPv4 options cut")?;
    if fold(sum(header)) != u16::MAX {
        return Err(format!("IPv4 header sums to {:#06x}", fold(sum(header))));
    }
    let segment = ip.get(header_len..total).ok_or_else(|| format!("IPv4 length {total}"))?;
    let [a, b, c, d, rest @ ..] = *ends;
    let protocol = if is_fragment { ipv6::FRAGMENT } else { protocol };
    Ok((protocol, [[a, b, c, d], rest].map(Address::v4), segment))
}

fn check_ipv6(ip: &[u8]) -> Result<Parts<'_>, String> {
    let Some(&[_, _, _, _, high, low, protocol, _, ref ends @ ..]) =
        ip.first_chunk::<{ ipv6::LEN }>()
    else {
        return Err("IPv6 header cut".to_owned());
    };
    let end = usize::from(u16::from_be_bytes([high, low])).saturating_add(ipv6::LEN);
    let segment = ip.get(ipv6::LEN..end).ok_or_else(|| format!("IPv6 length up to {end}"))?;
    let (source, destination) = ends.split_at(16);
    let address = |bytes: &[u8]| bytes.first_chunk().copied().map(Address);
    let (Some(source), Some(destination)) = (address(source), address(destination)) else {
        return Err("IPv6 addresses cut".to_owned());
    };
    let (protocol, segment) = behind_extensions(protocol, segment)?;
    Ok((protocol, [source, destination], segment))
}

/// What stands behind IPv6 extension headers, up to one of a real fragment.
fn behind_extensions(mut protocol: u8, mut rest: &[u8]) -> Result<(u8, &[u8]), String> {
    loop {
        let Some(&[next, words, a, b, ..]) = rest.first_chunk::<8>() else {
            return Ok((protocol, rest));
        };
        let len = match protocol {
            ipv6::FRAGMENT if [a, b & 0xf9] != [0, 0] => return Ok((protocol, rest)),
            ipv6::FRAGMENT => 8,
            ipv6::AUTHENTICATION => usize::from(words).saturating_add(2).saturating_mul(4),
            ipv6::HOP_BY_HOP | ipv6::ROUTING | ipv6::DESTINATION_OPTIONS => {
                usize::from(words).saturating_add(1).saturating_mul(8)
            }
            _ => return Ok((protocol, rest)),
        };
        rest = rest.get(len..).ok_or("IPv6 extension headers cut")?;
        protocol = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 10.0.0.1:40000 to 10.0.0.2:53 over UDP, "hi"; sums worked out apart, by RFC 1071.
    const WORKED_OUT: [u8; 30] = [
        0x45, 0x00, 0x00, 0x1e, 0x1c, 0x46, 0x40, 0x00, 0x3d, 0x11, 0x0d, 0x87, 0x0a, 0x00, 0x00,
        0x01, 0x0a, 0x00, 0x00, 0x02, 0x9c, 0x40, 0x00, 0x35, 0x00, 0x0a, 0xe6, 0xf8, 0x68, 0x69,
    ];

    #[test]
    fn a_packet_is_as_it_was_worked_out() {
        let [from, to] =
            ["10.0.0.1:40000", "10.0.0.2:53"].map(|at| endpoint(at.parse().unwrap(), UDP));

        let packet = Draft::new(from, to).payload(b"hi").bare().build();

        assert_eq!(packet, WORKED_OUT);
    }

    #[test]
    fn every_flipped_bit_that_a_sum_covers_is_found() {
        let [from, to] =
            ["[fd00::1]:40000", "[fd00::2]:53"].map(|at| endpoint(at.parse().unwrap(), TCP));
        let packet = Draft::new(from, to).payload(b"odd").tcp_options(3).build();
        assert_eq!(check(&packet, true), Ok(()));

        for byte in 22..packet.len() {
            for bit in 0..8 {
                let mut spoilt = packet.clone();
                spoilt[byte] ^= 1 << bit;
                assert!(check(&spoilt, true).is_err(), "byte {byte}, bit {bit}");
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_is_built_checks(
            payload in prop::collection::vec(any::<u8>(), 0..200), options in 0_usize..=10,
            ends in any::<([u8; 4], [u8; 4], [u8; 2], [u8; 2])>(), flags in any::<u8>(),
            udp in any::<bool>(),
        ) {
            let (source, destination, from, to) = ends;
            let protocol = if udp { UDP } else { TCP };
            let end = |ip, port| Endpoint { address: Address::v4(ip), port, protocol };

            let draft = Draft::new(end(source, from), end(destination, to)).payload(&payload);
            let packet = draft.ip_options(options).tcp_options(options).flags(flags).build();

            prop_assert_eq!(check(&packet, true), Ok(()));
        }
    }
}
