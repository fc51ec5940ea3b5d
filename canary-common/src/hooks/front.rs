//! As much of a packet as says whether it is ours.

use crate::endpoint::Version;
use crate::packet::Packet;
use crate::reason::Reason;
use crate::segment;
use crate::wire::{icmp, ipv4, ipv6};

/// The end of a packet that says whether it is ours.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Towards {
    Destination,
    Source,
}

/// As much of a packet as says whether it is ours.
pub(super) struct Front {
    pub(super) version: Version,
    /// The address as words: of bytes the compiler would keep pieces apart.
    pub(super) address: [u64; 2],
}

impl Front {
    #[inline(always)]
    pub(super) fn read<P: Packet + ?Sized>(
        packet: &P,
        l2: usize,
        end: Towards,
    ) -> Result<Self, Reason> {
        let version = segment::version(packet, l2)?;
        let within = match (version, end) {
            (Version::V4, Towards::Destination) => ipv4::DESTINATION_AT,
            (Version::V4, Towards::Source) => ipv4::SOURCE_AT,
            (Version::V6, Towards::Destination) => ipv6::DESTINATION_AT,
            (Version::V6, Towards::Source) => ipv6::SOURCE_AT,
        };
        let at = l2.wrapping_add(within);
        let address = match version {
            Version::V4 => {
                let [a, b, c, d] = packet.read(at)?;
                [0, u64::from_ne_bytes([0, 0, 0xff, 0xff, a, b, c, d])]
            }
            Version::V6 => {
                let [a, b, ..] = packet.words::<2>(at, 16)?;
                [a, b]
            }
        };
        Ok(Self { version, address })
    }

    /// Tells whether the packet carries ICMP of its own family.
    #[inline(always)]
    pub(super) fn is_icmp<P: Packet + ?Sized>(&self, packet: &P, l2: usize) -> bool {
        self.carries(packet, l2, [icmp::V4, icmp::V6])
    }

    /// Tells whether the packet is whole and carries one of its own family behind a bare header, as
    /// [`crate::headers::Carried::Packet`] says it after a walk.
    #[inline(always)]
    pub(super) fn is_around_another<P: Packet + ?Sized>(&self, packet: &P, l2: usize) -> bool {
        self.carries(packet, l2, [ipv4::WITHIN, ipv6::WITHIN])
            && (self.version == Version::V6
                || packet.read(l2).is_ok_and(|[first, _]| first == 0x45)
                    && packet
                        .read(l2.wrapping_add(ipv4::FRAGMENT_AT))
                        .is_ok_and(|[flags, offset]| [flags & 0x3f, offset] == [0, 0]))
    }

    /// Tells whether the IP header names this protocol of IPv4, or of IPv6.
    #[inline(always)]
    fn carries<P: Packet + ?Sized>(&self, packet: &P, l2: usize, [v4, v6]: [u8; 2]) -> bool {
        let (at, wanted) = match self.version {
            Version::V4 => (ipv4::PROTOCOL_AT, v4),
            Version::V6 => (ipv6::NEXT_AT, v6),
        };
        // Verifier: two bytes, as in `segment::version`.
        packet.read::<2>(l2.wrapping_add(at)).is_ok_and(|[protocol, _]| protocol == wanted)
    }
}
