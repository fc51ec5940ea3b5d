//! Telling a client at once that nothing is there.

use crate::checksum::Difference;
use crate::endpoint::{Address, TCP, UDP, Version};
use crate::packet::{Covers, Packet};
use crate::reason::Reason;
use crate::segment::Segment;
use crate::wire::{ethernet, ipv4, ipv6, tcp, udp};

/// Time to live of what we send ourselves.
const TTL: u8 = 64;

/// Port unreachable, protocol unreachable; in IPv6 an unrecognized next header, and where it is.
const PORT_V4: [u8; ICMP_LEN] = [3, 3, 0, 0, 0, 0, 0, 0];
const PORT_V6: [u8; ICMP_LEN] = [1, 4, 0, 0, 0, 0, 0, 0];
const PROTOCOL_V4: [u8; ICMP_LEN] = [3, 2, 0, 0, 0, 0, 0, 0];
const PROTOCOL_V6: [u8; ICMP_LEN] = [4, 1, 0, 0, 0, 0, 0, 6];

/// Bytes of UDP that an ICMP error quotes: all of its header.
const QUOTED: usize = udp::LEN;
/// Length of an ICMP error's own header, of either version.
const ICMP_LEN: usize = 8;

/// Tells the packet's sender that nothing is there: by a reset, or by an ICMP error for what is not
/// TCP.
///
/// # Errors
///
/// [`Reason::Stray`] for what must not be answered.
#[inline(always)]
pub fn refuse<P: Packet + ?Sized>(
    packet: &mut P,
    segment: &Segment,
    l2: usize,
) -> Result<(), Reason> {
    match (segment.source.protocol, segment.version) {
        (TCP, _) => reset(packet, segment, l2),
        (UDP, Version::V4) => unreachable_v4(packet, segment, l2, PORT_V4),
        (UDP, Version::V6) => unreachable_v6(packet, segment, l2, PORT_V6),
        (_, Version::V4) => unreachable_v4(packet, segment, l2, PROTOCOL_V4),
        (_, Version::V6) => unreachable_v6(packet, segment, l2, PROTOCOL_V6),
    }
}

/// Turns a packet into the ICMP error that says how long one may be, from its IP header on
/// (RFC 1191, section 4; RFC 4443, section 3.2). The packet is longer than what is quoted of it.
///
/// # Errors
///
/// [`Reason::Truncated`] if it is not.
#[inline(always)]
pub fn too_long<P: Packet + ?Sized>(
    packet: &mut P,
    segment: &Segment,
    l2: usize,
    width: u16,
) -> Result<(), Reason> {
    match segment.version {
        Version::V4 => too_long_v4(packet, segment, width)?,
        Version::V6 => too_long_v6(packet, segment, width)?,
    }
    if l2 != 0 {
        ethernet::swap(packet)?;
    }
    Ok(())
}

#[expect(clippy::many_single_char_names, reason = "a letter a byte, in order")]
#[inline(always)]
fn too_long_v4<P: Packet + ?Sized>(
    packet: &mut P,
    segment: &Segment,
    width: u16,
) -> Result<(), Reason> {
    /// All options, and the ports behind them.
    const QUOTED: usize = 60 + 8;
    const TOTAL: u8 = 20 + 8 + 68;
    let l3_at = segment.l3_at;
    let _ = packet.read::<4>(l3_at.wrapping_add(QUOTED))?;
    let [high, low] = width.to_be_bytes();
    let icmp = [3, 4, 0, 0, 0, 0, high, low];
    let [a, b, c, d] = segment.destination.address.last_four();
    let [e, f, g, h] = segment.source.address.last_four();
    let header = [0x45, 0xc0, 0, TOTAL, 0, 0, 0, 0, TTL, 1, 0, 0, a, b, c, d, e, f, g, h];
    let checksum = Difference::between([0; ipv4::LEN], header).patch([0xff, 0xff]);

    packet.resize(l3_at.wrapping_add(usize::from(TOTAL)))?;
    let icmp_at = l3_at.wrapping_add(ipv4::LEN);
    let by = ipv4::LEN + ICMP_LEN;
    let sum = Difference::between([0; ICMP_LEN], icmp)
        .and(shift::<24, P>(packet, l3_at.wrapping_add(44), by)?)
        .and(shift::<24, P>(packet, l3_at.wrapping_add(20), by)?)
        .and(shift::<20, P>(packet, l3_at, by)?);
    packet.write(icmp_at, icmp)?;
    packet.write(icmp_at.wrapping_add(2), sum.patch([0xff, 0xff]))?;
    packet.write(l3_at, header)?;
    packet.write(l3_at.wrapping_add(ipv4::CHECKSUM_AT), checksum)
}

/// Moves bytes further back, and gives what they add to a sum.
#[inline(always)]
fn shift<const N: usize, P: Packet + ?Sized>(
    packet: &mut P,
    at: usize,
    by: usize,
) -> Result<Difference, Reason> {
    let bytes = packet.read::<N>(at)?;
    packet.write(at.wrapping_add(by), bytes)?;
    Ok(Difference::between([0; N], bytes))
}

#[inline(always)]
fn too_long_v6<P: Packet + ?Sized>(
    packet: &mut P,
    segment: &Segment,
    width: u16,
) -> Result<(), Reason> {
    /// A header of a fragment and the ports behind it, at least.
    const QUOTED: usize = ipv6::LEN + 24;
    const PAYLOAD: u8 = 8 + 40 + 24;
    const ICMP_V6: u8 = 58;
    let l3_at = segment.l3_at;
    let _ = packet.read::<4>(l3_at.wrapping_add(QUOTED))?;
    let [high, low] = width.to_be_bytes();
    let icmp = [2, 0, 0, 0, 0, 0, high, low];
    let (client, frontend) = (segment.source.address.0, segment.destination.address.0);

    packet.resize(l3_at.wrapping_add(ipv6::LEN).wrapping_add(usize::from(PAYLOAD)))?;
    let icmp_at = l3_at.wrapping_add(ipv6::LEN);
    let by = ipv6::LEN + ICMP_LEN;
    let sum = Difference::between([0; ICMP_LEN], icmp)
        .and(Difference::between([0; 8], [0, PAYLOAD, 0, ICMP_V6, 0, 0, 0, 0]))
        .and(Difference::between([0; 16], client))
        .and(Difference::between([0; 16], frontend))
        .and(shift::<24, P>(packet, l3_at.wrapping_add(40), by)?)
        .and(shift::<24, P>(packet, l3_at.wrapping_add(16), by)?)
        .and(shift::<16, P>(packet, l3_at, by)?);
    packet.write(icmp_at, icmp)?;
    packet.write(icmp_at.wrapping_add(2), sum.patch([0xff, 0xff]))?;
    packet.write(l3_at, [0x60, 0, 0, 0, 0, PAYLOAD, ICMP_V6, TTL])?;
    packet.write(l3_at.wrapping_add(ipv6::SOURCE_AT), frontend)?;
    packet.write(l3_at.wrapping_add(ipv6::DESTINATION_AT), client)
}

/// Turns a packet into an ICMP error about it (RFC 792; RFC 1122, section 3.2.2).
///
/// # Errors
///
/// [`Reason::Stray`] for a header with options, which the error would have to quote.
#[expect(clippy::many_single_char_names, reason = "a letter a byte, in order")]
#[inline(always)]
fn unreachable_v4<P: Packet + ?Sized>(
    packet: &mut P,
    segment: &Segment,
    l2: usize,
    icmp: [u8; ICMP_LEN],
) -> Result<(), Reason> {
    const TOTAL: u8 = 56;
    let l3_at = segment.l3_at;
    if segment.l4_at != l3_at.wrapping_add(ipv4::LEN) {
        return Err(Reason::Stray);
    }
    let quoted_ip = packet.read::<{ ipv4::LEN }>(l3_at)?;
    let quoted_udp = packet.read::<QUOTED>(segment.l4_at)?;
    let sum = Difference::between([0; ICMP_LEN], icmp)
        .and(Difference::between([0; ipv4::LEN], quoted_ip))
        .and(Difference::between([0; QUOTED], quoted_udp));
    let [a, b, c, d] = segment.destination.address.last_four();
    let [e, f, g, h] = segment.source.address.last_four();
    let header = [0x45, 0xc0, 0, TOTAL, 0, 0, 0, 0, TTL, 1, 0, 0, a, b, c, d, e, f, g, h];
    let checksum = Difference::between([0; ipv4::LEN], header).patch([0xff, 0xff]);

    packet.resize(l2.wrapping_add(usize::from(TOTAL)))?;
    let icmp_at = l3_at.wrapping_add(ipv4::LEN);
    let quote_at = icmp_at.wrapping_add(ICMP_LEN);
    packet.write(quote_at.wrapping_add(ipv4::LEN), quoted_udp)?;
    packet.write(quote_at, quoted_ip)?;
    packet.write(icmp_at, icmp)?;
    packet.write(icmp_at.wrapping_add(2), sum.patch([0xff, 0xff]))?;
    packet.write(l3_at, header)?;
    packet.write(l3_at.wrapping_add(ipv4::CHECKSUM_AT), checksum)?;
    if l2 != 0 {
        ethernet::swap(packet)?;
    }
    Ok(())
}

/// The same for IPv6 (RFC 4443, section 3.1).
///
/// # Errors
///
/// [`Reason::Stray`] behind extension headers, which the error would have to quote;
/// [`Reason::Truncated`] if the packet cannot have the error's length.
#[inline(always)]
fn unreachable_v6<P: Packet + ?Sized>(
    packet: &mut P,
    segment: &Segment,
    l2: usize,
    icmp: [u8; ICMP_LEN],
) -> Result<(), Reason> {
    const PAYLOAD: u8 = 56;
    const ICMP_V6: u8 = 58;
    let l3_at = segment.l3_at;
    if segment.l4_at != l3_at.wrapping_add(ipv6::LEN) {
        return Err(Reason::Stray);
    }
    let quoted_head = packet.read::<8>(l3_at)?;
    let quoted_udp = packet.read::<QUOTED>(segment.l4_at)?;
    let (client, frontend) = (segment.source.address.0, segment.destination.address.0);
    // The pseudo-header has each address once, the quoted header once more.
    let addresses =
        Difference::between([0; 16], client).and(Difference::between([0; 16], frontend));
    let sum = Difference::between([0; ICMP_LEN], icmp)
        .and(Difference::between([0; 8], [0, PAYLOAD, 0, ICMP_V6, 0, 0, 0, 0]))
        .and(Difference::between([0; 8], quoted_head))
        .and(Difference::between([0; QUOTED], quoted_udp))
        .and(addresses)
        .and(addresses);

    packet.resize(l2.wrapping_add(ipv6::LEN).wrapping_add(usize::from(PAYLOAD)))?;
    let icmp_at = l3_at.wrapping_add(ipv6::LEN);
    let quote_at = icmp_at.wrapping_add(ICMP_LEN);
    packet.write(quote_at.wrapping_add(ipv6::LEN), quoted_udp)?;
    packet.write(quote_at.wrapping_add(ipv6::DESTINATION_AT), frontend)?;
    packet.write(quote_at.wrapping_add(ipv6::SOURCE_AT), client)?;
    packet.write(quote_at, quoted_head)?;
    packet.write(icmp_at, icmp)?;
    packet.write(icmp_at.wrapping_add(2), sum.patch([0xff, 0xff]))?;
    packet.write(l3_at, [0x60, 0, 0, 0, 0, PAYLOAD, ICMP_V6, TTL])?;
    packet.write(l3_at.wrapping_add(ipv6::SOURCE_AT), frontend)?;
    packet.write(l3_at.wrapping_add(ipv6::DESTINATION_AT), client)?;
    if l2 != 0 {
        ethernet::swap(packet)?;
    }
    Ok(())
}

/// Turns a TCP packet into the reset its sender would have got from a closed port.
///
/// Options and payload stay in it: a receiver reads nothing but the header of a reset, and
/// the checksum can then be patched piece by piece, which is right for packets whose checksum
/// the interface is still to finish, too.
///
/// # Errors
///
/// [`Reason::Stray`] for resets, which are never answered.
#[inline(always)]
fn reset<P: Packet + ?Sized>(packet: &mut P, segment: &Segment, l2: usize) -> Result<(), Reason> {
    if segment.has(tcp::RST) {
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
    let ends = [segment.source.address, segment.destination.address];
    swap_addresses(packet, segment.version, segment.l3_at, ends)?;
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

/// Turns a TCP packet on its way into a reset from its sender: what it acknowledges and its
/// sequence number are right already.
///
/// # Errors
///
/// [`Reason::Truncated`] if the packet is shorter than when it was read.
#[inline(always)]
pub(crate) fn cut<P: Packet + ?Sized>(packet: &mut P, segment: &Segment) -> Result<(), Reason> {
    let at = segment.l4_at.wrapping_add(tcp::OFFSET_AT);
    let old = packet.read::<2>(at)?;
    let [offset, flags] = old;
    let new = [offset, flags & tcp::ACK | tcp::RST];
    packet.write(at, new)?;
    packet.patch_checksum(
        segment.checksum_at(),
        false,
        Covers::Segment,
        Difference::between(old, new),
    )
}

/// Exchanges the addresses, which changes no sum, and sets a fresh time to live.
#[inline(always)]
pub(crate) fn swap_addresses<P: Packet + ?Sized>(
    packet: &mut P,
    version: Version,
    l3_at: usize,
    [source, destination]: [Address; 2],
) -> Result<(), Reason> {
    match version {
        Version::V4 => {
            let [source, destination] = [source, destination].map(Address::last_four);
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
            packet.write(l3_at.wrapping_add(ipv6::SOURCE_AT), destination.0)?;
            packet.write(l3_at.wrapping_add(ipv6::DESTINATION_AT), source.0)?;
            packet.write(l3_at.wrapping_add(ipv6::HOP_LIMIT_AT), [TTL])
        }
    }
}

#[cfg(test)]
mod tests;
