use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::backend;
use crate::flows::mark;
use crate::interface::Interface;
use crate::packets::Draft;
use crate::route::hairpin_address;
use crate::segment;
use crate::stats::Timing;
use crate::tables::Tables;
use crate::wire::ethernet;
use crate::wire::tcp::{ACK, PSH, RST, SYN};
use crate::world::{BLUE, GREEN, INDEX, Kind as Protocol, PUSH, SYN_ACK, World, with_port};

/// What a packet is like beside its ends.
#[derive(Clone, Debug)]
struct Shape {
    flags: u8,
    payload: usize,
    ip_options: usize,
    tcp_options: usize,
    has_sum: bool,
}

impl Shape {
    /// Of a packet without anything rare.
    fn plain(flags: u8) -> Self {
        let payload = if flags & SYN == 0 { 9 } else { 0 };
        Self { flags, payload, ip_options: 0, tcp_options: 0, has_sum: true }
    }
}

/// One thing that happens in a world.
#[derive(Clone, Debug)]
enum Event {
    /// A client, by number, sends to a destination, by number, by one of two interfaces or the
    /// network.
    Sends(u8, u8, u8, Shape),
    /// A backend sends to a client, whose port may be another.
    Answers(u8, u8, u8, Shape),
    /// A client's connection to a destination is opened, answered, and carries payload both ways.
    Lives(u8, u8),
    /// Time passes.
    Seconds(u32),
    Ticks(u32),
    /// All new flows go to the one backend or to the other.
    Weights(bool),
    /// A backend gets a state.
    State(u8, u8),
    /// The agent severs a client's flow.
    Severs(u8),
    /// The interface gets flags.
    Flags(u32),
    /// A client's or a backend's address leads elsewhere, or here again.
    Moves(u8, bool),
}

fn shape() -> impl Strategy<Value = Shape> {
    // Mostly what an established connection sends.
    let flags = prop_oneof![
        6 => Just(ACK),
        6 => Just(PUSH),
        2 => Just(SYN),
        2 => Just(SYN_ACK),
        1 => Just(tcp::FIN | ACK),
        1 => Just(RST | ACK),
        1 => any::<u8>(),
    ];
    let options = || prop_oneof![16 => Just(0_usize), 1 => 1..=10_usize];
    let payload = prop_oneof![Just(0_usize), 1..40_usize];
    (flags, payload, options(), options(), proptest::bool::weighted(0.9)).prop_map(
        |(flags, payload, ip_options, tcp_options, has_sum)| Shape {
            flags,
            payload,
            ip_options,
            tcp_options,
            has_sum,
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        30 => (0..3_u8, 0..3_u8, 0..8_u8, shape()).prop_map(|(a, b, c, d)| Event::Sends(a, b, c, d)),
        30 => (0..2_u8, 0..3_u8, 0..8_u8, shape()).prop_map(|(a, b, c, d)| Event::Answers(a, b, c, d)),
        4 => (0..3_u8, 0..3_u8).prop_map(|(a, b)| Event::Lives(a, b)),
        3 => prop_oneof![0..3_u32, 55..65_u32, 0..300_u32].prop_map(Event::Seconds),
        3 => (0..5_000_u32).prop_map(Event::Ticks),
        1 => any::<bool>().prop_map(Event::Weights),
        4 => (0..2_u8, 0..4_u8).prop_map(|(a, b)| Event::State(a, b)),
        1 => (0..3_u8).prop_map(Event::Severs),
        1 => prop_oneof![
            4 => Just(0),
            1 => Just(Interface::YOUNG),
            1 => Just(Interface::BLIND),
            1 => Just(Interface::CROWDED)
        ].prop_map(Event::Flags),
        1 => (0..4_u8, any::<bool>()).prop_map(|(a, b)| Event::Moves(a, b)),
    ]
}

/// Two worlds in which the same happens; in the second nothing is plain.
struct Pair {
    worlds: [World; 2],
    clients: [Endpoint; 3],
    names: [Endpoint; 3],
    backends: [Endpoint; 2],
}

impl Pair {
    fn new(protocol: Protocol, is_timed: bool) -> Self {
        let worlds = [false, true].map(|whole| {
            let mut world = World::new(protocol);
            world.add_second_name();
            if is_timed {
                world.tables.timed.extend([BLUE, GREEN]);
            }
            world.tables.frontends[1].flags.store(backend::Frontend::EXTERNAL);
            world.whole = whole;
            world
        });
        let world = &worlds[0];
        // The third is a pod that may reach itself.
        let clients =
            [world.client, with_port(world.client, 40_001), with_port(world.blue, 40_000)];
        let names = [world.vip, protocol.at(96, 2, 80), world.blue];
        Self { clients, names, backends: [world.blue, world.green], worlds }
    }

    /// The port of a client as a backend may see it: its own, or one that it was given.
    fn seen(&self, client: Endpoint, which: u8) -> Endpoint {
        let given = self.worlds[0].entries().into_iter().find_map(|(key, entry)| {
            let is_given =
                entry.head.kind() == Kind::Return && entry.values.has(Values::TRANSLATED);
            (is_given && which > 4).then(|| key.destination())
        });
        given.unwrap_or(client)
    }

    /// Lets an event happen in both worlds and holds the one against the other.
    fn happen(&mut self, event: &Event) {
        match event {
            Event::Sends(from, to, by, shape) => {
                let (from, to) = (self.clients[usize::from(*from)], self.names[usize::from(*to)]);
                let index = if *by == 0 { INDEX + 1 } else { INDEX };
                self.worlds.iter().for_each(|world| world.tables.index.set(index));
                let hook = if *by == 1 { World::net_sends } else { World::pod_sends };
                self.pass(hook, &draft(from, to, shape));
            }
            Event::Answers(from, to, port, shape) => {
                let client = self.seen(self.clients[usize::from(*to)], *port);
                self.answer(self.backends[usize::from(*from)], client, shape);
            }
            Event::Lives(client, name) => {
                let (from, to) =
                    (self.clients[usize::from(*client)], self.names[usize::from(*name)]);
                self.worlds.iter().for_each(|world| world.tables.index.set(INDEX));
                for (flags, answer) in [(SYN, SYN_ACK), (PUSH, PUSH)] {
                    let shape = Shape::plain(flags);
                    self.pass(World::pod_sends, &draft(from, to, &shape));
                    let seen = self.worlds[0].entry(from, to, Client::IsSource);
                    let seen = seen.map(|entry| (entry.values.backend, entry.values.port));
                    if let Some((backend, port)) = seen {
                        let client = Endpoint { port, ..from };
                        let backend = self.backends[usize::try_from(backend).unwrap()];
                        self.answer(backend, client, &Shape::plain(answer));
                    }
                }
            }
            Event::Seconds(_)
            | Event::Ticks(_)
            | Event::Weights(_)
            | Event::State(..)
            | Event::Severs(_)
            | Event::Flags(_)
            | Event::Moves(..) => {
                for world in &mut self.worlds {
                    change(world, event, self.clients);
                }
            }
        }
    }

    /// A backend's answer; a pod's to itself passes the pod's own hook.
    fn answer(&self, from: Endpoint, client: Endpoint, shape: &Shape) {
        if client.address == from.address {
            let address = hairpin_address(from.address.version());
            self.pass(World::pod_sends, &draft(from, Endpoint { address, ..client }, shape));
        } else {
            self.pass(World::pod_gets, &draft(from, client, shape));
        }
    }

    /// One packet through a hook of each world.
    fn pass(&self, hook: fn(&World, &mut Vec<u8>) -> Outcome, draft: &Draft) {
        let [plain, whole] = self.worlds.each_ref().map(|world| {
            let mut packet = draft.build();
            (hook(world, &mut packet), packet)
        });
        assert_eq!(plain, whole, "{draft:?}");
        assert!(self.worlds[0].content() == self.worlds[1].content(), "tables after {draft:?}");
    }
}

fn draft(from: Endpoint, to: Endpoint, shape: &Shape) -> Draft {
    let draft = Draft::new(from, to)
        .flags(shape.flags)
        .sequence(7)
        .payload(&vec![0x5a; shape.payload])
        .ip_options(shape.ip_options)
        .tcp_options(shape.tcp_options);
    if shape.has_sum { draft } else { draft.unsummed() }
}

/// What happens to a world and is no packet.
fn change(world: &mut World, event: &Event, clients: [Endpoint; 3]) {
    match event {
        Event::Seconds(seconds) => world.pass_time(*seconds),
        Event::Ticks(ticks) => world.pass_ticks(*ticks),
        Event::Weights(true) => world.publish_green(),
        Event::Weights(false) => world.publish(0, &[(10_000, &[0], BLUE)]),
        Event::State(backend, state) => {
            let state = match state {
                0 => State::Gone,
                1 => State::Draining,
                _ => State::Alive,
            };
            world.set_state(usize::from(*backend), state);
        }
        Event::Severs(client) => {
            let entry = world.entry(clients[usize::from(*client)], world.vip, Client::IsSource);
            if let Some(entry) = entry {
                let back = flows::partner(&world.tables, &entry);
                for entry in [entry, back] {
                    mark(&world.tables, &entry, Head::SEVERED, 0);
                }
            }
        }
        Event::Flags(flags) => world.set_interface(*flags),
        Event::Moves(end, is_elsewhere) => {
            let ends = [clients[0], clients[2], world.blue, world.green];
            world.move_elsewhere(ends[usize::from(*end)], *is_elsewhere);
        }
        Event::Sends(..) | Event::Answers(..) | Event::Lives(..) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 200 } else { 5_000 }))]

    /// The plain case does what the whole logic does: outcomes, bytes, counters, times, tables.
    #[test]
    fn the_plain_case_is_the_whole_logic(
        kind in prop_oneof![0..4_usize, Just(0), Just(2)], is_timed in any::<bool>(),
        events in vec(event(), 1..60),
    ) {
        let mut pair = Pair::new(Protocol::ALL[kind], is_timed);
        for event in &events {
            pair.happen(event);
        }
    }
}

/// The outcomes of the plain case alone for a client's packet and for a backend's.
fn plain(world: &World, question: &Draft, reply: &Draft) -> [Option<Outcome>; 2] {
    let l2 = ethernet::LEN;
    let node = Node::new(&world.tables).unwrap();
    let [mut question, mut reply] = [question, reply].map(Draft::build);
    let version = segment::version(&question, l2).unwrap();
    [forward(&mut question, node, version, l2, Origin::Pod), restore(&mut reply, node, version, l2)]
}

/// An established connection with payload both ways, and whether its next packets are plain.
fn is_plain(flags: u8, payload: &[u8], change: impl Fn(&World)) -> [bool; 2] {
    let mut all = Protocol::TCP.map(|protocol| {
        let world = World::new(protocol);
        world.establish();
        world.ask(PUSH, b"question");
        world.answer(world.blue, PUSH, b"answer");
        change(&world);
        let (question, reply) =
            (world.question(flags, payload), world.reply(world.blue, flags, payload));
        let outcomes = plain(&world, &question, &reply);
        assert!(outcomes.iter().flatten().all(|outcome| *outcome == Outcome::ON));
        outcomes.map(|outcome| outcome.is_some())
    });
    all.sort_unstable();
    assert_eq!(all[0], all[1], "the same in both families");
    all[0]
}

#[test]
fn the_next_packets_of_an_established_connection_are_plain() {
    for flags in [ACK, PUSH, PSH | ACK | 0x20] {
        for payload in [b"".as_slice(), b"payload"] {
            assert_eq!(is_plain(flags, payload, |_| {}), [true, true]);
        }
    }
}

#[test]
fn what_is_rare_is_not_plain() {
    let set = |bit| {
        move |world: &World| {
            for entry in [world.forth(), world.back(world.blue)] {
                mark(&world.tables, &entry.unwrap(), bit, 0).unwrap();
            }
        }
    };
    for flags in [SYN, SYN_ACK, tcp::FIN | ACK, RST | ACK] {
        assert_eq!(is_plain(flags, b"", |_| {}), [false, false], "{flags:#x}");
    }
    for bit in [Head::FIN, Head::RESET, Head::OVER, Head::SEVERED, Head::AGAIN, Head::JUDGED] {
        assert_eq!(is_plain(ACK, b"", set(bit)), [false, false], "{bit:#x}");
    }
    let idle = |world: &World| world.pass_time(limits::SYN_REUSE_IDLE);
    assert_eq!(is_plain(ACK, b"", idle), [false, false]);
    let gone = |world: &World| world.set_state(0, State::Gone);
    assert_eq!(is_plain(ACK, b"", gone), [false, true]);
    let drains = |world: &World| world.set_state(0, State::Draining);
    assert_eq!(is_plain(ACK, b"", drains), [true, true]);
    let by_another = |world: &World| world.tables.index.set(INDEX + 1);
    assert_eq!(is_plain(ACK, b"", by_another), [false, true]);
}

#[test]
fn a_first_payload_and_the_answer_to_a_timed_question_are_not_plain() {
    for mut world in World::tcp() {
        world.tables.timed.insert(BLUE);
        world.establish();
        let is_plain = |flags, payload: &[u8]| {
            let (question, reply) =
                (world.question(flags, payload), world.reply(world.blue, flags, payload));
            plain(&world, &question, &reply).map(|outcome| outcome.is_some())
        };
        assert_eq!(is_plain(PUSH, b"x"), [false, false]);
        assert_eq!(is_plain(ACK, b""), [true, true]);
        world.ask(PUSH, b"question");
        world.answer(world.blue, PUSH, b"answer");
        let open = || world.back(world.blue).unwrap().values.mark != 0;
        assert!(!open());

        // The question opens its time here, too.
        assert_eq!(is_plain(PUSH, b"question"), [true, false]);
        assert!(open());
        world.pass_ticks(1_000);
        world.answer(world.blue, PUSH, b"answer");

        assert_eq!(world.tables.times.borrow().last(), Some(&(BLUE, Timing::Response, 1_024)));
        assert_eq!(world.tables.now(&world.tables.settings), 1_000);
    }
}
