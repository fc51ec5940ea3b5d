//! Packets that are cut short, or no segments at all.

use super::*;

/// The hooks, each with the packet that it looks into.
fn hooks<'p>(question: &'p Vec<u8>, reply: &'p Vec<u8>) -> [(Hook, &'p Vec<u8>); 3] {
    [(World::pod_sends, question), (World::net_sends, question), (World::pod_gets, reply)]
}

#[test]
fn a_packet_cut_within_its_headers_is_left_alone() {
    for world in World::all() {
        let headers = if world.kind.v6 { 54 } else { 34 };
        let headers = headers + if world.kind.is_tcp() { 20 } else { 8 };
        let question = world.question(world.kind.first(), b"payload").build();
        let reply = world.reply(world.blue, world.kind.answer(), b"payload").build();
        for length in 0..headers {
            for (hook, whole) in hooks(&question, &reply) {
                let mut packet = whole[..length].to_vec();
                let outcome = hook(&world, &mut packet);

                assert_eq!(outcome, passes(Reason::Truncated), "{:?} of {length}", world.kind);
                assert_eq!(packet, whole[..length]);
                assert_eq!(world.flows(), [0, 0]);
            }
        }
    }
}

#[test]
fn what_is_not_a_whole_tcp_or_udp_packet_passes_untouched() {
    let v4 = World::new(Protocol::TCP[0]);
    let v6 = World::new(Protocol::TCP[1]);
    // A byte of the packet, what it becomes, and what that is.
    let cases: &[(&World, usize, u8, Reason)] = &[
        (&v4, 12, 0x81, Reason::NotIp),
        (&v4, 14, 0x54, Reason::Malformed),
        (&v4, 14, 0x44, Reason::Malformed),
        (&v4, 17, 19, Reason::Malformed),
        (&v4, 17, 39, Reason::Malformed),
        (&v4, 21, 1, Reason::Fragment),
        (&v4, 23, 47, Reason::NotTcpOrUdp),
        (&v4, 46, 0x40, Reason::Malformed),
        (&v6, 14, 0x40, Reason::Malformed),
        (&v6, 19, 19, Reason::Malformed),
        (&v6, 20, 50, Reason::NotTcpOrUdp),
        (&v6, 66, 0x40, Reason::Malformed),
    ];
    for (world, at, value, reason) in cases {
        let (question, reply) =
            (world.question(SYN, b"").build(), world.reply(world.blue, SYN_ACK, b"").build());
        for (hook, whole) in hooks(&question, &reply) {
            let mut packet = whole.clone();
            packet[*at] = *value;
            let before = packet.clone();

            assert_eq!(hook(world, &mut packet), passes(*reason), "byte {at}");
            assert_eq!(packet, before, "byte {at}");
        }
    }
}

#[test]
fn a_udp_checksum_of_zero_stays_zero() {
    for mut world in World::udp() {
        let at = if world.kind.v6 { 60 } else { 40 };
        let mut packet = world.question(0, b"x").unsummed().build();
        assert_eq!(world.pod_sends(&mut packet), ON);
        assert_eq!(packet[at..at + 2], [0, 0]);
        let mut answer = world.reply(world.blue, 0, b"y").unsummed().build();
        assert_eq!(world.pod_gets(&mut answer), ON);
        assert_eq!(answer[at..at + 2], [0, 0]);

        // One that becomes zero is sent as all ones: with the port that makes up for the sum.
        let mut packet = world.question(0, b"x").build();
        world.pod_sends(&mut packet);
        let sum = [world.client.port, [packet[at], packet[at + 1]]];
        let [low, high] = sum.map(|word| u32::from(u16::from_be_bytes(word)));
        world.client.port = crate::checksum::fold(low + high).to_be_bytes();
        let mut packet = world.question(0, b"x").build();
        assert_eq!(world.pod_sends(&mut packet), ON);
        assert_eq!(packet[at..at + 2], [0xff, 0xff]);
    }
}
