use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::flows::Head;
use crate::hooks::{Outcome, Verdict};
use crate::packets::rare::{fragments, reassembled};
use crate::packets::{Draft, check};
use crate::world::{BACK, Kind as Protocol, ON, World, dropped, ends, passes, with_port};

/// Bytes that each fragment carries here.
const EACH: usize = 64;

/// A datagram, or a segment of a connection that goes on, of many fragments.
fn large(from: Endpoint, to: Endpoint, flags: u8) -> Vec<u8> {
    let words: Vec<u8> = (0..=250).cycle().take(500).collect();
    Draft::new(from, to).flags(flags).payload(&words).build()
}

fn through(world: &World, pieces: &mut [Vec<u8>], is_in: bool) -> Vec<Outcome> {
    let one = |piece: &mut Vec<u8>| {
        if is_in { world.pod_sends(piece) } else { world.pod_gets(piece) }
    };
    pieces.iter_mut().map(one).collect()
}

#[test]
fn fragments_follow_their_first_both_ways() {
    for world in World::all() {
        world.establish();
        let flags = world.kind.data();
        for (packet, is_in, wanted) in [
            (large(world.client, world.vip, flags), true, (world.client, world.blue)),
            (large(world.blue, world.client, flags), false, (world.vip, world.client)),
        ] {
            let mut pieces = fragments(&packet, 7, EACH);
            assert_eq!(check(&reassembled(&pieces), true), Ok(()));

            let outcomes = through(&world, &mut pieces, is_in);

            assert!(outcomes.iter().all(|outcome| *outcome == ON), "{outcomes:?}");
            assert!(pieces.len() > 3);
            let whole = reassembled(&pieces);
            assert_eq!(ends(&whole), wanted);
            assert_eq!(check(&whole, true), Ok(()));
            assert_eq!(whole[whole.len() - 500..], packet[packet.len() - 500..]);
        }
    }
}

#[test]
fn a_datagram_in_pieces_begins_a_flow() {
    for world in World::udp() {
        let mut pieces = fragments(&large(world.client, world.vip, 0), 7, EACH);

        let outcomes = through(&world, &mut pieces, true);

        assert!(outcomes.iter().all(|outcome| *outcome == ON));
        assert_eq!(world.flows(), [1, 0]);
        assert_eq!(check(&reassembled(&pieces), true), Ok(()));
    }
}

#[test]
fn translated_ports_are_in_the_first_alone() {
    for mut world in World::udp() {
        let other = world.add_second_name();
        world.establish();
        let mut pieces = fragments(&large(world.client, other, 0), 9, EACH);

        let outcomes = through(&world, &mut pieces, true);

        assert!(outcomes.iter().all(|outcome| *outcome == ON));
        let whole = reassembled(&pieces);
        let (seen, at) = ends(&whole);
        assert_eq!((at, check(&whole, true)), (world.blue, Ok(())));
        assert_ne!(seen, world.client);
        let mut pieces = fragments(&large(world.blue, seen, 0), 10, EACH);
        through(&world, &mut pieces, false);
        assert_eq!(ends(&reassembled(&pieces)), (other, world.client));
    }
}

#[test]
fn a_fragment_before_its_first_is_dropped_where_the_address_is_virtual_alone() {
    for mut world in World::udp() {
        let pieces = fragments(&large(world.client, world.vip, 0), 7, EACH);
        let mut late = pieces[1].clone();

        assert_eq!(world.pod_sends(&mut late), passes(Reason::Fragment));
        world.tables.virtuals.insert(world.vip.address);
        assert_eq!(world.pod_sends(&mut late), dropped(Reason::FragmentEarly));

        assert_eq!(late, pieces[1]);
        assert_eq!(world.pod_sends(&mut pieces[0].clone()), ON);
        assert_eq!(world.pod_sends(&mut late), ON);
        // Another datagram, protocol or sender has another first.
        for other in [
            fragments(&large(world.client, world.vip, 0), 8, EACH),
            fragments(&large(with_port(world.kind.at(244, 8, 1), 1), world.vip, 0), 7, EACH),
        ] {
            let outcome = world.pod_sends(&mut other[1].clone());
            assert_eq!(outcome, dropped(Reason::FragmentEarly));
        }
        world.tables.index.set(3);
        assert_eq!(world.pod_sends(&mut pieces[2].clone()), dropped(Reason::FragmentEarly));
    }
}

#[test]
fn what_is_known_of_a_datagram_ends() {
    for mut world in World::udp() {
        world.tables.virtuals.insert(world.vip.address);
        let pieces = fragments(&large(world.client, world.vip, 0), 7, EACH);
        assert_eq!(world.pod_sends(&mut pieces[0].clone()), ON);

        world.pass_time(FRAGMENT_IDLE - 1);
        assert_eq!(world.pod_sends(&mut pieces[1].clone()), ON);
        world.pass_time(FRAGMENT_IDLE);
        assert_eq!(world.pod_sends(&mut pieces[2].clone()), dropped(Reason::FragmentEarly));
    }
}

#[test]
fn an_id_that_comes_again_belongs_to_its_latest_first() {
    for mut world in World::udp() {
        let pieces = fragments(&large(world.client, world.vip, 0), 7, EACH);
        through(&world, &mut pieces.clone(), true);
        world.publish_green();
        let client = with_port(world.client, 41_000);
        let mut other = fragments(&large(client, world.vip, 0), 7, EACH);

        let outcomes = through(&world, &mut other, true);

        assert!(outcomes.iter().all(|outcome| *outcome == ON));
        let whole = reassembled(&other);
        assert_eq!((ends(&whole), check(&whole, true)), ((client, world.green), Ok(())));
        assert_eq!(world.entries_of(Kind::Fragment), 1);
    }
}

#[test]
fn fragments_of_what_passes_pass() {
    for mut world in World::udp() {
        world.tables.virtuals.insert(world.vip.address);
        let elsewhere = with_port(world.vip, 81);
        let mut pieces = fragments(&large(world.client, elsewhere, 0), 7, EACH);
        let before = pieces.clone();

        let outcomes = through(&world, &mut pieces, true);

        assert!(outcomes.iter().all(|outcome| outcome.verdict == Verdict::Pass), "{outcomes:?}");
        assert_eq!(pieces, before);
    }
}

#[test]
fn a_straight_answers_fragments_pass_as_they_are() {
    for world in World::udp() {
        let mut pieces = fragments(&large(world.blue, world.client, 0), 7, EACH);
        let before = pieces.clone();

        let outcomes = through(&world, &mut pieces, false);

        assert!(outcomes.iter().all(|outcome| outcome.verdict == Verdict::Pass));
        assert_eq!(pieces, before);
    }
}

#[test]
fn a_pod_may_send_itself_fragments() {
    for world in World::udp() {
        let client = with_port(world.blue, 40_000);
        let mut pieces = fragments(&large(client, world.vip, 0), 7, EACH);
        let outcomes = through(&world, &mut pieces, true);
        assert!(outcomes.iter().all(|outcome| *outcome == BACK), "{outcomes:?}");
        let whole = reassembled(&pieces);
        let (seen, at) = ends(&whole);
        assert_eq!((seen.address, at), (hairpin_address(seen.address.version()), world.blue));
        assert_eq!(check(&whole, true), Ok(()));

        let mut pieces = fragments(&large(world.blue, seen, 0), 8, EACH);
        let outcomes = through(&world, &mut pieces, true);
        assert!(outcomes.iter().all(|outcome| *outcome == BACK), "{outcomes:?}");
        assert_eq!(ends(&reassembled(&pieces)), (world.vip, client));
    }
}

#[test]
fn the_sender_of_a_fragment_is_told_only_what_is_no_fragment_itself() {
    for mut world in World::all() {
        world.publish(0, &[(10_000, &[], 1)]);
        let packet = large(world.client, world.vip, world.kind.first());
        let mut first = fragments(&packet, 7, EACH).swap_remove(0);

        let outcome = world.pod_sends(&mut first);

        let told = !world.kind.v6 && !world.kind.is_tcp();
        let wanted = if told { Verdict::Back } else { Verdict::Drop };
        assert_eq!(outcome, Outcome { verdict: wanted, reason: Some(Reason::NoBackend) });
    }
}

#[test]
fn a_fragments_entry_is_the_first_to_go() {
    let world = World::new(Protocol::UDP[0]);
    world.establish();
    let mut first = fragments(&large(world.client, world.vip, 0), 7, EACH).swap_remove(0);
    assert_eq!(world.pod_sends(&mut first), ON);

    let entries = world.entries();

    let entry = entries.iter().find(|(_, entry)| entry.head.kind() == Kind::Fragment).unwrap();
    assert!(!entry.1.head.has(Head::ANSWERED));
    assert_eq!(address(&entry.1.values), world.blue.address);
}

proptest! {
    #[test]
    fn overlapping_and_lying_fragments_do_no_wrong_rewrite(
        which in 0..4_usize, order in vec((0..9_usize, 0..400_usize, 0..8_u32), 1..20),
        is_in in any::<bool>(),
    ) {
        let mut world = World::new(Protocol::ALL[which]);
        world.tables.virtuals.insert(world.vip.address);
        world.establish();
        let flags = world.kind.data();
        let packet = if is_in {
            large(world.client, world.vip, flags)
        } else {
            large(world.blue, world.client, flags)
        };
        let pieces = fragments(&packet, 7, EACH);
        for (nth, at, bit) in order {
            let mut piece = pieces[nth % pieces.len()].clone();
            if let Some(byte) = piece.get_mut(14 + at) {
                *byte ^= 1 << bit;
            }
            let before = piece.clone();

            let outcome = through(&world, core::slice::from_mut(&mut piece), is_in)[0];

            if outcome.reason.is_some() && outcome.verdict == Verdict::Pass {
                prop_assert_eq!(&piece, &before);
            }
            if outcome.verdict == Verdict::Back {
                continue;
            }
            // Beside its addresses nothing changes but sums and ports.
            prop_assert_eq!(piece.len(), before.len());
            prop_assert_eq!(&piece[..12], &before[..12]);
        }
    }
}
