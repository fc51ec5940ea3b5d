use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::packets::Draft;
use crate::packets::rare::{fragments, with_extensions};
use crate::segment::Segment;
use crate::wire::ethernet;
use crate::wire::tcp::SYN;
use crate::world::{Kind, World};

/// A packet that is longer than it is in memory.
struct Long(Vec<u8>, usize);

impl Packet for Long {
    fn read<const N: usize>(&self, offset: usize) -> Result<[u8; N], Reason> {
        self.0.read(offset)
    }

    fn write<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> Result<(), Reason> {
        self.0.write(offset, bytes)
    }

    fn resize(&mut self, _: usize) -> Result<(), Reason> {
        Err(Reason::Truncated)
    }

    fn len(&self) -> usize {
        self.1
    }
}

fn read<P: Packet + ?Sized>(packet: &P, kind: Kind) -> Result<Headers, Reason> {
    Headers::read(packet, ethernet::LEN, if kind.v6 { Version::V6 } else { Version::V4 })
}

/// Everything of a segment.
fn parts(segment: &Segment) -> impl PartialEq + core::fmt::Debug {
    let Segment { l3_at, version, source, destination, flags, payload, .. } = *segment;
    (l3_at, version, source, destination, flags, payload)
}

#[test]
fn extension_headers_are_walked_to_the_segment() {
    for world in World::all().filter(|world| world.kind.v6) {
        let plain = world.question(SYN, b"what").build();
        let wanted = Segment::of(&plain, ethernet::LEN, Version::V6).unwrap();
        let chains: [&[(u8, u8)]; 5] = [
            &[(0, 1)],
            &[(60, 3)],
            &[(43, 2), (60, 1)],
            &[(0, 1), (43, 3), (44, 1), (51, 3), (60, 4)],
            &[(0, 4), (60, 4), (60, 4), (60, 4), (60, 4), (60, 12)],
        ];
        for chain in chains {
            let packet = with_extensions(&plain, chain);
            assert_eq!(crate::packets::check(&packet, true), Ok(()), "{chain:?}");

            let headers = read(&packet, world.kind).unwrap();

            let segment = Segment::behind(&packet, &headers).unwrap();
            assert_eq!(parts(&segment), parts(&wanted), "{chain:?}");
            assert_eq!((headers.piece, headers.carried()), (Piece::Whole, Carried::Segment));
        }
    }
}

#[test]
fn more_headers_than_are_walked_and_routes_that_go_on_are_left_alone() {
    let world = World::new(Kind::ALL[2]);
    let plain = world.question(SYN, b"").build();

    for chain in [&[(60, 1); 7][..], &[(60, 33)], &[(0, 20), (60, 20)]] {
        let packet = with_extensions(&plain, chain);
        assert_eq!(read(&packet, world.kind), Err(Reason::Extensions), "{chain:?}");
    }

    let mut routed = with_extensions(&plain, &[(43, 3)]);
    assert!(read(&routed, world.kind).is_ok());
    routed[14 + 40 + 3] = 1;
    assert_eq!(read(&routed, world.kind), Err(Reason::Extensions));
}

#[test]
fn pieces_are_told_from_whole_packets() {
    for world in World::all() {
        let packet = world.question(SYN, &[7; 100]).build();
        let whole = read(&packet, world.kind).unwrap();

        let pieces = fragments(&packet, 0x1234, 40);

        let read: Vec<Headers> =
            pieces.iter().map(|piece| read(piece, world.kind).unwrap()).collect();
        assert_eq!(whole.piece, Piece::Whole);
        assert_eq!(read[0].piece, Piece::First);
        assert!(read[1..].iter().all(|headers| headers.carried() == Carried::Fragment));
        assert!(read.len() > 2);
        for headers in read {
            assert_eq!(headers.id, [0, 0, 0x12, 0x34]);
            assert_eq!(headers.datagram_protocol, world.kind.protocol);
            assert_eq!((headers.source, headers.destination), (whole.source, whole.destination));
        }
    }
}

#[test]
fn a_packet_too_long_for_its_header_is_none_that_contradicts_itself() {
    for world in World::tcp() {
        let mut packet = world.question(SYN, b"").build();
        let at = if world.kind.v6 { 14 + 4 } else { 14 + 2 };
        packet[at..at + 2].fill(0);
        let l4_at = if world.kind.v6 { 54 } else { 34 };

        let big = read(&Long(packet.clone(), 150_000), world.kind).unwrap();
        let small = read(&packet, world.kind);
        let almost = read(&Long(packet.clone(), 14 + 0xffff), world.kind);

        assert_eq!((big.l4_at, big.length), (l4_at, 150_000 - l4_at));
        assert_eq!([small, almost], [Err(Reason::Malformed); 2]);
        // And with the option that says so (RFC 2675).
        if world.kind.v6 {
            let mut packet = with_extensions(&packet, &[(0, 1)]);
            packet[at..at + 2].fill(0);
            let big = read(&Long(packet, 150_000), world.kind).unwrap();
            assert_eq!((big.l4_at, big.length), (l4_at + 8, 150_000 - l4_at - 8));
        }
    }
}

proptest! {
    #[test]
    fn an_ordinary_packet_reads_the_same_either_way(
        which in 0..4_usize, options in 0..=10_usize, payload in vec(any::<u8>(), 0..60),
        flags in any::<u8>(),
    ) {
        let world = World::new(Kind::ALL[which]);
        let draft = Draft::new(world.client, world.vip).flags(flags).payload(&payload);
        let packet = draft.ip_options(options).build();

        let headers = read(&packet, world.kind).unwrap();

        let segment = Segment::behind(&packet, &headers).unwrap();
        let wanted = Segment::of(&packet, ethernet::LEN, headers.version).unwrap();
        prop_assert_eq!(parts(&segment), parts(&wanted));
        prop_assert_eq!(segment.l4_at, wanted.l4_at);
    }

    #[test]
    fn whatever_comes_is_read_within_bounds(
        bytes in vec(any::<u8>(), 0..400), which in 0..2_usize, first in any::<bool>(),
    ) {
        let kind = Kind::TCP[which];
        let mut bytes = bytes;
        // Most of them shall get beyond the first byte.
        if first && bytes.len() > 20 {
            bytes[14] = if kind.v6 { 0x60 } else { 0x45 };
            bytes[20] = [0, 43, 44, 51, 60, 6][usize::from(bytes[16]) % 6];
        }

        if let Ok(headers) = read(&bytes, kind) {
            let most = 14 + 40 + MAX_EXTENSIONS_LEN;
            prop_assert!(headers.l4_at <= most && headers.l4_at >= 34);
            let _ = Segment::behind(&bytes, &headers);
        }
    }
}
