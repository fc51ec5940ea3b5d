use core::cell::Cell;

use super::*;
use crate::flows::Flows;
use crate::memory::Memory;
use crate::world::{BLUE, GREEN, Kind, World};

/// A socket, and perhaps the MPTCP socket around it.
#[derive(Default)]
struct Fake {
    pick: Pick,
    outer: Option<Box<Pick>>,
    datagrams: Datagrams,
    connected: Cell<bool>,
    noted: Cell<Option<u32>>,
    full: bool,
    of_pod: bool,
}

impl Socket for Fake {
    fn pick(&self, _create: bool) -> Option<&Pick> {
        (!self.full).then_some(&self.pick)
    }

    fn outer(&self, _create: bool) -> Option<&Pick> {
        self.outer.as_deref()
    }

    fn datagrams(&self, _create: bool) -> Option<&Datagrams> {
        (!self.full).then_some(&self.datagrams)
    }

    fn note(&self, backend: Option<u32>) {
        self.noted.set(backend);
    }

    fn is_connected(&self) -> bool {
        self.connected.get()
    }
}

impl Fake {
    fn mptcp() -> Self {
        Self { outer: Some(Box::default()), ..Self::default() }
    }

    fn caller(&self, world: &World) -> Caller {
        let own = world.tables.settings.netns.load();
        Caller { client: world.client, scope: own + u64::from(self.of_pod) }
    }

    fn connect(&self, world: &World, to: Endpoint) -> Result<Endpoint, Reason> {
        let node = Node::new(&world.tables).unwrap();
        let result = connect(node, self, self.caller(world), to);
        let result = result.map(|picked| picked.backend).map_err(|refusal| refusal.reason);
        if !matches!(result, Err(Reason::NoBackend | Reason::FlowTableFull)) {
            self.connected.set(true);
        }
        result
    }

    fn send(&self, world: &World, to: Endpoint) -> Result<Endpoint, Reason> {
        world.pass_ticks(1);
        let sent = send(Node::new(&world.tables).unwrap(), self, self.caller(world), to);
        sent.map(|sent| sent.picked.backend).map_err(|refusal| refusal.reason)
    }

    fn source(&self, world: &World, actual: Endpoint) -> Endpoint {
        source(&world.tables, self, actual).unwrap_or(actual)
    }

    fn peer(&self, world: &World, actual: Endpoint) -> Endpoint {
        peer(&world.tables, self, actual).unwrap_or(actual)
    }
}

/// Makes room in the directory for many endpoints.
fn widen(world: &mut World) {
    world.tables.settings.bucket_mask.store(1023);
    world.tables.buckets = (0..1024).map(|_| crate::directory::Bucket::default()).collect();
    world.occupy(world.vip, Occupant::Frontend(0));
    world.occupy(world.blue, Occupant::Backend(0));
    world.occupy(world.green, Occupant::Backend(1));
}

fn opened(world: &World) -> u64 {
    world.count(BLUE, Counter::OpenedBySocket) + world.count(GREEN, Counter::OpenedBySocket)
}

#[test]
fn a_connect_is_sent_to_a_backend_and_its_peer_is_the_frontend() {
    for world in World::all() {
        let socket = Fake::default();

        assert_eq!(socket.connect(&world, world.vip), Ok(world.blue));

        assert_eq!(socket.peer(&world, world.blue), world.vip);
        assert_eq!(socket.source(&world, world.blue), world.vip);
        let picked = socket.pick.get(&world.tables).unwrap();
        assert_eq!((picked.statistics, picked.id), (BLUE, 0));
        assert_eq!(socket.noted.get(), Some(0));
        assert_eq!(world.count(BLUE, Counter::Opened), 1);
        assert_eq!(world.count(BLUE, Counter::OpenedBySocket), 1);
    }
}

#[test]
fn a_connect_draws_like_a_packet_does() {
    for mut world in World::tcp() {
        world.publish(0, &[(5_000, &[0], BLUE), (5_000, &[1], GREEN)]);
        for port in 0..200_u16 {
            world.client.port = port.to_be_bytes();
            let socket = Fake::default();

            socket.connect(&world, world.vip).unwrap();

            world.ask(crate::wire::tcp::SYN, b"");
            let picked = socket.pick.get(&world.tables).unwrap();
            assert_eq!(world.backend(), Some(picked.id));
        }
        assert!(world.count(BLUE, Counter::OpenedBySocket) > 50);
        assert!(world.count(GREEN, Counter::OpenedBySocket) > 50);
    }
}

#[test]
fn a_connect_elsewhere_is_left_alone() {
    let world = World::new(Kind::TCP[0]);

    for elsewhere in [world.blue, world.kind.at(96, 1, 81)] {
        assert_eq!(Fake::default().connect(&world, elsewhere), Err(Reason::NotOurs));
    }
}

#[test]
fn a_connect_to_nobody_is_refused_and_leaves_the_socket_where_it_was() {
    for mut world in World::all() {
        let socket = Fake::default();
        socket.connect(&world, world.vip).unwrap();
        world.publish(0, &[(10_000, &[], BLUE)]);
        assert_eq!(socket.connect(&world, world.vip), Err(Reason::NoBackend));

        world.publish(0, &[(10_000, &[0], BLUE)]);
        world.set_state(0, State::Gone);

        assert_eq!(socket.connect(&world, world.vip), Err(Reason::NoBackend));
        assert_eq!(opened(&world), 1);
        assert_eq!(socket.peer(&world, world.blue), world.vip);
    }
}

#[test]
fn a_socket_without_memory_for_its_pick_is_refused() {
    for world in World::all() {
        let socket = Fake { full: true, ..Fake::default() };

        assert_eq!(socket.connect(&world, world.vip), Err(Reason::FlowTableFull));
        assert_eq!(socket.send(&world, world.vip), Err(Reason::FlowTableFull));
        assert_eq!(opened(&world), 0);
    }
}

#[test]
fn the_peer_stays_what_was_dialled_whatever_becomes_of_the_frontend() {
    let mut world = World::new(Kind::TCP[0]);
    let (vip, socket) = (world.vip, Fake::default());
    socket.connect(&world, vip).unwrap();

    world.tables.frontends.clear();

    assert_eq!(socket.peer(&world, world.blue), vip);
}

#[test]
fn a_socket_is_never_connected_to_a_backend_of_another_family() {
    let mut world = World::new(Kind::TCP[0]);
    // Backends of IPv6 clients alone.
    world.kind = Kind::TCP[1];
    world.publish(0, &[(10_000, &[0], BLUE)]);

    assert_eq!(Fake::default().connect(&world, world.vip), Err(Reason::NoBackend));
    assert_eq!(world.count(BLUE, Counter::Opened), 0);
}

#[test]
fn the_peer_is_what_was_connected_to_last() {
    for world in World::all() {
        let socket = Fake::default();
        for _ in 0..2 {
            socket.connect(&world, world.vip).unwrap();
            assert_eq!(socket.peer(&world, world.blue), world.vip);
            socket.connected.set(false);

            assert_eq!(socket.connect(&world, world.blue), Err(Reason::NotOurs));

            assert_eq!(socket.noted.get(), None);
            assert_eq!(socket.peer(&world, world.blue), world.blue);
            assert_eq!(socket.source(&world, world.blue), world.blue);
            assert_eq!(socket.peer(&world, world.green), world.green);
        }
    }
}

#[test]
fn a_pick_is_not_believed_where_the_kernel_says_another_peer() {
    for world in World::all() {
        let socket = Fake::default();
        socket.connect(&world, world.vip).unwrap();

        let mut other = world.blue;
        other.port = 8081_u16.to_be_bytes();

        for actual in [world.green, other] {
            assert_eq!(socket.peer(&world, actual), actual);
            assert_eq!(socket.source(&world, actual), actual);
        }
    }
}

#[test]
fn a_pick_of_an_earlier_layout_is_believed_of_its_backend_alone() {
    for world in World::tcp() {
        let pick = SocketPick {
            address: world.vip.address.0,
            port: world.vip.port,
            statistics: BLUE,
            backend: 0,
            protocol: world.vip.protocol.into(),
        };

        assert_eq!(pick.peer(&world.tables, world.blue), Some(world.vip));
        assert_eq!(pick.peer(&world.tables, world.green), None);
    }
}

#[test]
fn an_mptcp_socket_has_the_pick_of_its_first_subflow() {
    for world in World::tcp() {
        let first = Fake::mptcp();
        first.connect(&world, world.vip).unwrap();
        let outer = Fake { pick: *first.outer.unwrap(), ..Fake::default() };
        assert_eq!(outer.peer(&world, world.blue), world.vip);

        let further = Fake { outer: Some(Box::new(outer.pick)), ..Fake::default() };
        assert_eq!(further.connect(&world, world.blue), Err(Reason::NotOurs));
        let outer = Fake { pick: *further.outer.unwrap(), ..Fake::default() };
        assert_eq!(outer.peer(&world, world.blue), world.vip, "after a further subflow");

        let again = Fake { pick: first.pick, outer: Some(Box::new(outer.pick)), ..Fake::default() };
        assert_eq!(again.connect(&world, world.blue), Err(Reason::NotOurs));
        let outer = Fake { pick: *again.outer.unwrap(), ..Fake::default() };
        assert_eq!(outer.peer(&world, world.blue), world.blue, "connected anew elsewhere");
    }
}

#[test]
fn a_stream_is_counted_when_it_is_established_and_when_it_ends() {
    for mut world in World::tcp() {
        world.tables.timed.insert(BLUE);
        let socket = Fake::default();
        socket.connect(&world, world.vip).unwrap();
        world.pass_ticks(1_000);
        let node = Node::new(&world.tables).unwrap();

        assert!(established(node, &socket.pick));

        assert_eq!(world.count(BLUE, Counter::Established), 1);
        assert_eq!(*world.tables.times.borrow(), [(BLUE, crate::stats::Timing::Connect, 1_024)]);
        // Ended by both, the client first: its SYN and both FIN are no payload.
        ended(node, &socket.pick, End { was: state::FIN_WAIT2, acked: 102, received: 2_001 });
        let bytes = [Counter::BytesToBackend, Counter::BytesToClient];
        assert_eq!(bytes.map(|counter| world.count(BLUE, counter)), [100, 2_000]);
        assert_eq!(world.count(BLUE, Counter::Closed), 1);
        // Reset while it was open.
        ended(node, &socket.pick, End { was: 1, acked: 1, received: 5 });
        assert_eq!(bytes.map(|counter| world.count(BLUE, counter)), [100, 2_005]);
        assert_eq!(world.count(BLUE, Counter::Closed), 2);
        assert!(!established(node, &Pick::default()), "one that was sent nowhere");
    }
}

#[test]
fn datagrams_stay_with_their_backend_while_it_is_alive() {
    for mut world in World::udp() {
        let socket = Fake::default();
        assert_eq!(socket.send(&world, world.vip), Ok(world.blue));
        world.publish_green();

        assert_eq!(socket.send(&world, world.vip), Ok(world.blue));

        assert_eq!(opened(&world), 1);
        for (backend, state) in [(0, State::Draining), (1, State::Resting), (1, State::Gone)] {
            world.set_state(backend, state);
            if backend == 0 {
                assert_eq!(socket.send(&world, world.vip), Ok(world.green), "{state:?}");
            } else {
                world.set_state(0, State::Alive);
                world.publish(0, &[(10_000, &[0], BLUE)]);
                assert_eq!(socket.send(&world, world.vip), Ok(world.blue), "{state:?}");
                world.set_state(1, State::Alive);
                world.set_state(0, State::Draining);
                world.publish_green();
                assert_eq!(socket.send(&world, world.vip), Ok(world.green), "{state:?}");
            }
            // What is under way from both is the frontend's.
            assert_eq!(socket.source(&world, world.blue), world.vip);
            assert_eq!(socket.source(&world, world.green), world.vip);
        }
    }
}

#[test]
fn datagrams_after_a_long_pause_are_drawn_anew() {
    for mut world in World::udp() {
        let socket = Fake::default();
        socket.send(&world, world.vip).unwrap();
        world.publish_green();
        for _ in 0..5 {
            world.pass_time(crate::limits::UDP_STREAM_IDLE - 1);
            assert_eq!(socket.send(&world, world.vip), Ok(world.blue));
        }

        world.pass_time(crate::limits::UDP_STREAM_IDLE);

        assert_eq!(socket.send(&world, world.vip), Ok(world.green));
    }
}

#[test]
fn a_row_of_another_backend_by_now_is_not_sent_to() {
    for mut world in World::udp() {
        let socket = Fake::default();
        socket.send(&world, world.vip).unwrap();
        let at = world.kind.at(244, 5, 8080);
        world.tables.backends[0].address = at.address.0;

        assert_eq!(socket.send(&world, world.vip), Ok(at));
        assert_eq!(socket.source(&world, world.blue), world.vip);
        assert_eq!(socket.source(&world, at), world.vip);
    }
}

#[test]
fn the_source_of_an_answer_is_what_was_asked_last() {
    for mut world in World::udp() {
        let other = world.add_second_name();
        let socket = Fake::default();
        assert_eq!(socket.source(&world, world.blue), world.blue);
        for _ in 0..3 {
            for (to, source) in [(world.vip, world.vip), (other, other), (world.vip, world.vip)] {
                assert_eq!(socket.send(&world, to), Ok(world.blue));
                assert_eq!(socket.source(&world, world.blue), source);
            }

            assert_eq!(socket.send(&world, world.blue), Err(Reason::NotOurs));

            assert_eq!(socket.source(&world, world.blue), world.blue);
            assert_eq!(socket.source(&world, world.green), world.green);
        }
    }
}

#[test]
fn a_connected_socket_is_answered_by_its_peer_whatever_it_sends_beside() {
    for world in World::udp() {
        let socket = Fake::default();
        socket.connect(&world, world.vip).unwrap();

        assert_eq!(socket.send(&world, world.blue), Err(Reason::NotOurs));

        assert_eq!(socket.peer(&world, world.blue), world.vip);
        assert_eq!(socket.source(&world, world.blue), world.vip);
        // Disconnected, what was under way still comes; sent straight, its answers are straight.
        socket.connected.set(false);
        assert_eq!(socket.source(&world, world.blue), world.vip);
        assert_eq!(socket.send(&world, world.blue), Err(Reason::NotOurs));
        assert_eq!(socket.source(&world, world.blue), world.blue);
    }
}

#[test]
fn as_many_backends_are_remembered_as_there_are_places() {
    for mut world in World::udp() {
        let socket = Fake::default();
        widen(&mut world);
        let places = u16::try_from(datagrams::PLACES).unwrap();
        let vips: Vec<_> = (0..=places).map(|port| world.kind.at(96, 7, 9000 + port)).collect();
        for (at, service) in vips.iter().zip(2_u16..) {
            world.add_frontend(*at, service.into());
            let backend = world.kind.at(244, 7, 9000 + service);
            let id = world.add_backend(backend);
            world.publish(service.into(), &[(10_000, &[id], BLUE)]);
        }
        let sent: Vec<_> = vips.iter().map(|vip| socket.send(&world, *vip).unwrap()).collect();

        for (vip, backend) in vips.iter().zip(&sent).skip(1) {
            assert_eq!(socket.source(&world, *backend), *vip);
        }
        assert_eq!(socket.source(&world, sent[0]), sent[0], "the oldest");
    }
}

#[test]
fn a_pick_that_changes_while_it_is_read_is_none() {
    let world = World::new(Kind::UDP[0]);
    let picked = Picked { frontend: world.vip, backend: world.blue, id: 3, statistics: 4 };
    let pick = Pick::default();
    assert_eq!(pick.get(&world.tables), None);
    pick.set(&world.tables, &picked, 1_000, 7);
    assert_eq!(pick.get(&world.tables), Some(picked));
    assert_eq!((pick.used(&world.tables), pick.tick(&world.tables)), (1_000, 7));

    let racing = Racing { memory: &world.tables, pick: &pick, loads: Cell::new(0), at: 0 };
    for at in 1..=7 {
        pick.set(&world.tables, &picked, 1_000, 7);
        let racing = Racing { at, loads: Cell::new(0), ..racing };
        assert_eq!(pick.get(&racing), None, "written after {at} loads");
    }

    pick.clear(&world.tables);
    assert_eq!(pick.get(&world.tables), None);
}

#[test]
fn a_loopback_address_is_a_service_in_one_scope_alone() {
    for mut world in World::all() {
        let at = Endpoint { port: [0x23, 0x83], ..loopback(&world) };
        let service = world.tables.frontends[0].service.load();
        let own = world.tables.settings.netns.load();
        world.tables.locals.insert((own + 1, at), service);
        let pod = Fake { of_pod: true, ..Fake::default() };

        assert_eq!(pod.connect(&world, at), Err(Reason::NotOurs), "the settings say there is none");
        world.tables.settings.sockets.store(Settings::LOCALS);

        assert_eq!(pod.connect(&world, at), Ok(world.blue));
        assert_eq!(pod.peer(&world, world.blue), at);
        assert_eq!(pod.send(&world, at), Ok(world.blue));
        assert_eq!(pod.source(&world, world.blue), at);
        assert_eq!(Fake::default().connect(&world, at), Err(Reason::NotOurs), "the node's own");
        assert_eq!(Fake::default().send(&world, at), Err(Reason::NotOurs));
        let other = Endpoint { port: [0, 1], ..at };
        assert_eq!(pod.connect(&world, other), Err(Reason::NotOurs));
    }
}

#[test]
fn what_is_at_the_nodes_loopback_addresses_is_nothing_to_pods() {
    for mut world in World::all() {
        let at = Endpoint { port: [0x23, 0x83], ..loopback(&world) };
        widen(&mut world);
        world.occupy(at, Occupant::Frontend(0));
        world.tables.set_bits(at.address, addresses::FRONTEND);
        let pod = Fake { of_pod: true, ..Fake::default() };

        assert_eq!(Fake::default().connect(&world, at), Ok(world.blue));
        assert_eq!(pod.connect(&world, at), Err(Reason::NotOurs));
        assert_eq!(pod.send(&world, at), Err(Reason::NotOurs));

        // A backend at one is the node's own, too.
        world.tables.backends[0].address = loopback(&world).address.0;
        assert!(Fake::default().connect(&world, world.vip).is_ok());
        assert_eq!(pod.connect(&world, world.vip), Err(Reason::NoBackend));
    }
}

/// The loopback address of a world's family.
fn loopback(world: &World) -> Endpoint {
    let address = match world.vip.address.version() {
        crate::endpoint::Version::V4 => Address::v4([127, 0, 0, 1]),
        crate::endpoint::Version::V6 => Address(core::net::Ipv6Addr::LOCALHOST.octets()),
    };
    Endpoint { address, ..world.vip }
}

/// The tables of a reader whose pick is written anew after some loads.
struct Racing<'a> {
    memory: &'a Memory,
    pick: &'a Pick,
    loads: Cell<u32>,
    at: u32,
}

impl Flows for Racing<'_> {
    fn flows(&self, bucket: u32) -> Option<&crate::flows::Bucket> {
        self.memory.flows(bucket)
    }

    fn load(&self, word: &crate::word::Word<u64>) -> u64 {
        let value = word.load();
        self.loads.set(self.loads.get() + 1);
        if self.loads.get() == self.at {
            let at = Kind::UDP[0].at(1, 2, 3);
            let other = Picked { frontend: at, backend: at, id: 9, statistics: 9 };
            self.pick.set(self.memory, &other, 5, 5);
        }
        value
    }

    fn store(&self, word: &crate::word::Word<u64>, value: u64) {
        self.memory.store(word, value);
    }

    fn store_high(&self, word: &crate::word::Word<u64>, value: u32) {
        self.memory.store_high(word, value);
    }

    fn swap(&self, word: &crate::word::Word<u64>, value: u64) -> u64 {
        self.memory.swap(word, value)
    }

    fn exchange(&self, word: &crate::word::Word<u64>, old: u64, new: u64) -> bool {
        self.memory.exchange(word, old, new)
    }

    fn add(&self, word: &crate::word::Word<u64>, by: u64) {
        self.memory.add(word, by);
    }

    fn pushed_out(&self, _statistics: u16) {}
}
