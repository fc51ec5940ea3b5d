use proptest::prelude::*;

use super::*;
use crate::flows::find_at;
use crate::hooks::Outcome;
use crate::packets::rare::{icmp, icmp_error, with_extensions};
use crate::packets::{Draft, check};
use crate::world::{BACK, Kind as Protocol, ON, PUSH, SYN_ACK, World, passes, refused, with_port};

/// Every error: of IPv4, then of IPv6.
const ERRORS: [&[[u8; 2]]; 2] = [
    &[[3, 0], [3, 1], [3, 2], [3, 3], [3, 4], [3, 13], [11, 0], [11, 1], [12, 0]],
    &[[1, 0], [1, 1], [1, 3], [1, 4], [2, 0], [3, 0], [4, 0], [4, 1]],
];

fn errors(world: &World) -> impl Iterator<Item = [u8; 6]> {
    ERRORS[usize::from(world.kind.v6)].iter().map(|[kind, code]| [*kind, *code, 0, 0, 5, 0x14])
}

/// A router's address.
fn router(world: &World) -> Address {
    world.kind.at(77, 1, 0).address
}

/// A packet as its sender sees it on the way, after the client's went to its backend.
fn question_at_backend(world: &World) -> Vec<u8> {
    let mut packet = world.question(world.kind.data(), b"some words more").build();
    assert_eq!(world.pod_sends(&mut packet), ON);
    packet
}

fn answer_at_client(world: &World) -> Vec<u8> {
    let mut packet = world.reply(world.blue, world.kind.data(), b"and some back").build();
    assert_eq!(world.pod_gets(&mut packet), ON);
    packet
}

/// The ends of an error and of the packet that it quotes.
fn ends(packet: &[u8], world: &World) -> [Endpoint; 4] {
    let version = if world.kind.v6 { Version::V6 } else { Version::V4 };
    let headers = Headers::read(packet, ethernet::LEN, version).unwrap();
    let quote = Quote::read(packet, &headers).unwrap();
    let outer = |address| Endpoint { address, port: [0, 0], protocol: 0 };
    [outer(quote.source), outer(quote.destination), quote.from, quote.to]
}

fn outer(end: Endpoint) -> Endpoint {
    Endpoint { port: [0, 0], protocol: 0, ..end }
}

#[test]
fn an_error_about_a_question_comes_from_the_frontend_and_quotes_what_was_sent_to_it() {
    for world in World::all() {
        world.establish();
        let about = question_at_backend(&world);
        for header in errors(&world) {
            for limit in [48, 68, usize::MAX] {
                let mut packet = icmp_error(world.blue.address, header, &about, limit);
                assert_eq!(check(&packet, true), Ok(()));

                assert_eq!(world.pod_gets(&mut packet), ON, "{header:?}");

                let wanted = [outer(world.vip), outer(world.client), world.client, world.vip];
                assert_eq!(ends(&packet, &world), wanted, "{header:?}");
            }
        }
    }
}

#[test]
fn a_routers_error_keeps_the_routers_address() {
    for world in World::all() {
        world.establish();
        let about = question_at_backend(&world);
        for header in errors(&world) {
            let from = router(&world);
            let mut packet = icmp_error(from, header, &about, usize::MAX);

            assert_eq!(world.pod_gets(&mut packet), ON, "{header:?}");

            let source = Endpoint { address: from, port: [0, 0], protocol: 0 };
            assert_eq!(
                ends(&packet, &world),
                [source, outer(world.client), world.client, world.vip]
            );
        }
    }
}

#[test]
fn an_error_about_an_answer_goes_to_the_backend_and_quotes_what_that_sent() {
    for world in World::all() {
        world.establish();
        let about = answer_at_client(&world);
        for header in errors(&world) {
            for from in [world.client.address, router(&world)] {
                let mut packet = icmp_error(from, header, &about, usize::MAX);

                assert_eq!(world.pod_sends(&mut packet), ON, "{header:?}");

                let source = Endpoint { address: from, port: [0, 0], protocol: 0 };
                let wanted = [source, outer(world.blue), world.blue, world.client];
                assert_eq!(ends(&packet, &world), wanted, "{header:?}");
            }
        }
    }
}

#[test]
fn errors_know_translated_ports() {
    for mut world in World::all() {
        // The second name's flow has the same tuple at the backend: its port is translated.
        let other = world.add_second_name();
        world.establish();
        let seen = world.open(world.client, other, world.blue);
        assert_ne!(seen, world.client);
        let header = errors(&world).next().unwrap();

        let about = Draft::new(seen, world.blue).flags(world.kind.data()).build();
        let mut packet = icmp_error(world.blue.address, header, &about, usize::MAX);
        assert_eq!(world.pod_gets(&mut packet), ON);
        assert_eq!(ends(&packet, &world)[2..], [world.client, other]);

        let about = Draft::new(other, world.client).flags(world.kind.data()).build();
        let mut packet = icmp_error(world.client.address, header, &about, usize::MAX);
        assert_eq!(world.pod_sends(&mut packet), ON);
        assert_eq!(ends(&packet, &world)[2..], [world.blue, seen]);
    }
}

#[test]
fn a_pod_that_talks_to_itself_is_told_by_its_own_address() {
    for world in World::all() {
        let client = with_port(world.blue, 40_000);
        let (outcome, [seen, at]) = world.send(client, world.vip, world.kind.first());
        assert_eq!((outcome, at), (BACK, world.blue));
        let header = errors(&world).next().unwrap();

        let about = Draft::new(seen, world.blue).flags(world.kind.data()).build();
        let mut packet = icmp_error(world.blue.address, header, &about, usize::MAX);
        assert_eq!(world.pod_sends(&mut packet), BACK);
        let wanted = [outer(world.vip), outer(client), client, world.vip];
        assert_eq!(ends(&packet, &world), wanted);

        let about = Draft::new(world.vip, client).flags(world.kind.answer()).build();
        let mut packet = icmp_error(client.address, header, &about, usize::MAX);
        assert_eq!(world.pod_sends(&mut packet), BACK);
        assert_eq!(ends(&packet, &world), [outer(seen), outer(world.blue), world.blue, seen]);
    }
}

#[test]
fn redirects_are_never_translated() {
    for world in World::all() {
        world.establish();
        let kind = if world.kind.v6 { 137 } else { 5 };
        for (about, is_in) in
            [(answer_at_client(&world), true), (question_at_backend(&world), false)]
        {
            let mut packet = icmp_error(router(&world), [kind, 1, 0, 0, 0, 0], &about, 200);
            let before = packet.clone();

            let outcome =
                if is_in { world.pod_sends(&mut packet) } else { world.pod_gets(&mut packet) };

            let wanted = if is_in { Reason::IcmpRedirect } else { Reason::NotOurs };
            assert_eq!((outcome, packet), (passes(wanted), before));
        }
    }
}

#[test]
fn errors_about_flows_that_we_never_had_pass_untouched() {
    for world in World::all() {
        let header = errors(&world).next().unwrap();
        let strange = with_port(world.client, 77);

        let about = Draft::new(world.vip, strange).flags(PUSH).build();
        untouched(&world, icmp_error(strange.address, header, &about, 200), |world, packet| {
            assert_eq!(world.pod_sends(packet), passes(Reason::IcmpNoFlow));
        });
        let about = Draft::new(strange, world.blue).flags(PUSH).build();
        untouched(&world, icmp_error(world.blue.address, header, &about, 200), |world, packet| {
            assert_eq!(world.pod_gets(packet), passes(Reason::NotOurs));
        });
    }
}

#[test]
fn an_error_that_goes_to_another_than_it_quotes_passes_untouched() {
    for world in World::all() {
        world.establish();
        let header = errors(&world).next().unwrap();
        let about = question_at_backend(&world);
        let quoted = &about[ethernet::LEN..];
        let other = world.kind.at(244, 33, 0).address;

        let packet = icmp(world.blue.address, other, header, quoted);
        untouched(&world, packet, |world, packet| {
            assert_eq!(world.pod_gets(packet), passes(Reason::NotOurs));
        });
    }
}

#[test]
fn errors_of_other_pods_about_a_flow_are_not_believed() {
    for world in World::all() {
        world.establish();
        let header = errors(&world).next().unwrap();
        let about = answer_at_client(&world);
        world.tables.index.set(3);
        untouched(
            &world,
            icmp_error(world.client.address, header, &about, 200),
            |world, packet| {
                assert_eq!(world.pod_sends(packet), passes(Reason::Spoofed));
            },
        );
        let about = question_at_backend_by(&world);
        world.move_elsewhere(world.blue, true);
        untouched(&world, icmp_error(world.blue.address, header, &about, 200), |world, packet| {
            assert_eq!(world.pod_gets(packet), passes(Reason::Spoofed));
        });
    }
}

fn question_at_backend_by(world: &World) -> Vec<u8> {
    Draft::new(world.client, world.blue).flags(PUSH).payload(b"words").build()
}

#[test]
fn an_error_changes_no_flow() {
    for world in World::all() {
        world.establish();
        let (question, answer) = (question_at_backend(&world), answer_at_client(&world));
        let before = world.content();
        for header in errors(&world) {
            let from = [world.blue.address, world.client.address];
            assert_eq!(world.pod_gets(&mut icmp_error(from[0], header, &question, 200)), ON);
            assert_eq!(world.pod_sends(&mut icmp_error(from[1], header, &answer, 200)), ON);
        }
        assert_eq!(before, world.content());
    }
}

#[test]
fn an_inner_udp_checksum_of_zero_stays() {
    for world in World::udp() {
        world.establish();
        let about = Draft::new(world.client, world.blue).payload(b"x").unsummed().build();
        let header = errors(&world).next().unwrap();
        let mut packet = icmp_error(world.blue.address, header, &about, 200);

        assert_eq!(world.pod_gets(&mut packet), ON);

        let at = packet.len() - about.len() + 14 + if world.kind.v6 { 46 } else { 26 };
        assert_eq!(packet[at..at + 2], [0, 0]);
    }
}

#[test]
fn quotes_behind_options_and_extension_headers_are_found() {
    for world in World::all() {
        world.establish();
        let draft = Draft::new(world.client, world.blue).flags(PUSH).payload(b"words");
        let about = if world.kind.v6 {
            with_extensions(&draft.build(), &[(0, 1), (60, 4)])
        } else {
            draft.ip_options(6).build()
        };
        let header = errors(&world).next().unwrap();
        let mut packet = icmp_error(router(&world), header, &about, usize::MAX);

        assert_eq!(world.pod_gets(&mut packet), ON);

        assert_eq!(ends(&packet, &world)[2..], [world.client, world.vip]);
    }
}

#[test]
fn a_virtual_address_answers_echo_requests_where_it_is_nobody_elses() {
    for mut world in World::all() {
        let kinds = if world.kind.v6 { [128, 129] } else { [8, 0] };
        let request = |to: Endpoint| {
            icmp(world.client.address, to.address, [kinds[0], 0, 1, 2, 3, 4], b"anybody?")
        };
        let mut own = request(world.vip);
        let mut virtual_one = own.clone();
        let wanted =
            icmp(world.vip.address, world.client.address, [kinds[1], 0, 1, 2, 3, 4], b"anybody?");

        let before = world.pod_sends(&mut own);
        world.tables.virtuals.insert(world.vip.address);
        let after = world.pod_sends(&mut virtual_one);

        assert_eq!((before, after), (passes(Reason::NotTcpOrUdp), refused(Reason::Echo)));
        assert_eq!(own, request(world.vip));
        assert_eq!(
            crate::packets::rare::without_ttl(&virtual_one),
            crate::packets::rare::without_ttl(&wanted)
        );
        assert_eq!(check(&virtual_one, true), Ok(()));
        world.tables.silent.set(true);
        let mut again = request(world.vip);
        assert_eq!(world.pod_sends(&mut again), crate::world::dropped(Reason::RefusalLimited));
    }
}

/// Wants a packet to stay as it is.
fn untouched(world: &World, mut packet: Vec<u8>, work: impl FnOnce(&World, &mut Vec<u8>)) {
    let before = packet.clone();
    work(world, &mut packet);
    assert_eq!(packet, before);
}

proptest! {
    #[test]
    fn lying_and_cut_errors_do_no_wrong_rewrite(
        which in 0..4_usize, is_in in any::<bool>(), at in 0..160_usize, bit in 0..8_u32,
        cut in 0..200_usize, seed in any::<u8>(),
    ) {
        let world = World::new(Protocol::ALL[which]);
        world.establish();
        let list: Vec<_> = errors(&world).collect();
        let header = list[usize::from(seed) % list.len()];
        let (about, from) = if is_in {
            (answer_at_client(&world), world.client.address)
        } else {
            (question_at_backend(&world), world.blue.address)
        };
        let mut packet = icmp_error(from, header, &about, usize::MAX);
        if let Some(byte) = packet.get_mut(14 + at) {
            *byte ^= 1 << bit;
        }
        packet.truncate(packet.len().min(14 + cut));
        let before = packet.clone();

        let outcome: Outcome =
            if is_in { world.pod_sends(&mut packet) } else { world.pod_gets(&mut packet) };

        // Either it is not of ours and untouched, or it is translated, and its sums are as right
        // as they were, which the world looks at.
        prop_assert_eq!(packet.len(), before.len());
        if outcome.reason.is_some() && outcome.verdict == crate::hooks::Verdict::Pass {
            prop_assert_eq!(&packet, &before);
        }
        let entries: Vec<_> = world.entries().into_iter().map(|(_, entry)| entry.place).collect();
        prop_assert!(entries.into_iter().all(|place| find_at(&world.tables, place).is_some()));
        let _ = SYN_ACK;
    }
}
