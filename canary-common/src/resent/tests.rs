use super::*;
use crate::world::{BLUE, World};

/// Segments sent again that were counted of the first split after one from `from` to `to`.
fn counted(world: &World, from: Endpoint, to: Endpoint) -> u64 {
    resent(Node::new(&world.tables).unwrap(), from, to);
    let exchanges = world.tables.exchanges.borrow();
    exchanges.get(&(BLUE, Exchange::SegmentAgain)).copied().unwrap_or_default()
}

#[test]
fn both_ends_are_counted() {
    for world in World::tcp() {
        world.establish();

        assert_eq!(counted(&world, world.client, world.vip), 1, "the client's");
        assert_eq!(counted(&world, world.blue, world.client), 2, "the backend's");
    }
}

#[test]
fn others_are_not_counted() {
    for world in World::tcp() {
        world.establish();
        let other = Endpoint { port: [9, 9], ..world.client };
        for [from, to] in [
            [other, world.vip],
            [world.blue, other],
            [world.green, world.client],
            [world.vip, world.client],
            [world.client, world.blue],
        ] {
            assert_eq!(counted(&world, from, to), 0, "{from:?} to {to:?}");
        }
    }
}

#[test]
fn a_connection_straight_to_a_backend_is_not_counted() {
    for world in World::tcp() {
        world.establish();
        let seen = world.open(world.client, world.blue, world.blue);
        assert_ne!(seen.port, world.client.port, "another port than the flow's");

        assert_eq!(counted(&world, world.client, world.blue), 0);
        assert_eq!(counted(&world, world.blue, seen), 0);
    }
}
