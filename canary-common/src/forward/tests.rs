use super::*;
use crate::hooks::Outcome;
use crate::limits;
use crate::packets::{Draft, RECEIVER_MAC, SENDER_MAC};
use crate::wire::tcp::{ACK, RST, SYN};
use crate::world::{
    BACK, BLUE, FIN_ACK, GREEN, Kind, ON, PUSH, RST_ACK, SYN_ACK, World, dropped, ends,
    other_protocol, passes, refused,
};

#[test]
fn a_new_flow_is_sent_to_a_backend_and_kept() {
    for world in World::all() {
        let mut packet = world.question(world.kind.first(), b"").build();

        let outcome = world.pod_sends(&mut packet);

        assert_eq!(outcome, ON);
        assert_eq!(ends(&packet), (world.client, world.blue));
        assert_eq!(world.flows(), [1, 0]);
        assert_eq!(world.count(BLUE, Counter::Opened), 1);
    }
}

#[test]
fn a_packet_with_ip_options_is_forwarded_with_them() {
    let world = World::new(Kind::TCP[0]);
    for words in 0..=10 {
        let draft = world.question(SYN, b"").ip_options(words).tcp_options(words);
        let (before, mut packet) = (draft.build(), draft.build());

        assert_eq!(world.pod_sends(&mut packet), ON);

        assert_eq!(ends(&packet), (world.client, world.blue));
        assert_eq!(packet[34..34 + 4 * words], before[34..34 + 4 * words]);
    }
}

#[test]
fn a_repeated_syn_goes_to_the_same_backend_and_counts_once() {
    for mut world in World::tcp() {
        world.ask(SYN, b"");
        world.publish(0, &[(0, &[0], BLUE), (10_000, &[1], GREEN)]);
        let mut again = world.question(SYN, b"").build();

        assert_eq!(world.pod_sends(&mut again), ON);

        assert_eq!(ends(&again).1, world.blue);
        assert_eq!(world.flows(), [1, 0]);
        assert_eq!(world.count(BLUE, Counter::Opened), 1);
        assert_eq!(world.count(GREEN, Counter::Opened), 0);
    }
}

#[test]
fn a_flow_leaves_opening_once_it_was_answered_and_its_client_spoke() {
    for world in World::all() {
        let next = if world.kind.protocol == crate::endpoint::TCP { ACK } else { 0 };
        world.ask(world.kind.first(), b"");
        world.ask(next, b"");
        assert_eq!(world.flows(), [1, 0], "nobody has answered");
        world.answer(world.blue, world.kind.answer(), b"");
        assert_eq!(world.flows(), [1, 0], "the client has not spoken");

        assert_eq!(world.ask(next, b""), ON);

        assert_eq!(world.flows(), [0, 1]);
        assert_eq!(world.count(BLUE, Counter::Established), 1);
        assert_eq!(world.count(BLUE, Counter::Opened), 1);
    }
}

#[test]
fn what_was_noted_before_a_flow_moved_is_noted_after() {
    for world in World::tcp() {
        world.ask(SYN, b"");
        world.answer(world.blue, SYN_ACK, b"");
        world.answer(world.blue, PUSH, b"ready");
        world.ask(PUSH, b"question");

        world.ask(FIN_ACK, b"");
        world.answer(world.blue, FIN_ACK, b"");

        assert_eq!(world.count(BLUE, Counter::Closed), 1);
        assert_eq!(world.count(BLUE, Counter::Unanswered), 0, "the greeting was an answer");
    }
}

#[test]
fn a_weight_change_moves_new_flows_only() {
    for mut world in World::all() {
        world.establish();

        world.publish(0, &[(0, &[0], BLUE), (10_000, &[1], GREEN)]);

        let mut old = world.question(if world.kind.protocol == 6 { PUSH } else { 0 }, b"x").build();
        assert_eq!(world.pod_sends(&mut old), ON);
        assert_eq!(ends(&old).1, world.blue);
        let other = Endpoint { port: [1, 1], ..world.client };
        let mut new = Draft::new(other, world.vip).flags(world.kind.first()).build();
        assert_eq!(world.pod_sends(&mut new), ON);
        assert_eq!(ends(&new).1, world.green);
    }
}

#[test]
fn a_draining_backend_keeps_its_flows() {
    for mut world in World::all() {
        world.establish();
        world.publish(0, &[(10_000, &[1], GREEN)]);
        world.set_state(0, State::Draining);

        assert_eq!(world.ask(if world.kind.protocol == 6 { PUSH } else { 0 }, b"x"), ON);
        assert_eq!(world.backend_of(0), Some(0));
        assert_eq!(world.answer(world.blue, PUSH, b"y"), ON);
    }
}

#[test]
fn a_tcp_flow_whose_backend_is_gone_is_reset() {
    for mut world in World::tcp() {
        for goes in [0, 1] {
            world.establish();
            world.publish(0, &[(10_000, &[1], GREEN)]);
            let status = world.tables.backends[0].status.load();
            // Gone, or alive again as another one.
            let status =
                if goes == 0 { status & !0xff } else { Backend::status_of(State::Alive, 0, 4) };
            world.tables.backends[0].status.store(status);

            assert_eq!(world.ask(PUSH, b"x"), refused(Reason::BackendGone));
            assert_eq!(world.ask(PUSH, b"x"), refused(Reason::FlowLost), "it is forgotten");
            assert_eq!(world.ask(RST, b""), dropped(Reason::Stray));

            world.tables.backends[0].status.store(Backend::status_of(State::Alive, 0, 3));
            world.publish(0, &[(10_000, &[0], BLUE)]);
        }
    }
}

#[test]
fn a_syn_or_datagram_whose_backend_is_gone_gets_another() {
    for mut world in World::all() {
        world.establish();
        world.publish(0, &[(10_000, &[1], GREEN)]);
        world.set_state(0, State::Gone);
        let mut packet = world.question(world.kind.first(), b"").build();

        assert_eq!(world.pod_sends(&mut packet), ON);

        assert_eq!(ends(&packet).1, world.green);
        assert_eq!(world.backend_of(0), Some(1));
        assert_eq!(world.count(GREEN, Counter::Opened), 1);
    }
}

#[test]
fn nobody_to_serve_is_refused_and_nothing_is_kept() {
    for mut world in World::all() {
        world.publish(0, &[(10_000, &[], BLUE)]);

        let outcome = world.ask(world.kind.first(), b"");

        assert_eq!(outcome, refused(Reason::NoBackend));
        assert_eq!(world.flows(), [0, 0]);
        assert_eq!(world.count(BLUE, Counter::Opened), 0);
    }
}

#[test]
fn an_empty_record_is_refused() {
    for mut world in World::tcp() {
        world.publish(0, &[]);

        assert_eq!(world.ask(SYN, b""), refused(Reason::BadRecord));
    }
}

#[test]
fn only_a_syn_starts_a_tcp_flow() {
    for world in World::tcp() {
        for flags in 0..=0x3f_u8 {
            let outcome = world.ask(flags, b"");

            let wanted = match flags {
                _ if flags & RST != 0 => dropped(Reason::Stray),
                _ if flags & (SYN | ACK) == SYN => continue_with(&world, flags),
                _ => refused(Reason::FlowLost),
            };
            assert_eq!(outcome, wanted, "flags {flags:#x}");
            assert_eq!(world.flows(), [0, 0], "flags {flags:#x}");
        }
    }
}

/// A SYN did start one: ends it for the next.
fn continue_with(world: &World, flags: u8) -> Outcome {
    assert_eq!(world.flows(), [1, 0], "flags {flags:#x}");
    world.tables.flows4.opening.borrow_mut().clear();
    world.tables.flows6.opening.borrow_mut().clear();
    ON
}

#[test]
fn refusals_stop_when_there_were_too_many() {
    for world in World::tcp() {
        world.tables.silent.set(true);
        let mut packet = world.question(ACK, b"").build();
        let before = packet.clone();

        assert_eq!(world.pod_sends(&mut packet), dropped(Reason::RefusalLimited));
        assert_eq!(packet, before);
    }
}

#[test]
fn what_others_translate_is_left_alone_to_its_last_packet() {
    for world in World::tcp() {
        world.tables.young.set(true);
        assert_eq!(world.ask(PUSH, b"x"), passes(Reason::Foreign));
        world.tables.young.set(false);

        assert_eq!(world.ask(ACK, b""), passes(Reason::Foreign), "it is remembered");
        assert_eq!(world.ask(FIN_ACK, b""), passes(Reason::Foreign));
        assert_eq!(world.ask(ACK, b""), passes(Reason::Foreign), "for the server's last data");
        assert_eq!(world.ask(RST, b""), passes(Reason::Foreign));
        assert_eq!(world.ask(ACK, b""), refused(Reason::FlowLost), "a reset ends it");
        assert_eq!(world.flows(), [0, 0]);
    }
}

#[test]
fn a_syn_takes_over_what_others_translated() {
    for world in World::tcp() {
        world.tables.young.set(true);
        world.ask(ACK, b"");

        world.establish();

        assert_eq!(world.ask(PUSH, b"x"), ON);
    }
}

#[test]
fn datagrams_that_others_translate_are_left_alone() {
    for world in World::udp() {
        let frontend = &world.tables.frontends[0];
        let (client, port) = (world.client.address, world.client.port);
        if world.kind.v6 {
            let client = crate::flow::V6::bytes(client);
            let key = FlowKey { client, peer: 0, port, generation: frontend.generation() };
            FlowTables::<crate::flow::V6>::set_foreign(&world.tables, &key);
        } else {
            let client = crate::flow::V4::bytes(client);
            let key = FlowKey { client, peer: 0, port, generation: frontend.generation() };
            FlowTables::<crate::flow::V4>::set_foreign(&world.tables, &key);
        }

        assert_eq!(world.ask(0, b"x"), passes(Reason::Foreign));
        assert_eq!(world.flows(), [0, 0]);
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
fn what_is_not_ours_passes() {
    for world in World::all() {
        let elsewhere = [
            Endpoint { port: [0, 81], ..world.vip },
            Endpoint { protocol: other_protocol(world.vip), ..world.vip },
            world.kind.at(96, 2, 80),
        ];
        for to in elsewhere {
            let from = Endpoint { protocol: to.protocol, ..world.client };
            let mut packet = Draft::new(from, to).flags(SYN).build();
            let before = packet.clone();

            assert_eq!(world.pod_sends(&mut packet), passes(Reason::NotOurs), "{to:?}");
            assert_eq!(packet, before);
        }
    }
}

#[test]
fn a_client_may_go_straight_to_a_backend() {
    for world in World::all() {
        let mut packet = Draft::new(world.client, world.blue).flags(world.kind.first()).build();
        let before = packet.clone();

        assert_eq!(world.pod_sends(&mut packet), passes(Reason::Straight));
        assert_eq!(packet, before);
    }
}

#[test]
fn a_datagram_straight_to_the_backend_ends_a_live_flow_with_its_ports() {
    for world in World::all().filter(|world| world.kind.protocol != 6) {
        world.establish();
        let straight = Draft::new(world.client, world.blue);

        assert_eq!(world.pod_sends(&mut straight.build()), passes(Reason::Straight));

        assert_eq!(world.flows(), [0, 0]);
        let answer = world.answer(world.blue, world.kind.answer(), b"");
        assert_eq!(answer, passes(Reason::NotOurs), "it is the straight one's");
    }
}

#[test]
fn a_connection_straight_with_the_ports_of_a_live_flow_is_refused() {
    for world in World::all().filter(|world| world.kind.protocol == 6) {
        for establish in [false, true] {
            if establish {
                world.establish();
            } else {
                world.ask(world.kind.first(), b"");
            }
            let flows = world.flows();
            let straight = Draft::new(world.client, world.blue).flags(world.kind.first());

            let outcome = world.pod_sends(&mut straight.build());

            assert_eq!(outcome, refused(Reason::TupleClash));
            assert_eq!(world.flows(), flows, "the flow lives");
            assert_eq!(world.count(BLUE, Counter::Opened), 1);
        }
    }
}

#[test]
fn straight_with_the_ports_of_a_dead_flow_ends_that_flow() {
    for world in World::all() {
        world.establish();
        if world.kind.protocol == 6 {
            world.ask(RST_ACK, b"");
        } else {
            world.pass_time(limits::ANSWERED_UDP_IDLE + 1);
        }
        let straight = Draft::new(world.client, world.blue).flags(world.kind.first());

        assert_eq!(world.pod_sends(&mut straight.build()), passes(Reason::Straight));

        assert_eq!(world.flows(), [0, 0]);
        let answer = world.answer(world.blue, world.kind.answer(), b"");
        assert_eq!(answer, passes(Reason::NotOurs), "it is the straight one's");
    }
}

#[test]
fn straight_to_another_backend_than_the_flows_is_no_clash() {
    for world in World::all() {
        world.establish();
        let straight = Draft::new(world.client, world.green).flags(world.kind.first());

        assert_eq!(world.pod_sends(&mut straight.build()), passes(Reason::Straight));
        assert_eq!(world.flows(), [0, 1]);
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
        world.ask(if world.kind.protocol == 6 { ACK } else { 0 }, b"");
        assert_eq!(world.flows(), [0, 1]);
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
fn two_services_share_their_backends() {
    for mut world in World::all() {
        let other = world.kind.at(96, 2, 80);
        world.add_frontend(other, 1);
        world.publish(1, &[(10_000, &[0], GREEN)]);
        let status = Backend::status_of(State::Alive, Backend::HAS_RETURNS, 3);
        world.tables.backends[0].status.store(status);
        world.establish();
        let through_home = world.vip;

        // The client ends its flow and comes again from the same port, by the other name.
        if world.kind.protocol == 6 {
            world.ask(RST_ACK, b"");
        }
        world.vip = other;
        let mut packet = world.question(world.kind.first(), b"").build();
        assert_eq!(world.pod_sends(&mut packet), ON);
        assert_eq!(ends(&packet).1, world.blue);
        let mut answer = world.reply(world.blue, world.kind.answer(), b"").build();
        assert_eq!(world.pod_gets(&mut answer), ON);
        assert_eq!(ends(&answer).0, other);
        if world.kind.protocol == 6 {
            world.ask(RST_ACK, b"");
        }

        world.vip = through_home;
        world.ask(world.kind.first(), b"");
        let mut answer = world.reply(world.blue, world.kind.answer(), b"").build();
        assert_eq!(world.pod_gets(&mut answer), ON);
        assert_eq!(ends(&answer).0, through_home);
    }
}

#[test]
fn a_second_name_never_disturbs_a_connection_by_the_first() {
    for mut world in World::tcp() {
        let names = [world.vip, world.kind.at(96, 2, 80)];
        world.add_frontend(names[1], 1);
        world.publish(1, &[(10_000, &[0], GREEN)]);
        let status = Backend::status_of(State::Alive, Backend::HAS_RETURNS, 3);
        world.tables.backends[0].status.store(status);
        for (first, second) in [(0, 1), (1, 0)] {
            world.vip = names[first];
            world.establish();

            world.vip = names[second];
            assert_eq!(world.ask(SYN, b""), refused(Reason::TupleClash));

            world.vip = names[first];
            let mut answer = world.reply(world.blue, PUSH, b"x").build();
            assert_eq!(world.pod_gets(&mut answer), ON);
            assert_eq!(ends(&answer).0, names[first]);
            assert_eq!(world.ask(RST_ACK, b""), ON);
        }
    }
}

#[test]
fn flows_live_as_long_as_their_state_allows() {
    let idle = |world: &World, seconds, is_there| {
        world.pass_time(seconds);
        let known = world.answer(world.blue, 0, b"") == ON;
        assert_eq!(known, is_there, "{:?} after {seconds} s", world.kind);
    };
    for world in World::all() {
        let tcp = world.kind.protocol == 6;
        for (limit, there) in [(limits::OPENING_IDLE, true), (limits::OPENING_IDLE + 1, false)] {
            world.ask(world.kind.first(), b"");
            // Not by an answer of UDP, which would lengthen its life.
            world.pass_time(limit);
            let next = world.ask(if tcp { ACK } else { 0 }, b"");
            assert_eq!(next == ON && world.count(BLUE, Counter::Opened) == 1, there);
            world.tables.flows4.opening.borrow_mut().clear();
            world.tables.flows6.opening.borrow_mut().clear();
            world.tables.counts.borrow_mut().clear();
        }
        let limit = if tcp { limits::ESTABLISHED_IDLE } else { limits::ANSWERED_UDP_IDLE };
        world.establish();
        idle(&world, limit, true);
        idle(&world, limit, true);
        idle(&world, limit + 1, false);
    }
    for world in World::tcp() {
        world.establish();
        world.ask(FIN_ACK, b"");
        idle(&world, limits::CLOSING_IDLE + 1, true);
        world.answer(world.blue, FIN_ACK, b"");
        idle(&world, limits::CLOSING_IDLE, true);
        idle(&world, limits::CLOSING_IDLE + 1, false);
    }
}

#[test]
fn a_syn_starts_anew_where_a_flow_ended_or_was_idle_for_long() {
    for mut world in World::tcp() {
        world.establish();
        world.publish(0, &[(10_000, &[1], GREEN)]);
        world.pass_time(limits::SYN_REUSE_IDLE);
        world.ask(SYN, b"");
        assert_eq!(world.backend_of(0), Some(0), "still alive");

        world.pass_time(limits::SYN_REUSE_IDLE + 1);
        world.ask(SYN, b"");

        assert_eq!(world.backend_of(0), Some(1));
        assert_eq!(world.flows(), [1, 0]);
        world.answer(world.green, RST_ACK, b"");
        world.publish(0, &[(10_000, &[0], BLUE)]);
        world.ask(SYN, b"");
        assert_eq!(world.backend_of(0), Some(0), "the other was refused");
    }
}

#[test]
fn a_syn_with_data_counts_as_a_question() {
    for world in World::tcp() {
        world.ask(SYN, b"early");
        world.answer(world.blue, SYN_ACK, b"");
        world.ask(FIN_ACK, b"");
        world.answer(world.blue, FIN_ACK, b"");

        assert_eq!(world.count(BLUE, Counter::BytesToBackend), 5);
        assert_eq!(world.count(BLUE, Counter::Unanswered), 1);
    }
}

#[test]
fn a_cut_packet_is_refused_and_left_alone() {
    for world in World::all() {
        let headers = if world.kind.v6 { 54 } else { 34 };
        let headers = headers + if world.kind.protocol == 6 { 20 } else { 8 };
        let whole = world.question(world.kind.first(), b"payload").build();
        for length in 0..whole.len() {
            for hook in [World::pod_sends, World::net_sends, World::pod_gets] {
                if length >= headers {
                    continue;
                }
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
    let v4 = World::new(Kind::TCP[0]);
    let v6 = World::new(Kind::TCP[1]);
    // A byte of the packet, what it becomes, and what that is.
    let cases: &[(&World, usize, u8, Reason)] = &[
        (&v4, 12, 0x81, Reason::NotIp),
        (&v4, 14, 0x54, Reason::Malformed),
        (&v4, 14, 0x44, Reason::Malformed),
        (&v4, 17, 19, Reason::Malformed),
        (&v4, 17, 39, Reason::Malformed),
        (&v4, 20, 0x20, Reason::Fragment),
        (&v4, 21, 1, Reason::Fragment),
        (&v4, 23, 1, Reason::NotTcpOrUdp),
        (&v4, 46, 0x40, Reason::Malformed),
        (&v6, 14, 0x40, Reason::Malformed),
        (&v6, 19, 19, Reason::Malformed),
        (&v6, 20, 44, Reason::Fragment),
        (&v6, 20, 0, Reason::NotTcpOrUdp),
        (&v6, 66, 0x40, Reason::Malformed),
    ];
    for (world, at, value, reason) in cases {
        let mut packet = world.question(SYN, b"").build();
        packet[*at] = *value;
        let before = packet.clone();

        for hook in [World::pod_sends, World::net_sends, World::pod_gets] {
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
