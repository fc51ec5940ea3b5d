//! The node of the backend.

use super::*;
use crate::hooks;
use crate::interface::Interface;
use crate::packets::check;
use crate::packets::rare::{fragments, icmp_error};
use crate::stats::Counter;
use crate::wire::tcp::SYN;
use crate::world::{GREEN, dropped, passes, refused, with_port};

/// A packet passes as it came, by the network and by a pod's interface, and changes nothing.
fn untouched(world: &World, packet: &[u8], reason: Reason) {
    let before = world.content();
    let mut sent = packet.to_vec();
    let outcome = world.net_sends(&mut sent);
    assert_eq!((outcome, &sent[..]), (passes(reason), packet));
    let outcome = world.pod_sends(&mut sent);
    assert_eq!((outcome.verdict, &sent[..]), (Verdict::Pass, packet));
    assert!(before == world.content());
}

fn homes() -> impl Iterator<Item = World> {
    Protocol::ALL.into_iter().map(home)
}

fn first(world: &World) -> Vec<u8> {
    to_vip(world, world.kind.first(), b"")
}

#[test]
fn only_the_network_is_believed() {
    for world in homes() {
        let packet = within(&world, &first(&world), world.blue.address);
        let mut sent = packet.clone();
        assert_eq!(world.pod_sends(&mut sent), passes(Reason::NotTcpOrUdp));
        assert_eq!(sent, packet);
        assert_eq!(world.flows(), [0, 0]);

        assert_eq!(world.net_sends(&mut sent), Outcome::ON);
        assert_eq!(ends(&sent), (world.client, world.blue));
    }
}

#[test]
fn it_is_served_where_the_frontend_is_not_served_from_the_network() {
    for world in homes() {
        assert_eq!(world.tables.frontends[0].flags.load() & Frontend::EXTERNAL, 0);
        let mut sent = within(&world, &first(&world), world.blue.address);
        assert_eq!(world.net_sends(&mut sent), Outcome::ON);
    }
}

#[test]
fn an_outer_destination_that_is_no_backend_of_the_service_passes() {
    for mut world in homes() {
        let stranger = world.kind.at(77, 7, 1).address;
        untouched(&world, &within(&world, &first(&world), stranger), Reason::NotOurs);
        // A backend of a split without a share is none that clients are given.
        let green = within(&world, &first(&world), world.green.address);
        untouched(&world, &green, Reason::Encapsulated);
        // A frontend.
        let vip = within(&world, &first(&world), world.vip.address);
        untouched(&world, &vip, Reason::Encapsulated);
        // Another node's.
        world.tables.backends[0].flags.store(Backend::ELSEWHERE);
        let blue = within(&world, &first(&world), world.blue.address);
        untouched(&world, &blue, Reason::Encapsulated);
        world.tables.backends[0].flags.store(0);
        world.publish_green();
        untouched(&world, &blue, Reason::Encapsulated);
    }
}

#[test]
fn an_inner_destination_that_is_no_frontend_or_of_another_service_passes() {
    for mut world in homes() {
        let to = |world: &World, end| {
            let packet = Draft::new(world.client, end).flags(world.kind.first()).build();
            within(world, &packet, world.blue.address)
        };
        untouched(&world, &to(&world, world.blue), Reason::Encapsulated);
        untouched(&world, &to(&world, with_port(world.vip, 81)), Reason::Encapsulated);
        let other = world.kind.at(96, 3, 80);
        world.add_frontend(other, 1);
        world.publish(1, &[(10_000, &[1], GREEN)]);

        untouched(&world, &to(&world, other), Reason::Encapsulated);
    }
}

#[test]
fn a_backend_of_the_service_is_found_whatever_the_weights() {
    for mut world in homes() {
        world.publish(0, &[(1, &[0], BLUE), (9_999, &[1], GREEN)]);
        for (number, backend, statistics) in [(1, world.blue, BLUE), (2, world.green, GREEN)] {
            let client = with_port(world.client, number);
            let packet = Draft::new(client, world.vip).flags(world.kind.first()).build();
            let mut sent = within(&world, &packet, backend.address);
            assert_eq!(world.net_sends(&mut sent), Outcome::ON);
            assert_eq!(ends(&sent), (client, backend));
            assert_eq!(world.count(statistics, Counter::Opened), 1);
        }
    }
}

#[test]
fn a_flow_goes_on_whatever_becomes_of_its_service() {
    for kind in Protocol::ALL {
        let (_, mut c) = opened(kind);
        c.publish_green();
        let mut sent = within(&c, &to_vip(&c, kind.data(), b"x"), c.blue.address);
        assert_eq!(c.net_sends(&mut sent), Outcome::ON);
        assert_eq!(ends(&sent), (c.client, c.blue));
    }
}

#[test]
fn a_cut_packet_passes() {
    for world in homes() {
        let packet = to_vip(&world, world.kind.first(), b"12345678");
        let packet = within(&world, &packet, world.blue.address);
        let needed = ethernet::LEN + 2 * header_len(version(&world)) + 8;
        for length in ethernet::LEN..needed {
            let mut cut = packet[..length].to_vec();
            let outcome = world.net_sends(&mut cut);
            assert_eq!(outcome.verdict, Verdict::Pass, "{length}");
            assert_eq!(cut, packet[..length], "{length}");
        }
        assert_eq!(world.flows(), [0, 0]);
    }
}

#[test]
fn lengths_that_contradict_each_other_pass() {
    for world in homes() {
        let packet = within(&world, &first(&world), world.blue.address);
        let length_at = ethernet::LEN + if world.kind.v6 { 4 } else { 2 };
        let l3 = header_len(version(&world));
        // The outer packet ends within the inner one, or says less than its own header.
        let told = u16::from_be_bytes([packet[length_at], packet[length_at + 1]]);
        for less in [1, 8, u16::try_from(l3).unwrap(), told] {
            let mut lie = packet.clone();
            lie[length_at..length_at + 2].copy_from_slice(&(told - less).to_be_bytes());
            untouched(&world, &lie, Reason::Malformed);
        }
        // The inner packet says more than there is.
        let mut lie = packet.clone();
        let inner = &mut lie[length_at + l3..length_at + l3 + 2];
        let told = u16::from_be_bytes([inner[0], inner[1]]);
        inner.copy_from_slice(&(told + 1).to_be_bytes());
        untouched(&world, &lie, Reason::Malformed);
        // The inner packet is of another family, or of none.
        for first in [0x45, 0x60, 0x00, 0xff] {
            let mut lie = packet.clone();
            if lie[ethernet::LEN + l3] >> 4 != first >> 4 {
                lie[ethernet::LEN + l3] = first;
                untouched(&world, &lie, Reason::Malformed);
            }
        }
    }
}

#[test]
fn a_packet_within_a_packet_within_a_packet_passes() {
    for world in homes() {
        let once = within(&world, &first(&world), world.blue.address);
        let twice = within(&world, &once, world.blue.address);
        untouched(&world, &twice, Reason::NotTcpOrUdp);
    }
}

#[test]
fn a_fragment_of_the_outer_packet_passes() {
    for world in homes() {
        let packet = within(&world, &first(&world), world.blue.address);
        for piece in fragments(&packet, 9, 24) {
            let mut sent = piece.clone();
            assert_eq!(world.net_sends(&mut sent).verdict, Verdict::Pass);
            assert_eq!(sent, piece);
        }
        assert_eq!(world.flows(), [0, 0]);
    }
}

#[test]
fn a_fragment_without_its_first_is_not_taken_out() {
    for mut world in homes() {
        let pieces = fragments(&to_vip(&world, world.kind.first(), &[7; 100]), 7, 64);
        let later = within(&world, &pieces[1], world.blue.address);
        untouched(&world, &later, Reason::Fragment);

        world.tables.virtuals.insert(world.vip.address);

        let mut sent = later.clone();
        assert_eq!(world.net_sends(&mut sent), dropped(Reason::FragmentEarly));
        assert_eq!(sent, later);
    }
}

#[test]
fn an_error_about_no_flow_is_not_taken_out() {
    for world in homes() {
        let about = Draft::new(world.vip, world.client).payload(&[1; 64]).build();
        let header = if world.kind.v6 { [2, 0, 0, 0, 5, 0] } else { [3, 4, 0, 0, 5, 0] };
        let from = world.kind.at(77, 1, 0).address;
        let error = icmp_error(from, header, &about, usize::MAX);
        untouched(&world, &within(&world, &error, world.blue.address), Reason::IcmpNoFlow);
    }
}

#[test]
fn what_was_sent_to_another_node_is_not_sent_round() {
    for kind in Protocol::TCP {
        // This node has sent the connection elsewhere; another one's draw has led back here.
        let world = entrance(kind);
        assert_eq!(world.net_sends(&mut first(&world)), AWAY);
        world.tables.backends[0].flags.store(0);
        let packet = to_vip(&world, kind.data(), b"x");
        let mut sent = within(&world, &packet, world.blue.address);

        assert_eq!(world.net_sends(&mut sent), refused(Reason::FlowLost));
    }
}

#[test]
fn a_lost_flow_is_picked_again_at_the_same_backend() {
    for kind in Protocol::TCP {
        let (_, c) = opened(kind);
        let again = home(kind);
        let mut sent = within(&again, &to_vip(&c, kind.data(), b"x"), c.blue.address);
        assert_eq!(again.net_sends(&mut sent), Outcome::ON);
        assert_eq!(ends(&sent), (c.client, c.blue));
        assert_eq!(again.answer(again.blue, kind.data(), b"y"), Outcome::ON);
    }
}

#[test]
fn a_refusal_goes_to_the_client_as_from_the_frontend() {
    for kind in Protocol::ALL {
        let world = home(kind);
        world.set_interface(Interface::CROWDED);
        let mut sent = within(&world, &first(&world), world.blue.address);

        assert_eq!(world.net_sends(&mut sent), refused(Reason::FlowTableFull));

        let headers = Headers::read(&sent, ethernet::LEN, version(&world)).unwrap();
        let wanted = [world.vip.address, world.client.address];
        assert_eq!([headers.source, headers.destination], wanted);
        assert_eq!(check(&sent, true), Ok(()));
    }
}

#[test]
fn a_client_port_that_is_taken_is_translated_as_ever() {
    for kind in Protocol::TCP {
        let world = home(kind);
        // The same client straight to the backend, from the same port.
        let mut straight = Draft::new(world.client, world.blue).flags(SYN).build();
        assert_eq!(world.net_sends(&mut straight), passes(Reason::Straight));

        let mut sent = within(&world, &first(&world), world.blue.address);
        assert_eq!(world.net_sends(&mut sent), Outcome::ON);

        let (seen, to) = ends(&sent);
        assert_eq!((seen.address, to), (world.client.address, world.blue));
        assert_ne!(seen.port, world.client.port);
        let mut answer = Draft::new(world.blue, seen).flags(kind.answer()).build();
        assert_eq!(world.pod_gets(&mut answer), Outcome::ON);
        assert_eq!(ends(&answer), (world.vip, world.client));
    }
}

#[test]
fn whatever_bit_of_a_header_is_wrong_it_is_served_or_passes_as_it_is() {
    for world in homes() {
        let packet = within(&world, &first(&world), world.blue.address);
        for byte in ethernet::LEN..packet.len() {
            for bit in 0..8 {
                let mut sent = packet.clone();
                sent[byte] ^= 1 << bit;
                let lie = sent.clone();
                let outcome = hooks::inbound(&mut sent, &world.tables, ethernet::LEN, Origin::Net);
                let is_untouched = outcome.reason.is_some() && sent == lie;
                let is_served = outcome == Outcome::ON && sent.len() < lie.len();
                let is_refused = outcome.verdict != Verdict::Pass;
                assert!(is_untouched || is_served || is_refused, "{byte}.{bit}: {outcome:?}");
            }
        }
    }
}
