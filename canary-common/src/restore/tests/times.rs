//! Connect and response times.

use super::*;

/// Worlds whose splits have histograms.
fn timed(worlds: impl Iterator<Item = World>) -> impl Iterator<Item = World> {
    worlds.map(|mut world| {
        world.tables.timed.extend([BLUE, GREEN]);
        world
    })
}

#[test]
fn connect_and_response_times_are_taken() {
    for world in timed(World::tcp()) {
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
    for world in timed(World::udp()) {
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
fn splits_without_histograms_take_no_time() {
    for world in World::all() {
        world.establish();
        world.ask(world.kind.data(), b"question");
        world.answer(world.blue, world.kind.data(), b"answer");

        assert!(world.tables.times.borrow().is_empty());
        assert_eq!(world.back(world.blue).unwrap().values.mark, 0);
    }
}

#[test]
fn the_time_of_an_exchange_runs_from_its_question_and_not_from_where_it_was_picked_again() {
    for world in timed(World::tcp()) {
        // A keep-alive probe of a flow that was lost.
        world.ask(ACK, b"");
        world.answer(world.blue, ACK, b"");
        world.pass_ticks(900_000);
        world.answer(world.blue, PUSH, b"news");
        assert!(world.tables.times.borrow().is_empty(), "nobody asked");

        world.ask(PUSH, b"question");
        world.pass_ticks(2_000);
        world.answer(world.blue, PUSH, b"answer");

        assert_eq!(*world.tables.times.borrow(), [(BLUE, Timing::Response, 2_048)]);
    }
}

#[test]
fn of_datagrams_without_an_answer_the_first_is_timed() {
    for world in timed(World::udp()) {
        for _ in 0..3 {
            world.ask(0, b"question");
            world.pass_ticks(1_000);
        }
        world.answer(world.blue, 0, b"answer");
        world.answer(world.blue, 0, b"more of it");

        assert_eq!(*world.tables.times.borrow(), [(BLUE, Timing::Response, 3_072)]);
    }
}

#[test]
fn a_flow_is_timed_as_its_split_was_when_it_began() {
    for mut world in World::tcp() {
        world.establish();
        world.tables.timed.insert(BLUE);
        world.ask(PUSH, b"question");
        world.answer(world.blue, PUSH, b"answer");

        assert!(world.tables.times.borrow().is_empty());
    }
}
