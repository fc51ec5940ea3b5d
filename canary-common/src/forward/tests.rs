use super::*;
use crate::backend::Frontend;
use crate::endpoint::Endpoint;
use crate::flows;
use crate::hooks::{Outcome, Verdict};
use crate::packets::{Draft, RECEIVER_MAC, SENDER_MAC};
use crate::route::{HAIRPIN_V4, HAIRPIN_V6};
use crate::service::FOLLOW_WEIGHTS;
use crate::stats::Counter;
use crate::wire::tcp::{ACK, RST, SYN};
use crate::world::{
    BACK, BLUE, FIN_ACK, GREEN, INDEX, Kind as Protocol, ON, PUSH, RST_ACK, SYN_ACK, World,
    dropped, ends, other_protocol, passes, refused, tcp_flags, with_port,
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
    let world = World::new(Protocol::TCP[0]);
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
fn a_flow_is_answered_by_its_backend_alone() {
    for world in World::all() {
        world.ask(world.kind.first(), b"");
        world.ask(if world.kind.is_tcp() { ACK } else { 0 }, b"");
        assert_eq!(world.flows(), [1, 0], "nobody has answered");
        world.answer(world.green, world.kind.answer(), b"");
        assert_eq!(world.flows(), [1, 0], "another has");

        world.answer(world.blue, world.kind.answer(), b"");

        assert_eq!(world.flows(), [0, 1]);
        assert!(world.forth().unwrap().head.has(Head::ANSWERED));
        assert_eq!(world.count(BLUE, Counter::Established), 1);
        assert_eq!(world.count(BLUE, Counter::Opened), 1);
    }
}

#[test]
fn a_greeting_before_the_question_is_an_answer() {
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

        let mut old = world.question(world.kind.data(), b"x").build();
        assert_eq!(world.pod_sends(&mut old), ON);
        assert_eq!(ends(&old).1, world.blue);
        let other = Endpoint { port: [1, 1], ..world.client };
        let mut new = Draft::new(other, world.vip).flags(world.kind.first()).build();
        assert_eq!(world.pod_sends(&mut new), ON);
        assert_eq!(ends(&new).1, world.green);
    }
}

#[test]
fn a_draining_backend_keeps_its_connections() {
    for mut world in World::tcp() {
        world.establish();
        world.publish_green();
        world.set_state(0, State::Draining);

        assert_eq!(world.ask(PUSH, b"x"), ON);
        assert_eq!(world.backend(), Some(0));
        assert_eq!(world.ask(SYN, b""), ON);
        assert_eq!(world.backend(), Some(0), "an old SYN is not a new connection's");
        assert_eq!(world.answer(world.blue, PUSH, b"y"), ON);
    }
}

#[test]
fn datagrams_leave_a_backend_that_drains_or_is_gone() {
    for state in [State::Draining, State::Gone] {
        for mut world in World::udp() {
            world.establish();
            world.publish_green();
            world.set_state(0, state);
            let mut packet = world.question(0, b"x").build();

            assert_eq!(world.pod_sends(&mut packet), ON);

            assert_eq!(ends(&packet), (world.client, world.green), "with its own port");
            assert_eq!(world.backend(), Some(1));
            // What is under way from the old one still arrives from the virtual address.
            assert!(world.back(world.blue).unwrap().head.has(Head::RESET));
            let mut late = world.reply(world.blue, 0, b"late").build();
            assert_eq!(world.pod_gets(&mut late), ON);
            assert_eq!(ends(&late), (world.vip, world.client));
            assert_eq!(world.count(BLUE, Counter::PushedOut), 1, "its split has one less");
            assert_eq!(world.count(GREEN, Counter::Opened), 1);
        }
    }
}

#[test]
fn a_syn_on_its_way_to_a_backend_that_drains_is_picked_anew() {
    for mut world in World::tcp() {
        world.ask(SYN, b"");
        world.publish_green();
        world.set_state(0, State::Draining);
        let mut again = world.question(SYN, b"").build();

        assert_eq!(world.pod_sends(&mut again), ON);

        assert_eq!(ends(&again), (world.client, world.green));
        assert!(world.back(world.blue).unwrap().head.has(Head::RESET), "it stays for 2 s");
        assert_eq!(world.flows(), [1, 0]);
        assert_eq!(world.count(BLUE, Counter::PushedOut), 0, "it was never established");
        assert_eq!(world.answer(world.green, SYN_ACK, b""), ON);
        assert_eq!(world.flows(), [0, 1]);
    }
}

#[test]
fn a_connection_whose_backend_is_gone_is_reset_each_time() {
    for mut world in World::tcp() {
        world.establish();
        world.publish_green();
        world.set_state(0, State::Gone);

        assert_eq!(world.ask(PUSH, b"x"), refused(Reason::BackendGone));
        assert_eq!(world.ask(PUSH, b"x"), refused(Reason::BackendGone));
        assert_eq!(world.ask(RST, b""), dropped(Reason::BackendGone), "a reset is not answered");
        assert_eq!(world.count(GREEN, Counter::Opened), 0);
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
        assert_eq!(world.backend(), Some(1));
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
fn any_segment_of_a_lost_flow_but_a_reset_begins_it_again() {
    for world in World::tcp() {
        for flags in 0..=0x3f_u8 {
            assert_eq!(world.ask(flags, b""), ON, "flags {flags:#x}");

            let is_reset = flags & RST != 0;
            assert_eq!(world.flows(), [usize::from(!is_reset), 0], "flags {flags:#x}");
            if let Some(entry) = world.forth() {
                let is_syn = flags & (SYN | ACK) == SYN;
                assert_eq!(entry.head.has(Head::AGAIN), !is_syn, "flags {flags:#x}");
            }
            world.forget();
        }
    }
}

#[test]
fn refusals_stop_when_there_were_too_many() {
    for mut world in World::tcp() {
        world.publish(0, &[(10_000, &[], BLUE)]);
        world.tables.silent.set(true);
        let mut packet = world.question(SYN, b"").build();
        let before = packet.clone();

        assert_eq!(world.pod_sends(&mut packet), dropped(Reason::RefusalLimited));
        assert_eq!(packet, before);
    }
}

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
fn a_datagram_after_its_flow_has_expired_is_picked_anew_with_its_own_port() {
    // Unanswered, after one exchange, and of a stream.
    let cases: [(&[u32], u32); 3] = [
        (&[], limits::OPENING_IDLE),
        (&[0], limits::UDP_EXCHANGE_IDLE),
        (&[0, limits::UDP_LASTS], limits::UDP_STREAM_IDLE),
    ];
    for (exchanges, limit) in cases {
        for mut world in World::udp() {
            world.ask(0, b"");
            for wait in exchanges {
                world.pass_time(*wait);
                world.ask(0, b"");
                world.answer(world.blue, 0, b"");
            }
            world.publish_green();
            world.pass_time(limit);
            assert!(world.ask(0, b"") == ON && world.backend() == Some(0), "{limit} s");
            // That datagram may have made it a stream.
            let limit = if exchanges == [0] { limits::UDP_STREAM_IDLE } else { limit };
            world.pass_time(limit + 1);

            let (outcome, [from, to]) = world.send(world.client, world.vip, 0);

            assert_eq!((outcome, from, to), (ON, world.client, world.green), "{limit} s");
        }
    }
}

#[test]
fn an_expired_flow_that_is_picked_anew_for_the_same_backend_keeps_its_port() {
    for world in World::udp() {
        world.ask(0, b"");
        world.answer(world.blue, 0, b"");
        world.pass_time(limits::UDP_EXCHANGE_IDLE + 1);

        let (outcome, ends) = world.send(world.client, world.vip, 0);

        assert_eq!((outcome, ends), (ON, [world.client, world.blue]));
        assert_eq!(world.count(BLUE, Counter::Opened), 2);
        assert_eq!(world.count(BLUE, Counter::PushedOut), 1, "its split has one less");
    }
}

#[test]
fn a_connection_is_never_too_old_for_its_next_segment() {
    for world in World::tcp() {
        world.establish();
        world.pass_time(limits::ESTABLISHED_IDLE + 1);

        assert_eq!(world.ask(PUSH, b"x"), ON, "ageing is the agent's");
        assert_eq!(world.count(BLUE, Counter::Opened), 1);
    }
}

#[test]
fn a_syn_starts_anew_where_a_flow_ended_or_was_idle_for_long() {
    for mut world in World::tcp() {
        world.establish();
        world.publish_green();
        world.pass_time(limits::SYN_REUSE_IDLE);
        world.ask(SYN, b"");
        assert_eq!(world.backend(), Some(0), "still alive");

        world.pass_time(limits::SYN_REUSE_IDLE + 1);
        world.ask(SYN, b"");

        assert_eq!(world.backend(), Some(1));
        assert_eq!(world.flows(), [1, 0]);
        assert_eq!(world.count(BLUE, Counter::PushedOut), 1, "it had not ended");
        world.answer(world.green, RST_ACK, b"");
        world.publish(0, &[(10_000, &[0], BLUE)]);
        world.ask(SYN, b"");
        assert_eq!(world.backend(), Some(0), "the other was refused");
        assert_eq!(world.count(GREEN, Counter::PushedOut), 0);
    }
}

/// Marks both entries of the flow to blue.
fn sever(world: &World) {
    for entry in [world.forth(), world.back(world.blue)] {
        flows::mark(&world.tables, &entry.unwrap(), Head::SEVERED, 0).unwrap();
    }
}

#[test]
fn both_ends_of_a_severed_connection_are_told_whichever_goes_on_first() {
    for client_first in [true, false] {
        for mut world in World::tcp() {
            world.establish();
            world.publish_green();
            sever(&world);
            world.pass_time(100);
            let question = || {
                let mut packet = world.question(PUSH, b"x").build();
                (world.pod_sends(&mut packet), tcp_flags(&packet), ends(&packet))
            };
            let answer = || {
                let mut packet = world.reply(world.blue, PUSH, b"x").build();
                (world.pod_gets(&mut packet), tcp_flags(&packet), ends(&packet))
            };
            let client_told = (refused(Reason::Severed), RST, (world.vip, world.client));
            let backend_told = (refused(Reason::Severed), RST, (world.client, world.blue));
            if client_first {
                assert_eq!(question(), client_told);
            } else {
                // Its client hears it from the very packet.
                let cut = (passes(Reason::Severed), RST_ACK, (world.vip, world.client));
                assert_eq!(answer(), cut);
            }
            assert_eq!(answer(), backend_told);
            assert_eq!(answer(), backend_told, "it goes on");
            assert_eq!(question(), client_told);
            assert_eq!(world.count(BLUE, Counter::PushedOut), 1, "once");
            assert_eq!(world.count(BLUE, Counter::BytesToBackend), 0);
            assert_eq!(world.count(BLUE, Counter::BytesToClient), 0);
            let [forth, back] = [world.forth(), world.back(world.blue)].map(Option::unwrap);
            assert!(forth.head.has(Head::RESET) && back.head.has(Head::RESET));
            assert_eq!(back.head.idle(world.tables.now.get()), 0, "it has the time of a reset");
        }
    }
}

#[test]
fn an_end_that_gives_a_severed_connection_up_is_heard_by_the_other() {
    for world in World::tcp() {
        world.establish();
        sever(&world);

        let (outcome, ends) = world.send(world.client, world.vip, RST_ACK);

        assert_eq!((outcome, ends), (ON, [world.client, world.blue]));
        assert_eq!(world.count(BLUE, Counter::ResetByClient), 1);
        assert_eq!(world.count(BLUE, Counter::PushedOut), 0);
    }
}

#[test]
fn a_severed_connection_is_ended_by_its_own_pod_only() {
    for world in World::tcp() {
        world.establish();
        sever(&world);
        let before = world.content();
        world.move_elsewhere(world.blue, true);

        assert_eq!(world.answer(world.blue, PUSH, b"x"), passes(Reason::Spoofed));

        assert!(before == world.content());
    }
}

#[test]
fn severed_datagrams_go_elsewhere_and_what_is_under_way_comes_back() {
    for mut world in World::udp() {
        world.establish();
        world.publish_green();
        sever(&world);
        assert_eq!(world.answer(world.blue, 0, b"x"), ON);

        let mut packet = world.question(0, b"").build();
        let outcome = world.pod_sends(&mut packet);

        assert_eq!((outcome, ends(&packet).1), (ON, world.green));
        assert_eq!(world.count(BLUE, Counter::PushedOut), 1);
        assert_eq!(world.flows(), [1, 0]);
    }
}

#[test]
fn datagrams_follow_the_weights_where_the_service_says_so() {
    for (flags, follows) in [(FOLLOW_WEIGHTS, true), (0, false)] {
        for mut world in World::all() {
            let is_moved = follows && !world.kind.is_tcp();
            let all_to = |world: &mut World, backend: u32, statistics: u16| {
                world.publish(0, &[(10_000, &[backend], statistics)]);
                world.tables.records.last_mut().unwrap().flags = flags;
            };
            all_to(&mut world, 0, BLUE);
            world.establish();
            world.ask(world.kind.data(), b"");
            assert_eq!(world.backend(), Some(0), "the weights are the same");

            all_to(&mut world, 1, GREEN);
            world.ask(world.kind.data(), b"");

            assert_eq!(world.backend(), Some(u32::from(is_moved)), "{flags} {:?}", world.kind);
            assert_eq!(world.count(BLUE, Counter::PushedOut), u64::from(is_moved));
            if is_moved {
                assert_eq!(world.answer(world.blue, 0, b"late"), ON, "it was under way");
                // It does not say so any more.
                world.publish(0, &[(10_000, &[0], BLUE)]);
                world.ask(0, b"");
                assert_eq!(world.backend(), Some(1));
            }
        }
    }
}

#[test]
fn a_syn_of_a_severed_flow_starts_a_new_one() {
    for mut world in World::tcp() {
        world.establish();
        world.publish_green();
        flows::mark(&world.tables, &world.forth().unwrap(), Head::SEVERED, 0).unwrap();

        let (outcome, ends) = world.send(world.client, world.vip, SYN);

        assert_eq!((outcome, ends), (ON, [world.client, world.green]));
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

#[test]
fn a_frontend_draws_among_the_backends_of_its_family_alone() {
    for mut world in World::all() {
        let kind = world.kind;
        // The service's record has backends of the other family alone.
        world.kind = Protocol { v6: !kind.v6, ..kind };
        world.publish(0, &[(10_000, &[0], BLUE)]);
        world.kind = kind;

        let outcome = world.ask(kind.first(), b"");

        assert_eq!(outcome, refused(Reason::NoBackend));
        assert_eq!(world.flows(), [0, 0]);
    }
}

#[test]
fn an_ipv6_packet_to_a_mapped_address_is_not_the_ipv4_frontends() {
    for kind in [Protocol::ALL[0], Protocol::ALL[1]] {
        let world = World::new(kind);
        let v6 = Protocol { v6: true, ..kind }.at(244, 9, 40_000);
        let build = |from: Endpoint, to: Endpoint| {
            // Built with other addresses: of mapped ones an IPv4 packet would be made.
            let mut packet = Draft::new(v6, v6).flags(kind.first()).build();
            packet[22..38].copy_from_slice(&from.address.0);
            packet[38..54].copy_from_slice(&to.address.0);
            packet[54..58].copy_from_slice(&[from.port, to.port].concat());
            packet
        };
        for (from, to) in [(v6, world.vip), (world.client, world.vip), (world.client, v6)] {
            let mut packet = build(from, to);
            let before = packet.clone();

            assert_eq!(world.pod_sends(&mut packet), passes(Reason::NotOurs));
            assert_eq!(packet, before);
        }
        let mut answer = build(world.blue, v6);
        assert_eq!(world.pod_gets(&mut answer), passes(Reason::NotOurs));
        assert_eq!(world.entries().len(), 0);
        assert!(!Reason::NotOurs.is_counted());
    }
}

#[test]
fn a_lost_connection_counts_from_its_first_answer_on() {
    for world in World::tcp() {
        world.ask(PUSH, b"x");
        assert_eq!(world.flows(), [1, 0]);
        world.answer(world.blue, RST_ACK, b"");
        assert_eq!(world.count(BLUE, Counter::Established), 0);
        world.ask(PUSH, b"x");

        world.answer(world.blue, ACK, b"");

        assert_eq!(world.flows(), [0, 1]);
        for entry in [world.forth(), world.back(world.blue)] {
            assert!(!entry.unwrap().head.has(Head::AGAIN));
        }
        assert_eq!(world.count(BLUE, Counter::Established), 1);
        assert_eq!(world.count(BLUE, Counter::Refused), 1);
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

/// A hook for packets.
type Hook = fn(&World, &mut Vec<u8>) -> Outcome;

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
