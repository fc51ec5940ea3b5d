//! Whom a packet comes from: pods, strangers, the network, and the pod it goes to.

use super::*;

/// Stores what the agent stores of a connection that conntrack translates.
fn make_foreign(world: &World) {
    let request = flows::Request {
        key: Key::new(world.client, world.vip),
        values: Values::default(),
        kind: Kind::Foreign,
        state: 0,
        limit: flows::Limit::Idle,
        spare: flows::NO_PARTNER,
        now: world.tables.now.get(),
    };
    let stored = world.tables.store_flow(&request, world.tables.settings.flows());
    assert!(matches!(stored, flows::Stored::At(_)), "{stored:?}");
}

#[test]
fn what_conntrack_translates_is_left_alone_and_kept_in_mind() {
    for world in World::all() {
        make_foreign(&world);
        world.pass_time(100);
        let mut packet = world.question(world.kind.data(), b"x").build();
        let before = packet.clone();

        assert_eq!(world.pod_sends(&mut packet), passes(Reason::Foreign));

        assert_eq!(packet, before);
        assert_eq!(world.flows(), [0, 0]);
        assert_eq!(world.forth().unwrap().head.seen(), world.tables.now.get());
        assert_eq!(world.ask(world.kind.first(), b""), passes(Reason::Foreign));
        if world.kind.is_tcp() {
            assert_eq!(world.ask(RST, b""), passes(Reason::Foreign), "also its end");
        }
    }
}

#[test]
fn a_stranger_keeps_no_connection_of_conntracks_in_mind() {
    for world in World::all() {
        make_foreign(&world);
        world.pass_time(100);
        world.move_elsewhere(world.client, true);
        let before = world.content();

        assert_eq!(world.ask(world.kind.data(), b"x"), passes(Reason::Foreign));

        assert!(before == world.content(), "its port would be deaf for as long as somebody lies");
    }
}

#[test]
fn the_network_is_served_only_where_all_backends_are_here() {
    for world in World::all() {
        let mut packet = world.question(world.kind.first(), b"").build();
        assert_eq!(world.net_sends(&mut packet), passes(Reason::NotServedHere));

        world.tables.frontends[0].flags.store(Frontend::EXTERNAL);

        assert_eq!(world.net_sends(&mut packet), ON);
        assert_eq!(ends(&packet).1, world.blue);
    }
}

#[test]
fn a_pod_reaches_itself_through_a_frontend() {
    for mut world in World::all() {
        world.client = Endpoint { port: [0x9c, 0x40], ..world.blue };
        let hairpin = if world.kind.v6 { HAIRPIN_V6 } else { HAIRPIN_V4 };
        let hairpin = Endpoint { address: hairpin, ..world.client };
        let mut packet = world.question(world.kind.first(), b"").build();

        assert_eq!(world.pod_sends(&mut packet), BACK);

        assert_eq!(ends(&packet), (hairpin, world.blue));
        assert_eq!(packet[..12], [SENDER_MAC, RECEIVER_MAC].concat());
        let mut answer = Draft::new(world.blue, hairpin).flags(world.kind.answer()).build();
        assert_eq!(world.pod_sends(&mut answer), BACK);
        assert_eq!(ends(&answer), (world.vip, world.client));
        assert_eq!(answer[..12], [SENDER_MAC, RECEIVER_MAC].concat());
        assert_eq!(world.count(BLUE, Counter::Established), 1);
        assert_eq!(world.flows(), [0, 1]);
    }
}

#[test]
fn a_pod_reaches_itself_through_two_frontends_from_one_port() {
    for mut world in World::all() {
        let other = world.add_second_name();
        world.client = with_port(world.blue, 40_000);
        let hairpin = if world.kind.v6 { HAIRPIN_V6 } else { HAIRPIN_V4 };
        world.ask(world.kind.first(), b"");

        let (outcome, [from, to]) = world.send(world.client, other, world.kind.first());

        assert_eq!((outcome, to), (BACK, world.blue));
        assert_eq!(from.address, hairpin);
        assert_ne!(from.port, world.client.port);
        let (outcome, ends) = world.send(world.blue, from, world.kind.answer());
        assert_eq!((outcome, ends), (BACK, [other, world.client]));
        let own = Endpoint { address: hairpin, ..world.client };
        let (outcome, ends) = world.send(world.blue, own, world.kind.answer());
        assert_eq!((outcome, ends), (BACK, [world.vip, world.client]));
        assert_eq!(world.flows(), [0, 2]);
    }
}

#[test]
fn the_hairpin_address_without_a_flow_is_not_ours() {
    for world in World::all() {
        let hairpin = if world.kind.v6 { HAIRPIN_V6 } else { HAIRPIN_V4 };
        let to = Endpoint { address: hairpin, ..world.client };
        let mut packet = Draft::new(world.blue, to).flags(world.kind.answer()).build();

        assert_eq!(world.pod_sends(&mut packet), passes(Reason::NotOurs));
    }
}

#[test]
fn a_spoofed_packet_neither_begins_nor_changes_anything() {
    for world in World::all() {
        world.move_elsewhere(world.client, true);
        let before = world.content();
        for to in [world.vip, world.blue] {
            for flags in [world.kind.first(), world.kind.data(), RST, FIN_ACK] {
                let (outcome, ends) = world.send(world.client, to, flags);
                assert_eq!((outcome.verdict, ends), (Verdict::Pass, [world.client, to]));
            }
        }
        assert!(before == world.content(), "spoofed packets left a trace");
        world.move_elsewhere(world.client, false);
        world.establish();

        // By another pod's interface, to which the client's address does not lead.
        world.tables.index.set(INDEX + 1);
        world.move_elsewhere(world.client, true);
        world.pass_time(1);
        let before = world.content();
        for flags in [world.kind.first(), world.kind.data(), RST, RST_ACK, FIN_ACK] {
            assert_eq!(world.ask(flags, b"evil"), passes(Reason::Spoofed));
        }
        assert!(before == world.content(), "spoofed packets changed a flow");

        world.tables.index.set(INDEX);
        assert_eq!(world.ask(world.kind.data(), b"x"), ON, "its own are not asked again");
        assert_eq!(world.backend(), Some(0));
    }
}

#[test]
fn a_client_that_moved_to_another_interface_keeps_its_connection() {
    for world in World::tcp() {
        world.establish();
        world.tables.index.set(INDEX + 1);

        assert_eq!(world.ask(PUSH, b"x"), ON);
        assert_eq!(world.flows(), [0, 1]);
        assert_eq!(world.values().interface, INDEX, "asked each time");

        // A connection that begins there replaces it.
        assert_eq!(world.ask(SYN, b""), ON);
        assert_eq!(world.values().interface, INDEX + 1);
        assert_eq!(world.flows(), [1, 0]);
        assert_eq!(world.count(BLUE, Counter::PushedOut), 1);
    }
    for world in World::udp() {
        world.establish();
        world.tables.index.set(INDEX + 1);

        let (outcome, ends) = world.send(world.client, world.vip, 0);

        assert_eq!((outcome, ends), (ON, [world.client, world.blue]));
        assert_eq!(world.values().interface, INDEX + 1);
    }
}

#[test]
fn uplinks_are_one_group() {
    for world in World::tcp() {
        world.tables.frontends[0].flags.store(Frontend::EXTERNAL);
        world.move_elsewhere(world.client, true);
        world.net_sends(&mut world.question(SYN, b"").build());
        assert_eq!(world.values().interface, 0);
        world.tables.index.set(INDEX + 1);

        assert_eq!(world.net_sends(&mut world.question(ACK, b"").build()), ON);
        assert_eq!(world.flows(), [1, 0]);
    }
}
