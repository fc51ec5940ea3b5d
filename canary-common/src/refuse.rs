//! Telling a client at once that nothing is there.

use crate::checksum::Difference;
use crate::packet::{Covers, Packet};
use crate::reason::Reason;
use crate::segment::{Segment, Version};
use crate::wire::{ethernet, ipv4, ipv6, tcp};

/// Time to live of what we send ourselves.
const TTL: u8 = 64;

/// Turns a TCP packet into the reset its sender would have got from a closed port.
///
/// Options and payload stay in it: a receiver reads nothing but the header of a reset, and
/// the checksum can then be patched piece by piece, which is right for packets whose checksum
/// the interface is still to finish, too.
///
/// # Errors
///
/// [`Reason::Stray`] for what must not be answered: UDP here, and resets.
#[expect(clippy::many_single_char_names, reason = "a letter a byte, in order")]
#[inline(always)]
pub fn reset<P: Packet + ?Sized>(
    packet: &mut P,
    segment: &Segment,
    l2: usize,
) -> Result<(), Reason> {
    if segment.is_udp() || segment.has(tcp::RST) {
        return Err(Reason::Stray);
    }
    let at = segment.l4_at.wrapping_add(tcp::SEQUENCE_AT);
    let old = packet.read::<10>(at)?;
    let [a, b, c, d, e, f, g, h, offset, _] = old;
    // RFC 9293, section 3.5.2: with an acknowledgement its number is ours; without one we
    // acknowledge what came.
    let new = if segment.has(tcp::ACK) {
        [e, f, g, h, 0, 0, 0, 0, offset, tcp::RST]
    } else {
        let flags = u32::from(segment.has(tcp::SYN)).wrapping_add(u32::from(segment.has(tcp::FIN)));
        let length = segment.payload.wrapping_add(flags);
        let [a, b, c, d] = u32::from_be_bytes([a, b, c, d]).wrapping_add(length).to_be_bytes();
        [0, 0, 0, 0, a, b, c, d, offset, tcp::RST | tcp::ACK]
    };
    packet.write(at, new)?;
    packet.write(segment.l4_at, segment.destination.port)?;
    packet.write(segment.l4_at.wrapping_add(2), segment.source.port)?;
    swap_addresses(packet, segment)?;
    if l2 != 0 {
        ethernet::swap(packet)?;
    }
    packet.patch_checksum(
        segment.checksum_at(),
        false,
        Covers::Segment,
        Difference::between(old, new),
    )
}

/// Exchanges the addresses, which changes no sum, and sets a fresh time to live.
#[inline(always)]
fn swap_addresses<P: Packet + ?Sized>(packet: &mut P, segment: &Segment) -> Result<(), Reason> {
    let l3_at = segment.l3_at;
    match segment.version {
        Version::V4 => {
            let [source, destination] = [segment.source, segment.destination]
                .map(|end| <crate::flow::V4 as crate::flow::Family>::bytes(end.address));
            packet.write(l3_at.wrapping_add(ipv4::SOURCE_AT), destination)?;
            packet.write(l3_at.wrapping_add(ipv4::DESTINATION_AT), source)?;
            let [ttl, protocol] = packet.read::<2>(l3_at.wrapping_add(ipv4::TTL_AT))?;
            let checksum_at = l3_at.wrapping_add(ipv4::CHECKSUM_AT);
            let change = Difference::between([ttl, protocol], [TTL, protocol]);
            let checksum = change.patch(packet.read(checksum_at)?);
            packet.write(checksum_at, checksum)?;
            packet.write(l3_at.wrapping_add(ipv4::TTL_AT), [TTL])
        }
        Version::V6 => {
            packet.write(l3_at.wrapping_add(ipv6::SOURCE_AT), segment.destination.address.0)?;
            packet.write(l3_at.wrapping_add(ipv6::DESTINATION_AT), segment.source.address.0)?;
            packet.write(l3_at.wrapping_add(ipv6::HOP_LIMIT_AT), [TTL])
        }
    }
}
