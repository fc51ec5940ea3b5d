//! Errors, fragments, and packets that are too long.

use super::*;
use crate::headers::Headers;
use crate::icmp::Quote;
use crate::packets::check;
use crate::packets::rare::{fragments, icmp, icmp_error, reassembled};
use crate::wire::ethernet;

/// An established flow of each world: the node's end of it as the backend sees it.
fn established() -> impl Iterator<Item = (World, Endpoint)> {
    worlds().map(|world| {
        let seen = open(&world, world.client);
        assert_eq!(net(&world, world.blue, seen, world.kind.answer()).0, AWAY);
        (world, seen)
    })
}

/// Unreachable, and too long.
fn headers(world: &World) -> [[u8; 6]; 2] {
    if world.kind.v6 {
        [[1, 4, 0, 0, 0, 0], [2, 0, 0, 0, 5, 0x14]]
    } else {
        [[3, 3, 0, 0, 0, 0], [3, 4, 0, 0, 5, 0x14]]
    }
}

fn router(world: &World) -> Address {
    world.kind.at(77, 1, 0).address
}

/// Source and destination of an error, and of what it quotes.
fn error_ends(packet: &[u8], world: &World) -> ([Address; 2], [Endpoint; 2]) {
    let version = if world.kind.v6 { Version::V6 } else { Version::V4 };
    let quote = Quote::read(packet, &Headers::read(packet, ethernet::LEN, version).unwrap());
    let quote = quote.unwrap();
    ([quote.source, quote.destination], [quote.from, quote.to])
}

/// A packet of `length` bytes of payload.
fn large(from: Endpoint, to: Endpoint, length: usize) -> Vec<u8> {
    let flags = if from.protocol == TCP { PUSH } else { 0 };
    let words: Vec<u8> = (0..=250).cycle().take(length).collect();
    Draft::new(from, to).flags(flags).payload(&words).build()
}

#[test]
fn an_error_about_a_question_goes_to_the_client_as_if_from_the_frontend() {
    for (world, seen) in established() {
        let about = large(seen, world.blue, 100);
        for header in headers(&world) {
            for from in [world.blue.address, router(&world)] {
                for limit in [48, 68, usize::MAX] {
                    let mut packet = icmp_error(from, header, &about, limit);

                    assert_eq!(world.net_sends(&mut packet), AWAY, "{header:?}");

                    let outer = [world.vip.address, world.client.address];
                    let wanted = (outer, [world.client, world.vip]);
                    assert_eq!(error_ends(&packet, &world), wanted, "{header:?}");
                    assert_eq!(check(&packet, true), Ok(()));
                }
            }
        }
    }
}

#[test]
fn an_error_about_an_answer_goes_to_the_backend_as_if_from_the_node() {
    for (world, seen) in established() {
        let about = large(world.vip, world.client, 100);
        for header in headers(&world) {
            for from in [world.client.address, router(&world)] {
                let mut packet = icmp_error(from, header, &about, usize::MAX);

                assert_eq!(world.net_sends(&mut packet), AWAY, "{header:?}");

                let wanted = ([seen.address, world.blue.address], [world.blue, seen]);
                assert_eq!(error_ends(&packet, &world), wanted, "{header:?}");
                assert_eq!(check(&packet, true), Ok(()));
            }
        }
    }
}

#[test]
fn an_error_about_nothing_that_was_sent_on_is_the_nodes_own() {
    for (world, seen) in established() {
        let before = world.content();
        let [header, _] = headers(&world);
        let other = with_port(seen, 61_001 + u16::from(seen.port == 61_001_u16.to_be_bytes()));
        for about in [large(other, world.blue, 9), large(with_port(seen, 22), world.blue, 9)] {
            let mut packet = icmp_error(router(&world), header, &about, usize::MAX);
            let whole = packet.clone();
            assert_eq!(world.net_sends(&mut packet), passes(Reason::NotOurs));
            assert_eq!(packet, whole);
        }
        // A pod may send whatever it likes.
        let about = large(seen, world.blue, 9);
        let mut packet = icmp_error(router(&world), header, &about, usize::MAX);
        assert_eq!(world.pod_sends(&mut packet), passes(Reason::NotOurs));
        // No error: an echo request to the node.
        let kind = if world.kind.v6 { 128 } else { 8 };
        let to = node(&world).address;
        let mut ping = icmp(world.client.address, to, [kind, 0, 0, 1, 0, 1], b"ping");
        assert_eq!(world.net_sends(&mut ping), passes(Reason::NotOurs));
        assert!(before == world.content());
    }
}

#[test]
fn fragments_are_sent_on_behind_their_first_both_ways() {
    for (world, seen) in established() {
        for (packet, wanted) in [
            (large(world.client, world.vip, 500), (seen, world.blue)),
            (large(world.blue, seen, 500), (world.vip, world.client)),
        ] {
            let mut pieces = fragments(&packet, 7, 64);
            assert!(pieces.len() > 3);

            for piece in &mut pieces {
                let hops = piece[if world.kind.v6 { 21 } else { 22 }];
                assert_eq!(world.net_sends(piece), AWAY);
                assert_eq!(piece[if world.kind.v6 { 21 } else { 22 }], hops - 1);
            }

            let whole = reassembled(&pieces);
            assert_eq!(ends(&whole), wanted);
            assert_eq!(check(&whole, true), Ok(()));
            assert_eq!(whole[whole.len() - 500..], packet[packet.len() - 500..]);
        }
    }
}

#[test]
fn fragments_of_a_flow_that_is_gone_go_nowhere() {
    for (world, _) in established() {
        let mut pieces = fragments(&large(world.client, world.vip, 500), 7, 64);
        assert_eq!(world.net_sends(&mut pieces[0]), AWAY);
        let forth = world.forth().unwrap();
        let back = partner(&world.tables, &forth);
        for entry in [forth, back] {
            assert!(flows::free(&world.tables, &entry, world.tables.settings.flows()));
        }

        assert_eq!(world.net_sends(&mut pieces[1]), dropped(Reason::FragmentEarly));
    }
}

#[test]
fn fragments_to_the_node_itself_are_its_own() {
    for (world, _) in established() {
        let before = world.content();
        for piece in &mut fragments(&large(world.blue, with_port(node(&world), 53), 500), 7, 64) {
            assert_eq!(world.net_sends(piece), passes(Reason::NotOurs));
        }
        assert!(before == world.content());
    }
}

#[test]
fn the_sender_of_a_packet_that_is_too_long_hears_how_long_it_may_be() {
    for (mut world, seen) in established() {
        world.tables.width = 1_300;
        world.tables.virtuals.insert(world.vip.address);
        let to = [world.blue.address, world.client.address];
        world.tables.ways.borrow_mut().extend(to.map(|address| (address, Way::Narrow)));
        let before = world.content();
        for (from, to) in [(world.client, world.vip), (world.blue, seen)] {
            let long = large(from, to, 1_400);
            let mut packet = long.clone();

            assert_eq!(world.net_sends(&mut packet), refused(Reason::TooLong));

            let told = ([to.address, from.address], [from, to]);
            assert_eq!(error_ends(&packet, &world), told);
            assert_eq!(check(&packet, true), Ok(()));
            let at = ethernet::LEN + if world.kind.v6 { 40 } else { 20 };
            let (kind, width) = if world.kind.v6 { ([2, 0], 6) } else { ([3, 4], 6) };
            assert_eq!(packet[at..at + 2], kind);
            assert_eq!(packet[at + width..at + width + 2], 1_300_u16.to_be_bytes());
            assert!(long[ethernet::LEN..].starts_with(&packet[at + 8..]));
        }
        // A first fragment as well; the others then have none to follow.
        let mut pieces = fragments(&large(world.client, world.vip, 500), 7, 128);
        assert_eq!(world.net_sends(&mut pieces[0]), refused(Reason::TooLong));
        assert_eq!(check(&pieces[0], true), Ok(()));
        assert_eq!(world.net_sends(&mut pieces[1]), dropped(Reason::FragmentEarly));
        assert!(before == world.content());
        world.tables.silent.set(true);
        let mut packet = large(world.client, world.vip, 1_400);
        assert_eq!(world.net_sends(&mut packet), dropped(Reason::RefusalLimited));
    }
}
