use super::*;
use crate::backend::State;
use crate::endpoint::Endpoint;
use crate::hooks::Outcome;
use crate::interface::Interface;
use crate::stats::Counter;
use crate::wire::tcp::{ACK, RST, SYN};
use crate::world::{BLUE, FIN_ACK, ON, PUSH, RST_ACK, SYN_ACK, World, passes, with_port};

const STRAIGHT: Outcome =
    Outcome { verdict: crate::hooks::Verdict::Pass, reason: Some(Reason::Straight) };

/// Begins a connection straight to `blue`, which passes as it is.
fn begin(world: &World) {
    let sent = world.send(world.client, world.blue, world.kind.first());
    assert_eq!(sent, (STRAIGHT, [world.client, world.blue]));
}

#[test]
fn a_client_may_go_straight_to_a_backend_and_leaves_a_trace() {
    for world in World::all() {
        begin(&world);

        let trace = world.back(world.blue).unwrap();
        assert_eq!(trace.head.kind(), Kind::Straight);
        assert!(!trace.head.has(Head::ANSWERED));
        begin(&world);
        assert_eq!(world.entries().len(), 1, "one of each");
        let answer = world.get(world.blue, world.client, world.kind.answer());
        assert_eq!(answer, (passes(Reason::NotOurs), [world.blue, world.client]));
        assert!(world.back(world.blue).unwrap().head.has(Head::ANSWERED));
        assert!(world.tables.counts.borrow().is_empty());
    }
}

#[test]
fn segments_in_the_middle_of_a_straight_connection_are_not_ours() {
    for world in World::tcp() {
        for flags in [ACK, PUSH, FIN_ACK, RST] {
            let sent = world.send(world.client, world.blue, flags);
            assert_eq!(sent, (passes(Reason::NotOurs), [world.client, world.blue]));
        }
        assert_eq!(world.entries().len(), 0);

        // But where we are new, each says that the tuple is taken.
        world.set_interface(Interface::YOUNG);
        world.send(world.client, world.blue, ACK);
        assert_eq!(world.entries_of(Kind::Straight), 1);
    }
}

#[test]
fn a_connection_by_the_frontend_with_the_ports_of_a_straight_one_gets_another_port() {
    for world in World::all() {
        begin(&world);
        world.get(world.blue, world.client, world.kind.answer());

        let seen = world.open(world.client, world.vip, world.blue);

        assert_ne!(seen.port, world.client.port);
        let answer = world.get(world.blue, seen, world.kind.answer());
        assert_eq!(answer, (ON, [world.vip, world.client]));
        // The straight one goes on, both ways, untouched.
        for flags in [world.kind.data(), world.kind.answer()] {
            let sent = world.send(world.client, world.blue, flags);
            assert_eq!(sent.1, [world.client, world.blue]);
            let got = world.get(world.blue, world.client, flags);
            assert_eq!(got, (passes(Reason::NotOurs), [world.blue, world.client]));
        }
        assert_eq!(world.flows(), [0, 1]);
    }
}

#[test]
fn a_trace_that_nothing_answered_for_a_minute_or_was_reset_then_keeps_no_port() {
    for is_reset in [false, true] {
        for world in World::tcp() {
            begin(&world);
            if is_reset {
                world.get(world.blue, world.client, RST_ACK);
            }
            world.pass_time(limits::PORT_REUSE_IDLE);

            assert_eq!(world.open(world.client, world.vip, world.blue), world.client);
            assert_eq!(world.entries_of(Kind::Straight), 0);
        }
    }
}

#[test]
fn a_straight_connection_with_the_ports_of_a_live_flow_gets_another_port() {
    for world in World::all() {
        world.establish();
        let bits = world.bits(world.blue.address);
        assert_eq!(bits & addresses::TRANSLATED, 0);

        let seen = world.open(world.client, world.blue, world.blue);

        assert_eq!(seen.address, world.client.address);
        assert_ne!(seen.port, world.client.port);
        assert_ne!(world.bits(world.blue.address) & addresses::TRANSLATED, 0);
        let forth = world.entry(world.client, world.blue, Client::IsSource).unwrap();
        assert!(forth.values.has(Values::DIRECT | Values::TRANSLATED));
        for flags in [world.kind.answer(), world.kind.data()] {
            // Its answers have the backend's own address and its own port.
            let got = world.get(world.blue, seen, flags);
            assert_eq!(got, (ON, [world.blue, world.client]));
            let sent = world.send(world.client, world.blue, world.kind.data());
            assert_eq!(sent, (ON, [seen, world.blue]), "later packets are found");
        }
        // The flow by the frontend is as before.
        let sent = world.send(world.client, world.vip, world.kind.data());
        assert_eq!(sent, (ON, [world.client, world.blue]));
        let got = world.get(world.blue, world.client, world.kind.data());
        assert_eq!(got, (ON, [world.vip, world.client]));
        assert_eq!(world.flows(), [0, 2]);
    }
}

#[test]
fn who_dialled_a_backend_itself_moves_no_counter() {
    for world in World::tcp() {
        world.establish();
        let before = world.tables.counts.borrow().clone();
        let seen = world.open(world.client, world.blue, world.blue);

        world.get(world.blue, seen, SYN_ACK);
        for flags in [PUSH, RST_ACK, ACK, SYN] {
            let mut packet = crate::packets::Draft::new(world.client, world.blue)
                .flags(flags)
                .payload(b"payload")
                .build();
            assert_eq!(world.pod_sends(&mut packet), ON);
        }
        // Replaced while it had not ended.
        let seen = world.open(world.client, world.blue, world.blue);
        world.get(world.blue, seen, SYN_ACK);
        world.pass_time(limits::SYN_REUSE_IDLE + 1);
        world.send(world.client, world.blue, SYN);

        assert_eq!(*world.tables.counts.borrow(), before);
    }
}

#[test]
fn who_dialled_a_backend_itself_stays_with_it_when_the_service_lets_it_go() {
    for state in [State::Draining, State::Gone] {
        for world in World::all() {
            world.establish();
            let seen = world.open(world.client, world.blue, world.blue);
            world.set_state(0, state);

            for flags in [world.kind.first(), world.kind.data(), world.kind.data()] {
                let sent = world.send(world.client, world.blue, flags);
                assert_eq!(sent, (ON, [seen, world.blue]), "{state:?}");
            }
            let got = world.get(world.blue, seen, world.kind.data());
            assert_eq!(got, (ON, [world.blue, world.client]));
        }
    }
}

#[test]
fn straight_with_the_ports_of_a_flow_that_closed_a_minute_ago_takes_its_place() {
    for world in World::tcp() {
        world.establish();
        world.ask(RST_ACK, b"");
        let seen = world.open(world.client, world.blue, world.blue);
        assert_ne!(seen, world.client, "in that minute the backend may be in TIME_WAIT");
        world.forget();
        world.establish();
        world.ask(RST_ACK, b"");
        world.pass_time(limits::PORT_REUSE_IDLE);

        begin(&world);

        assert_eq!(world.flows(), [0, 0]);
        let answer = world.answer(world.blue, SYN_ACK, b"");
        assert_eq!(answer, passes(Reason::NotOurs), "it is the straight one's");
    }
}

#[test]
fn a_segment_of_an_older_straight_connection_is_left_alone_beside_a_flow() {
    for world in World::tcp() {
        world.establish();
        world.set_interface(Interface::YOUNG);
        let before = world.content();

        let sent = world.send(world.client, world.blue, PUSH);

        assert_eq!(sent, (STRAIGHT, [world.client, world.blue]));
        assert!(before == world.content());
    }
}

#[test]
fn straight_to_another_backend_than_the_flows_is_no_clash() {
    for world in World::all() {
        world.establish();

        let sent = world.send(world.client, world.green, world.kind.first());

        assert_eq!(sent, (STRAIGHT, [world.client, world.green]));
        assert_eq!(world.flows(), [0, 1]);
    }
}

#[test]
fn a_straight_reset_leaves_no_trace_and_one_of_a_traced_connection_is_noted_until_it_goes_on() {
    for world in World::tcp() {
        world.set_interface(Interface::YOUNG);
        assert_eq!(world.send(world.client, world.blue, RST).0, STRAIGHT);
        assert_eq!(world.entries().len(), 0);
        begin(&world);

        world.send(world.client, world.blue, RST);
        assert!(world.back(world.blue).unwrap().head.ended());

        world.send(world.client, world.blue, ACK);
        assert!(!world.back(world.blue).unwrap().head.ended());
    }
}

#[test]
fn many_clients_use_each_port_twice_towards_one_backend() {
    for world in World::all() {
        for port in 20_000..20_040_u16 {
            let client = with_port(world.client, port);
            let order =
                if port % 2 == 0 { [world.vip, world.blue] } else { [world.blue, world.vip] };
            let sent = order.map(|to| world.send(client, to, world.kind.first()));

            let seen: [Endpoint; 2] = sent.map(|(_, [from, to])| {
                assert_eq!(to, world.blue);
                from
            });
            assert_eq!(seen[0], client, "the first has its own");
            assert_ne!(seen[1], client);
        }
        assert_eq!(world.count(BLUE, Counter::Opened), 40);
    }
}
