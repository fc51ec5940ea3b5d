use std::collections::{BTreeMap, HashMap};

use proptest::collection::vec;
use proptest::prelude::*;

use super::key::TAIL;
use super::model::table::{
    NOW, are_of, at, count, entries, fill, hash, head, memory, put, request, seed, settled, side,
    twins,
};
use super::*;
use crate::endpoint::{Address, Endpoint};
use crate::memory::Memory;
use crate::stats::Counter;

const KINDS: [Kind; 4] = [Kind::Forward, Kind::Foreign, Kind::Return, Kind::Straight];
const STATES: [u64; 6] = [
    0,
    Head::ANSWERED,
    Head::AGAIN,
    Head::ANSWERED | Head::OVER,
    Head::ANSWERED | Head::UDP,
    Head::RESET,
];

/// One change of a table.
#[derive(Clone, Copy, Debug)]
enum Change {
    Insert(u16, Kind, u64, Limit),
    Free(u16, Kind),
    Mark(u16, Kind),
}

fn changes(limits: &'static [Limit]) -> impl Strategy<Value = Vec<Change>> {
    let (kind, state) = (proptest::sample::select(&KINDS), proptest::sample::select(&STATES));
    let limit = proptest::sample::select(limits);
    let change =
        (0..4_u8, 1..40_u16, kind, state, limit).prop_map(|(what, number, kind, state, limit)| {
            match what {
                0 => Change::Free(number, kind),
                1 => Change::Mark(number, kind),
                _ => Change::Insert(number, kind, state, limit),
            }
        });
    vec(change, 1..120)
}

fn lookup<'t>(memory: &'t Memory, request: &Request, by: Seed) -> Option<Entry<'t>> {
    find(memory, &request.key, hash(request, by), side(request.kind))
}

/// What `request` makes of a client of the model: `Foreign` has the tuple of `Forward`.
fn requested(number: u16, kind: Kind) -> Request {
    let stored_as = if kind == Kind::Foreign { Kind::Forward } else { kind };
    Request { kind, ..request(number, stored_as) }
}

/// Makes a change; what became of an insert.
fn make(memory: &Memory, change: Change, by: Seed) -> Option<Stored> {
    match change {
        Change::Insert(number, kind, state, limit) => {
            let request = Request { state, limit, ..requested(number, kind) };
            Some(insert(memory, &request, by))
        }
        Change::Free(number, kind) => {
            let request = requested(number, kind);
            if let Some(entry) = lookup(memory, &request, by) {
                assert!(free(memory, &entry, by));
            }
            None
        }
        Change::Mark(number, kind) => {
            if let Some(entry) = lookup(memory, &requested(number, kind), by) {
                assert_eq!(mark(memory, &entry, Head::FIN, 0), Some(entry.head));
            }
            None
        }
    }
}

proptest! {
    #[test]
    fn a_table_is_a_map(changes in changes(&[Limit::Free])) {
        let (by, memory) = (seed(4), memory(4));
        let mut map = HashMap::new();

        for change in changes {
            let stored = make(&memory, change, by);
            match change {
                Change::Insert(number, kind, ..) => {
                    let key = (number, side(kind) == Client::IsSource);
                    let exists = map.contains_key(&key);
                    match stored {
                        Some(Stored::At(_)) => assert_eq!(map.insert(key, (kind, false)), None),
                        Some(Stored::Exists) => assert!(exists),
                        Some(Stored::Full) => assert!(!exists && map.len() >= 7),
                        other => panic!("{other:?}"),
                    }
                }
                Change::Free(number, kind) => {
                    map.remove(&(number, side(kind) == Client::IsSource));
                }
                Change::Mark(number, kind) => {
                    map.entry((number, side(kind) == Client::IsSource)).and_modify(|it| it.1 = true);
                }
            }
        }

        settled(&memory, by).unwrap();
        prop_assert_eq!(entries(&memory).len(), map.len());
        for number in 1..40 {
            for kind in [Kind::Forward, Kind::Return] {
                let found = lookup(&memory, &request(number, kind), by);
                let expected = map.get(&(number, kind == Kind::Forward)).copied();
                let seen = found.map(|it| (it.head.kind(), it.head.has(Head::FIN)));
                prop_assert_eq!(seen, expected);
                prop_assert!(found.is_none_or(|found| are_of(&found.values, number)));
            }
        }
    }

    #[test]
    fn an_answered_tcp_entry_is_never_pushed_out(
        changes in changes(&[Limit::HalfOpen, Limit::Exchange, Limit::Idle]),
    ) {
        let (by, memory) = (seed(2), memory(2));
        let mut answered = HashMap::new();

        for change in changes {
            match (change, make(&memory, change, by)) {
                (Change::Insert(number, kind, Head::ANSWERED, _), Some(Stored::At(place))) => {
                    answered.insert((number, side(kind) == Client::IsSource), (kind, place));
                }
                (Change::Free(number, kind), _) => {
                    answered.remove(&(number, side(kind) == Client::IsSource));
                }
                _ => {}
            }
            for ((number, _), (kind, place)) in &answered {
                let entry = lookup(&memory, &requested(*number, *kind), by).unwrap();
                prop_assert_eq!(entry.place, *place);
            }
        }

        settled(&memory, by).unwrap();
    }

    #[test]
    fn a_head_gives_back_what_was_put_in(
        before: u64,
        tag in 0..1_u64 << 12,
        state: u64,
        now: u32,
        kind in proptest::sample::select(&KINDS),
    ) {
        let (before, state) = (Head(before), state & Head::STATE);
        let claimed = before.claimed();

        let head = Head::live(claimed, tag, kind, state, now);

        prop_assert_eq!((head.kind(), head.seen(), head.idle(now)), (kind, now, 0));
        prop_assert_eq!((head.0 & Head::TAG, head.0 & Head::STATE), (tag, state));
        prop_assert_eq!((claimed.kind(), claimed.freed().kind()), (Kind::Claimed, Kind::Free));
        prop_assert_eq!(head.0 & Head::VERSION, head.freed().0);
        prop_assert_ne!(before.0 & Head::VERSION, claimed.0 & Head::VERSION);
        prop_assert!(!head.is_of_same(before.freed().claimed().claimed()));
        prop_assert!(head.is_of_same(Head(head.0 ^ (state | 7 << 32))));
    }

    #[test]
    fn values_give_back_what_was_put_in(
        (statistics, flags, port) in any::<(u16, u8, [u8; 2])>(),
        [backend, interface, frontend, partner, mark] in any::<[u32; 5]>(),
        tail: u64,
    ) {
        let values =
            Values { statistics, flags, backend, interface, port, frontend, partner, mark };

        let words = values.words(tail);

        prop_assert_eq!(Values::of(words), values);
        prop_assert_eq!(words[0] & TAIL, tail & TAIL);
    }

    #[test]
    fn both_directions_have_one_first_choice(
        (client, frontend, backend) in any::<([u8; 16], [u8; 16], [u8; 16])>(),
        (own, service, pod) in any::<([u8; 2], [u8; 2], [u8; 2])>(),
        protocol: u8,
        by: u64,
    ) {
        let end = |address, port| Endpoint { address: Address(address), port, protocol };
        let (client, by) = (end(client, own), Seed { seed: by, buckets: 1 << 20 });
        let forth = Key::new(client, end(frontend, service));
        let back = Key::new(end(backend, pod), client);

        let forth = Hash::of(&forth, Client::IsSource, by);
        let back = Hash::of(&back, Client::IsDestination, by);

        prop_assert_eq!(forth.first, back.first);
        prop_assert!(forth.second < by.buckets && back.second < by.buckets);
    }
}

#[test]
fn an_entry_goes_to_its_second_choice_and_is_counted_there() {
    let (by, memory) = (seed(2), memory(2));
    fill(&memory, 0, 0, by);
    let [number] = twins(Kind::Forward, by, [0, 1]);
    let request = request(number, Kind::Forward);

    let home = 8 + u32::try_from(hash(&request, by).home()).unwrap();
    assert_eq!(insert(&memory, &request, by), Stored::At(home));
    assert_eq!(insert(&memory, &request, by), Stored::Exists);

    let entry = lookup(&memory, &request, by).unwrap();
    assert!(entry.place == home && entry.values.has(Values::SPILLED));
    assert_eq!(spilled_from(&memory, &entry, by), Some(0));
    assert_eq!(memory.flows[0].own.load() >> 32, 1);
    assert!(free(&memory, &entry, by));
    assert_eq!(memory.flows[0].own.load() >> 32, 0);
    assert!(lookup(&memory, &request, by).is_none());
}

#[test]
fn each_insert_is_counted_in_its_bucket_and_the_count_runs_over_into_nothing() {
    for (before, after) in [(0, 2), (0x7_ffff_fffc, 0x7_ffff_fffe), (0x7_ffff_fffe, 0x7_0000_0000)]
    {
        let (by, memory) = (seed(1), memory(1));
        memory.flows[0].own.store(before);

        insert(&memory, &request(1, Kind::Forward), by);

        assert_eq!(memory.flows[0].own.load(), after, "{before:#x}");
    }
}

#[test]
fn a_number_of_spilled_entries_is_repaired_unless_something_spilled_since() {
    let (by, memory) = (seed(2), memory(2));
    fill(&memory, 0, 0, by);
    let [a, b] = twins(Kind::Forward, by, [0, 1]).map(|number| request(number, Kind::Forward));
    insert(&memory, &a, by);
    // Somebody died between an entry's end and its number.
    let own = &memory.flows[0].own;
    own.store(own.load() + (1 << 32));
    let seen = own.load();
    assert!(!repair(&memory, 0, seen, 3), "more than there are");
    assert!(!repair(&memory, 0, seen | 1, 1), "while an insert is under way");
    assert!(matches!(insert(&memory, &b, by), Stored::At(_)));
    let entry = lookup(&memory, &a, by).unwrap();
    assert!(free(&memory, &entry, by));

    assert!(own.load() >> 32 == seen >> 32, "the number is the same, what it counts is not");
    assert!(!repair(&memory, 0, seen, 1));
    assert!(repair(&memory, 0, own.load(), 1));

    settled(&memory, by).unwrap();
    assert_eq!((own.load() >> 32, count(&memory, &b)), (1, 1));
}

/// An entry of each rank, with seven different ages.
fn ranked() -> [(Limit, Request); 7] {
    let forward =
        |number, state, idle| Request { state, now: NOW - idle, ..request(number, Kind::Forward) };
    let udp = Head::UDP | Head::ANSWERED;
    let straight = Request { now: NOW - 5, ..request(4, Kind::Straight) };
    let fragment = Request { now: NOW, ..request(3, Kind::Fragment) };
    [
        (Limit::Idle, forward(1, udp | Head::OVER, 30)),
        (Limit::Exchange, forward(2, udp, 20)),
        (Limit::Traces, fragment),
        (Limit::Traces, straight),
        (Limit::HalfOpen, forward(5, 0, 40)),
        (Limit::Closed, forward(6, Head::ANSWERED | Head::OVER, 10)),
        (Limit::Again, forward(7, Head::AGAIN, 50)),
    ]
}

#[test]
fn what_matters_least_goes_first() {
    let (by, memory) = (seed(1), memory(1));
    let mut ranked = ranked();
    for (place, (_, request)) in (0..).zip(&ranked) {
        put(&memory, place, request, by);
    }
    ranked.sort_by_key(|(limit, request)| (*limit, request.now));
    for ((limit, victim), number) in ranked.iter().zip(100..) {
        let new = Request { state: Head::ANSWERED, ..request(number, Kind::Forward) };
        for lower in Limit::ALL.into_iter().filter(|lower| lower < limit) {
            assert_eq!(insert(&memory, &Request { limit: lower, ..new }, by), Stored::Full);
        }
        assert_eq!(count(&memory, victim), 1);
        let stored = insert(&memory, &Request { limit: *limit, ..new }, by);
        assert!(matches!(stored, Stored::At(_)), "{limit:?}: {stored:?}");
        assert_eq!(count(&memory, victim), 0, "{limit:?}");
    }

    let evictions = || memory.evictions.each_ref().map(core::cell::Cell::get);
    let refused = evictions()[usize::try_from(NO_ROOM).unwrap()];
    let new = Request { limit: Limit::Idle, ..request(200, Kind::Forward) };
    assert_eq!(insert(&memory, &new, by), Stored::Full);
    assert_eq!(evictions(), [0, 1, 2, 1, 1, 1, 1, refused + 1]);
    assert_eq!(memory.counter(1, Counter::PushedOut), 1);
    assert_eq!(memory.counter(2, Counter::PushedOut), 1);
    assert_eq!(memory.counter(6, Counter::PushedOut), 0);
    settled(&memory, by).unwrap();
}

#[test]
fn of_one_rank_the_idlest_of_both_choices_goes_first() {
    let (by, memory) = (seed(2), memory(2));
    fill(&memory, 0, 1, by);
    fill(&memory, 1, 1, by);
    let [a, b, new] = twins(Kind::Forward, by, [0, 1]);
    let [a, b, new] = [a, b, new].map(|number| request(number, Kind::Forward));
    put(&memory, 6, &Request { now: NOW - 3, ..a }, by);
    put(&memory, 14, &Request { now: NOW - 4, ..b }, by);

    assert_eq!(insert(&memory, &Request { spare: 14, ..new }, by), Stored::At(6));
    let entry = lookup(&memory, &new, by).unwrap();
    assert!(free(&memory, &entry, by));
    put(&memory, 6, &Request { now: NOW - 3, ..a }, by);
    assert_eq!(insert(&memory, &new, by), Stored::At(14));
    settled(&memory, by).unwrap();
}

/// Stores both entries of a connection at two places.
fn put_pair(memory: &Memory, [forward, back]: [u32; 2], state: u64, by: Seed) -> [Request; 2] {
    [(Kind::Forward, forward, back), (Kind::Return, back, forward)].map(|(kind, place, partner)| {
        let request = request(1, kind);
        let values = Values { partner, ..request.values };
        let request = Request { values, state, now: NOW - 20, ..request };
        put(memory, place, &request, by);
        request
    })
}

#[test]
fn a_connection_is_pushed_out_whole() {
    for places in [[5, 6], [6, 5]] {
        let (by, memory) = (seed(1), memory(1));
        fill(&memory, 0, 2, by);
        let pair = put_pair(&memory, places, 0, by);

        let stored = insert(&memory, &request(2, Kind::Forward), by);

        assert!(matches!(stored, Stored::At(5 | 6)), "{stored:?}");
        assert_eq!(pair.map(|request| count(&memory, &request)), [0, 0]);
        settled(&memory, by).unwrap();
    }
}

#[test]
fn a_connection_is_freed_whole_from_either_end() {
    for end in [0, 1] {
        let (by, memory) = (seed(1), memory(1));
        let pair = put_pair(&memory, [3, 5], Head::ANSWERED, by);
        let entry = lookup(&memory, &pair[end], by).unwrap();
        let other = partner(&memory, &entry);
        assert!(other.is_there());
        let key = key_of(&memory, &other);
        assert_eq!((other.place, key), ([5, 3][end], pair[1 - end].key));

        assert!(free_pair(&memory, &entry, by, Back::Goes));

        assert!(!free_pair(&memory, &entry, by, Back::Goes));
        assert!(entries(&memory).is_empty() && !partner(&memory, &entry).is_there());
        assert!(find_at(&memory, 3).is_none() && find_at(&memory, 7).is_none());
    }
}

#[test]
fn a_return_alone_is_kept_while_its_insert_may_be_under_way() {
    let (by, memory) = (seed(1), memory(1));
    fill(&memory, 0, 1, by);
    let young = Request { now: NOW - 1, ..request(1, Kind::Return) };
    put(&memory, 6, &young, by);
    let entry = lookup(&memory, &young, by).unwrap();

    assert!(!free_pair(&memory, &entry, by, Back::Goes));
    assert_eq!(insert(&memory, &request(2, Kind::Forward), by), Stored::Busy);
    let later = Request { now: NOW + 1, ..request(2, Kind::Forward) };
    assert_eq!(insert(&memory, &later, by), Stored::At(6));
    assert_eq!(count(&memory, &young), 0);
}

#[test]
fn a_second_is_noted_and_nothing_else_changes() {
    let (by, memory) = (seed(1), memory(1));
    put(&memory, 2, &Request { state: Head::FIN, ..request(1, Kind::Forward) }, by);
    let entry = lookup(&memory, &request(1, Kind::Forward), by).unwrap();

    touch(&memory, &entry, NOW + 9);

    let (bucket, index) = at(&memory, 2);
    assert_eq!(head(&memory, 2).seen(), NOW + 9);
    assert_eq!(low(bucket.heads[index].load()), low(entry.head.0));
    assert_eq!((head(&memory, 2).idle(NOW + 10), head(&memory, 2).idle(NOW)), (1, 0));
}

#[test]
fn every_limit_has_its_number() {
    for (number, limit) in (0..).zip(Limit::ALL) {
        assert_eq!((Limit::of_number(number), limit.rank()), (Some(limit), number));
    }
    assert_eq!(Limit::of_number(7), None);
}

/// Both directions of connections, up to `percent` of all places; how many entries were wanted,
/// and found no place.
fn filled(buckets: u32, percent: usize) -> (usize, usize, BTreeMap<u32, usize>) {
    let (by, memory) = (seed(buckets), memory(buckets));
    let wanted = usize::try_from(buckets).unwrap() * PLACES * percent / 100;
    let mut refused = 0;
    for number in (1..).take(wanted / 2) {
        for kind in [Kind::Forward, Kind::Return] {
            let new =
                Request { limit: Limit::Free, state: Head::ANSWERED, ..request(number, kind) };
            refused += usize::from(insert(&memory, &new, by) == Stored::Full);
        }
    }
    settled(&memory, by).unwrap();
    let mut spilled = BTreeMap::<u32, usize>::new();
    for bucket in &memory.flows {
        *spilled.entry(high(bucket.own.load())).or_default() += 1;
    }
    (wanted, refused, spilled)
}

#[test]
fn up_to_seventy_percent_nearly_all_find_a_place() {
    // Of a thousand answered entries, which nothing pushes out.
    for (percent, at_most) in [(50, 0), (60, 1), (70, 3)] {
        let (wanted, refused, spilled) = filled(4096, percent);

        println!("{percent} %: of {wanted} {refused} found no place; by spilled: {spilled:?}");
        assert!(refused * 1000 <= wanted * at_most, "{percent} %: {refused} of {wanted}");
    }
}
