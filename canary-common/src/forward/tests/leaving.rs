//! Backends that leave, and weights that change.

use super::*;

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
