//! Ages of every kind, the younger of both directions, what loses its end, counts and the fill.

use std::fs;
use std::time::{Duration, Instant};

use canary_common::backend::State;
use canary_common::endpoint::{Address, Endpoint, TCP, UDP};
use canary_common::flows::{
    Bucket, Flows, Head, Key, Kind, Limit, Request, Seed, Stored, Values, insert,
};
use canary_common::memory::Memory;
use canary_common::word::Word;

use super::age::Limits;
use super::pass::{Ends, Given, Passed, pass};
use super::spilled::Recount;
use super::task::{Conntrack, Depth, Rows, Task};

const LIMITS: Limits = [60, 7860, 120, 10, 30, 180];
const NOW: u32 = 100_000;
const ANSWERED: u64 = Head::ANSWERED;

struct Table {
    memory: Memory,
    seed: Seed,
    states: Vec<State>,
}

/// What conntrack says of everything.
struct Says(Option<bool>, u32);

impl Conntrack for Says {
    fn has(&mut self, _: &Key) -> Option<bool> {
        self.1 += 1;
        self.0
    }
}

fn at(net: u8, number: u32, port: u16, protocol: u8) -> Endpoint {
    let [_, a, b, c] = number.to_be_bytes();
    Endpoint { address: Address::v4([net, a, b, c]), port: port.to_be_bytes(), protocol }
}

impl Table {
    fn new(buckets: u32) -> Self {
        let flows = (0..buckets).map(|_| Bucket::default()).collect();
        let seed = Seed { seed: 0x0123_4567_89ab_cdef, buckets };
        let states = vec![State::Alive; 16];
        Self { memory: Memory { flows, ..Memory::default() }, seed, states }
    }

    fn put(&self, key: Key, kind: Kind, values: Values, state: u64, idle: u32) -> u32 {
        let request = Request {
            key,
            values,
            kind,
            state,
            limit: Limit::Free,
            spare: u32::MAX,
            now: NOW - idle,
        };
        match insert(&self.memory, &request, self.seed) {
            Stored::At(place) => place,
            other => panic!("{other:?}"),
        }
    }

    /// A connection of client `number`: both entries, with state and age of each.
    fn connect(
        &self,
        number: u32,
        protocol: u8,
        values: Values,
        halves: [(u64, u32); 2],
    ) -> [u32; 2] {
        let client = at(10, number, 4000, protocol);
        let frontend = at(11, values.frontend, 80, protocol);
        let backend = at(12, values.backend, 8080, protocol);
        let udp = if protocol == UDP { Head::UDP } else { 0 };
        let [(forth, forth_idle), (back, back_idle)] = halves;
        let key = Key::new(backend, client);
        let back = self.put(key, Kind::Return, values, back | udp, back_idle);
        let key = Key::new(client, frontend);
        let forward = Values { partner: back, ..values };
        let forth = self.put(key, Kind::Forward, forward, forth | udp, forth_idle);
        self.point(back, forth);
        [forth, back]
    }

    /// Has an entry point to its partner.
    fn point(&self, place: u32, partner: u32) {
        let bucket = self.memory.flows(place >> 3).unwrap();
        let word = &bucket.bodies[usize::try_from(place & 7).unwrap()].words[7];
        let mark = word.load() >> 32 << 32;
        word.store(mark | u64::from(partner));
    }

    fn word(&self, place: u32) -> &Word<u64> {
        let bucket = self.memory.flows(place >> 3).unwrap();
        &bucket.heads[usize::try_from(place & 7).unwrap()]
    }

    fn is_there(&self, place: u32) -> bool {
        !matches!(Head(self.word(place).load()).kind(), Kind::Free | Kind::Claimed)
    }

    fn pass(&self, task: &Task) -> Passed {
        self.pass_with(task, &mut Says(Some(false), 0))
    }

    fn pass_with(&self, task: &Task, conntrack: &mut dyn Conntrack) -> Passed {
        let given = Given {
            tables: &self.memory,
            seed: self.seed,
            limits: &LIMITS,
            now: NOW,
            task,
            states: &self.states,
        };
        pass(&given, conntrack)
    }

    /// Passes that read heads only, then everything; the table must be the same after both.
    fn heads(&self) -> Passed {
        self.pass(&Task::default())
    }
}

fn all() -> Task {
    Task { depth: Depth::All, ..Task::default() }
}

fn values(statistics: u16) -> Values {
    Values { statistics, backend: 1, frontend: 2, interface: 7, ..Values::default() }
}

fn spills(table: &Table) -> u64 {
    table.memory.flows.iter().map(|bucket| bucket.own.load() >> 32).sum()
}

#[test]
fn connections_end_after_the_idle_limit_of_their_state() {
    let over = ANSWERED | Head::OVER | Head::FIN;
    let reset = ANSWERED | Head::RESET;
    // Protocol, state of both directions, the limit, and what is counted.
    let cases = [
        (TCP, 0, 60, Ends { timed_out: 1, expired: 0 }),
        (TCP, Head::AGAIN, 60, Ends { timed_out: 1, expired: 0 }),
        (TCP, ANSWERED, 7860, Ends { timed_out: 0, expired: 1 }),
        (TCP, over, 120, Ends::default()),
        (TCP, ANSWERED | Head::FIN, 120, Ends::default()),
        (TCP, reset, 10, Ends::default()),
        (TCP, over | reset, 10, Ends::default()),
        (UDP, 0, 60, Ends::default()),
        (UDP, ANSWERED, 30, Ends { timed_out: 0, expired: 1 }),
        (UDP, ANSWERED | Head::OVER, 180, Ends { timed_out: 0, expired: 1 }),
    ];
    for (protocol, state, limit, ends) in cases {
        for task in [Task::default(), all()] {
            let table = Table::new(16);
            let young = table.connect(1, protocol, values(4), [(state, limit - 1); 2]);
            let old = table.connect(2, protocol, values(4), [(state, limit); 2]);

            let passed = table.pass(&task);

            let name = format!("{protocol} {state:#x} {:?}", task.depth);
            assert!(young.iter().all(|place| table.is_there(*place)), "{name}");
            assert!(!old.iter().any(|place| table.is_there(*place)), "{name}");
            assert_eq!(passed.ends.get(&4).copied().unwrap_or_default(), ends, "{name}");
            assert_eq!((passed.left, spills(&table)), (0, 0));
        }
    }
}

#[test]
fn the_younger_direction_counts() {
    for halves in [[(ANSWERED, 9000), (ANSWERED, 7859)], [(ANSWERED, 7859), (ANSWERED, 9000)]] {
        let table = Table::new(16);
        let places = table.connect(1, TCP, values(4), halves);

        let passed = table.heads();

        assert!(places.iter().all(|place| table.is_there(*place)));
        assert!(passed.ends.is_empty());
    }
}

#[test]
fn a_reset_that_one_direction_does_not_know_of_holds_until_that_goes_on() {
    let reset = ANSWERED | Head::RESET;
    let table = Table::new(16);
    let dead = table.connect(1, TCP, values(4), [(reset, 10), (ANSWERED, 11)]);
    let goes_on = table.connect(2, TCP, values(4), [(reset, 12), (ANSWERED, 11)]);

    table.heads();

    assert!(!dead.iter().any(|place| table.is_there(*place)));
    assert!(goes_on.iter().all(|place| table.is_there(*place)));
}

#[test]
fn traces_and_fragments_have_ages_too() {
    let cases = [
        (Kind::Straight, 0, 60),
        (Kind::Straight, ANSWERED, 7860),
        (Kind::Straight, ANSWERED | Head::RESET, 10),
        (Kind::Straight, ANSWERED | Head::FIN, 120),
        (Kind::Straight, ANSWERED | Head::UDP, 30),
        (Kind::Straight, ANSWERED | Head::UDP | Head::OVER, 180),
        (Kind::Fragment, 0, 15),
    ];
    for (kind, state, limit) in cases {
        let table = Table::new(16);
        let key = |number| Key::new(at(12, 1, 8080, TCP), at(10, number, 4000, TCP));
        let young = table.put(key(1), kind, values(0), state, limit - 1);
        let old = table.put(key(2), kind, values(0), state, limit);

        let passed = table.heads();

        assert_eq!(
            (table.is_there(young), table.is_there(old)),
            (true, false),
            "{kind:?} {state:#x}"
        );
        assert!(passed.ends.is_empty());
    }
}

#[test]
fn a_foreign_entry_ends_when_conntrack_has_it_no_more() {
    let key = |number, protocol| Key::new(at(10, number, 4000, protocol), at(11, 2, 80, protocol));
    for (protocol, state, limit) in [(TCP, 0, 7860), (UDP, Head::UDP, 180)] {
        for (says, stays, asks_again) in
            [(Some(true), true, 0), (Some(false), false, 0), (None, true, 1)]
        {
            let table = Table::new(16);
            let young = table.put(key(1, protocol), Kind::Foreign, values(0), state, limit - 1);
            let old = table.put(key(2, protocol), Kind::Foreign, values(0), state, limit);
            let mut conntrack = Says(says, 0);

            table.pass_with(&Task::default(), &mut conntrack);

            assert_eq!((table.is_there(young), table.is_there(old)), (true, stays));
            assert_eq!(conntrack.1, 1);
            table.pass_with(&Task::default(), &mut conntrack);
            assert_eq!(conntrack.1, 1 + asks_again);
        }
    }
}

#[test]
fn a_return_without_its_forward_is_gone_after_two_seconds() {
    for (idle, stays) in [(1, true), (2, false)] {
        let table = Table::new(16);
        let [forth, back] = table.connect(1, TCP, values(4), [(ANSWERED, idle); 2]);
        table.word(forth).store(Head(table.word(forth).load()).freed().0);

        let passed = table.pass(&all());

        assert_eq!(table.is_there(back), stays);
        assert!(passed.ends.is_empty());
    }
}

#[test]
fn what_names_a_row_that_will_be_another_is_freed_however_busy_it_is() {
    let table = Table::new(64);
    let of = |backend, frontend| Values { backend, frontend, ..values(4) };
    let busy = [(ANSWERED, 0); 2];
    let by_backend = table.connect(1, TCP, of(3, 2), busy);
    let by_frontend = table.connect(2, UDP, of(1, 5), busy);
    let direct = Values { flags: Values::DIRECT, ..of(1, 5) };
    let other = [table.connect(3, TCP, of(1, 2), busy), table.connect(4, TCP, direct, busy)];
    let key = Key::new(at(12, 3, 8080, TCP), at(10, 9, 4000, TCP));
    let trace = table.put(key, Kind::Straight, of(3, 0), ANSWERED, 0);
    let key = Key::new(at(10, 9, 4000, TCP), at(11, 5, 80, TCP));
    let foreign = table.put(key, Kind::Foreign, of(0, 5), ANSWERED, 0);
    let free = Rows { backends: [3].into(), frontends: [5].into() };

    let passed = table.pass(&Task { free, ..all() });

    let gone = [by_backend, by_frontend, [trace, foreign]];
    assert!(!gone.as_flattened().iter().any(|place| table.is_there(*place)));
    assert!(other.as_flattened().iter().all(|place| table.is_there(*place)));
    assert_eq!(passed.left, 0);
    assert_eq!(passed.ends[&4], Ends { timed_out: 0, expired: 2 });
}

#[test]
fn severed_connections_end_with_their_next_packet_and_datagrams_at_once() {
    let table = Table::new(16);
    let tcp = table.connect(1, TCP, values(4), [(ANSWERED, 0); 2]);
    let udp = table.connect(2, UDP, values(4), [(ANSWERED, 0); 2]);
    let sever = Rows { backends: [1].into(), ..Rows::default() };

    let passed = table.pass(&Task { sever, ..all() });

    for place in tcp {
        assert!(Head(table.word(place).load()).has(Head::SEVERED));
    }
    assert!(!udp.iter().any(|place| table.is_there(*place)));
    assert_eq!(passed.ends[&4].expired, 1);
}

#[test]
fn datagrams_leave_a_backend_that_drains_and_their_answers_have_two_seconds() {
    for state in [State::Draining, State::Gone] {
        let mut table = Table::new(16);
        table.states[1] = state;
        let [forth, back] = table.connect(1, UDP, values(4), [(ANSWERED, 0); 2]);
        let tcp = table.connect(2, TCP, values(4), [(ANSWERED, 0); 2]);

        let passed = table.pass(&Task { depth: Depth::Counts, ..Task::default() });

        assert_eq!((table.is_there(forth), table.is_there(back)), (false, true));
        assert!(Head(table.word(back).load()).has(Head::RESET));
        assert!(tcp.iter().all(|place| table.is_there(*place)));
        assert_eq!(passed.ends[&4].expired, 1);
        assert_eq!(table.pass(&all()).ends.len(), 0);
        // Two seconds later.
        table.word(back).store(table.word(back).load() & 0xffff_ffff | u64::from(NOW - 2) << 32);
        table.pass(&all());
        assert!(!table.is_there(back));
    }
}

#[test]
fn a_backend_that_comes_back_finds_neither_datagrams_nor_syns_of_before() {
    let table = Table::new(16);
    let udp = table.connect(1, UDP, values(4), [(ANSWERED, 0); 2]);
    let opening = table.connect(2, TCP, values(4), [(0, 0); 2]);
    let stays = [
        table.connect(3, TCP, values(4), [(ANSWERED, 0); 2]),
        table.connect(4, UDP, Values { backend: 5, ..values(4) }, [(ANSWERED, 0); 2]),
        table.connect(5, UDP, Values { flags: Values::DIRECT, ..values(4) }, [(ANSWERED, 0); 2]),
    ];

    table.pass(&Task { returning: [1].into(), ..all() });

    for [forth, back] in [udp, opening] {
        assert_eq!((table.is_there(forth), table.is_there(back)), (false, true));
    }
    assert!(stays.iter().flatten().all(|place| table.is_there(*place)));
}

#[test]
fn what_came_by_an_interface_that_is_gone_is_freed() {
    let table = Table::new(16);
    let gone = table.connect(1, TCP, values(4), [(ANSWERED, 0); 2]);
    let other = Values { interface: 8, ..values(4) };
    let stays = table.connect(2, TCP, other, [(ANSWERED, 0); 2]);

    table.pass(&Task { interfaces: [7].into(), ..all() });

    assert!(!gone.iter().any(|place| table.is_there(*place)));
    assert!(stays.iter().all(|place| table.is_there(*place)));
}

#[test]
fn live_flows_are_counted_by_row_and_places_by_interface() {
    let mut table = Table::new(64);
    table.states[3] = State::Draining;
    let of = |backend, interface, statistics| Values { backend, interface, ..values(statistics) };
    table.connect(1, TCP, of(1, 7, 4), [(ANSWERED, 0); 2]);
    table.connect(2, TCP, of(1, 8, 4), [(0, 0); 2]);
    table.connect(3, TCP, of(3, 8, 5), [(ANSWERED, 0); 2]);
    table.connect(4, TCP, of(1, 8, 4), [(ANSWERED | Head::OVER, 0); 2]);
    table.connect(5, UDP, of(1, 8, 4), [(ANSWERED, 0); 2]);
    let key = Key::new(at(12, 1, 8080, TCP), at(10, 9, 4000, TCP));
    table.put(key, Kind::Straight, of(1, 7, 0), ANSWERED, 0);

    let alive = table.pass(&Task { depth: Depth::Counts, ..Task::default() }).alive;

    assert_eq!(alive.backends, [(1, 3), (3, 1)].into());
    assert_eq!(alive.frontends, [(2, 4)].into());
    assert_eq!(alive.splits, [((3, 5), 1)].into());
    assert_eq!(alive.interfaces, [(7, 3), (8, 2)].into(), "what could be pushed out is nobody's");
    let fill = alive.fill;
    assert_eq!((fill.places, fill.capacity, fill.connections), (11, 448, 5));
    assert_eq!((fill.opening, fill.established, fill.ended, fill.udp), (1, 2, 1, 1));
    assert_eq!((fill.straight, fill.percent()), (1, 2));
}

#[test]
fn a_number_of_spilled_entries_that_is_too_high_is_repaired_by_a_later_pass() {
    let table = Table::new(3);
    for number in 0..7 {
        table.connect(number, TCP, values(4), [(ANSWERED, 0); 2]);
    }
    let (right, start) = (spills(&table), Instant::now());
    assert!(right > 0, "the table is too large");
    let memory = &table.memory;
    for bucket in &memory.flows {
        bucket.own.store(bucket.own.load() + (3 << 32));
    }
    let mut recount = Recount::default();
    let mut pass_at = |seconds| {
        let Passed { numbers, spilled, alive, .. } = table.pass(&all());
        assert_eq!(alive.fill.spilled, spills(&table));
        recount.repair(memory, start + Duration::from_secs(seconds), numbers, &spilled)
    };

    assert_eq!([pass_at(0), pass_at(9)], [0, 0], "a free may be under way");
    // One that spills since makes the number of its bucket young again.
    memory.flows[1].own.store(memory.flows[1].own.load() + 2);
    assert_eq!(pass_at(10), 6);
    assert_eq!(pass_at(20), 3);
    assert_eq!(pass_at(30), 0);

    assert_eq!(spills(&table), right);
}

#[test]
fn an_entry_that_is_seen_while_it_is_judged_stays() {
    /// Every exchange fails the first time: a packet came.
    struct Busy<'a>(&'a Memory);

    impl Flows for Busy<'_> {
        fn flows(&self, bucket: u32) -> Option<&Bucket> {
            self.0.flows(bucket)
        }
        fn load(&self, word: &Word<u64>) -> u64 {
            self.0.load(word)
        }
        fn store(&self, word: &Word<u64>, value: u64) {
            self.0.store(word, value);
        }
        fn store_high(&self, word: &Word<u64>, value: u32) {
            self.0.store_high(word, value);
        }
        fn swap(&self, word: &Word<u64>, value: u64) -> u64 {
            self.0.swap(word, value)
        }
        fn exchange(&self, word: &Word<u64>, old: u64, new: u64) -> bool {
            if Head(old).seen() != NOW {
                self.store_high(word, NOW);
                return false;
            }
            self.0.exchange(word, old, new)
        }
        fn add(&self, word: &Word<u64>, by: u64) {
            self.0.add(word, by);
        }
        fn pushed_out(&self, _: u16) {}
    }

    let table = Table::new(16);
    let old = table.connect(1, TCP, values(4), [(ANSWERED, 9000); 2]);
    let run = |task: &Task| {
        let given = Given {
            tables: &Busy(&table.memory),
            seed: table.seed,
            limits: &LIMITS,
            now: NOW,
            task,
            states: &table.states,
        };
        pass(&given, &mut Says(None, 0))
    };

    let passed = run(&Task::default());

    assert!(passed.ends.is_empty() && old.iter().all(|place| table.is_there(*place)));
    // But not if its row is needed.
    let free = Rows { backends: [1].into(), ..Rows::default() };
    assert_eq!(run(&Task { free, ..all() }).left, 0);
    assert!(!old.iter().any(|place| table.is_there(*place)));
}

#[test]
fn passes_come_faster_as_the_table_fills() {
    let every = |percent| {
        let fill = super::Fill { places: percent, capacity: 100, ..super::Fill::default() };
        super::every(fill).as_millis()
    };

    assert_eq!([0, 50, 65, 80, 100].map(every), [2000, 2000, 1100, 200, 200]);
}

/// How long this thread has been on a CPU.
fn on_cpu() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

#[test]
fn a_pass_over_450_000_connections_is_timed() {
    let count: u32 = 450_000;
    let mut table = Table::new(count * 2 * 10 / 7 / 7);
    table.states = vec![State::Alive; 512];
    table.states[3] = State::Draining;
    let mut stored = 0;
    for number in 0..count {
        let values = Values {
            backend: number % 500,
            frontend: number % 50,
            interface: number % 200,
            ..values(u16::try_from(number % 100).unwrap())
        };
        let client = at(10, number, u16::try_from(number % 20_000 + 20_000).unwrap(), TCP);
        let request = |key, kind, values| Request {
            key,
            values,
            kind,
            state: ANSWERED,
            limit: Limit::Free,
            spare: u32::MAX,
            now: NOW - 5,
        };
        let key = Key::new(at(12, values.backend, 8080, TCP), client);
        let back = insert(&table.memory, &request(key, Kind::Return, values), table.seed);
        let Stored::At(back) = back else { continue };
        let key = Key::new(client, at(11, values.frontend, 80, TCP));
        let forward = request(key, Kind::Forward, Values { partner: back, ..values });
        if let Stored::At(forth) = insert(&table.memory, &forward, table.seed) {
            table.point(back, forth);
            stored += 1;
        }
    }
    println!("{stored} of {count} connections in {} places", table.seed.buckets * 7);

    for (name, task) in [
        ("heads", Task::default()),
        ("counts", Task { depth: Depth::Counts, ..Task::default() }),
        ("all", all()),
        (
            "all, for rows",
            Task { free: Rows { backends: [600].into(), ..Rows::default() }, ..all() },
        ),
    ] {
        let mut times: Vec<_> = (0..5)
            .map(|_| {
                let start = on_cpu();
                let passed = table.pass(&task);
                assert_eq!(passed.alive.fill.connections, stored);
                on_cpu().saturating_sub(start)
            })
            .collect();
        times.sort();
        println!("{name}: {:?} of a CPU (median of 5)", times[2]);
    }
}
