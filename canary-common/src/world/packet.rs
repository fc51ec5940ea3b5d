//! What tests ask of packets and endpoints.

use crate::endpoint::{Endpoint, TCP, UDP};
use crate::segment::{Segment, version};
use crate::wire::ethernet;

/// Source and destination of a packet.
pub(crate) fn ends(packet: &Vec<u8>) -> (Endpoint, Endpoint) {
    let version = version(packet, ethernet::LEN).unwrap();
    let segment = Segment::of(packet, ethernet::LEN, version).unwrap();
    (segment.source, segment.destination)
}

/// The flags of a TCP packet.
pub(crate) fn tcp_flags(packet: &Vec<u8>) -> u8 {
    let version = version(packet, ethernet::LEN).unwrap();
    Segment::of(packet, ethernet::LEN, version).unwrap().flags
}

/// The same endpoint with another port.
pub(crate) fn with_port(end: Endpoint, port: u16) -> Endpoint {
    Endpoint { port: port.to_be_bytes(), ..end }
}

/// TCP for UDP, and the other way round.
pub(crate) fn other_protocol(endpoint: Endpoint) -> u8 {
    if endpoint.protocol == TCP { UDP } else { TCP }
}
