//! IPv6 (RFC 8200), without extension headers.

use crate::packet::Packet;
use crate::reason::Reason;

/// Length of the header.
pub const LEN: usize = 40;
/// Offset of the IANA number of what follows, from the header's first byte.
pub const NEXT_AT: usize = 6;
/// Offset of the hop limit, from the header's first byte.
pub const HOP_LIMIT_AT: usize = 7;
/// Offset of the source address, from the header's first byte.
pub const SOURCE_AT: usize = 8;
/// Offset of the destination address, from the header's first byte.
pub const DESTINATION_AT: usize = 24;
/// Next-header number of options for each node on the way.
pub const HOP_BY_HOP: u8 = 0;
/// Next-header number of a route.
pub const ROUTING: u8 = 43;
/// Next-header number of a fragment.
pub const FRAGMENT: u8 = 44;
/// Next-header number of an authentication header.
pub const AUTHENTICATION: u8 = 51;
/// Next-header number of options for the destination.
pub const DESTINATION_OPTIONS: u8 = 60;

/// IANA number of an IPv6 packet within another packet (RFC 2473).
pub const WITHIN: u8 = 41;

/// A header, checked on read.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6Header {
    head: [u8; 8],
    source: [u8; 16],
    destination: [u8; 16],
}

impl Ipv6Header {
    /// Reads the header at `offset`.
    ///
    /// # Errors
    ///
    /// [`Reason::Truncated`] if the packet is too short, [`Reason::Malformed`] if the version
    /// is not 6, [`Reason::Fragment`] if a fragment header follows.
    #[inline(always)]
    pub fn read<P: Packet + ?Sized>(packet: &P, offset: usize) -> Result<Self, Reason> {
        let header = Self {
            head: packet.read(offset)?,
            source: packet.read(offset.wrapping_add(SOURCE_AT))?,
            destination: packet.read(offset.wrapping_add(DESTINATION_AT))?,
        };
        let [first, ..] = header.head;
        if first >> 4 != 6 {
            return Err(Reason::Malformed);
        }
        if header.next_header() == FRAGMENT {
            return Err(Reason::Fragment);
        }
        Ok(header)
    }

    /// Bytes behind the header.
    #[inline(always)]
    #[must_use]
    pub const fn payload_len(&self) -> u16 {
        let [_, _, _, _, high, low, _, _] = self.head;
        u16::from_be_bytes([high, low])
    }

    /// IANA number of what follows.
    #[inline(always)]
    #[must_use]
    pub const fn next_header(&self) -> u8 {
        let [_, _, _, _, _, _, next, _] = self.head;
        next
    }

    /// Source address, network order.
    #[inline(always)]
    #[must_use]
    pub const fn source(&self) -> [u8; 16] {
        self.source
    }

    /// Destination address, network order.
    #[inline(always)]
    #[must_use]
    pub const fn destination(&self) -> [u8; 16] {
        self.destination
    }
}
