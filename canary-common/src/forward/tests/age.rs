//! Flows that are expired, ended or idle.

use super::*;

#[test]
fn a_datagram_after_its_flow_has_expired_is_picked_anew_with_its_own_port() {
    // Unanswered, after one exchange, and of a stream.
    let cases: [(&[u32], u32); 3] = [
        (&[], limits::OPENING_IDLE),
        (&[0], limits::UDP_EXCHANGE_IDLE),
        (&[0, limits::UDP_LASTS], limits::UDP_STREAM_IDLE),
    ];
    for (exchanges, limit) in cases {
        for mut world in World::udp() {
            world.ask(0, b"");
            for wait in exchanges {
                world.pass_time(*wait);
                world.ask(0, b"");
                world.answer(world.blue, 0, b"");
            }
            world.publish_green();
            world.pass_time(limit);
            assert!(world.ask(0, b"") == ON && world.backend() == Some(0), "{limit} s");
            // That datagram may have made it a stream.
            let limit = if exchanges == [0] { limits::UDP_STREAM_IDLE } else { limit };
            world.pass_time(limit + 1);

            let (outcome, [from, to]) = world.send(world.client, world.vip, 0);

            assert_eq!((outcome, from, to), (ON, world.client, world.green), "{limit} s");
        }
    }
}

#[test]
fn an_expired_flow_that_is_picked_anew_for_the_same_backend_keeps_its_port() {
    for world in World::udp() {
        world.ask(0, b"");
        world.answer(world.blue, 0, b"");
        world.pass_time(limits::UDP_EXCHANGE_IDLE + 1);

        let (outcome, ends) = world.send(world.client, world.vip, 0);

        assert_eq!((outcome, ends), (ON, [world.client, world.blue]));
        assert_eq!(world.count(BLUE, Counter::Opened), 2);
        assert_eq!(world.count(BLUE, Counter::PushedOut), 1, "its split has one less");
    }
}

#[test]
fn a_connection_is_never_too_old_for_its_next_segment() {
    for world in World::tcp() {
        world.establish();
        world.pass_time(limits::ESTABLISHED_IDLE + 1);

        assert_eq!(world.ask(PUSH, b"x"), ON, "ageing is the agent's");
        assert_eq!(world.count(BLUE, Counter::Opened), 1);
    }
}

#[test]
fn a_syn_starts_anew_where_a_flow_ended_or_was_idle_for_long() {
    for mut world in World::tcp() {
        world.establish();
        world.publish_green();
        world.pass_time(limits::SYN_REUSE_IDLE);
        world.ask(SYN, b"");
        assert_eq!(world.backend(), Some(0), "still alive");

        world.pass_time(limits::SYN_REUSE_IDLE + 1);
        world.ask(SYN, b"");

        assert_eq!(world.backend(), Some(1));
        assert_eq!(world.flows(), [1, 0]);
        assert_eq!(world.count(BLUE, Counter::PushedOut), 1, "it had not ended");
        world.answer(world.green, RST_ACK, b"");
        world.publish(0, &[(10_000, &[0], BLUE)]);
        world.ask(SYN, b"");
        assert_eq!(world.backend(), Some(0), "the other was refused");
        assert_eq!(world.count(GREEN, Counter::PushedOut), 0);
    }
}
