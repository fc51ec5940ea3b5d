use super::*;
use crate::backend::Frontend;
use crate::endpoint::TCP;
use crate::packets::Draft;
use crate::tables::Refused;
use crate::wire::tcp::{ACK, SYN};
use crate::world::{
    BLUE, FIN_ACK, Kind, ON, PUSH, RST_ACK, SYN_ACK, World, ends, other_protocol, passes,
};

#[test]
fn an_answer_comes_from_the_frontend() {
    for world in World::all() {
        world.ask(world.kind.first(), b"");
        let mut packet = world.reply(world.blue, world.kind.answer(), b"").build();

        assert_eq!(world.pod_gets(&mut packet), ON);

        assert_eq!(ends(&packet), (world.vip, world.client));
    }
}

#[test]
fn only_the_flows_own_backend_is_restored() {
    for world in World::all() {
        world.establish();
        let strangers = [
            world.green,
            Endpoint { port: [0x1f, 0x91], ..world.blue },
            Endpoint { protocol: other_protocol(world.blue), ..world.blue },
        ];
        for from in strangers {
            let to = Endpoint { protocol: from.protocol, ..world.client };
            let mut packet = Draft::new(from, to).flags(world.kind.answer()).build();
            let before = packet.clone();

            assert_eq!(world.pod_gets(&mut packet), passes(Reason::NotOurs), "{from:?}");
            assert_eq!(packet, before);
        }
        let other = Endpoint { port: [9, 9], ..world.client };
        let mut packet = Draft::new(world.blue, other).flags(world.kind.answer()).build();
        assert_eq!(world.pod_gets(&mut packet), passes(Reason::NotOurs), "another client");
    }
}

#[test]
fn a_backend_of_another_generation_is_not_restored() {
    for world in World::all() {
        world.establish();
        world.tables.backends[0].status.store(Backend::status_of(State::Alive, 0, 4));

        let outcome = world.answer(world.blue, world.kind.answer(), b"");

        assert_eq!(outcome, passes(Reason::NotOurs));
    }
}

#[test]
fn a_backend_that_is_gone_is_not_restored() {
    for world in World::all() {
        world.establish();
        world.set_state(0, State::Gone);

        let outcome = world.answer(world.blue, world.kind.answer(), b"");

        assert_eq!(outcome, passes(Reason::NotOurs));
    }
}

#[test]
fn a_frontend_of_another_generation_starts_with_no_flows() {
    for world in World::tcp() {
        world.establish();
        world.tables.frontends[0].generation.store(8);

        assert_eq!(
            world.ask(PUSH, b"x").reason,
            Some(Reason::FlowLost),
            "its key has the old generation"
        );
        let frontend = &world.tables.frontends[0];
        assert_eq!(frontend.flags.load() & Frontend::EXTERNAL, 0);
    }
}

/// Who sends which flags with which payload.
type Steps = &'static [(bool, u8, &'static [u8])];
const CLIENT: bool = true;
const SERVER: bool = false;

/// What happens in a connection after its SYN, and what counts then.
const CASES: &[(&str, Steps, &[Counter])] = &[
    ("refused", &[(SERVER, RST_ACK, b""), (SERVER, RST_ACK, b"")], &[Counter::Refused]),
    (
        "closed by the client first",
        &[
            (SERVER, SYN_ACK, b""),
            (CLIENT, PUSH, b"q"),
            (SERVER, PUSH, b"a"),
            (CLIENT, FIN_ACK, b""),
            (SERVER, FIN_ACK, b""),
            (CLIENT, ACK, b""),
            (SERVER, FIN_ACK, b""),
        ],
        &[Counter::Established, Counter::Closed],
    ),
    (
        "closed by the server first",
        &[
            (SERVER, SYN_ACK, b""),
            (CLIENT, PUSH, b"q"),
            (SERVER, PUSH | tcp::FIN, b"a"),
            (CLIENT, FIN_ACK, b""),
            (CLIENT, FIN_ACK, b""),
            (CLIENT, RST_ACK, b""),
        ],
        &[Counter::Established, Counter::Closed],
    ),
    (
        "reset by the server",
        &[
            (SERVER, SYN_ACK, b""),
            (CLIENT, ACK, b""),
            (SERVER, RST_ACK, b""),
            (SERVER, RST_ACK, b""),
        ],
        &[Counter::Established, Counter::ResetByServer],
    ),
    (
        "reset by the client, and then by the server",
        &[
            (SERVER, SYN_ACK, b""),
            (CLIENT, ACK, b""),
            (CLIENT, RST_ACK, b""),
            (SERVER, RST_ACK, b""),
        ],
        &[Counter::Established, Counter::ResetByClient],
    ),
    ("given up before an answer", &[(CLIENT, RST_ACK, b"")], &[]),
    (
        "asked, closed without an answer",
        &[
            (SERVER, SYN_ACK, b""),
            (CLIENT, PUSH, b"q"),
            (CLIENT, FIN_ACK, b""),
            (SERVER, FIN_ACK, b""),
            (SERVER, FIN_ACK, b""),
        ],
        &[Counter::Established, Counter::Closed, Counter::Unanswered],
    ),
    (
        "asked, reset without an answer",
        &[(SERVER, SYN_ACK, b""), (CLIENT, PUSH, b"q"), (SERVER, RST_ACK, b"")],
        &[Counter::Established, Counter::ResetByServer, Counter::Unanswered],
    ),
    (
        "asked, given up, answered too late",
        &[
            (SERVER, SYN_ACK, b""),
            (CLIENT, PUSH, b"q"),
            (CLIENT, FIN_ACK, b""),
            (SERVER, PUSH, b"late"),
            (CLIENT, tcp::RST, b""),
            (CLIENT, tcp::RST, b""),
        ],
        &[Counter::Established, Counter::ResetByClient, Counter::Unanswered],
    ),
    (
        "asked, given up, answered too late and closed at once",
        &[
            (SERVER, SYN_ACK, b""),
            (CLIENT, PUSH, b"q"),
            (CLIENT, FIN_ACK, b""),
            (SERVER, PUSH | tcp::FIN, b"late"),
            (CLIENT, tcp::RST, b""),
            (CLIENT, tcp::RST, b""),
        ],
        &[Counter::Established, Counter::Closed, Counter::Unanswered],
    ),
    (
        "half closed by the client, which waits for the answer",
        &[
            (SERVER, SYN_ACK, b""),
            (CLIENT, PUSH | tcp::FIN, b"q"),
            (SERVER, PUSH | tcp::FIN, b"a"),
            (CLIENT, ACK, b""),
        ],
        &[Counter::Established, Counter::Closed],
    ),
];

/// What a connection may count beside its opening.
const ENDS: [Counter; 6] = [
    Counter::Established,
    Counter::Refused,
    Counter::Unanswered,
    Counter::ResetByServer,
    Counter::ResetByClient,
    Counter::Closed,
];

/// Each counter a connection ends in, and that it counts once however the end is repeated.
#[test]
fn each_end_is_counted_once() {
    for world_of in [Kind::TCP[0], Kind::TCP[1]] {
        for (name, steps, counters) in CASES {
            let world = World::new(world_of);
            world.ask(SYN, b"");
            for (is_client, flags, payload) in *steps {
                let outcome = if *is_client {
                    world.ask(*flags, payload)
                } else {
                    world.answer(world.blue, *flags, payload)
                };
                assert_eq!(outcome, ON, "{name}");
            }

            for counter in ENDS {
                let wanted = u64::from(counters.contains(&counter));
                assert_eq!(world.count(BLUE, counter), wanted, "{name}: {counter:?}");
            }
            assert_eq!(world.count(BLUE, Counter::Opened), 1, "{name}");
        }
    }
}

#[test]
fn bytes_are_counted_both_ways() {
    for world in World::all() {
        world.establish();
        let push = if world.kind.protocol == TCP { PUSH } else { 0 };

        world.ask(push, b"12345");
        world.answer(world.blue, push, b"1234567");

        assert_eq!(world.count(BLUE, Counter::BytesToBackend), 5);
        assert_eq!(world.count(BLUE, Counter::BytesToClient), 7);
    }
}

#[test]
fn connect_and_response_times_are_taken() {
    for world in World::tcp() {
        world.ask(SYN, b"");
        world.pass_ticks(1_000);
        world.answer(world.blue, SYN_ACK, b"");
        // A keep-alive connection: each exchange counts; waiting between them does not.
        for ticks in [2_000, 3_000] {
            world.pass_ticks(500_000);
            world.ask(ACK, b"que");
            world.ask(PUSH, b"stion");
            world.pass_ticks(ticks);
            world.answer(world.blue, ACK, b"ans");
            world.pass_ticks(9_000);
            world.answer(world.blue, PUSH, b"wer");
        }

        let wanted = [
            (BLUE, Timing::Connect, 1_024),
            (BLUE, Timing::Response, 2_048),
            (BLUE, Timing::Response, 3_072),
        ];
        assert_eq!(*world.tables.times.borrow(), wanted);
    }
}

#[test]
fn datagrams_have_response_times_from_the_first_on() {
    for world in World::udp() {
        world.ask(0, b"question");
        world.pass_ticks(2_000);
        world.answer(world.blue, 0, b"answer");
        world.pass_ticks(77_000);
        world.ask(0, b"question");
        world.pass_ticks(3_000);
        world.answer(world.blue, 0, b"answer");

        let wanted = [(BLUE, Timing::Response, 2_048), (BLUE, Timing::Response, 3_072)];
        assert_eq!(*world.tables.times.borrow(), wanted);
    }
}

#[test]
fn a_return_entry_outlives_no_generation_of_its_backend() {
    for mut world in World::all() {
        let other = world.kind.at(96, 2, 80);
        world.add_frontend(other, 1);
        world.publish(1, &[(10_000, &[0], BLUE)]);
        world.vip = other;
        let status = Backend::status_of(State::Alive, Backend::HAS_RETURNS, 3);
        world.tables.backends[0].status.store(status);
        world.establish();
        assert_eq!(world.answer(world.blue, world.kind.answer(), b""), ON);

        let status = Backend::status_of(State::Alive, Backend::HAS_RETURNS, 4);
        world.tables.backends[0].status.store(status);

        let outcome = world.answer(world.blue, world.kind.answer(), b"");
        assert_eq!(outcome, passes(Reason::NotOurs));
    }
}

#[test]
fn memory_keeps_the_rule_that_a_new_flow_has_a_new_key() {
    let world = World::new(Kind::TCP[0]);
    let key = FlowKey { client: [1, 2, 3, 4], peer: 0, port: [0, 1], generation: 0 };
    let flow = Flow::start(0, 0, 0, TCP, 0, 1);
    let add =
        || FlowTables::<crate::flow::V4>::add_flow(&world.tables, Stage::Opening, &key, &flow);

    assert_eq!(add(), Ok(()));
    assert_eq!(add(), Err(Refused::Exists));
}
