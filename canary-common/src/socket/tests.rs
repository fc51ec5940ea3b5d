use super::*;
use crate::world::{BLUE, GREEN, Kind, World};

#[test]
fn a_connect_is_sent_to_a_backend_and_its_peer_is_the_frontend() {
    for world in World::tcp() {
        let node = Node::new(&world.tables).unwrap();

        let (to, pick) = connect(node, world.client, world.vip).unwrap();

        assert_eq!(to, world.blue);
        assert_eq!(peer(&pick), world.vip);
        assert_eq!(pick.statistics, BLUE);
        assert_eq!(world.count(BLUE, Counter::Opened), 1);
        assert_eq!(world.count(BLUE, Counter::OpenedBySocket), 1);
    }
}

#[test]
fn a_connect_draws_like_a_packet_does() {
    for mut world in World::tcp() {
        world.publish(0, &[(5_000, &[0], BLUE), (5_000, &[1], GREEN)]);
        for port in 0..200_u16 {
            world.client.port = port.to_be_bytes();
            let node = Node::new(&world.tables).unwrap();

            let (_, pick) = connect(node, world.client, world.vip).unwrap();

            world.ask(crate::wire::tcp::SYN, b"");
            assert_eq!(world.backend(), Some(pick.backend));
        }
        assert!(world.count(BLUE, Counter::OpenedBySocket) > 50);
        assert!(world.count(GREEN, Counter::OpenedBySocket) > 50);
    }
}

#[test]
fn a_connect_elsewhere_is_left_alone() {
    let world = World::new(Kind::TCP[0]);
    let node = Node::new(&world.tables).unwrap();

    for elsewhere in [world.blue, world.kind.at(96, 1, 81)] {
        assert_eq!(connect(node, world.client, elsewhere).unwrap_err(), Reason::NotOurs);
    }
}

#[test]
fn a_connect_to_nobody_is_refused() {
    let mut world = World::new(Kind::TCP[1]);
    world.publish(0, &[(10_000, &[], BLUE)]);
    let refused = |world: &World| {
        connect(Node::new(&world.tables).unwrap(), world.client, world.vip).unwrap_err()
    };
    assert_eq!(refused(&world), Reason::NoBackend);

    world.publish(0, &[(10_000, &[0], BLUE)]);
    world.set_state(0, State::Gone);

    assert_eq!(refused(&world), Reason::NoBackend);
    assert_eq!(world.count(BLUE, Counter::Opened), 0);
}

#[test]
fn the_peer_stays_what_was_dialled_whatever_becomes_of_the_frontend() {
    let mut world = World::new(Kind::TCP[0]);
    let vip = world.vip;
    let (_, pick) = connect(Node::new(&world.tables).unwrap(), world.client, vip).unwrap();

    world.tables.frontends.clear();

    assert_eq!(peer(&pick), vip);
}

#[test]
fn a_socket_is_never_connected_to_a_backend_of_another_family() {
    let mut world = World::new(Kind::TCP[0]);
    // Backends of IPv6 clients alone.
    world.kind = Kind::TCP[1];
    world.publish(0, &[(10_000, &[0], BLUE)]);
    let node = Node::new(&world.tables).unwrap();

    assert_eq!(connect(node, world.client, world.vip).unwrap_err(), Reason::NoBackend);
    assert_eq!(world.count(BLUE, Counter::Opened), 0);
}
