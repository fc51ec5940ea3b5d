//! Tables without room.

use super::*;

#[test]
fn a_flow_that_finds_no_place_is_refused_and_leaves_none() {
    for world in World::tcp() {
        // Answered connections of others, which nothing pushes out.
        fill(&world, Head::ANSWERED);
        let before = world.entries().len();

        assert_eq!(world.ask(SYN, b""), refused(Reason::FlowTableFull));

        assert_eq!(world.entries().len(), before);
        assert_eq!(world.count(BLUE, Counter::Opened), 0);
        assert_eq!(world.count(BLUE, Counter::PushedOut), 0);
    }
}

#[test]
fn a_flow_that_pushes_out_an_answered_one_counts_that() {
    let world = World::new(Protocol::UDP[0]);
    fill(&world, Head::ANSWERED | Head::UDP);

    assert_eq!(world.ask(0, b""), ON);

    assert_eq!(world.count(GREEN, Counter::PushedOut), 2, "a place for each direction");
    assert_eq!(world.flows(), [1, 0]);
}

#[test]
fn a_connection_that_is_pushed_out_counts_once_and_goes_whole() {
    let world = World::new(Protocol::UDP[0]);
    // One bucket, in which three answered flows leave room for half a flow.
    world.tables.settings.flow_buckets.store(1);
    for port in 1..=3 {
        let client = with_port(world.client, port);
        world.open(client, world.vip, world.blue);
        world.get(world.blue, client, 0);
    }
    assert_eq!(world.count(BLUE, Counter::Established), 3);

    assert_eq!(world.ask(0, b""), ON);

    assert_eq!(world.count(BLUE, Counter::PushedOut), 1);
    assert_eq!(world.flows(), [1, 2]);
    assert_eq!(world.entries().len(), 6);
}

#[test]
fn what_is_pushed_out_of_those_who_dialled_a_backend_itself_is_nobodys() {
    let world = World::new(Protocol::UDP[0]);
    fill_with(&world, Kind::Return, Head::ANSWERED | Head::UDP, Values::DIRECT);

    assert_eq!(world.ask(0, b""), ON);

    assert_eq!(world.count(GREEN, Counter::PushedOut), 0);
}

#[test]
fn a_crowded_interface_gets_no_place_and_keeps_what_it_has() {
    for mut world in World::all() {
        let other = world.add_second_name();
        world.establish();
        world.set_interface(Interface::CROWDED);
        let before = world.content();

        for to in [other, world.blue] {
            let draft = crate::packets::Draft::new(world.client, to).flags(world.kind.first());
            let outcome = world.pod_sends(&mut draft.payload(b"").build());
            assert_eq!(outcome, refused(Reason::FlowTableFull));
        }
        let straight = world.send(world.client, world.green, world.kind.first());
        assert_eq!(straight.0, passes(Reason::Straight), "without a trace");

        assert!(before == world.content());
        assert_eq!(world.ask(world.kind.data(), b"x"), ON);
        world.set_interface(0);
        let (outcome, _) = world.send(world.client, other, world.kind.first());
        assert_eq!(outcome, ON);
    }
}

#[test]
fn a_flow_that_is_picked_again_pushes_out_no_half_open_one() {
    for world in World::tcp() {
        fill(&world, 0);
        let before = world.content();

        assert_eq!(world.ask(PUSH, b"x"), refused(Reason::FlowTableFull));
        assert!(before == world.content());

        fill_again(&world);
        assert_eq!(world.ask(PUSH, b"x"), ON, "but one of its like");
    }
}

/// Turns every entry into one that was picked again.
fn fill_again(world: &World) {
    for (_, entry) in world.entries() {
        crate::flows::mark(&world.tables, &entry, Head::AGAIN, 0).unwrap();
    }
}

/// Fills every place with a `return` of this state.
fn fill(world: &World, state: u64) {
    fill_with(world, Kind::Return, state, 0);
}

fn fill_with(world: &World, kind: Kind, state: u64, flags: u8) {
    let by = world.tables.settings.flows();
    for host in 0..=u16::MAX {
        let [a, b] = host.to_be_bytes();
        let client = Endpoint {
            address: crate::endpoint::Address::v4([172, 16, a, b]),
            ..with_port(world.client, host)
        };
        let request = Request {
            key: Key::new(world.green, client),
            // Its partner is another's: it has none.
            values: Values { statistics: GREEN, flags, partner: 0, ..Values::default() },
            kind,
            state,
            limit: Limit::Free,
            spare: NO_PARTNER,
            now: world.tables.now.get(),
        };
        world.tables.store_flow(&request, by);
    }
    let full = (0..64).flat_map(|bucket| (0..7).map(move |at| bucket << 3 | at));
    assert!(full.into_iter().all(|place| find_at(&world.tables, place).is_some()));
}
