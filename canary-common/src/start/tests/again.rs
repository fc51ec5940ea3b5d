//! Flows that are lost, and picked again.

use super::*;

#[test]
fn on_a_young_interface_what_is_not_known_passes() {
    for flag in [Interface::YOUNG, Interface::YOUNG | Interface::BLIND] {
        for world in World::tcp() {
            world.set_interface(flag);
            for flags in [ACK, PUSH, FIN_ACK, RST, RST_ACK, SYN | ACK] {
                let sent = world.send(world.client, world.vip, flags);
                assert_eq!(sent, (passes(Reason::Foreign), [world.client, world.vip]));
            }
            assert_eq!(world.entries().len(), 0);
            assert!(world.tables.counts.borrow().is_empty());
        }
    }
}

#[test]
fn on_a_blind_interface_a_lost_flow_is_picked_again_with_its_own_port() {
    for flags in [ACK, PUSH, FIN_ACK] {
        for world in World::tcp() {
            world.set_interface(Interface::BLIND);

            let sent = world.send(world.client, world.vip, flags);

            assert_eq!(sent, (ON, [world.client, world.blue]));
            assert!(world.forth().unwrap().head.has(Head::AGAIN));
        }
    }
}

#[test]
fn a_lost_flow_is_picked_again_for_the_same_backend_whatever_it_says() {
    for flags in [ACK, PUSH, FIN_ACK, FIN] {
        for mut world in World::tcp() {
            world.publish(0, &[(10_000, &[0, 1, 0, 1, 1], BLUE)]);
            let drawn = world.send(world.client, world.vip, SYN).1[1];
            world.forget();
            world.tables.counts.borrow_mut().clear();

            let sent = world.send(world.client, world.vip, flags);

            assert_eq!(sent, (ON, [world.client, drawn]), "with its own port");
            let forth = world.forth().unwrap();
            assert!(forth.head.has(Head::AGAIN) && !forth.head.has(Head::ANSWERED));
            assert_eq!(forth.head.has(Head::FIN), flags & FIN != 0);
            assert!(partner(&world.tables, &forth).head.has(Head::AGAIN));
            assert_eq!(world.get(drawn, world.client, ACK), (ON, [world.vip, world.client]));
            assert_eq!(world.flows(), [0, 1]);
        }
    }
}

#[test]
fn a_reset_of_a_lost_flow_passes_without_state() {
    for world in World::tcp() {
        for flags in [RST, RST_ACK] {
            let sent = world.send(world.client, world.vip, flags);

            assert_eq!(sent, (ON, [world.client, world.blue]));
            assert_eq!(world.entries().len(), 0);
            assert!(world.tables.counts.borrow().is_empty());
        }
    }
}

#[test]
fn a_reset_of_a_lost_flow_never_reaches_whoever_has_its_port_by_now() {
    for mut world in World::tcp() {
        let other = world.add_second_name();
        world.open(world.client, other, world.blue);
        for flags in [RST, RST_ACK] {
            let sent = world.send(world.client, world.vip, flags);
            assert_eq!(sent, (dropped(Reason::Stray), [world.client, world.vip]));
        }
        world.forget();
        world.send(world.client, world.blue, SYN);

        assert_eq!(world.ask(RST, b""), dropped(Reason::Stray), "a straight one's as well");
    }
}

#[test]
fn a_lost_flow_whose_tuple_is_taken_is_reset_towards_its_client() {
    for mut world in World::tcp() {
        let other = world.add_second_name();
        world.open(world.client, other, world.blue);

        assert_eq!(world.ask(PUSH, b"x"), refused(Reason::FlowLost));

        assert_eq!(world.flows(), [1, 0]);
        assert_eq!(world.count(BLUE, Counter::Opened), 0);
        world.forget();
        world.send(world.client, world.blue, SYN);
        assert_eq!(world.ask(PUSH, b"x"), refused(Reason::FlowLost), "or by a straight one");
    }
}

#[test]
fn a_lost_flow_without_a_backend_is_refused_and_its_reset_is_not_answered() {
    for mut world in World::tcp() {
        world.publish(0, &[(10_000, &[], BLUE)]);

        assert_eq!(world.ask(PUSH, b"x"), refused(Reason::NoBackend));
        assert_eq!(world.ask(RST, b""), dropped(Reason::NoBackend));
    }
}
