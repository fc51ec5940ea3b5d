//! Connections that are severed, and datagrams that follow the weights.

use super::*;

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
