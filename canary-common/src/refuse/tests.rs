use super::*;
use crate::packets::{RECEIVER_MAC, SENDER_MAC};
use crate::wire::tcp::{ACK, FIN, PSH, SYN};
use crate::world::{BLUE, World, ends, refused};

const SEQUENCE: u32 = 0xffff_fffe;
const ACKNOWLEDGEMENT: u32 = 0x0102_0304;

/// Sequence number, acknowledgement number and flags of a packet's TCP header.
fn numbers(packet: &[u8], world: &World) -> (u32, u32, u8) {
    let l4_at = if world.kind.v6 { 54 } else { 34 };
    let word = |at: usize| u32::from_be_bytes(packet.read(l4_at + at).unwrap());
    (word(4), word(8), packet[l4_at + 13])
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

            let reason = if flags & SYN != 0 { Reason::NoBackend } else { Reason::FlowLost };
            assert_eq!(world.from_pod(&mut packet), refused(reason));

            let wanted = (0, SEQUENCE.wrapping_add(length), tcp::RST | ACK);
            assert_eq!(numbers(&packet, &world), wanted);
            assert_eq!(ends(&packet), (world.vip, world.client));
        }
        for flags in [ACK, PSH | ACK, FIN | ACK, SYN | ACK] {
            let draft = world.question(flags, b"abc").sequence(SEQUENCE);
            let mut packet = draft.acknowledgement(ACKNOWLEDGEMENT).build();

            assert_eq!(world.from_pod(&mut packet), refused(Reason::FlowLost));

            assert_eq!(numbers(&packet, &world), (ACKNOWLEDGEMENT, 0, tcp::RST));
            assert_eq!(ends(&packet), (world.vip, world.client));
        }
    }
}

#[test]
fn a_reset_goes_back_the_way_it_came_with_a_life_of_its_own() {
    for world in World::tcp() {
        let mut packet = world.question(ACK, b"").build();

        world.from_pod(&mut packet);

        assert_eq!(packet[..12], [SENDER_MAC, RECEIVER_MAC].concat());
        assert_eq!(packet[if world.kind.v6 { 21 } else { 22 }], TTL);
    }
}
