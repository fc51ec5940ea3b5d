//! Both ways of what is sent on.

mod unusual;

use super::*;
use crate::backend::{Backend, Frontend, State};
use crate::flows;
use crate::interface::Interface;
use crate::packets::Draft;
use crate::stats::Counter;
use crate::wire::tcp::{ACK, RST, SYN};
use crate::world::{
    BLUE, FIN_ACK, Kind as Protocol, ON, PUSH, RST_ACK, SYN_ACK, World, dropped, ends, passes,
    refused, with_port,
};

const AWAY: Outcome = Outcome::AWAY;

/// A node with an own address for backends elsewhere, and `blue` is one.
fn outside(kind: Protocol) -> World {
    let mut world = World::new(kind);
    world.client = kind.at(9, 9, 40_000);
    world.tables.frontends[0].flags.store(Frontend::EXTERNAL);
    world.tables.backends[0].flags.store(Backend::ELSEWHERE);
    tell(&world, Some(node(&world).address));
    world
}

fn worlds() -> impl Iterator<Item = World> {
    Protocol::ALL.into_iter().map(outside)
}

/// The own address, with a port of no meaning.
fn node(world: &World) -> Endpoint {
    world.kind.at(1, 1, 1)
}

fn tell(world: &World, source: Option<Address>) {
    let settings = &world.tables.settings;
    let address = source.unwrap_or(Address([0; 16]));
    let (words, _) = address.0.as_chunks::<4>();
    if world.kind.v6 {
        for (word, bytes) in settings.source_v6.iter().zip(words) {
            word.store(u32::from_ne_bytes(*bytes));
        }
    } else {
        settings.source_v4.store(u32::from_ne_bytes(address.last_four()));
    }
    if source.is_some() {
        world.tables.set_bits(address, addresses::NODE);
    }
}

/// One packet through `from_net`: the outcome, and its ends then.
fn net(world: &World, from: Endpoint, to: Endpoint, flags: u8) -> (Outcome, [Endpoint; 2]) {
    let mut packet = Draft::new(from, to).flags(flags).build();
    let outcome = world.net_sends(&mut packet);
    (outcome, ends(&packet).into())
}

/// Opens a flow; the node's end of it as the backend sees it.
fn open(world: &World, client: Endpoint) -> Endpoint {
    let (outcome, [from, to]) = net(world, client, world.vip, world.kind.first());
    assert_eq!((outcome, to), (AWAY, world.blue));
    from
}

#[test]
fn a_backend_elsewhere_sees_the_node_and_its_answer_comes_back_to_the_client() {
    for world in worlds() {
        let seen = open(&world, world.client);
        assert_eq!(seen.address, node(&world).address);
        assert!(world.tables.settings.is_source_port(seen.port), "{seen:?}");
        assert_eq!(world.count(BLUE, Counter::Opened), 1);

        let (outcome, back) = net(&world, world.blue, seen, world.kind.answer());
        assert_eq!((outcome, back), (AWAY, [world.vip, world.client]));
        assert_eq!(world.count(BLUE, Counter::Established), 1);

        for _ in 0..3 {
            let forth = net(&world, world.client, world.vip, world.kind.data());
            assert_eq!(forth, (AWAY, [seen, world.blue]));
            let back = net(&world, world.blue, seen, world.kind.data());
            assert_eq!(back, (AWAY, [world.vip, world.client]));
        }
        assert_eq!(world.flows(), [0, 1]);
    }
}

#[test]
fn a_backend_of_this_node_sees_the_client_itself() {
    for mut world in worlds() {
        world.publish_green();

        let (outcome, ends) = net(&world, world.client, world.vip, world.kind.first());

        assert_eq!((outcome, ends), (ON, [world.client, world.green]));
    }
}

#[test]
fn a_pod_reaches_a_backend_elsewhere_as_itself() {
    for world in worlds() {
        let (outcome, ends) = world.send(world.client, world.vip, world.kind.first());

        assert_eq!((outcome, ends), (ON, [world.client, world.blue]));
    }
}

#[test]
fn a_pod_that_has_the_clients_address_now_is_no_client_outside() {
    for world in Protocol::TCP.map(outside) {
        open(&world, world.client);

        let mut packet = world.question(PUSH, b"x").build();

        assert_eq!(world.pod_sends(&mut packet), refused(Reason::FlowLost));
        assert_eq!(world.ask(SYN, b""), ON);
        assert_eq!(world.flows(), [1, 0]);
    }
}

#[test]
fn clients_with_one_port_have_ports_of_their_own_at_the_backend() {
    for world in worlds() {
        let mut seen = std::collections::BTreeSet::new();
        for host in 1..=100 {
            seen.insert(open(&world, Endpoint { ..world.kind.at(8, host, 40_000) }).port);
        }
        assert_eq!(seen.len(), 100);
    }
}

#[test]
fn a_client_never_has_its_own_port_there() {
    for world in worlds() {
        let settings = &world.tables.settings;
        settings.first_port.store(40_000);
        settings.ports.store(2);
        let first = open(&world, world.client);
        let second = open(&world, with_port(world.client, 40_001));
        assert_ne!(first.port, second.port);

        let third = Draft::new(with_port(world.client, 7), world.vip).flags(world.kind.first());

        assert_eq!(world.net_sends(&mut third.build()), refused(Reason::NoPort));
        assert_eq!(world.entries_of(Kind::Return), 2);
    }
}

#[test]
fn a_port_of_a_connection_that_closed_just_now_is_the_last_to_be_used_again() {
    for world in Protocol::TCP.map(outside) {
        world.tables.settings.ports.store(1);
        let seen = open(&world, world.client);
        net(&world, world.blue, seen, SYN_ACK);
        net(&world, world.client, world.vip, FIN_ACK);
        net(&world, world.blue, seen, FIN_ACK);
        let other = with_port(world.client, 40_001);

        assert_eq!(open(&world, other), seen);

        assert_eq!(net(&world, world.blue, seen, SYN_ACK), (AWAY, [world.vip, other]));
    }
}

#[test]
fn the_hops_of_a_packet_get_fewer_and_the_last_is_the_stacks() {
    for world in worlds() {
        let at = if world.kind.v6 { 21 } else { 22 };
        let seen = open(&world, world.client);
        let mut packet = world.question(world.kind.data(), b"x").build();
        let before = packet[at];
        assert_eq!(world.net_sends(&mut packet), AWAY);
        assert_eq!(packet[at], before - 1);
        let mut packet = Draft::new(world.blue, seen).flags(world.kind.answer()).build();
        assert_eq!(world.net_sends(&mut packet), AWAY);
        assert_eq!(packet[at], before - 1);

        for hops in [0, 1] {
            let mut forth = world.question(world.kind.data(), b"x").hops(hops).build();
            let whole = forth.clone();
            assert_eq!(world.net_sends(&mut forth), passes(Reason::Expired));
            assert_eq!(forth, whole);
            let answer = Draft::new(world.blue, seen).flags(world.kind.data()).hops(hops);
            assert_eq!(world.net_sends(&mut answer.build()), dropped(Reason::Expired));
        }
    }
}

#[test]
fn nothing_is_noted_of_a_packet_that_has_no_way() {
    for world in worlds() {
        let ways = &world.tables.ways;
        for (way, outcome) in
            [(Way::Closed, dropped(Reason::NoRoute)), (Way::Later, passes(Reason::NotOurs))]
        {
            ways.borrow_mut().insert(world.blue.address, way);
            let mut packet = world.question(world.kind.first(), b"").build();
            let before = packet.clone();
            assert_eq!(world.net_sends(&mut packet), outcome);
            assert_eq!((packet, world.flows()), (before, [0, 0]));
        }
        ways.borrow_mut().clear();
        let seen = open(&world, world.client);
        for (way, outcome) in
            [(Way::Closed, dropped(Reason::NoRoute)), (Way::Later, passes(Reason::NotOurs))]
        {
            ways.borrow_mut().insert(world.blue.address, way);
            ways.borrow_mut().insert(world.client.address, way);
            let before = world.content();
            let forth = net(&world, world.client, world.vip, world.kind.data());
            assert_eq!(forth, (outcome, [world.client, world.vip]));
            let back = net(&world, world.blue, seen, world.kind.answer());
            assert_eq!(back, (outcome, [world.blue, seen]));
            assert!(before == world.content());
        }
    }
}

#[test]
fn only_the_flows_own_backend_answers_and_only_by_the_network() {
    for world in worlds() {
        let seen = open(&world, world.client);
        let before = world.content();
        let strangers = [world.green, with_port(world.blue, 8081), world.kind.at(7, 7, 8080)];
        for from in strangers {
            for flags in [world.kind.answer(), world.kind.data()] {
                let passed = passes(Reason::NotOurs);
                assert_eq!(net(&world, from, seen, flags), (passed, [from, seen]));
            }
        }
        let to = with_port(seen, 22);
        let ssh = net(&world, world.blue, to, world.kind.first());
        assert_eq!(ssh, (passes(Reason::NotOurs), [world.blue, to]));

        // From a pod's interface, which may bear any source, and out by an interface.
        let (outcome, ends) = world.send(world.blue, seen, world.kind.answer());
        assert_eq!((outcome, ends), (passes(Reason::NotOurs), [world.blue, seen]));
        let (outcome, ends) = world.get(world.blue, seen, world.kind.answer());
        assert_eq!((outcome, ends), (passes(Reason::NotOurs), [world.blue, seen]));
        assert!(before == world.content());
    }
}

#[test]
fn without_an_own_address_it_is_left_to_others() {
    for world in worlds() {
        tell(&world, None);

        let (outcome, _) = net(&world, world.client, world.vip, world.kind.first());

        assert_eq!(outcome, passes(Reason::NotServedHere));
    }
}

#[test]
fn a_flow_keeps_its_way_whatever_becomes_of_its_backend_and_of_the_own_address() {
    for world in worlds() {
        let seen = open(&world, world.client);
        net(&world, world.blue, seen, world.kind.answer());
        world.tables.backends[0].flags.store(0);
        tell(&world, Some(world.kind.at(1, 2, 1).address));
        world.set_state(0, State::Draining);
        if world.kind.is_tcp() {
            let forth = net(&world, world.client, world.vip, PUSH);
            assert_eq!(forth, (AWAY, [seen, world.blue]));
        }
        let back = net(&world, world.blue, seen, world.kind.data());
        assert_eq!(back, (AWAY, [world.vip, world.client]));

        world.set_state(0, State::Alive);
        let other = net(&world, with_port(world.client, 40_001), world.vip, world.kind.first());
        assert_eq!(other, (ON, [with_port(world.client, 40_001), world.blue]));
        world.tables.backends[0].flags.store(Backend::ELSEWHERE);
        let same = with_port(world.client, 40_001);
        let (outcome, ends) = net(&world, same, world.vip, world.kind.data());
        assert_eq!((outcome, ends), (ON, [same, world.blue]));
    }
}

#[test]
fn a_lost_flow_is_reset_where_the_pick_is_elsewhere_and_picked_again_where_it_is_here() {
    for mut world in Protocol::TCP.map(outside) {
        for flags in [ACK, PUSH, FIN_ACK] {
            let (outcome, _) = net(&world, world.client, world.vip, flags);
            assert_eq!(outcome, refused(Reason::FlowLost));
        }
        for flags in [RST, RST_ACK] {
            let (outcome, _) = net(&world, world.client, world.vip, flags);
            assert_eq!(outcome, dropped(Reason::FlowLost));
        }
        assert_eq!(world.flows(), [0, 0]);
        world.set_interface(Interface::YOUNG);
        let young = net(&world, world.client, world.vip, PUSH);
        assert_eq!(young.0, passes(Reason::Foreign));
        world.set_interface(0);
        world.publish_green();

        let again = net(&world, world.client, world.vip, PUSH);

        assert_eq!(again, (ON, [world.client, world.green]));
    }
}

#[test]
fn an_answer_whose_client_is_lost_is_refused_to_the_backend() {
    for world in Protocol::TCP.map(outside) {
        let seen = open(&world, world.client);
        net(&world, world.blue, seen, SYN_ACK);
        let forth = world.forth().unwrap();
        assert!(flows::free(&world.tables, &forth, world.tables.settings.flows()));

        let (outcome, _) = net(&world, world.blue, seen, PUSH);

        assert_eq!(outcome, refused(Reason::FlowLost));
    }
}

#[test]
fn a_hook_behind_the_drivers_sends_on_and_does_nothing_that_was_done() {
    for mut world in worlds() {
        let behind = |world: &World, from, to, flags| {
            let mut packet = Draft::new(from, to).flags(flags).build();
            let l2 = crate::wire::ethernet::LEN;
            let outcome = crate::hooks::inbound(&mut packet, &world.tables, l2, Origin::Behind);
            (outcome, <[Endpoint; 2]>::from(ends(&packet)))
        };
        let first = world.kind.first();
        let (outcome, [seen, to]) = behind(&world, world.client, world.vip, first);
        assert_eq!((outcome, to), (AWAY, world.blue));
        let back = behind(&world, world.blue, seen, world.kind.answer());
        assert_eq!(back, (AWAY, [world.vip, world.client]));

        // What the hook in front has sent to a backend of this node.
        world.publish_green();
        let client = with_port(world.client, 40_001);
        let (_, done) = net(&world, client, world.vip, first);
        assert_eq!(done, [client, world.green]);
        // Also where a frontend has the bits of the backend's address.
        world.tables.set_bits(world.green.address, addresses::FRONTEND);
        let before = world.content();
        for flags in [first, world.kind.data()] {
            let twice = behind(&world, client, world.green, flags);
            assert_eq!(twice, (passes(Reason::NotOurs), [client, world.green]));
        }
        assert!(before == world.content());
    }
}

#[test]
fn a_syn_of_a_masked_client_again_goes_the_same_way() {
    for world in Protocol::TCP.map(outside) {
        let seen = open(&world, world.client);
        assert_eq!(open(&world, world.client), seen);
        assert_eq!(net(&world, world.client, world.vip, SYN).0, AWAY);
        assert_eq!(world.count(BLUE, Counter::Opened), 1);
    }
}
