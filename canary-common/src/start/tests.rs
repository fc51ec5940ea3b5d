mod again;
mod full;

use super::*;
use crate::flows::{find_at, partner};
use crate::wire::tcp::{ACK, FIN, RST, SYN};
use crate::world::{
    BLUE, FIN_ACK, GREEN, Kind as Protocol, ON, PUSH, RST_ACK, World, dropped, passes, refused,
    with_port,
};

/// Whether a port is one that connections get whose own is taken.
fn is_given(world: &World, end: Endpoint) -> bool {
    let first = world.tables.settings.first_port.load();
    let given = first..first + world.tables.settings.ports.load();
    given.contains(&u32::from(u16::from_be_bytes(end.port)))
}

/// Leaves ports 61,000 to 61,000 + `ports` - 1 for connections whose own is taken.
fn set_ports(world: &World, ports: u32) {
    world.tables.settings.ports.store(ports);
}

#[test]
fn two_frontends_of_one_backend_serve_one_client_port_at_once() {
    for mut world in World::all() {
        let (vip, other) = (world.vip, world.add_second_name());
        let first = world.open(world.client, vip, world.blue);
        assert_eq!(first, world.client, "nobody else has the port");

        let second = world.open(world.client, other, world.blue);

        assert_eq!(second.address, world.client.address);
        assert!(is_given(&world, second), "{second:?}");
        assert_eq!(world.flows(), [2, 0]);
        for flags in [world.kind.answer(), world.kind.data(), world.kind.data()] {
            // Each answer comes from the frontend that was dialled, to the client's own port.
            assert_eq!(world.get(world.blue, first, flags), (ON, [vip, world.client]));
            assert_eq!(world.get(world.blue, second, flags), (ON, [other, world.client]));
            for (to, from) in [(vip, first), (other, second)] {
                let sent = world.send(world.client, to, world.kind.data());
                assert_eq!(sent, (ON, [from, world.blue]), "the port stays");
            }
        }
        assert_eq!(world.flows(), [0, 2]);
        assert_eq!(world.count(BLUE, Counter::Established), 1);
        assert_eq!(world.count(GREEN, Counter::Established), 1);
    }
}

#[test]
fn the_end_of_one_connection_is_not_the_end_of_the_other() {
    for mut world in World::tcp() {
        let (vip, other) = (world.vip, world.add_second_name());
        let ends = [vip, other].map(|to| world.open(world.client, to, world.blue));
        for end in ends {
            world.get(world.blue, end, SYN | ACK);
        }

        world.send(world.client, other, RST_ACK);

        assert_eq!(world.send(world.client, vip, PUSH), (ON, [ends[0], world.blue]));
        assert_eq!(world.get(world.blue, ends[0], PUSH), (ON, [vip, world.client]));
        assert_eq!(world.count(BLUE, Counter::ResetByClient), 0);
        assert_eq!(world.count(GREEN, Counter::ResetByClient), 1);
    }
}

#[test]
fn a_tuple_that_closed_in_this_minute_is_taken_while_ports_are_free() {
    for mut world in World::tcp() {
        let other = world.add_second_name();
        world.establish();
        world.ask(RST_ACK, b"");
        world.pass_time(limits::PORT_REUSE_IDLE - 1);

        let second = world.open(world.client, other, world.blue);

        assert!(is_given(&world, second));
        // What the closed one still has under way goes to it.
        let late = world.get(world.blue, world.client, PUSH);
        assert_eq!(late, (ON, [world.vip, world.client]));
    }
}

#[test]
fn a_tuple_that_closed_a_minute_ago_is_free() {
    for mut world in World::tcp() {
        let other = world.add_second_name();
        world.establish();
        world.ask(FIN_ACK, b"");
        world.answer(world.blue, FIN_ACK, b"");
        world.pass_time(limits::PORT_REUSE_IDLE);

        assert_eq!(world.open(world.client, other, world.blue), world.client);

        assert!(world.forth().is_none(), "the closed one is gone");
        assert_eq!(world.flows(), [1, 0]);
        let answer = world.get(world.blue, world.client, SYN | ACK);
        assert_eq!(answer, (ON, [other, world.client]));
    }
}

#[test]
fn a_client_that_comes_again_at_once_gets_another_port_and_its_own_a_minute_later() {
    for world in World::tcp() {
        world.establish();
        world.ask(RST_ACK, b"");

        let again = world.open(world.client, world.vip, world.blue);

        assert!(is_given(&world, again));
        assert_eq!(world.get(world.blue, again, SYN | ACK), (ON, [world.vip, world.client]));
        world.ask(RST_ACK, b"");
        world.pass_time(limits::PORT_REUSE_IDLE);
        assert_eq!(world.open(world.client, world.vip, world.blue), world.client);
    }
}

#[test]
fn without_a_free_port_a_connection_is_refused_and_nothing_is_kept() {
    for ports in [0, 1] {
        for mut world in World::all() {
            let (other, third) = (world.add_second_name(), world.kind.at(96, 3, 80));
            world.add_frontend(third, 1);
            set_ports(&world, ports);
            world.open(world.client, world.vip, world.blue);
            let last = if ports == 0 { other } else { third };
            if ports == 1 {
                let given = world.open(world.client, other, world.blue);
                assert_eq!(given, with_port(world.client, limits::FIRST_PORT));
            }
            let entries = world.entries().len();
            let opened = world.count(GREEN, Counter::Opened);
            let mut packet = crate::packets::Draft::new(world.client, last)
                .flags(world.kind.first())
                .payload(b"")
                .build();

            assert_eq!(world.pod_sends(&mut packet), refused(Reason::NoPort));

            assert_eq!(world.entries().len(), entries);
            assert_eq!(world.count(GREEN, Counter::Opened), opened);
        }
    }
}

#[test]
fn without_a_free_port_one_that_has_closed_is_used_anew() {
    for mut world in World::tcp() {
        let other = world.add_second_name();
        set_ports(&world, 0);
        world.establish();
        world.ask(RST_ACK, b"");

        assert_eq!(world.open(world.client, other, world.blue), world.client);

        assert!(world.forth().is_none());
        assert_eq!(world.flows(), [1, 0]);
        assert_eq!(world.count(BLUE, Counter::PushedOut), 0);
    }
}

#[test]
fn as_many_ports_are_tried_as_the_limit_says() {
    for mut world in World::udp() {
        // Each frontend's connection takes another port of sixteen.
        let names: Vec<Endpoint> = (2..40).map(|host| world.kind.at(96, host, 80)).collect();
        world.publish(1, &[(10_000, &[0], GREEN)]);
        world.tables.buckets.resize_with(64, Default::default);
        world.tables.settings.bucket_mask.store(63);
        world.occupy(world.blue, crate::directory::Occupant::Backend(0));
        for name in &names {
            world.add_frontend(*name, 1);
        }
        set_ports(&world, 16);
        let mut taken = std::collections::BTreeSet::new();

        let outcomes = names.iter().map(|name| {
            let mut packet = crate::packets::Draft::new(world.client, *name).build();
            let outcome = world.pod_sends(&mut packet);
            (outcome == ON).then(|| crate::world::ends(&packet).0)
        });
        let given: Vec<Endpoint> = outcomes.flatten().collect();

        assert_eq!(given[0], world.client);
        assert!(given.iter().all(|end| taken.insert(end.port)), "a port was given twice");
        assert!(given[1..].iter().all(|end| is_given(&world, *end)));
        assert!((8..=17).contains(&given.len()), "{}", given.len());
    }
}

#[test]
fn many_connections_of_one_port_never_share_a_tuple() {
    for mut world in World::tcp() {
        let other = world.add_second_name();
        let mut seen = std::collections::BTreeSet::new();
        for port in 30_000..30_030 {
            for to in [world.vip, other] {
                let client = with_port(world.client, port);
                assert!(seen.insert(world.open(client, to, world.blue)), "{port} to {to:?}");
            }
        }
        assert_eq!(world.flows(), [60, 0]);
    }
}

#[test]
fn a_precaution_takes_seven_eighths_of_the_ports_and_then_none() {
    for flag in [Interface::YOUNG, Interface::BLIND] {
        for world in World::all() {
            world.set_interface(flag);
            set_ports(&world, 32);
            let seen: Vec<Endpoint> = (1_000..1_060)
                .map(|port| world.open(with_port(world.client, port), world.vip, world.blue))
                .collect();
            let own = |end: &&Endpoint| !is_given(&world, **end);
            let kept: Vec<Endpoint> = seen.iter().filter(own).copied().collect();

            let upper = limits::FIRST_PORT + 28;
            assert!(kept.len() >= 60 - 28, "28 ports for 60 connections");
            let given = seen.iter().filter(|end| is_given(&world, **end));
            assert!(given.clone().count() >= 20, "{seen:?}");
            assert!(given.clone().all(|end| u16::from_be_bytes(end.port) < upper));
            // Straight ones from ports that are really taken have the rest as well.
            for client in &kept[..4] {
                let (outcome, [from, to]) = world.send(*client, world.blue, world.kind.first());
                assert_eq!((outcome, to), (ON, world.blue));
                assert!(is_given(&world, from), "{from:?}");
            }
        }
    }
}

#[test]
fn on_a_young_or_blind_interface_new_connections_have_another_port() {
    for flag in [Interface::YOUNG, Interface::BLIND] {
        for world in World::all() {
            world.set_interface(flag);

            let seen = world.open(world.client, world.vip, world.blue);

            assert!(is_given(&world, seen));
            assert!(world.values().has(Values::TRANSLATED));
            let answer = world.get(world.blue, seen, world.kind.answer());
            assert_eq!(answer, (ON, [world.vip, world.client]));
            world.set_interface(0);
            let next = world.send(world.client, world.vip, world.kind.data());
            assert_eq!(next, (ON, [seen, world.blue]), "for its life");
        }
    }
}

#[test]
fn a_port_is_never_translated_to_itself() {
    for flag in [Interface::YOUNG, Interface::BLIND] {
        for mut world in World::all() {
            world.set_interface(flag);
            set_ports(&world, 2);
            for (own, other) in [(0, 1), (1, 0)] {
                world.client = with_port(world.client, limits::FIRST_PORT + own);
                let seen = world.open(world.client, world.vip, world.blue);
                assert_eq!(seen, with_port(world.client, limits::FIRST_PORT + other));
                world.forget();
            }
        }
    }
}

#[test]
fn a_backend_at_a_loopback_address_is_not_for_pods() {
    for mut world in World::all() {
        let own = if world.kind.v6 { "[::1]:8080" } else { "127.3.2.1:8080" };
        let own = crate::packets::endpoint(own.parse().unwrap(), world.kind.protocol);
        let id = world.add_backend(own);
        world.publish(0, &[(10_000, &[id], GREEN)]);

        assert_eq!(world.ask(world.kind.first(), b""), refused(Reason::NoBackend));
        assert_eq!(world.flows(), [0, 0]);
    }
}
