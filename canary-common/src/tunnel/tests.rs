//! Packets within packets, from one node to another.

mod arrive;
mod wrap;

use super::*;
use crate::addresses;
use crate::backend::{Backend, Frontend};
use crate::endpoint::Endpoint;
use crate::packets::Draft;
use crate::packets::rare::around;
use crate::settings::Settings;
use crate::wire::ethernet;
use crate::world::{BLUE, Kind as Protocol, World, ends};

const AWAY: Outcome = Outcome::AWAY;

/// The node by which clients outside come: `blue` is elsewhere.
fn entrance(kind: Protocol) -> World {
    let mut world = World::new(kind);
    world.client = kind.at(9, 9, 40_000);
    world.tables.frontends[0].flags.store(Frontend::EXTERNAL);
    world.tables.backends[0].flags.store(Backend::ELSEWHERE);
    let settings = &world.tables.settings;
    settings.outside.store(Settings::WRAPS);
    let source = node(&world);
    let (words, _) = source.0.as_chunks::<4>();
    if kind.v6 {
        for (word, bytes) in settings.source_v6.iter().zip(words) {
            word.store(u32::from_ne_bytes(*bytes));
        }
    } else {
        settings.source_v4.store(u32::from_ne_bytes(source.last_four()));
    }
    world.tables.set_bits(source, addresses::NODE);
    world
}

/// The node of `blue`.
fn home(kind: Protocol) -> World {
    let mut world = World::new(kind);
    world.client = kind.at(9, 9, 40_000);
    world
}

/// Both, of each kind.
fn pairs() -> impl Iterator<Item = (World, World)> {
    Protocol::ALL.into_iter().map(|kind| (entrance(kind), home(kind)))
}

/// The own address of the entrance.
fn node(world: &World) -> Address {
    world.kind.at(1, 1, 1).address
}

fn version(world: &World) -> Version {
    if world.kind.v6 { Version::V6 } else { Version::V4 }
}

/// Both ends of the packet around another, and the frame without it.
fn taken_out(world: &World, packet: &Vec<u8>) -> (Outer, Vec<u8>) {
    let headers = Headers::read(packet, ethernet::LEN, version(world)).unwrap();
    assert_eq!(headers.carried(), crate::headers::Carried::Packet);
    let mut inner = packet.clone();
    inner.remove_header(ethernet::LEN, version(world)).unwrap();
    (Outer { source: headers.source, destination: headers.destination }, inner)
}

/// The packet of a frame within one to an address, as an entrance sends it.
fn within(world: &World, packet: &[u8], to: Address) -> Vec<u8> {
    around(node(world), to, packet)
}

/// A frame with one hop less.
fn hopped(world: &World, packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    hop(&mut packet, version(world), ethernet::LEN).unwrap();
    packet
}

fn to_vip(world: &World, flags: u8, payload: &[u8]) -> Vec<u8> {
    Draft::new(world.client, world.vip).flags(flags).payload(payload).build()
}

/// A packet of the client's by both nodes: whom it comes from and goes to at its end.
fn by_both([a, c]: [&World; 2], packet: &[u8]) -> (Endpoint, Endpoint) {
    let mut packet = packet.to_vec();
    assert_eq!(a.net_sends(&mut packet), AWAY);
    assert_eq!(c.net_sends(&mut packet), Outcome::ON);
    ends(&packet)
}

/// Opens a connection by both nodes.
fn opened(kind: Protocol) -> (World, World) {
    let (a, c) = (entrance(kind), home(kind));
    let seen = by_both([&a, &c], &to_vip(&a, kind.first(), b""));
    assert_eq!(seen, (a.client, a.blue));
    assert_eq!(c.answer(c.blue, kind.answer(), b""), Outcome::ON);
    (a, c)
}
