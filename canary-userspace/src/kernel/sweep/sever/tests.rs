//! Which connections end, how fast, and what becomes of those that are not there any more.

use canary_common::draw::flow_hash;
use canary_common::endpoint::{Address, Endpoint, TCP, UDP};
use canary_common::flows::{Bucket, Key, Limit, NO_PARTNER, Request, Stored, insert, link};
use canary_common::memory::Memory;
use canary_common::service::bounds;

use super::*;

const SEED: u64 = 0x5eed;
const BLUE: u16 = 1;
const GREEN: u16 = 2;
/// Of another service.
const OTHER: u16 = 3;
const ANSWERED: u64 = Head::ANSWERED;

struct Table {
    memory: Memory,
    seed: Seed,
    states: Vec<State>,
}

fn at(net: u8, number: u32, port: u16, protocol: u8) -> Endpoint {
    let [_, a, b, c] = number.to_be_bytes();
    Endpoint { address: Address::v4([net, a, b, c]), port: port.to_be_bytes(), protocol }
}

fn frontend(protocol: u8) -> Endpoint {
    at(11, 1, 80, protocol)
}

impl Table {
    fn new() -> Self {
        let buckets = 512;
        let flows = (0..buckets).map(|_| Bucket::default()).collect();
        let seed = Seed { seed: 0x0123_4567_89ab_cdef, buckets };
        Self { memory: Memory { flows, ..Memory::default() }, seed, states: vec![State::Alive; 8] }
    }

    /// A connection of client `number` to backend `statistics`; the place of its way forth.
    fn connect(&self, number: u32, protocol: u8, statistics: u16, state: u64) -> u32 {
        let udp = if protocol == UDP { Head::UDP } else { 0 };
        let values =
            Values { statistics, backend: statistics.into(), frontend: 1, ..Values::default() };
        let client = at(10, number, 4000, protocol);
        let backend = at(12, statistics.into(), 8080, protocol);
        let put = |key, kind, values, spare| {
            let state = state | udp;
            let request =
                Request { key, values, kind, state, limit: Limit::Free, spare, now: 1_000 };
            match insert(&self.memory, &request, self.seed) {
                Stored::At(place) => place,
                other => panic!("{other:?}"),
            }
        };
        let unlinked = Values { partner: NO_PARTNER, ..values };
        let back = put(Key::new(backend, client), Kind::Return, unlinked, NO_PARTNER);
        let linked = Values { partner: back, ..values };
        let forth = put(Key::new(client, frontend(protocol)), Kind::Forward, linked, back);
        link(&self.memory, back, forth);
        forth
    }

    fn place(&self) -> Place<'_, Memory> {
        Place { tables: &self.memory, seed: self.seed, states: &self.states }
    }

    fn found(&self, chosen: Chosen) -> Vec<u32> {
        let turns = self.place().collect(&choice(chosen, Rate::All));
        sorted(turns.into_iter().map(|turn| turn.place))
    }

    fn head(&self, place: u32) -> Option<Head> {
        find_at(&self.memory, place).map(|entry| entry.head)
    }

    fn job(&self, rate: Rate, begun: Instant) -> Job {
        let choice = choice(Chosen::Splits([GREEN].into()), rate);
        let turns = self.place().collect(&choice);
        Job::new(choice, turns, begun)
    }
}

fn key(subset: &str) -> SplitKey {
    SplitKey { service: "web".into(), target: "web".into(), subset: subset.into() }
}

/// Blue has everything.
fn choice(chosen: Chosen, rate: Rate) -> Choice {
    Choice {
        service: "web".to_owned(),
        splits: [(BLUE, key("blue")), (GREEN, key("green"))].into(),
        shares: [(BLUE, WHOLE)].into(),
        chosen,
        rate,
        dry_run: false,
    }
}

fn sorted(places: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let mut places: Vec<u32> = places.into_iter().collect();
    places.sort_unstable();
    places
}

#[test]
fn live_connections_of_what_is_chosen_are_found_and_no_others() {
    let mut table = Table::new();
    let blue = table.connect(1, TCP, BLUE, ANSWERED);
    let green = [TCP, UDP].map(|protocol| table.connect(2, protocol, GREEN, ANSWERED));
    let opening = table.connect(3, TCP, GREEN, 0);
    table.connect(4, TCP, GREEN, ANSWERED | Head::RESET);
    table.connect(5, TCP, GREEN, ANSWERED | Head::OVER);
    table.connect(6, TCP, GREEN, ANSWERED | Head::SEVERED);
    table.connect(7, TCP, OTHER, ANSWERED);
    let all_green = sorted(green.into_iter().chain([opening]));

    assert_eq!(table.found(Chosen::Splits([GREEN].into())), all_green);
    assert_eq!(table.found(Chosen::Shareless { backends: false }), all_green);
    assert_eq!(table.found(Chosen::Shareless { backends: true }), all_green);
    assert_eq!(table.found(Chosen::Backends([GREEN.into()].into())), all_green);
    assert_eq!(table.found(Chosen::Splits(BTreeSet::new())), [0; 0]);

    table.states[usize::from(BLUE)] = State::Draining;
    assert_eq!(table.found(Chosen::Shareless { backends: false }), all_green);
    let both = sorted(all_green.into_iter().chain([blue]));
    assert_eq!(table.found(Chosen::Shareless { backends: true }), both);
}

#[test]
fn tcp_is_marked_both_ways_and_datagrams_lose_their_way_forth() {
    let table = Table::new();
    let begun = Instant::now();
    let [tcp, udp] = [TCP, UDP].map(|protocol| table.connect(2, protocol, GREEN, ANSWERED));
    let backs = [tcp, udp].map(|place| find_at(&table.memory, place).unwrap().values.partner);
    let mut job = table.job(Rate::All, begun);
    let mut expired = BTreeMap::new();

    job.step(&table.place(), begun, &mut expired);

    assert!(table.head(tcp).unwrap().has(Head::SEVERED));
    assert!(table.head(backs[0]).unwrap().has(Head::SEVERED));
    assert_eq!(table.head(udp), None);
    assert!(table.head(backs[1]).unwrap().has(Head::RESET), "answers come back, and it ages");
    assert_eq!(expired, [(GREEN, 1)].into(), "no packet tells of that end");
    assert_eq!((job.progress().ended, job.progress().left), (2, 0));
    assert_eq!(job.progress().found[&key("green")], Found { tcp: 1, udp: 1 });
}

#[test]
fn what_ended_or_is_another_connection_by_now_is_left_alone() {
    let table = Table::new();
    let begun = Instant::now();
    let places = [1, 2, 3].map(|number| table.connect(number, TCP, GREEN, ANSWERED));
    let mut job = table.job(Rate::All, begun);
    let first = find_at(&table.memory, places[0]).unwrap();
    assert!(flows::free_pair(&table.memory, &first, table.seed, flows::Back::Goes));
    let again = table.connect(1, TCP, GREEN, ANSWERED);

    job.step(&table.place(), begun, &mut BTreeMap::new());

    assert!(!table.head(again).unwrap().has(Head::SEVERED));
    let Progress { ended, gone, left, .. } = *job.progress();
    assert_eq!((ended, gone, left), (2, 1, 0));
}

#[test]
fn no_more_end_than_the_pace_allows() {
    let table = Table::new();
    for number in 0..100 {
        table.connect(number, TCP, GREEN, ANSWERED);
    }
    let begun = Instant::now();
    let mut job = table.job(Rate::Percent(10), begun);
    assert_eq!(job.progress().per_second, Some(10));
    let after = |job: &mut Job, millis| {
        job.step(&table.place(), begun + Duration::from_millis(millis), &mut BTreeMap::new());
        job.progress().ended
    };

    assert_eq!(after(&mut job, 0), 0);
    assert_eq!(after(&mut job, 99), 0);
    assert_eq!(after(&mut job, 100), 1);
    assert_eq!(after(&mut job, 349), 3);
    assert_eq!(after(&mut job, 1_000), 10);
    // A thread that was away for a minute does not end sixty seconds' worth at once.
    assert_eq!(after(&mut job, 61_000), 20);
    for second in 62..70 {
        after(&mut job, second * 1_000);
    }
    assert_eq!((job.progress().ended, job.progress().left), (100, 0));
}

#[test]
fn a_second_look_finds_what_began_under_the_record_before() {
    let table = Table::new();
    let begun = Instant::now();
    table.connect(1, TCP, GREEN, ANSWERED);
    let mut job = table.job(Rate::All, begun);
    job.step(&table.place(), begun, &mut BTreeMap::new());
    assert!(job.is_running());
    assert!(!job.wants_to_look_again(begun));
    let late = table.connect(2, TCP, GREEN, 0);
    let then = begun + SETTLED;
    assert!(job.wants_to_look_again(then));

    job.look_again(&table.place());
    job.step(&table.place(), then, &mut BTreeMap::new());

    assert!(table.head(late).unwrap().has(Head::SEVERED));
    assert_eq!((job.progress().ended, job.progress().stage), (2, Stage::Done));
    assert!(!job.wants_to_look_again(then + SETTLED));
}

#[test]
fn a_job_that_is_stopped_ends_nothing_more() {
    let table = Table::new();
    let place = table.connect(1, TCP, GREEN, ANSWERED);
    let mut job = table.job(Rate::All, Instant::now());

    job.stop();

    assert_eq!(job.progress().stage, Stage::Stopped);
    assert!(!job.is_running());
    assert!(!table.head(place).unwrap().has(Head::SEVERED));
}

#[test]
fn a_new_balance_ends_those_whose_draw_has_moved_and_no_more_than_the_surplus() {
    for protocol in [TCP, UDP] {
        let table = Table::new();
        let record = |blue: u16| Record {
            bounds: bounds(&[blue, WHOLE - blue]),
            count: 2,
            statistics: std::array::from_fn(|split| [BLUE, GREEN].get(split).copied().unwrap_or(0)),
            ..Record::default()
        };
        let draw = |record: &Record, number: u32| {
            let client = at(10, number, 4000, protocol);
            record.statistics_of(flow_hash(SEED, client, frontend(protocol), false)).unwrap()
        };
        let order = |record: Record, blue: u16| Choice {
            shares: [(BLUE, blue), (GREEN, WHOLE - blue)].into(),
            ..choice(Chosen::Surplus { record: Box::new(record), seed: SEED }, Rate::All)
        };
        let (half, most) = (record(5_000), record(9_000));
        let mut of = BTreeMap::new();
        for number in 0..1_000 {
            of.insert(table.connect(number, protocol, draw(&half, number), ANSWERED), number);
        }
        let green = of.values().filter(|number| draw(&half, **number) == GREEN).count();
        let moved = of.values().filter(|n| draw(&half, **n) != draw(&most, **n)).count();

        let turns = table.place().collect(&order(most, 9_000));

        assert!(turns.iter().all(|turn| turn.statistics == GREEN), "blue has too few");
        assert!(turns.iter().all(|turn| draw(&most, of[&turn.place]) == BLUE));
        assert_eq!(turns.len(), moved.min(green - 100), "{moved} of {green}");
        assert!((350..=450).contains(&turns.len()), "{}", turns.len());

        // The shares that there are: nobody has to go.
        assert_eq!(table.place().collect(&order(half, 5_000)), []);
    }
}
