use super::*;
use crate::packets::{RECEIVER_MAC, SENDER_MAC};
use crate::wire::tcp::{ACK, FIN, PSH, SYN};
use crate::world::{BLUE, Kind, World, dropped, ends, refused};

const SEQUENCE: u32 = 0xffff_fffe;
const ACKNOWLEDGEMENT: u32 = 0x0102_0304;

/// Sequence number, acknowledgement number and flags of a packet's TCP header.
fn numbers(packet: &[u8], world: &World) -> (u32, u32, u8) {
    let l4_at = if world.kind.v6 { 54 } else { 34 };
    let number = |at: usize| u32::from_be_bytes(packet.read(l4_at + at).unwrap());
    (number(4), number(8), packet[l4_at + 13])
}

/// RFC 9293, section 3.10.7.1: what a closed port answers. `World` checks the sums.
#[test]
fn a_reset_is_as_from_a_closed_port() {
    // Flags, payload, and what of it the answer acknowledges.
    let without_ack: [(u8, &[u8], u32); 5] =
        [(SYN, b"", 1), (SYN, b"abc", 4), (0, b"abc", 3), (FIN, b"", 1), (SYN | FIN, b"a", 3)];
    for mut world in World::tcp() {
        world.publish(0, &[(10_000, &[], BLUE)]);
        for (flags, payload, length) in without_ack {
            let draft = world.question(flags, payload).sequence(SEQUENCE);
            let mut packet = draft.acknowledgement(ACKNOWLEDGEMENT).tcp_options(2).build();

            assert_eq!(world.pod_sends(&mut packet), refused(Reason::NoBackend));

            let wanted = (0, SEQUENCE.wrapping_add(length), tcp::RST | ACK);
            assert_eq!(numbers(&packet, &world), wanted);
            assert_eq!(ends(&packet), (world.vip, world.client));
        }
        for flags in [ACK, PSH | ACK, FIN | ACK, SYN | ACK] {
            let draft = world.question(flags, b"abc").sequence(SEQUENCE);
            let mut packet = draft.acknowledgement(ACKNOWLEDGEMENT).build();

            assert_eq!(world.pod_sends(&mut packet), refused(Reason::NoBackend));

            assert_eq!(numbers(&packet, &world), (ACKNOWLEDGEMENT, 0, tcp::RST));
            assert_eq!(ends(&packet), (world.vip, world.client));
        }
    }
}

#[test]
fn a_reset_goes_back_the_way_it_came_with_a_life_of_its_own() {
    for mut world in World::tcp() {
        world.publish(0, &[(10_000, &[], BLUE)]);
        let mut packet = world.question(ACK, b"").build();

        world.pod_sends(&mut packet);

        assert_eq!(packet[..12], [SENDER_MAC, RECEIVER_MAC].concat());
        assert_eq!(packet[if world.kind.v6 { 21 } else { 22 }], TTL);
    }
}

/// RFC 792, and RFC 4443, section 3.1: destination unreachable, port unreachable.
#[test]
fn a_datagram_is_refused_by_an_icmp_error_that_quotes_it() {
    for mut world in World::udp() {
        world.publish(0, &[(10_000, &[], BLUE)]);
        for payload in [b"".as_slice(), b"x", &[7; 300]] {
            let question = world.question(0, payload).build();
            let mut packet = question.clone();

            // `World` checks the sums and the quoted addresses.
            assert_eq!(world.pod_sends(&mut packet), refused(Reason::NoBackend));

            assert_eq!(packet[..12], [SENDER_MAC, RECEIVER_MAC].concat());
            let (icmp_at, kind) = if world.kind.v6 { (54, [1, 4]) } else { (34, [3, 3]) };
            assert_eq!(packet[icmp_at..icmp_at + 2], kind);
            assert_eq!(packet[icmp_at + 4..icmp_at + 8], [0; 4]);
            assert_eq!(packet[icmp_at + 8..], question[14..icmp_at + 8], "the quote");
            assert_eq!(packet[if world.kind.v6 { 21 } else { 22 }], TTL);
        }
    }
}

#[test]
fn a_datagram_with_ip_options_is_dropped_unanswered() {
    let mut world = World::new(Kind::UDP[0]);
    world.publish(0, &[(10_000, &[], BLUE)]);
    let mut packet = world.question(0, b"x").ip_options(1).build();
    let before = packet.clone();

    assert_eq!(world.pod_sends(&mut packet), dropped(Reason::NoBackend));
    assert_eq!(packet, before);
}
