//! Packets beside the ordinary ones: fragments, ICMP, and IPv6 extension headers.

use super::{ICMP, ICMP_V6, RECEIVER_MAC, SENDER_MAC, TTL, length, segment_checksum};
use crate::checksum::{fold, sum};
use crate::endpoint::{Address, Endpoint};
use crate::wire::{ethernet, ipv4, ipv6};

/// Where the IP header of a frame begins.
const L3_AT: usize = ethernet::LEN;

/// An IP packet in a frame, without options, its sums right where `protocol` says how.
#[must_use]
pub fn frame(source: Address, destination: Address, protocol: u8, carried: &[u8]) -> Vec<u8> {
    let mut frame = [RECEIVER_MAC, SENDER_MAC].concat();
    if let (Some(source), Some(destination)) = (source.as_v4(), destination.as_v4()) {
        frame.extend(ethernet::IPV4);
        let mut header = vec![0x45, 0];
        header.extend(length(carried.len().saturating_add(ipv4::LEN)));
        header.extend([0x2d, 0x61, 0, 0, TTL, protocol, 0, 0]);
        header.extend([source, destination].concat());
        set_header_sum(&mut header);
        frame.extend(header);
    } else {
        frame.extend(ethernet::IPV6);
        frame.extend([0x60, 0, 0, 0]);
        frame.extend(length(carried.len()));
        frame.extend([protocol, TTL]);
        frame.extend(source.0);
        frame.extend(destination.0);
    }
    frame.extend(carried);
    frame
}

/// A frame whose packet is the one of another frame within a packet between two addresses.
#[must_use]
pub fn around(source: Address, destination: Address, inner: &[u8]) -> Vec<u8> {
    let protocol = if source.as_v4().is_some() { ipv4::WITHIN } else { ipv6::WITHIN };
    frame(source, destination, protocol, inner.get(L3_AT..).unwrap_or_default())
}

/// An ICMP message, its checksum right: type, code and the rest of the header, then what follows.
#[must_use]
pub fn icmp(source: Address, destination: Address, header: [u8; 6], rest: &[u8]) -> Vec<u8> {
    let [kind, code, a, b, c, d] = header;
    let mut message = vec![kind, code, 0, 0, a, b, c, d];
    message.extend(rest);
    let is_v4 = source.as_v4().is_some();
    let protocol = if is_v4 { ICMP } else { ICMP_V6 };
    let end = |address| Endpoint { address, port: [0, 0], protocol };
    let sum = if is_v4 {
        (!fold(sum(&message))).to_ne_bytes()
    } else {
        segment_checksum(end(source), end(destination), &message)
    };
    message.splice(2..4, sum);
    frame(source, destination, protocol, &message)
}

/// An ICMP error about the packet of a frame, of which at most `limit` bytes are quoted.
#[must_use]
pub fn icmp_error(from: Address, header: [u8; 6], about: &[u8], limit: usize) -> Vec<u8> {
    let quoted = about.get(L3_AT..).unwrap_or_default();
    let quoted = quoted.get(..limit).unwrap_or(quoted);
    let to = if from.as_v4().is_some() {
        quoted.get(ipv4::SOURCE_AT..).and_then(<[u8]>::first_chunk).copied().map(Address::v4)
    } else {
        quoted.get(ipv6::SOURCE_AT..).and_then(<[u8]>::first_chunk).copied().map(Address)
    };
    icmp(from, to.unwrap_or(from), header, quoted)
}

/// The fragments of a frame's packet, each with `size` bytes of its content: a multiple of 8.
#[must_use]
pub fn fragments(frame: &[u8], id: u16, size: usize) -> Vec<Vec<u8>> {
    let is_v4 = frame.get(L3_AT).is_some_and(|first| first >> 4 == 4);
    let header_len = if is_v4 {
        frame.get(L3_AT).map_or(0, |first| usize::from(first & 0x0f) << 2)
    } else {
        ipv6::LEN
    };
    let (headers, content) = frame.split_at(L3_AT.saturating_add(header_len).min(frame.len()));
    let count = content.len().div_ceil(size.max(1));
    let pieces = content.chunks(size.max(1)).enumerate();
    pieces
        .map(|(index, piece)| {
            let offset = u16::try_from(index.saturating_mul(size)).unwrap_or(0);
            let more = index.saturating_add(1) < count;
            if is_v4 {
                piece_v4(headers, piece, id, offset, more)
            } else {
                piece_v6(headers, piece, id, offset, more)
            }
        })
        .collect()
}

fn piece_v4(headers: &[u8], piece: &[u8], id: u16, offset: u16, more: bool) -> Vec<u8> {
    let mut packet = headers.to_vec();
    let mut header = packet.split_off(L3_AT);
    let total = length(header.len().saturating_add(piece.len()));
    let place = (offset >> 3) | if more { 0x2000 } else { 0 };
    let words = [total, id.to_be_bytes(), place.to_be_bytes()].concat();
    header.splice(2..8, words);
    set_header_sum(&mut header);
    packet.extend(header);
    packet.extend(piece);
    packet
}

fn piece_v6(headers: &[u8], piece: &[u8], id: u16, offset: u16, more: bool) -> Vec<u8> {
    let mut packet = headers.to_vec();
    let next = packet.get(L3_AT.saturating_add(ipv6::NEXT_AT)).copied().unwrap_or(0);
    let at = L3_AT.saturating_add(4);
    let total = length(piece.len().saturating_add(8));
    packet.splice(at..at.saturating_add(3), [total.as_slice(), &[ipv6::FRAGMENT]].concat());
    packet.extend([next, 0]);
    packet.extend((offset | u16::from(more)).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(id.to_be_bytes());
    packet.extend(piece);
    packet
}

/// The frame whose fragments these are, in their order; nothing of them overlaps.
#[must_use]
pub fn reassembled(fragments: &[Vec<u8>]) -> Vec<u8> {
    let Some(first) = fragments.first() else { return Vec::new() };
    let is_v4 = first.get(L3_AT).is_some_and(|byte| byte >> 4 == 4);
    let (ip, own) = if is_v4 { (ipv4::LEN, 0) } else { (ipv6::LEN, 8) };
    let at = L3_AT.saturating_add(ip).saturating_add(own);
    let content: Vec<u8> =
        fragments.iter().flat_map(|piece| piece.get(at..).unwrap_or_default().to_vec()).collect();
    let mut frame = first.get(..L3_AT.saturating_add(ip)).unwrap_or_default().to_vec();
    if is_v4 {
        let mut header = frame.split_off(L3_AT);
        header.splice(2..4, length(content.len().saturating_add(ip)));
        header.splice(6..8, [0, 0]);
        set_header_sum(&mut header);
        frame.extend(header);
    } else {
        let next = first.get(L3_AT.saturating_add(ip)).copied().unwrap_or(0);
        let from = L3_AT.saturating_add(4);
        let words = [length(content.len()).as_slice(), &[next]].concat();
        frame.splice(from..from.saturating_add(3), words);
    }
    frame.extend(content);
    frame
}

/// An IPv6 frame with extension headers in front of what it carries: each one's number, and its
/// length in words of 8 bytes.
#[must_use]
pub fn with_extensions(frame: &[u8], extensions: &[(u8, u8)]) -> Vec<u8> {
    let mut packet = frame.to_vec();
    let start = L3_AT.saturating_add(ipv6::LEN).min(packet.len());
    let content = packet.split_off(start);
    let next_at = L3_AT.saturating_add(ipv6::NEXT_AT);
    let last = packet.get(next_at).copied().unwrap_or(0);
    let mut headers: Vec<u8> = Vec::new();
    let mut rest = extensions.iter();
    if let Some((first, _)) = extensions.first() {
        packet.splice(next_at..next_at.saturating_add(1), [*first]);
    }
    while let Some((kind, words)) = rest.next() {
        let next = rest.as_slice().first().map_or(last, |(kind, _)| *kind);
        let len = usize::from((*words).max(1)).saturating_mul(8);
        // An authentication header counts by four bytes, and two of these less.
        let told = if *kind == ipv6::AUTHENTICATION {
            words.saturating_mul(2).saturating_sub(2)
        } else {
            words.saturating_sub(1)
        };
        // One option that pads: it says how many bytes follow.
        let pad = u8::try_from(len.saturating_sub(4)).unwrap_or(0);
        let mut header = match *kind {
            ipv6::HOP_BY_HOP | ipv6::DESTINATION_OPTIONS => vec![next, told, 1, pad],
            _ => vec![next, told, 0, 0],
        };
        header.resize(len, 0);
        headers.extend(header);
    }
    let at = L3_AT.saturating_add(4);
    packet.splice(at..at.saturating_add(2), length(headers.len().saturating_add(content.len())));
    packet.extend(headers);
    packet.extend(content);
    packet
}

/// Sums an IPv4 header anew.
fn set_header_sum(header: &mut Vec<u8>) {
    header.splice(10..12, [0, 0]);
    let sum = (!fold(sum(header))).to_ne_bytes();
    header.splice(10..12, sum);
}

/// A frame without what tells how far its packet may go.
#[must_use]
pub fn without_ttl(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let is_v4 = frame.get(L3_AT).is_some_and(|first| first >> 4 == 4);
    let zeros: &[usize] = if is_v4 { &[ipv4::TTL_AT, 4, 5, 10, 11] } else { &[ipv6::HOP_LIMIT_AT] };
    for at in zeros {
        if let Some(byte) = frame.get_mut(L3_AT.saturating_add(*at)) {
            *byte = 0;
        }
    }
    frame.drain(..12.min(frame.len()));
    frame
}
