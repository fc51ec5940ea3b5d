//! The headers of a packet of the plain case: read in words behind one check, and written so.
//!
//! A family each, so that every offset is a constant, and what is not there costs nothing.

use crate::checksum::Difference;
use crate::endpoint::{Address, TCP, Version};
use crate::packet::{Covers, Packet};
use crate::reason::Reason;
use crate::segment::Side;
use crate::wire::{ipv4, ipv6, tcp};

/// Length of both headers.
const V4_LEN: usize = ipv4::LEN + tcp::MIN_LEN;
const V6_LEN: usize = ipv6::LEN + tcp::MIN_LEN;

/// The headers of one TCP segment behind an IP header without options.
pub(super) trait Headers: Copy {
    /// Reads them; `None` if they are not of the plain case.
    fn read<P: Packet + ?Sized>(packet: &P, l2: usize) -> Option<Self>;

    /// The sender's address.
    fn source(&self) -> [u64; 2];

    /// The receiver's address.
    fn destination(&self) -> [u64; 2];

    /// Both ports, the sender's first.
    fn ports(&self) -> [u8; 4];

    /// TCP flags.
    fn flags(&self) -> u8;

    /// Bytes behind the TCP header.
    fn payload(&self) -> u32;

    /// Gives one end another address and port.
    fn rewrite<P: Packet + ?Sized>(
        &self,
        packet: &mut P,
        l2: usize,
        side: Side,
        to: ([u64; 2], [u8; 2]),
    ) -> Result<(), Reason>;
}

/// IPv4 and TCP: all of both headers.
#[derive(Clone, Copy)]
pub(super) struct V4 {
    /// Time to live, protocol, checksum, source.
    second: u64,
    /// Destination, ports.
    third: u64,
    /// TCP's offset, flags, window, checksum and pointer.
    fifth: u64,
    payload: u32,
}

impl Headers for V4 {
    #[inline(always)]
    fn read<P: Packet + ?Sized>(packet: &P, l2: usize) -> Option<Self> {
        let [first, second, third, _, fifth, ..] = packet.words::<5>(l2, V4_LEN).ok()?;
        // Version and length; neither more fragments nor an offset; TCP.
        let shape = first & u64::from_ne_bytes([0xff, 0, 0, 0, 0, 0, 0x3f, 0xff]);
        let protocol = second & u64::from_ne_bytes([0, 0xff, 0, 0, 0, 0, 0, 0]);
        if shape != u64::from_ne_bytes([0x45, 0, 0, 0, 0, 0, 0, 0])
            || protocol != u64::from_ne_bytes([0, TCP, 0, 0, 0, 0, 0, 0])
        {
            return None;
        }
        let [_, _, high, low, ..] = first.to_ne_bytes();
        let length = u32::from(u16::from_be_bytes([high, low]));
        let [offset, ..] = fifth.to_ne_bytes();
        let payload = payload(length.checked_sub(20)?, offset)?;
        Some(Self { second, third, fifth, payload })
    }

    #[inline(always)]
    fn source(&self) -> [u64; 2] {
        let [.., a, b, c, d] = self.second.to_ne_bytes();
        mapped([a, b, c, d])
    }

    #[inline(always)]
    fn destination(&self) -> [u64; 2] {
        let [a, b, c, d, ..] = self.third.to_ne_bytes();
        mapped([a, b, c, d])
    }

    #[inline(always)]
    fn ports(&self) -> [u8; 4] {
        let [.., a, b, c, d] = self.third.to_ne_bytes();
        [a, b, c, d]
    }

    #[inline(always)]
    fn flags(&self) -> u8 {
        let [_, flags, ..] = self.fifth.to_ne_bytes();
        flags
    }

    #[inline(always)]
    fn payload(&self) -> u32 {
        self.payload
    }

    #[inline(always)]
    fn rewrite<P: Packet + ?Sized>(
        &self,
        packet: &mut P,
        l2: usize,
        side: Side,
        ([_, word], port): ([u64; 2], [u8; 2]),
    ) -> Result<(), Reason> {
        let [.., t, u, v, w] = word.to_ne_bytes();
        let [live, protocol, sum_high, sum_low, a, b, c, d] = self.second.to_ne_bytes();
        let [e, f, g, h, from_high, from_low, to_high, to_low] = self.third.to_ne_bytes();
        let (old, old_port) = match side {
            Side::Source => ([a, b, c, d], [from_high, from_low]),
            Side::Destination => ([e, f, g, h], [to_high, to_low]),
        };
        let change = Difference::between(old, [t, u, v, w]);
        let [sum_high, sum_low] = change.patch([sum_high, sum_low]);
        let [x, y] = port;
        let (second, third) = match side {
            Side::Source => (
                [live, protocol, sum_high, sum_low, t, u, v, w],
                [e, f, g, h, x, y, to_high, to_low],
            ),
            Side::Destination => (
                [live, protocol, sum_high, sum_low, a, b, c, d],
                [t, u, v, w, from_high, from_low, x, y],
            ),
        };
        let both = [u64::from_ne_bytes(second), u64::from_ne_bytes(third)];
        packet.write(l2.wrapping_add(ipv4::TTL_AT), Address::of_words(both).0)?;
        let [_, _, _, _, high, low, ..] = self.fifth.to_ne_bytes();
        let at = l2.wrapping_add(ipv4::LEN).wrapping_add(tcp::CHECKSUM_AT);
        let changes = [change, of_port(old_port, port)];
        packet.patch_tcp(at, [high, low], Covers::Ipv4Address, changes)
    }
}

/// IPv6 and TCP: all of both headers but the end of TCP's.
#[derive(Clone, Copy)]
pub(super) struct V6 {
    source: [u64; 2],
    destination: [u64; 2],
    /// Ports and sequence.
    sixth: u64,
    /// TCP's acknowledgement, offset, flags and window.
    seventh: u64,
    payload: u32,
}

impl Headers for V6 {
    #[inline(always)]
    fn read<P: Packet + ?Sized>(packet: &P, l2: usize) -> Option<Self> {
        let [first, a, b, c, d, sixth, seventh, _] = packet.words::<7>(l2, V6_LEN).ok()?;
        // Version; TCP.
        let shape = first & u64::from_ne_bytes([0xf0, 0, 0, 0, 0, 0, 0xff, 0]);
        let is_mapped = |words| Address::of_words(words).version() == Version::V4;
        if shape != u64::from_ne_bytes([0x60, 0, 0, 0, 0, 0, TCP, 0])
            || is_mapped([a, b])
            || is_mapped([c, d])
        {
            return None;
        }
        let [_, _, _, _, high, low, ..] = first.to_ne_bytes();
        let [_, _, _, _, offset, ..] = seventh.to_ne_bytes();
        let payload = payload(u32::from(u16::from_be_bytes([high, low])), offset)?;
        Some(Self { source: [a, b], destination: [c, d], sixth, seventh, payload })
    }

    #[inline(always)]
    fn source(&self) -> [u64; 2] {
        self.source
    }

    #[inline(always)]
    fn destination(&self) -> [u64; 2] {
        self.destination
    }

    #[inline(always)]
    fn ports(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.sixth.to_ne_bytes();
        [a, b, c, d]
    }

    #[inline(always)]
    fn flags(&self) -> u8 {
        let [_, _, _, _, _, flags, ..] = self.seventh.to_ne_bytes();
        flags
    }

    #[inline(always)]
    fn payload(&self) -> u32 {
        self.payload
    }

    #[inline(always)]
    fn rewrite<P: Packet + ?Sized>(
        &self,
        packet: &mut P,
        l2: usize,
        side: Side,
        (to, port): ([u64; 2], [u8; 2]),
    ) -> Result<(), Reason> {
        let [from_high, from_low, to_high, to_low] = self.ports();
        let ports_at = l2.wrapping_add(ipv6::LEN);
        let (old, old_port, at, port_at) = match side {
            Side::Source => (self.source, [from_high, from_low], ipv6::SOURCE_AT, ports_at),
            Side::Destination => (
                self.destination,
                [to_high, to_low],
                ipv6::DESTINATION_AT,
                ports_at.wrapping_add(2),
            ),
        };
        let new = Address::of_words(to).0;
        packet.write(l2.wrapping_add(at), new)?;
        if old_port != port {
            packet.write(port_at, port)?;
        }
        let at = ports_at.wrapping_add(tcp::CHECKSUM_AT);
        let sum = packet.read(at)?;
        let change = Difference::between(Address::of_words(old).0, new);
        packet.patch_tcp(at, sum, Covers::Ipv6Address, [change, of_port(old_port, port)])
    }
}

/// The difference that another port makes: none, if it is the same.
#[inline(always)]
fn of_port(old: [u8; 2], new: [u8; 2]) -> Difference {
    if old == new { Difference::default() } else { Difference::between(old, new) }
}

/// An IPv4 address as words.
#[inline(always)]
const fn mapped([a, b, c, d]: [u8; 4]) -> [u64; 2] {
    [0, u64::from_ne_bytes([0, 0, 0xff, 0xff, a, b, c, d])]
}

/// Bytes of `length` behind a TCP header with this byte for its offset.
#[inline(always)]
fn payload(length: u32, offset: u8) -> Option<u32> {
    let header = u32::from(offset >> 4) << 2;
    if header < 20 { None } else { length.checked_sub(header) }
}
