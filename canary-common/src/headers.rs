//! What an IP packet carries, and where: behind options and extension headers, whole or a
//! fragment of it.

use crate::endpoint::{Address, TCP, UDP, Version};
use crate::limits::{MAX_EXTENSIONS, MAX_EXTENSIONS_LEN};
use crate::packet::Packet;
use crate::reason::Reason;
use crate::wire::{header_len, icmp, ipv4, ipv6};

/// Longest packet whose length an IP header can say; a longer one says 0 (BIG TCP).
const MAX_TOLD: usize = 0xffff;

/// Which part of its datagram a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// All of it.
    Whole,
    /// The first fragment, with the transport header.
    First,
    /// One of the others.
    Later,
}

/// What to do with a packet that the ordinary way does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// TCP or UDP, or the first fragment of it.
    Segment,
    /// A fragment behind the first.
    Fragment,
    /// ICMP of the packet's own family.
    Icmp,
    /// A packet of the packet's own family, behind a header without options or extensions.
    Packet,
    /// Something else.
    Other,
}

/// The headers of an IP packet, walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Offset of the IP header.
    pub l3_at: usize,
    /// Offset of what it carries: behind options and extension headers.
    pub l4_at: usize,
    /// The family.
    pub version: Version,
    /// Who sent it.
    pub source: Address,
    /// Where to.
    pub destination: Address,
    /// IANA number of what it carries.
    pub protocol: u8,
    /// Which part of its datagram it is.
    pub piece: Piece,
    /// IANA number of what the datagram carries, as each of its fragments says.
    pub datagram_protocol: u8,
    /// The datagram's id, network order; IPv4's in the last two bytes.
    pub id: [u8; 4],
    /// Bytes from `l4_at` on.
    pub length: usize,
}

impl Headers {
    /// Walks the headers of a packet whose IP header is at `l3_at`.
    ///
    /// # Errors
    ///
    /// [`Reason::Truncated`], [`Reason::Malformed`], [`Reason::Extensions`]; [`Reason::NotOurs`]
    /// for an IPv6 packet with a mapped IPv4 address.
    #[inline(always)]
    pub fn read<P: Packet + ?Sized>(
        packet: &P,
        l3_at: usize,
        version: Version,
    ) -> Result<Self, Reason> {
        match version {
            Version::V4 => Self::read_v4(packet, l3_at),
            Version::V6 => Self::read_v6(packet, l3_at),
        }
    }

    #[inline(always)]
    fn read_v4<P: Packet + ?Sized>(packet: &P, l3_at: usize) -> Result<Self, Reason> {
        let [first, _, high, low, id @ .., flags, offset, _, protocol, _, _] =
            packet.read::<12>(l3_at)?;
        let [a, b] = id;
        let header_len = usize::from(first & 0x0f) << 2;
        if first >> 4 != 4 || header_len < ipv4::LEN {
            return Err(Reason::Malformed);
        }
        let l4_at = l3_at.wrapping_add(header_len);
        let length = match usize::from(u16::from_be_bytes([high, low])) {
            0 => behind_big(packet, l3_at, l4_at)?,
            total => total.checked_sub(header_len).ok_or(Reason::Malformed)?,
        };
        let piece = match ([flags & 0x1f, offset], flags & 0x20 != 0) {
            ([0, 0], false) => Piece::Whole,
            ([0, 0], true) => Piece::First,
            _ => Piece::Later,
        };
        Ok(Self {
            l3_at,
            l4_at,
            version: Version::V4,
            source: Address::v4(packet.read(l3_at.wrapping_add(ipv4::SOURCE_AT))?),
            destination: Address::v4(packet.read(l3_at.wrapping_add(ipv4::DESTINATION_AT))?),
            protocol,
            piece,
            datagram_protocol: protocol,
            id: [0, 0, a, b],
            length,
        })
    }

    #[inline(always)]
    fn read_v6<P: Packet + ?Sized>(packet: &P, l3_at: usize) -> Result<Self, Reason> {
        let [first, _, _, _, high, low, next, _] = packet.read::<8>(l3_at)?;
        if first >> 4 != 6 {
            return Err(Reason::Malformed);
        }
        let source = Address(packet.read(l3_at.wrapping_add(ipv6::SOURCE_AT))?);
        let destination = Address(packet.read(l3_at.wrapping_add(ipv6::DESTINATION_AT))?);
        if source.version() == Version::V4 || destination.version() == Version::V4 {
            return Err(Reason::NotOurs);
        }
        let start = l3_at.wrapping_add(ipv6::LEN);
        let walk = Walk::along(packet, start, next)?;
        let length = match usize::from(u16::from_be_bytes([high, low])) {
            0 => behind_big(packet, l3_at, walk.at)?,
            payload => payload.checked_sub(walk.at.wrapping_sub(start)).ok_or(Reason::Malformed)?,
        };
        Ok(Self {
            l3_at,
            l4_at: walk.at,
            version: Version::V6,
            source,
            destination,
            protocol: walk.next,
            piece: walk.piece,
            datagram_protocol: walk.datagram_next,
            id: walk.id,
            length,
        })
    }

    /// Tells whether nothing stands between the IP header and what it carries.
    #[inline(always)]
    #[must_use]
    pub const fn is_bare(&self) -> bool {
        self.l4_at.wrapping_sub(self.l3_at) == header_len(self.version)
    }

    /// What to do with the packet.
    #[inline(always)]
    #[must_use]
    pub const fn carried(&self) -> Carried {
        match (self.piece, self.version, self.protocol) {
            (Piece::Later, ..) => Carried::Fragment,
            (_, _, TCP | UDP) => Carried::Segment,
            (Piece::Whole, Version::V4, icmp::V4) | (Piece::Whole, Version::V6, icmp::V6) => {
                Carried::Icmp
            }
            (Piece::Whole, Version::V4, ipv4::WITHIN) if self.is_bare() => Carried::Packet,
            (Piece::Whole, Version::V6, ipv6::WITHIN) if self.is_bare() => Carried::Packet,
            _ => Carried::Other,
        }
    }
}

/// Bytes from `at` on of a packet that says that it has none: right for BIG TCP alone, which is
/// longer than its header could say.
#[inline(always)]
fn behind_big<P: Packet + ?Sized>(packet: &P, l3_at: usize, at: usize) -> Result<usize, Reason> {
    let end = packet.len();
    if end.saturating_sub(l3_at) <= MAX_TOLD {
        return Err(Reason::Malformed);
    }
    end.checked_sub(at).ok_or(Reason::Malformed)
}

/// A walk along IPv6 extension headers (RFC 8200, section 4).
#[derive(Clone, Copy)]
pub(crate) struct Walk {
    /// Where it is.
    pub(crate) at: usize,
    /// What is there.
    pub(crate) next: u8,
    /// What a fragment header on the way says.
    pub(crate) piece: Piece,
    datagram_next: u8,
    id: [u8; 4],
}

impl Walk {
    /// Walks to the first header that is none of these, or behind that of a fragment which is
    /// not the first.
    #[inline(always)]
    pub(crate) fn along<P: Packet + ?Sized>(
        packet: &P,
        start: usize,
        next: u8,
    ) -> Result<Self, Reason> {
        let mut walk =
            Self { at: start, next, piece: Piece::Whole, datagram_next: next, id: [0; 4] };
        for _ in 0..MAX_EXTENSIONS {
            if walk.piece == Piece::Later || !is_extension(walk.next) {
                return Ok(walk);
            }
            walk = walk.step(packet)?;
            if walk.at.wrapping_sub(start) > MAX_EXTENSIONS_LEN {
                return Err(Reason::Extensions);
            }
        }
        if walk.piece == Piece::Later || !is_extension(walk.next) {
            Ok(walk)
        } else {
            Err(Reason::Extensions)
        }
    }

    #[inline(always)]
    fn step<P: Packet + ?Sized>(self, packet: &P) -> Result<Self, Reason> {
        let [next, length, a, b, id @ ..] = packet.read::<8>(self.at)?;
        let length = usize::from(length);
        let (length, mut walk) = match self.next {
            ipv6::FRAGMENT => {
                let piece = match ([a, b & 0xf8], b & 1) {
                    ([0, 0], 0) => self.piece,
                    ([0, 0], _) => Piece::First,
                    _ => Piece::Later,
                };
                (8, Self { piece, id, datagram_next: next, ..self })
            }
            ipv6::AUTHENTICATION => (length.wrapping_add(2) << 2, self),
            // Its end is another address than the header's, and the checksum covers that.
            ipv6::ROUTING if b != 0 => return Err(Reason::Extensions),
            _ => (length.wrapping_add(1) << 3, self),
        };
        walk.at = walk.at.wrapping_add(length);
        walk.next = next;
        Ok(walk)
    }
}

/// Whether a header is one that another follows.
#[inline(always)]
const fn is_extension(next: u8) -> bool {
    matches!(
        next,
        ipv6::HOP_BY_HOP
            | ipv6::ROUTING
            | ipv6::FRAGMENT
            | ipv6::AUTHENTICATION
            | ipv6::DESTINATION_OPTIONS
    )
}

#[cfg(test)]
mod tests;
