//! IPv4 (RFC 791).

use crate::packet::Packet;
use crate::reason::Reason;

/// Length of the header without options.
pub const LEN: usize = 20;
/// Offset of the fragment's flags and offset, from the header's first byte.
pub const FRAGMENT_AT: usize = 6;
/// Offset of the time to live, from the header's first byte.
pub const TTL_AT: usize = 8;
/// Offset of the IANA number of what it carries, from the header's first byte.
pub const PROTOCOL_AT: usize = 9;
/// Offset of the header checksum, from the header's first byte.
pub const CHECKSUM_AT: usize = 10;
/// Offset of the source address, from the header's first byte.
pub const SOURCE_AT: usize = 12;
/// Offset of the destination address, from the header's first byte.
pub const DESTINATION_AT: usize = 16;

/// IANA number of an IPv4 packet within another packet (RFC 2003).
pub const WITHIN: u8 = 4;

/// The fixed 20 bytes of a header, checked on read.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4Header {
    bytes: [u8; 20],
}

impl Ipv4Header {
    /// Reads the header at `offset`.
    ///
    /// # Errors
    ///
    /// [`Reason::Truncated`] if the packet is too short, [`Reason::Malformed`] if the version
    /// is not 4 or a length contradicts another, [`Reason::Fragment`] if this is any fragment
    /// but a whole datagram.
    #[inline(always)]
    pub fn read<P: Packet + ?Sized>(packet: &P, offset: usize) -> Result<Self, Reason> {
        let header = Self { bytes: packet.read(offset)? };
        let [first, .., fragment_high, fragment_low, _, _, _, _, _, _, _, _, _, _, _, _] =
            header.bytes;
        if first >> 4 != 4 || header.header_len() < 20 || header.payload_len().is_none() {
            return Err(Reason::Malformed);
        }
        // More-fragments flag or a non-zero offset; the don't-fragment bit is fine.
        if [fragment_high & 0x3f, fragment_low] != [0, 0] {
            return Err(Reason::Fragment);
        }
        Ok(header)
    }

    /// Length of the header with its options, in bytes: 0 to 60.
    #[inline(always)]
    #[must_use]
    pub fn header_len(&self) -> usize {
        let [first, ..] = self.bytes;
        usize::from(first & 0x0f) << 2
    }

    /// Bytes behind the header, as its total length says; `None` if that is below the header's.
    #[inline(always)]
    #[must_use]
    pub fn payload_len(&self) -> Option<usize> {
        let [_, _, high, low, ..] = self.bytes;
        usize::from(u16::from_be_bytes([high, low])).checked_sub(self.header_len())
    }

    /// IANA number of what it carries.
    #[inline(always)]
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        let [_, _, _, _, _, _, _, _, _, protocol, ..] = self.bytes;
        protocol
    }

    /// Source address, network order.
    #[inline(always)]
    #[must_use]
    pub const fn source(&self) -> [u8; 4] {
        match self.bytes.as_chunks().0 {
            [.., source, _] => *source,
            _ => [0; 4],
        }
    }

    /// Destination address, network order.
    #[inline(always)]
    #[must_use]
    pub const fn destination(&self) -> [u8; 4] {
        match self.bytes.as_chunks().0 {
            [.., destination] => *destination,
            _ => [0; 4],
        }
    }
}
