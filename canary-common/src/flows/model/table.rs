//! Small tables, their tuples, and the rules that hold whenever nothing is under way.

use std::collections::HashMap;

use crate::endpoint::{Address, Endpoint, TCP};
use crate::flows::{
    Bucket, Client, Entry, Flows, Hash, Head, Key, Kind, Limit, PLACES, Request, Seed, Values,
    find_at, key_of,
};
use crate::memory::Memory;

/// The second it is.
pub(crate) const NOW: u32 = 1000;
/// A place that is none.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// How tables of this many buckets are hashed.
pub(crate) const fn seed(buckets: u32) -> Seed {
    Seed { seed: 0x6a09_e667_f3bc_c908, buckets }
}

/// Buckets, all free.
pub(crate) fn memory(buckets: u32) -> Memory {
    Memory { flows: (0..buckets).map(|_| Bucket::default()).collect(), ..Memory::default() }
}

fn client(number: u16) -> Endpoint {
    let [a, b] = number.to_be_bytes();
    Endpoint { address: Address::v4([10, 1, a, b]), port: [0x80 | b, a], protocol: TCP }
}

/// The tuple of client `number` on its way to a frontend.
pub(crate) fn to_frontend(number: u16) -> Key {
    let frontend = Endpoint { address: Address::v4([10, 96, 0, 1]), port: [0, 80], protocol: TCP };
    Key::new(client(number), frontend)
}

/// The tuple of an answer to client `number`.
pub(crate) fn to_client(number: u16) -> Key {
    let backend = Endpoint { address: Address::v4([10, 2, 0, 1]), port: [31, 144], protocol: TCP };
    Key::new(backend, client(number))
}

/// Values that only client `number`'s entries have.
///
/// Other words of the body are the same for all, since each that differs multiplies the states:
/// the client's address, the ports with the statistics id, and the backend do not.
pub(crate) fn values(number: u16) -> Values {
    let id = u32::from(number);
    Values {
        statistics: number,
        flags: 0,
        backend: id,
        interface: id,
        port: [0, 1],
        frontend: 1,
        partner: NOWHERE,
        mark: 0,
    }
}

/// An insert for client `number`: half open, and may push out what is.
pub(crate) fn request(number: u16, kind: Kind) -> Request {
    let key = if kind == Kind::Forward { to_frontend(number) } else { to_client(number) };
    let values = values(number);
    Request { key, values, kind, state: 0, limit: Limit::HalfOpen, spare: NOWHERE, now: NOW }
}

/// Which end of an entry of this kind is the client.
pub(crate) fn side(kind: Kind) -> Client {
    if matches!(kind, Kind::Forward | Kind::Foreign) {
        Client::IsSource
    } else {
        Client::IsDestination
    }
}

/// Where the entry of a request may be.
pub(crate) fn hash(request: &Request, by: Seed) -> Hash {
    Hash::of(&request.key, side(request.kind), by)
}

/// Stores an entry at a place of the test's choice.
pub(crate) fn put(memory: &Memory, place: u32, request: &Request, by: Seed) {
    let hash = hash(request, by);
    let (bucket, index) = at(memory, place);
    let mut values = request.values;
    if place >> 3 != hash.first {
        values.flags |= Values::SPILLED;
        memory.add(&memory.flows(hash.first).unwrap().own, 1 << 32);
    }
    let [a, b, c, d, tail] = request.key.0;
    let [e, f, g, h] = values.words(tail);
    for (word, value) in bucket.bodies[index].words.iter().zip([a, b, c, d, e, f, g, h]) {
        word.store(value);
    }
    let head = Head::live(Head(0), hash.tag, request.kind, request.state, request.now);
    bucket.heads[index].store(head.0);
}

/// The bucket of a place, and the place within.
pub(crate) fn at(memory: &Memory, place: u32) -> (&Bucket, usize) {
    (memory.flows(place >> 3).unwrap(), usize::try_from(place & 7).unwrap())
}

/// The head at a place.
pub(crate) fn head(memory: &Memory, place: u32) -> Head {
    let (bucket, index) = at(memory, place);
    Head(bucket.heads[index].load())
}

/// Fills a bucket with answered connections, but for its last `open` places.
pub(crate) fn fill(memory: &Memory, bucket: u32, open: u32, by: Seed) {
    let places = u32::try_from(PLACES).unwrap() - open;
    let fillers = (50_000..).map(|number| request(number, Kind::Forward));
    let mut fillers = fillers.filter(|filler| hash(filler, by).first == bucket);
    for index in 0..places {
        let filler = Request { state: Head::ANSWERED, ..fillers.next().unwrap() };
        put(memory, bucket << 3 | index, &filler, by);
    }
}

/// Clients whose entries of a kind have one tag, and the two choices that are wanted.
pub(crate) fn twins<const N: usize>(kind: Kind, by: Seed, choices: [u32; 2]) -> [u16; N] {
    let mut by_tag = HashMap::<u64, Vec<u16>>::new();
    for number in 1..50_000 {
        let hash = hash(&request(number, kind), by);
        if [hash.first, hash.second] == choices {
            let same = by_tag.entry(hash.tag).or_default();
            same.push(number);
            if let Ok(found) = same.as_slice().try_into() {
                return found;
            }
        }
    }
    panic!("no twins")
}

/// All entries that live, with their keys.
pub(crate) fn entries(memory: &Memory) -> Vec<(Entry<'_>, Key)> {
    let buckets = u32::try_from(memory.flows.len()).unwrap();
    let places = (0..buckets << 3).filter(|place| place & 7 != 7);
    let entries = places.filter_map(|place| find_at(memory, place));
    entries.map(|entry| (entry, key_of(memory, &entry))).collect()
}

/// How many entries of a request's tuple and side live.
pub(crate) fn count(memory: &Memory, request: &Request) -> usize {
    let entries = entries(memory);
    let same = |(entry, key): &&(Entry<'_>, Key)| {
        *key == request.key && side(entry.head.kind()) == side(request.kind)
    };
    entries.iter().filter(same).count()
}

/// Whether values are those of client `number`, wherever its entry is.
pub(crate) fn are_of(values: &Values, number: u16) -> bool {
    let flags = values.flags & !Values::SPILLED;
    Values { flags, partner: NOWHERE, ..*values } == self::values(number)
}

/// Nothing is locked or claimed, each tuple lives once, and the spilled are counted.
///
/// # Errors
///
/// The rule that is broken.
pub(crate) fn settled(memory: &Memory, by: Seed) -> Result<(), String> {
    let mut spilled = vec![0; memory.flows.len()];
    let mut keys = Vec::new();
    for (entry, key) in entries(memory) {
        let (kind, place) = (entry.head.kind(), entry.place);
        let hash = Hash::of(&key, side(kind), by);
        if entry.values.has(Values::SPILLED) {
            spilled[usize::try_from(hash.first).unwrap()] += 1;
        }
        let choice = if entry.values.has(Values::SPILLED) { hash.second } else { hash.first };
        if place >> 3 != choice {
            return Err(format!("misplaced: {place}"));
        }
        if keys.contains(&(key, side(kind) == Client::IsSource)) {
            return Err("two entries of one tuple".to_owned());
        }
        keys.push((key, side(kind) == Client::IsSource));
    }
    for (bucket, spilled) in memory.flows.iter().zip(spilled) {
        let own = bucket.own.load();
        if own & 1 != 0 {
            return Err("a lock is lost".to_owned());
        }
        if own >> 32 != spilled {
            return Err(format!("spilled: {spilled} are, {} are counted", own >> 32));
        }
        if bucket.heads.iter().any(|head| Head(head.load()).kind() == Kind::Claimed) {
            return Err("a place stays claimed".to_owned());
        }
    }
    Ok(())
}
