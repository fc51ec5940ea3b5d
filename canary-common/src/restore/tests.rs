mod times;

use super::*;
use crate::backend::State;
use crate::flows::{Back, find_at};
use crate::packets::Draft;
use crate::stats::{Counter, Timing};
use crate::wire::tcp::{ACK, SYN};
use crate::world::{
    BLUE, FIN_ACK, GREEN, Kind as Protocol, ON, PUSH, RST_ACK, SYN_ACK, World, ends,
    other_protocol, passes,
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
fn answers_of_a_backend_that_drains_or_is_gone_are_restored_to_the_last() {
    for state in [State::Draining, State::Gone] {
        for world in World::all() {
            world.establish();
            world.set_state(0, state);

            let (outcome, ends) = world.get(world.blue, world.client, world.kind.data());

            assert_eq!((outcome, ends), (ON, [world.vip, world.client]));
        }
    }
}

#[test]
fn a_spoofed_answer_changes_no_state() {
    for world in World::tcp() {
        world.ask(SYN, b"");
        world.move_elsewhere(world.blue, true);
        let before = world.content();
        for flags in [SYN_ACK, RST_ACK, PUSH, FIN_ACK] {
            assert_eq!(world.answer(world.blue, flags, b"x"), passes(Reason::Spoofed));
        }
        assert!(before == world.content(), "it was answered by a stranger");
        world.move_elsewhere(world.blue, false);
        world.answer(world.blue, SYN_ACK, b"");
        world.move_elsewhere(world.blue, true);
        let before = world.content();

        for flags in [RST_ACK, tcp::RST, FIN_ACK] {
            assert_eq!(world.answer(world.blue, flags, b""), passes(Reason::Spoofed));
        }

        assert!(before == world.content(), "it was ended by a stranger");
        world.ask(RST_ACK, b"");
        let before = world.content();
        assert_eq!(world.answer(world.blue, ACK, b""), passes(Reason::Spoofed));
        assert!(before == world.content(), "it was revived by a stranger");
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
    (
        "reset by the client, whose server goes on",
        &[
            (SERVER, SYN_ACK, b""),
            (CLIENT, RST_ACK, b""),
            (SERVER, PUSH, b"greeting"),
            (CLIENT, ACK, b""),
        ],
        &[Counter::Established, Counter::ResetByClient, Counter::Revived],
    ),
    (
        "reset by the server, though the client goes on, and then closed",
        &[
            (SERVER, SYN_ACK, b""),
            (SERVER, RST_ACK, b""),
            (CLIENT, PUSH, b"q"),
            (SERVER, PUSH, b"a"),
            (CLIENT, FIN_ACK, b""),
            (SERVER, FIN_ACK, b""),
        ],
        &[Counter::Established, Counter::ResetByServer, Counter::Revived, Counter::Closed],
    ),
    (
        "closed by both, and reset by the client after that, which has the server's last ACK",
        &[
            (SERVER, SYN_ACK, b""),
            (CLIENT, FIN_ACK, b""),
            (SERVER, FIN_ACK, b""),
            (CLIENT, tcp::RST, b""),
            (SERVER, ACK, b""),
        ],
        &[Counter::Established, Counter::Closed],
    ),
    (
        "closed by the client and reset at once, while the server closes",
        &[
            (SERVER, SYN_ACK, b""),
            (CLIENT, FIN_ACK, b""),
            (CLIENT, RST_ACK, b""),
            (SERVER, FIN_ACK, b""),
            (SERVER, FIN_ACK, b""),
        ],
        &[Counter::Established, Counter::ResetByClient],
    ),
    (
        "reset by the server, though the client goes on, and reset by that",
        &[
            (SERVER, SYN_ACK, b""),
            (CLIENT, PUSH, b"q"),
            (SERVER, PUSH, b"a"),
            (SERVER, RST_ACK, b""),
            (CLIENT, ACK, b""),
            (CLIENT, RST_ACK, b""),
        ],
        &[Counter::Established, Counter::ResetByServer, Counter::Revived, Counter::ResetByClient],
    ),
    (
        "refused, though the server goes on",
        &[(SERVER, RST_ACK, b""), (SERVER, SYN_ACK, b"")],
        &[Counter::Refused, Counter::Established],
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
const ENDS: [Counter; 8] = [
    Counter::Established,
    Counter::Refused,
    Counter::Unanswered,
    Counter::ResetByServer,
    Counter::ResetByClient,
    Counter::Closed,
    Counter::Revived,
    Counter::PushedOut,
];

/// Each counter a connection ends in, and that it counts once however the end is repeated.
#[test]
fn each_end_is_counted_once() {
    for world_of in [Protocol::TCP[0], Protocol::TCP[1]] {
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
        let push = world.kind.data();

        world.ask(push, b"12345");
        world.answer(world.blue, push, b"1234567");

        assert_eq!(world.count(BLUE, Counter::BytesToBackend), 5);
        assert_eq!(world.count(BLUE, Counter::BytesToClient), 7);
    }
}

#[test]
fn both_fins_end_a_flow_that_was_reset_between_them() {
    for world in World::tcp() {
        world.establish();
        world.ask(FIN_ACK, b"");
        world.ask(RST_ACK, b"");
        world.answer(world.blue, FIN_ACK, b"");
        world.ask(ACK, b"");

        for entry in [world.forth(), world.back(world.blue)] {
            assert!(entry.unwrap().head.ended());
        }
        assert_eq!(world.count(BLUE, Counter::Revived), 0);
    }
}

#[test]
fn an_ended_flow_is_kept_with_its_bits() {
    for world in World::tcp() {
        world.establish();
        world.ask(FIN_ACK, b"");
        assert!(!world.forth().unwrap().head.ended(), "half closed");
        world.answer(world.blue, FIN_ACK, b"");
        for entry in [world.forth(), world.back(world.blue)] {
            assert!(entry.unwrap().head.has(Head::OVER));
        }
        world.pass_time(16);
        assert_eq!(world.answer(world.blue, PUSH, b"tail"), ON, "sent again after an outage");
        assert_eq!(world.ask(ACK, b""), ON);

        world.ask(RST_ACK, b"");

        assert!(world.forth().unwrap().head.has(Head::RESET));
        assert_eq!(world.count(BLUE, Counter::ResetByClient), 0);
    }
}

#[test]
fn a_return_whose_way_forth_is_gone_still_restores() {
    for world in World::all() {
        world.establish();
        let (place, head) = world.forth().map(|entry| (entry.place, entry.head)).unwrap();
        let by = world.tables.settings.flows();
        assert!(world.tables.free_flow(place, head, by, Back::Stays));
        assert!(find_at(&world.tables, place).is_none());

        let (outcome, ends) = world.get(world.blue, world.client, world.kind.data());

        assert_eq!((outcome, ends), (ON, [world.vip, world.client]));
    }
}

#[test]
fn a_spoofed_answer_neither_ends_nor_answers_a_straight_connection() {
    for world in World::tcp() {
        world.send(world.client, world.blue, SYN);
        world.move_elsewhere(world.blue, true);
        let before = world.content();
        for flags in [SYN_ACK, RST_ACK, FIN_ACK] {
            let (outcome, _) = world.get(world.blue, world.client, flags);
            assert_eq!(outcome, passes(Reason::NotOurs));
        }

        assert!(before == world.content(), "its tuple would be free a minute later");
    }
}

#[test]
fn the_answers_of_a_straight_connection_are_noted_and_left_alone() {
    for world in World::tcp() {
        world.send(world.client, world.blue, SYN);
        let is = |bit| world.back(world.blue).unwrap().head.has(bit);
        for (flags, bit) in
            [(SYN_ACK, Head::ANSWERED), (FIN_ACK, Head::FIN), (RST_ACK, Head::RESET)]
        {
            assert!(!is(bit));
            let (outcome, ends) = world.get(world.blue, world.client, flags);
            assert_eq!((outcome, ends), (passes(Reason::NotOurs), [world.blue, world.client]));
            assert!(is(bit));
        }
        world.get(world.blue, world.client, ACK);
        assert!(!is(Head::RESET), "it goes on");
        assert!(world.tables.counts.borrow().is_empty());
    }
}
