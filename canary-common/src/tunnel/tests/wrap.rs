//! The node by which clients come.

use super::*;
use crate::memory::Memory;
use crate::packets::check;
use crate::packets::rare::{fragments, icmp_error, reassembled};
use crate::stats::Counter;
use crate::tables::Way;
use crate::wire::tcp::{ACK, RST, SYN};
use crate::world::{FIN_ACK, PUSH, dropped, passes, refused, with_port};

/// Opens a connection at an entrance.
fn entered(kind: Protocol) -> World {
    let world = entrance(kind);
    assert_eq!(world.net_sends(&mut to_vip(&world, kind.first(), b"")), AWAY);
    world
}

fn heads(world: &World) -> [Head; 2] {
    let forth = world.forth().unwrap();
    [forth.head, partner::<Memory>(&world.tables, &forth).head]
}

#[test]
fn a_packet_goes_to_its_backend_as_it_is_and_is_served_there() {
    for (a, c) in pairs() {
        for (flags, payload) in [(a.kind.first(), &b""[..]), (a.kind.data(), b"hello")] {
            let packet = to_vip(&a, flags, payload);
            let mut sent = packet.clone();
            assert_eq!(a.net_sends(&mut sent), AWAY);
            assert_eq!(check(&sent, true), Ok(()));

            let (outer, inner) = taken_out(&a, &sent);
            assert_eq!(outer, Outer { source: node(&a), destination: a.blue.address });
            assert_eq!(inner, hopped(&a, &packet));

            assert_eq!(c.net_sends(&mut sent), Outcome::ON);
            assert_eq!(ends(&sent), (c.client, c.blue));
            assert_eq!(check(&sent, true), Ok(()));
            let mut answer = c.reply(c.blue, c.kind.answer(), b"").build();
            assert_eq!(c.pod_gets(&mut answer), Outcome::ON);
            assert_eq!(ends(&answer), (c.vip, c.client));
        }
        // Counted where both directions are seen.
        for (counter, count) in [(Counter::Opened, 1), (Counter::Established, 1)] {
            assert_eq!([a.count(BLUE, counter), c.count(BLUE, counter)], [0, count]);
        }
        assert_eq!(a.count(BLUE, Counter::BytesToBackend), 0);
        assert_eq!(c.count(BLUE, Counter::BytesToBackend), 5);
    }
}

#[test]
fn no_source_port_is_used_up() {
    for world in Protocol::ALL.into_iter().map(entrance) {
        world.tables.settings.ports.store(0);
        for number in 0..100 {
            let client = with_port(world.kind.at(8, 1, 0), 40_000 + number);
            let mut packet = Draft::new(client, world.vip).flags(world.kind.first()).build();
            assert_eq!(world.net_sends(&mut packet), AWAY);
        }
        assert_eq!(world.flows(), [100, 0]);
    }
}

#[test]
fn two_frontends_of_one_backend_have_the_same_client_at_once() {
    for kind in Protocol::ALL {
        let mut world = entrance(kind);
        let other = world.add_second_name();
        world.tables.frontends[1].flags.store(Frontend::EXTERNAL);
        for vip in [world.vip, other] {
            for flags in [kind.first(), kind.data()] {
                let mut packet = Draft::new(world.client, vip).flags(flags).build();
                assert_eq!(world.net_sends(&mut packet), AWAY);
                assert_eq!(taken_out(&world, &packet).0.destination, world.blue.address);
            }
        }
    }
}

#[test]
fn a_clients_second_segment_says_that_it_was_answered() {
    for kind in Protocol::TCP {
        let world = entered(kind);
        assert_eq!(world.net_sends(&mut to_vip(&world, SYN, b"")), AWAY);
        assert!(heads(&world).iter().all(|head| !head.has(Head::ANSWERED)));
        assert_eq!(world.net_sends(&mut to_vip(&world, RST, b"")), AWAY);
        assert!(heads(&world).iter().all(|head| !head.has(Head::ANSWERED) && head.ended()));

        assert_eq!(world.net_sends(&mut to_vip(&world, ACK, b"")), AWAY);

        assert!(heads(&world).iter().all(|head| head.has(Head::ANSWERED) && !head.ended()));
    }
    for kind in Protocol::UDP {
        let world = entered(kind);
        world.pass_time(2);
        assert_eq!(world.net_sends(&mut to_vip(&world, 0, b"")), AWAY);
        let wanted = Head::ANSWERED | Head::OVER;
        assert!(heads(&world).iter().all(|head| head.0 & wanted == wanted));
    }
}

#[test]
fn a_clients_fin_ends_its_connection_and_the_next_begins_another() {
    for kind in Protocol::TCP {
        let mut world = entered(kind);
        for flags in [ACK, PUSH, FIN_ACK, ACK] {
            assert_eq!(world.net_sends(&mut to_vip(&world, flags, b"")), AWAY);
        }
        assert!(heads(&world).iter().all(|head| head.ended()));
        world.tables.backends[1].flags.store(Backend::ELSEWHERE);
        world.publish_green();

        let mut packet = to_vip(&world, SYN, b"");
        assert_eq!(world.net_sends(&mut packet), AWAY);

        assert_eq!(taken_out(&world, &packet).0.destination, world.green.address);
        assert!(heads(&world).iter().all(|head| !head.ended()));
    }
}

#[test]
fn a_connection_stays_with_its_backend_over_weights_and_settings() {
    for kind in Protocol::ALL {
        let mut world = entered(kind);
        world.publish_green();
        world.tables.settings.outside.store(0);

        let mut packet = to_vip(&world, kind.data(), b"x");
        assert_eq!(world.net_sends(&mut packet), AWAY);

        assert_eq!(taken_out(&world, &packet).0.destination, world.blue.address);
    }
}

#[test]
fn a_connection_that_moves_goes_on_by_another_node() {
    for kind in Protocol::TCP {
        let (_, c) = opened(kind);
        let other = entrance(kind);
        for flags in [PUSH, ACK] {
            let seen = by_both([&other, &c], &to_vip(&other, flags, b""));
            assert_eq!(seen, (c.client, c.blue));
        }
        assert_eq!(c.count(BLUE, Counter::Opened), 1);
        assert!(heads(&other).iter().all(|head| head.has(Head::ANSWERED)));
        // To the backend's own node, as it is.
        c.tables.frontends[0].flags.store(Frontend::EXTERNAL);
        let mut packet = to_vip(&c, PUSH, b"");
        assert_eq!(c.net_sends(&mut packet), Outcome::ON);
        assert_eq!(ends(&packet), (c.client, c.blue));
    }
}

#[test]
fn a_packet_without_a_way_or_hops_goes_nowhere() {
    for kind in Protocol::ALL {
        for world in [entrance(kind), entered(kind)] {
            let flags = if world.forth().is_some() { kind.data() } else { kind.first() };
            let before = world.content();
            let packet = to_vip(&world, flags, b"");
            for (way, outcome) in
                [(Way::Closed, dropped(Reason::NoRoute)), (Way::Later, passes(Reason::NotOurs))]
            {
                world.tables.ways.borrow_mut().insert(world.blue.address, way);
                let mut sent = packet.clone();
                assert_eq!((world.net_sends(&mut sent), sent), (outcome, packet.clone()));
            }
            assert!(before == world.content());
            world.tables.ways.borrow_mut().clear();
            let last = Draft::new(world.client, world.vip).flags(flags).hops(1).build();
            let mut sent = last.clone();
            assert_eq!((world.net_sends(&mut sent), sent), (passes(Reason::Expired), last));
        }
    }
}

#[test]
fn who_sends_a_packet_that_is_too_long_is_told() {
    for kind in Protocol::ALL {
        let mut world = entered(kind);
        world.tables.width = 1_280;
        world.tables.ways.borrow_mut().insert(world.blue.address, Way::Narrow);
        let mut packet = to_vip(&world, kind.data(), &[7; 1_300]);

        assert_eq!(world.net_sends(&mut packet), refused(Reason::TooLong));

        let headers = Headers::read(&packet, ethernet::LEN, version(&world)).unwrap();
        let wanted = [world.vip.address, world.client.address];
        assert_eq!([headers.source, headers.destination], wanted);
        assert_eq!(packet[headers.l4_at + 6..headers.l4_at + 8], 1_280_u16.to_be_bytes());
        assert_eq!(check(&packet, true), Ok(()));
    }
}

#[test]
fn fragments_go_within_packets_behind_their_first() {
    for kind in Protocol::ALL {
        let (a, c) = opened(kind);
        let payload: Vec<u8> = (0..=250).cycle().take(500).collect();
        let packet = to_vip(&a, kind.data(), &payload);
        let mut pieces = fragments(&packet, 7, 64);
        assert!(pieces.len() > 3);
        for piece in &mut pieces {
            assert_eq!(a.net_sends(piece), AWAY);
            assert_eq!(taken_out(&a, piece).0.destination, a.blue.address);
            assert_eq!(c.net_sends(piece), Outcome::ON);
        }
        let whole = reassembled(&pieces);
        assert_eq!(ends(&whole), (c.client, c.blue));
        assert_eq!(check(&whole, true), Ok(()));
        assert_eq!(whole[whole.len() - 500..], payload);
    }
}

#[test]
fn an_error_about_an_answer_goes_where_the_answer_came_from() {
    for kind in Protocol::ALL {
        let (a, c) = opened(kind);
        let router = kind.at(77, 1, 0).address;
        let answer = Draft::new(a.vip, a.client).flags(kind.data()).payload(&[1; 99]).build();
        let header = if kind.v6 { [2, 0, 0, 0, 5, 0] } else { [3, 4, 0, 0, 5, 0] };
        let mut error = icmp_error(router, header, &answer, usize::MAX);

        assert_eq!(a.net_sends(&mut error), AWAY);
        assert_eq!(taken_out(&a, &error).0.destination, a.blue.address);
        assert_eq!(c.net_sends(&mut error), Outcome::ON);

        let headers = Headers::read(&error, ethernet::LEN, version(&a)).unwrap();
        let quote = Quote::read(&error, &headers).unwrap();
        assert_eq!([quote.from, quote.to], [c.blue, c.client]);
        assert_eq!(headers.destination, c.blue.address);
        assert_eq!(check(&error, true), Ok(()));
    }
}

#[test]
fn without_an_own_address_it_is_left_to_others() {
    for kind in Protocol::ALL {
        let world = entrance(kind);
        world.tables.settings.source_v4.store(0);
        world.tables.settings.source_v6[0].store(0);
        let mut packet = to_vip(&world, kind.first(), b"");
        assert_eq!(world.net_sends(&mut packet), passes(Reason::NotServedHere));
        assert_eq!(world.flows(), [0, 0]);
    }
}

#[test]
fn a_pod_is_no_client_outside() {
    for kind in Protocol::TCP {
        let world = entered(kind);
        let mut packet = to_vip(&world, PUSH, b"x");
        assert_eq!(world.pod_sends(&mut packet), refused(Reason::FlowLost));
    }
}

#[test]
fn an_answer_that_comes_by_this_node_passes() {
    for kind in Protocol::ALL {
        let world = entered(kind);
        for from in [world.vip, world.blue] {
            let answer = Draft::new(from, world.client).flags(kind.answer()).build();
            let mut sent = answer.clone();
            assert_eq!(world.net_sends(&mut sent), passes(Reason::NotOurs));
            assert_eq!(world.pod_gets(&mut sent), passes(Reason::NotOurs));
            assert_eq!(sent, answer);
        }
    }
}
