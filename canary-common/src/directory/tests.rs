use core::cell::{Cell, RefCell};

use super::*;
use crate::endpoint::{Address, TCP, UDP};
use crate::world::{Kind, World};
use proptest::prelude::*;

/// A word of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    First,
    Second,
    Tail,
    Value,
}

impl Field {
    fn index(self) -> usize {
        match self {
            Self::First => 0,
            Self::Second => 1,
            Self::Tail => 2,
            Self::Value => 3,
        }
    }
}

/// One thing a writer does: a store, or waiting until nobody reads who read before.
#[derive(Clone, Copy, Debug)]
enum Step {
    Store(Field, u64),
    Grace,
}

/// What a writer does, in the order of the agent's plan and writer.
fn reuse(old: Endpoint, new: Endpoint, occupant: Occupant) -> Vec<Step> {
    let [first, second] = new.address.words();
    let mut steps = vec![Step::Store(Field::Value, 0), Step::Grace];
    assert_ne!(old, new, "the plan gives an old key its old place");
    steps.extend([
        Step::Store(Field::Tail, 0),
        Step::Store(Field::First, first),
        Step::Store(Field::Second, second),
        Step::Store(Field::Tail, new.tail().into()),
        Step::Store(Field::Value, occupant.to_value().into()),
    ]);
    steps
}

/// Two entries that a writer changes while they are read: before each read some steps happen.
struct Race<'s> {
    words: RefCell<[[u64; 4]; 2]>,
    steps: &'s [Step],
    done: Cell<usize>,
    /// Whether the reader began before the grace period did: it ends after the reader.
    holds_grace: Cell<bool>,
    /// Steps to do before the read at hand; when it runs out, none.
    schedule: RefCell<Vec<usize>>,
    began: Cell<bool>,
}

/// An entry of a race.
struct Racer<'r, 's> {
    race: &'r Race<'s>,
    index: usize,
}

impl Race<'_> {
    fn read(&self, index: usize, field: Field) -> u64 {
        let stores = self.schedule.borrow_mut().pop().unwrap_or(0);
        for _ in 0..stores {
            self.step();
        }
        if !self.began.replace(true) {
            let grace = self.steps.iter().position(|step| matches!(step, Step::Grace));
            self.holds_grace.set(grace.is_some_and(|grace| self.done.get() < grace));
        }
        self.words.borrow()[index][field.index()]
    }

    /// The writer's next step, always in the first entry; none while a reader holds the grace.
    fn step(&self) {
        match self.steps.get(self.done.get()) {
            None => return,
            Some(Step::Grace) if self.holds_grace.get() => return,
            Some(Step::Grace) => {}
            Some(Step::Store(field, word)) => self.words.borrow_mut()[0][field.index()] = *word,
        }
        self.done.set(self.done.get() + 1);
    }
}

impl Words for Racer<'_, '_> {
    fn first(&self) -> u64 {
        self.race.read(self.index, Field::First)
    }

    fn second(&self) -> u64 {
        self.race.read(self.index, Field::Second)
    }

    fn tail(&self) -> u32 {
        low(self.race.read(self.index, Field::Tail))
    }

    fn value(&self) -> u32 {
        low(self.race.read(self.index, Field::Value))
    }
}

/// How a reader finds an endpoint in a bucket.
type Find = fn(&[Racer<'_, '_>; 2], Endpoint) -> Option<Occupant>;

/// The lookup under test.
const REAL: Find = |entries, endpoint| find_in(entries, endpoint);

/// Reads of a lookup, at most.
const READS: usize = 8;

/// All ways to spread at most `steps` steps over the reads.
fn schedules(steps: usize, reads: usize) -> Vec<Vec<usize>> {
    if reads == 0 {
        return vec![Vec::new()];
    }
    let spread = |now: usize| {
        schedules(steps - now, reads - 1).into_iter().map(move |mut rest| {
            rest.push(now);
            rest
        })
    };
    (0..=steps).flat_map(spread).collect()
}

/// Everything that lookups of `wanted` may find while `steps` turn `old` into something else.
fn found(
    find: Find,
    steps: &[Step],
    schedules: &[Vec<usize>],
    (old, occupant): (Endpoint, Occupant),
    (other, neighbour): (Endpoint, Occupant),
    wanted: Endpoint,
) -> Vec<Option<Occupant>> {
    let entry = |at: Endpoint, occupant: Occupant| {
        let [first, second] = at.address.words();
        [first, second, at.tail().into(), occupant.to_value().into()]
    };
    let mut all = Vec::new();
    for schedule in schedules {
        let race = Race {
            words: RefCell::new([entry(old, occupant), entry(other, neighbour)]),
            steps,
            done: Cell::new(0),
            holds_grace: Cell::new(false),
            schedule: RefCell::new(schedule.clone()),
            began: Cell::new(false),
        };
        let racers = [0, 1].map(|index| Racer { race: &race, index });
        let found = find(&racers, wanted);
        if !all.contains(&found) {
            all.push(found);
        }
    }
    all
}

const A: Occupant = Occupant::Frontend(1);
const B: Occupant = Occupant::Backend(2);
const C: Occupant = Occupant::Frontend(3);

fn at(address: [u8; 16], port: u8, protocol: u8) -> Endpoint {
    Endpoint { address: Address(address), port: [0, port], protocol }
}

/// Endpoints such that every word of a key is some other's word, too.
fn endpoints() -> Vec<Endpoint> {
    let address = |first: u8, second: u8| {
        let mut address = [0; 16];
        (address[7], address[15]) = (first, second);
        address
    };
    let mut all = Vec::new();
    for (first, second) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        for (port, protocol) in [(1, TCP), (1, UDP), (2, TCP)] {
            all.push(at(address(first, second), port, protocol));
        }
    }
    all
}

/// Whether every reader sees the old occupant, the new one or none, whatever comes when.
fn is_safe(find: Find, change: fn(Endpoint, Endpoint, Occupant) -> Vec<Step>) -> bool {
    let all = endpoints();
    let length = change(all[0], all[1], B).len();
    let schedules = schedules(length, READS);
    let neighbour = (at([9; 16], 9, TCP), C);
    let is_safe = |old: Endpoint, new: Endpoint| {
        let steps = change(old, new, B);
        let is_right = |wanted: Endpoint| {
            let allowed = if wanted == old {
                [None, Some(A)]
            } else if wanted == new {
                [None, Some(B)]
            } else {
                [None, None]
            };
            found(find, &steps, &schedules, (old, A), neighbour, wanted)
                .iter()
                .all(|found| allowed.contains(found))
        };
        all.iter().all(|wanted| is_right(*wanted))
            && found(find, &steps, &schedules, (old, A), neighbour, neighbour.0) == [Some(C)]
    };
    let old = all[4];
    all.iter().filter(|new| **new != old).all(|new| is_safe(old, *new))
}

#[test]
fn no_reader_ever_meets_a_wrong_occupant() {
    assert!(is_safe(REAL, reuse));
}

#[test]
fn a_place_without_grace_is_caught() {
    let hasty = |old, new, occupant| {
        let mut steps = reuse(old, new, occupant);
        steps.retain(|step| !matches!(step, Step::Grace));
        steps
    };

    assert!(!is_safe(REAL, hasty));
}

#[test]
fn a_value_stored_before_its_key_is_caught() {
    let planted = |old, new, occupant| {
        let mut steps = reuse(old, new, occupant);
        let value = steps.pop().unwrap();
        steps.insert(2, value);
        steps
    };

    assert!(!is_safe(REAL, planted));
}

#[test]
fn a_key_stored_over_a_living_value_is_caught() {
    let planted = |old, new, occupant| reuse(old, new, occupant)[2..].to_vec();

    assert!(!is_safe(REAL, planted));
}

#[test]
fn a_reader_that_compares_the_key_first_is_caught() {
    let key_first: Find = |entries, endpoint| {
        let [first, second] = endpoint.address.words();
        let holds = |entry: &&Racer<'_, '_>| {
            entry.second() == second && entry.tail() == endpoint.tail() && entry.first() == first
        };
        Occupant::from_value(entries.iter().find(holds)?.value())
    };

    assert!(!is_safe(key_first, reuse));
}

#[test]
fn an_old_key_in_its_old_place_needs_no_grace() {
    let all = endpoints();
    let steps = [Step::Store(Field::Value, 0), Step::Store(Field::Value, B.to_value().into())];
    let schedules = schedules(steps.len(), READS);

    let mut found = found(REAL, &steps, &schedules, (all[0], A), (all[1], C), all[0]);

    found.sort();
    assert_eq!(found, [None, Some(A), Some(B)]);
}

#[test]
fn a_reader_after_the_last_store_sees_the_new_occupant_alone() {
    let all = endpoints();
    let steps = reuse(all[0], all[5], B);
    let after = [[vec![0; READS - 1], vec![steps.len()]].concat()];

    let find = |wanted| found(REAL, &steps, &after, (all[0], A), (all[1], C), wanted);

    assert_eq!(find(all[5]), [Some(B)]);
    assert_eq!(find(all[0]), [None]);
}

#[test]
fn an_endpoint_whose_buckets_are_full_is_found_in_the_overflow() {
    let mut world = World::new(Kind::TCP[0]);
    let mask = world.tables.settings.bucket_mask.load();
    let hidden = world.kind.at(97, 1, 443);
    let [first, _] = buckets(hidden, mask);
    world.tables.overflow.insert(OverflowKey::of(hidden), A.to_value());
    assert_eq!(find(&world.tables, mask, hidden), None, "the bucket does not say so");

    let first = usize::try_from(first).unwrap();
    world.tables.buckets[first].entries[0].spare.store(OVERFLOW);

    assert_eq!(find(&world.tables, mask, hidden), Some(A));
    let other = world.kind.at(97, 2, 443);
    assert_eq!(find(&world.tables, mask, other), None);
}

proptest! {
    #[test]
    fn every_occupant_has_a_value_of_its_own(id in 0_u32..(1 << 31) - 1) {
        for occupant in [Occupant::Frontend(id), Occupant::Backend(id)] {
            prop_assert_ne!(occupant.to_value(), 0);
            prop_assert_eq!(Occupant::from_value(occupant.to_value()), Some(occupant));
        }
        let [frontend, backend] = [Occupant::Frontend(id), Occupant::Backend(id)];
        prop_assert_ne!(frontend.to_value(), backend.to_value());
    }

    #[test]
    fn both_buckets_are_in_the_table(
        address in any::<[u8; 16]>(), port in any::<[u8; 2]>(), bits in 0_u32..20,
    ) {
        let mask = (1 << bits) - 1;
        let endpoint = Endpoint { address: Address(address), port, protocol: TCP };

        prop_assert!(buckets(endpoint, mask).into_iter().all(|bucket| bucket <= mask));
    }
}

#[test]
fn endpoints_spread_over_the_buckets() {
    // 2^17 endpoints of one /15 into as many places: two choices leave few without one.
    let mask = (1 << 16) - 1;
    let mut used = vec![0_u8; 1 << 16];
    let mut overflow = 0;
    for index in 0..1_u32 << 17 {
        let [_, b, c, d] = index.to_be_bytes();
        let endpoint =
            Endpoint { address: Address::v4([10, b, c, d]), port: [0, 80], protocol: TCP };
        let choices = buckets(endpoint, mask).map(|bucket| usize::try_from(bucket).unwrap());
        let emptier = if used[choices[1]] < used[choices[0]] { choices[1] } else { choices[0] };
        if used[emptier] == 2 {
            overflow += 1;
        } else {
            used[emptier] += 1;
        }
    }

    // Half full, as the limits have it, far below one in a thousand; here the table is full.
    assert!(overflow < (1 << 17) / 8, "{overflow} of {} overflow", 1 << 17);
}
