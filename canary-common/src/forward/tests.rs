mod age;
mod leaving;
mod origin;
mod severed;
mod shape;

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
