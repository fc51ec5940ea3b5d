//! Events of every kind, with names.

use std::time::UNIX_EPOCH;

use canary_common::endpoint::TCP;

use super::*;
use crate::compile::SplitKey;

/// One service, one backend.
struct One;

impl Names for One {
    fn backend(&self, id: u32) -> Option<Endpoint> {
        (id == 3).then_some(at([12, 0, 0, 3], 8080))
    }

    fn frontend(&self, id: u32) -> Option<(Endpoint, String)> {
        (id == 1).then(|| (at([11, 0, 0, 1], 80), "web".to_owned()))
    }

    fn service(&self, id: u32) -> Option<String> {
        (id == 5).then(|| "web".to_owned())
    }

    fn split(&self, statistics: u16) -> Option<SplitKey> {
        let [service, target, subset] = ["web", "api", "blue"].map(str::to_owned);
        (statistics == 7).then_some(SplitKey { service, target, subset })
    }

    fn interface(&self, index: u32) -> Option<String> {
        Some(format!("veth{index}"))
    }
}

fn at(address: [u8; 4], port: u16) -> Endpoint {
    Endpoint { address: Address::v4(address), port: port.to_be_bytes(), protocol: TCP }
}

fn event(kind: Kind, source: Endpoint, destination: Endpoint) -> Event {
    Event {
        source: source.address.0,
        destination: destination.address.0,
        source_port: source.port,
        destination_port: destination.port,
        protocol: TCP,
        kind: kind.number(),
        reason: Event::NO_REASON,
        flags: Event::TUPLE,
        interface: 9,
        ..Event::default()
    }
}

fn told(event: &Event) -> Seen {
    seen(event, &One, UNIX_EPOCH).unwrap()
}

#[test]
fn a_translated_connection_has_its_split_and_the_port_that_its_backend_sees() {
    let flags = Event::TUPLE | Event::FLOW | Event::SPLIT | Event::BACKEND | Event::FRONTEND;
    let event = Event {
        flags,
        statistics: 7,
        backend: 3,
        frontend: 1,
        port: 61_001_u16.to_be_bytes(),
        ..event(Kind::Clash, at([10, 0, 0, 7], 4000), at([11, 0, 0, 1], 80))
    };

    let Seen { event, client, split, .. } = told(&event);

    let expected = document::Event {
        time: "1970-01-01T00:00:00.000000Z".to_owned(),
        kind: "clash".to_owned(),
        reason: None,
        sender: "client".to_owned(),
        protocol: Some("tcp".to_owned()),
        source: Some("10.0.0.7:4000".to_owned()),
        destination: Some("11.0.0.1:80".to_owned()),
        by: "packet".to_owned(),
        interface: Some("veth9".to_owned()),
        service: Some("web".to_owned()),
        target: Some("api".to_owned()),
        subset: Some("blue".to_owned()),
        backend: Some("12.0.0.3:8080".to_owned()),
        port: Some(61_001),
        answered: Some(false),
    };
    assert_eq!(event, expected);
    assert_eq!(client, Some(at([10, 0, 0, 7], 4000)));
    assert_eq!(split.map(|split| split.target), Some("api".to_owned()));
}

#[test]
fn of_a_backends_packet_the_client_is_whom_it_goes_to_by_its_own_port() {
    let flags = Event::TUPLE | Event::FLOW | Event::FROM_BACKEND | Event::ANSWERED | Event::SPLIT;
    let event = Event {
        flags,
        statistics: 7,
        port: 4000_u16.to_be_bytes(),
        ..event(Kind::Reset, at([12, 0, 0, 3], 8080), at([10, 0, 0, 7], 61_001))
    };

    let Seen { event, client, .. } = told(&event);

    assert_eq!(event.sender, "backend");
    assert_eq!(event.source.as_deref(), Some("12.0.0.3:8080"));
    assert_eq!(event.destination.as_deref(), Some("10.0.0.7:61001"));
    assert_eq!((event.port, event.answered), (Some(4000), Some(true)));
    assert_eq!(client, Some(at([10, 0, 0, 7], 4000)));
}

#[test]
fn what_was_refused_has_its_reason_and_the_service_it_was_for() {
    let event = Event {
        reason: u8::try_from(Reason::NoBackend.slot()).unwrap(),
        flags: Event::TUPLE | Event::FRONTEND,
        frontend: 1,
        ..event(Kind::Refused, at([10, 0, 0, 7], 4000), at([11, 0, 0, 1], 80))
    };

    let Seen { event, reason, service, split, .. } = told(&event);

    assert_eq!(reason, Some(Reason::NoBackend));
    assert_eq!(event.reason.as_deref(), Some("no-backend"));
    assert_eq!((service.as_deref(), split), (Some("web"), None));
    assert_eq!((event.port, event.answered, event.backend), (None, None, None));
}

#[test]
fn a_packet_that_cannot_be_read_has_no_ends_and_an_unknown_kind_is_left_out() {
    let unread = Event { flags: 0, ..event(Kind::Dropped, at([0; 4], 0), at([0; 4], 0)) };

    let Seen { event: shown, client, .. } = told(&unread);

    assert_eq!((shown.protocol, shown.source, shown.destination), (None, None, None));
    assert_eq!(client, None);
    assert!(seen(&Event { kind: 200, ..unread }, &One, UNIX_EPOCH).is_none());
}

#[test]
fn a_sockets_call_has_its_split_or_the_service_that_refused_it_and_no_port() {
    let (client, vip) = (at([10, 0, 0, 9], 0), at([11, 0, 0, 1], 80));
    let flags = Event::TUPLE | Event::SOCKET;
    let by_socket = Event { flags, interface: 0, ..event(Kind::Connection, client, vip) };
    let picked = Event {
        flags: flags | Event::SPLIT | Event::BACKEND,
        statistics: 7,
        backend: 3,
        ..by_socket
    };
    let refused = Event {
        flags: flags | Event::SERVICE,
        kind: Kind::Refused.number(),
        reason: u8::try_from(Reason::NoBackend.slot()).unwrap(),
        frontend: 5,
        ..by_socket
    };

    let (picked, refused) = (told(&picked).event, told(&refused).event);

    for event in [&picked, &refused] {
        assert_eq!(event.by, "socket");
        assert_eq!(event.source.as_deref(), Some("10.0.0.9"));
        assert_eq!(event.service.as_deref(), Some("web"));
    }
    assert_eq!(picked.backend.as_deref(), Some("12.0.0.3:8080"));
    assert_eq!(refused.reason.as_deref(), Some("no-backend"));
    let packet = told(&event(Kind::Connection, client, vip)).event;
    assert_eq!((packet.by.as_str(), packet.source.as_deref()), ("packet", Some("10.0.0.9:0")));
}
