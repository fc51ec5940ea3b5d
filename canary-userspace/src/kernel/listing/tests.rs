//! A table in plain memory, and what is listed of it.

use canary_common::endpoint::{TCP, UDP};
use canary_common::flows::{Bucket, Key, Limit, NO_PARTNER, Request, Seed, Stored, insert, link};
use canary_common::memory::Memory;

use super::*;
use crate::seen::Whose;

const NOW: u32 = 100_000;
const SEED: Seed = Seed { seed: 0x0123_4567_89ab_cdef, buckets: 64 };

/// Names that follow from the numbers.
struct Numbers;

impl Names for Numbers {
    fn backend(&self, id: u32) -> Option<Endpoint> {
        (id < 100).then(|| at(12, id, 8080, TCP))
    }

    fn frontend(&self, id: u32) -> Option<(Endpoint, String)> {
        Some((at(11, id, 80, TCP), format!("service-{id}")))
    }

    fn service(&self, id: u32) -> Option<String> {
        Some(format!("service-{id}"))
    }

    fn split(&self, statistics: u16) -> Option<SplitKey> {
        let service = "service-1".to_owned();
        let target = format!("target-{statistics}");
        Some(SplitKey { service, target, subset: "blue".to_owned() })
    }

    fn interface(&self, index: u32) -> Option<String> {
        (index != 0).then(|| format!("veth{index}"))
    }
}

fn at(net: u8, number: u32, port: u16, protocol: u8) -> Endpoint {
    let [_, a, b, c] = number.to_be_bytes();
    Endpoint { address: Address::v4([net, a, b, c]), port: port.to_be_bytes(), protocol }
}

fn table() -> Memory {
    let flows = (0..SEED.buckets).map(|_| Bucket::default()).collect();
    Memory { flows, ..Memory::default() }
}

fn put(table: &Memory, key: Key, kind: Kind, values: Values, state: u64, idle: u32) -> u32 {
    let (limit, spare, now) = (Limit::Free, NO_PARTNER, NOW - idle);
    match insert(table, &Request { key, values, kind, state, limit, spare, now }, SEED) {
        Stored::At(place) => place,
        other => panic!("{other:?}"),
    }
}

fn values(client: Endpoint) -> Values {
    Values {
        statistics: 7,
        backend: 3,
        interface: 9,
        port: client.port,
        frontend: 1,
        partner: NO_PARTNER,
        ..Values::default()
    }
}

/// A connection by a frontend, with the state of both directions.
fn connect(table: &Memory, client: Endpoint, states: [u64; 2]) {
    let [forth, back] = states;
    let protocol = client.protocol;
    let key = Key::new(at(12, 3, 8080, protocol), client);
    let place = put(table, key, Kind::Return, values(client), back, 5);
    let key = Key::new(client, at(11, 1, 80, protocol));
    let values = Values { partner: place, ..values(client) };
    link(table, place, put(table, key, Kind::Forward, values, forth, 9));
}

fn all(table: &Memory, wanted: &Wanted) -> Vec<document::Flow> {
    list(table, &Numbers, wanted, NOW, 0, usize::MAX).flows
}

#[test]
fn a_connection_is_one_line_of_both_its_directions() {
    let table = table();
    let client = at(10, 1, 4000, TCP);
    connect(&table, client, [Head::ANSWERED, Head::ANSWERED | Head::SEVERED]);

    let found = all(&table, &Wanted::default());

    let expected = document::Flow {
        kind: "forward".to_owned(),
        state: Some("established".to_owned()),
        protocol: "tcp".to_owned(),
        client: "10.0.0.1:4000".to_owned(),
        destination: "11.0.0.1:80".to_owned(),
        backend: Some("12.0.0.3:8080".to_owned()),
        port: None,
        service: Some("service-1".to_owned()),
        target: Some("target-7".to_owned()),
        subset: Some("blue".to_owned()),
        interface: Some("veth9".to_owned()),
        idle_seconds: 5,
        severed: true,
    };
    assert_eq!(found, [expected]);
    let returns = Wanted { kinds: vec![Kind::Return], ..Wanted::default() };
    let found = all(&table, &returns);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].client, "10.0.0.1:4000");
    assert_eq!(found[0].destination, "11.0.0.1:80");
}

#[test]
fn every_kind_says_who_talks_to_whom() {
    let table = table();
    let client = at(10, 2, 4000, UDP);
    let translated = Values { port: 61_001_u16.to_be_bytes(), ..values(client) };
    put(&table, Key::new(client, at(11, 1, 80, UDP)), Kind::Forward, translated, Head::UDP, 1);
    // Its way forth is gone: shown by itself, with the client's own port.
    let lost = at(10, 3, 61_002, TCP);
    let own = Values { port: 4001_u16.to_be_bytes(), ..values(lost) };
    put(&table, Key::new(at(12, 3, 8080, TCP), lost), Kind::Return, own, 0, 2);
    let key = Key::new(at(12, 3, 8080, TCP), at(10, 4, 4002, TCP));
    put(&table, key, Kind::Straight, values(at(10, 4, 4002, TCP)), Head::FIN, 3);
    let key = Key::new(at(10, 5, 4003, TCP), at(11, 1, 80, TCP));
    put(&table, key, Kind::Foreign, values(at(10, 5, 4003, TCP)), 0, 4);

    let mut found = all(&table, &Wanted::default());

    found.sort_by(|a, b| a.client.cmp(&b.client));
    let shown: Vec<_> = found
        .iter()
        .map(|flow| {
            let state = flow.state.as_deref();
            let service = flow.service.as_deref();
            (flow.kind.as_str(), state, flow.client.as_str(), flow.port, service)
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("forward", Some("opening"), "10.0.0.2:4000", Some(61_001), Some("service-1")),
            ("return", Some("opening"), "10.0.0.3:4001", Some(61_002), Some("service-1")),
            ("straight", Some("opening"), "10.0.0.4:4002", None, None),
            ("foreign", None, "10.0.0.5:4003", None, Some("service-1")),
        ]
    );
    assert_eq!(found[0].protocol, "udp");
    assert_eq!(found[2].backend.as_deref(), Some("12.0.0.3:8080"));
    assert_eq!(found[3].backend, None);
}

#[test]
fn filters_hold_for_kind_state_whose_and_client_alike() {
    let table = table();
    for number in 0..20 {
        let state = if number % 2 == 0 { Head::ANSWERED } else { 0 };
        connect(&table, at(10, number, 4000, TCP), [state, state]);
    }
    put(
        &table,
        Key::new(at(12, 3, 8080, TCP), at(10, 50, 1, TCP)),
        Kind::Straight,
        values(at(10, 50, 1, TCP)),
        0,
        0,
    );
    let count = |wanted: &Wanted| all(&table, wanted).len();
    let of = |service: Option<&str>, subset: Option<&str>, client: Option<&str>| Wanted {
        whose: Whose {
            service: service.map(str::to_owned),
            subset: subset.map(str::to_owned),
            client: client.map(|client| client.parse().unwrap()),
        },
        ..Wanted::default()
    };

    assert_eq!(count(&Wanted::default()), 21);
    assert_eq!(count(&Wanted { states: vec![Idle::Established], ..Wanted::default() }), 10);
    assert_eq!(count(&Wanted { kinds: vec![Kind::Straight], ..Wanted::default() }), 1);
    assert_eq!(count(&of(Some("service-1"), None, None)), 20);
    assert_eq!(count(&of(Some("target-7"), Some("blue"), None)), 20);
    assert_eq!(count(&of(Some("target-8"), None, None)), 0);
    assert_eq!(count(&of(None, Some("green"), None)), 0);
    assert_eq!(count(&of(None, None, Some("10.0.0.5"))), 1);
    assert_eq!(count(&of(None, None, Some("10.0.0.0/30"))), 4);
}

#[test]
fn pages_have_every_entry_once_and_the_last_one_says_so() {
    let table = table();
    for number in 0..100 {
        connect(&table, at(10, number, 4000, TCP), [0, 0]);
    }

    let mut seen = Vec::new();
    let mut sizes = Vec::new();
    let mut from = Some(0);
    while let Some(place) = from {
        let page = list(&table, &Numbers, &Wanted::default(), NOW, place, 40);
        sizes.push(page.flows.len());
        seen.extend(page.flows.into_iter().map(|flow| flow.client));
        from = page.next;
    }

    assert_eq!(sizes, [40, 40, 20]);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 100);
}
