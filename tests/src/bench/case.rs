//! The cases: a hook, what kind of packet, of how many flows, and its bytes.

use canary_common::endpoint::{Address, Endpoint, TCP, UDP};
use canary_common::wire::tcp;

/// Bytes behind the headers: a packet in the middle of a stream.
const PAYLOAD: u16 = 64;
/// A client uses so many bits of its ports; as in the programs.
const PORT_BITS: u32 = 15;

/// The program that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    Xdp,
    Tcx,
}

/// What the packet is to the datapath.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A client's packet of a flow that was answered.
    Established,
    /// The same with PSH set: the last of a write.
    Push,
    /// To an address that is not ours.
    NotOurs,
    /// A backend's packet of such a flow.
    Restore,
    /// The first packet of a flow, where there is room for it.
    SynRoom,
    /// The same where ended flows use all places.
    SynFull,
    /// A program that does nothing.
    Floor,
    /// One lookup in a hash of 12-byte keys: H.
    Hash,
    /// The same for a key that is not there.
    HashMiss,
    /// One lookup in an LRU hash of such keys.
    Lru,
    /// One insert into such a hash, which is full.
    LruInsert,
    /// One lookup in `FLOWS`.
    FlowsLookup,
    /// The same for a tuple that is not there.
    FlowsMiss,
    /// One insert into `FLOWS`, which holds as many again at most.
    FlowsInsert,
    /// The same where ended flows use all places.
    FlowsFull,
    /// As these four, in an LRU hash of the same keys and values.
    TupleLookup,
    TupleMiss,
    TupleInsert,
    TupleFull,
}

impl Kind {
    /// Whether it is of `FLOWS` alone.
    pub(crate) fn is_of_flows(self) -> bool {
        let kinds = [Self::FlowsLookup, Self::FlowsMiss, Self::FlowsInsert, Self::FlowsFull];
        kinds.contains(&self)
    }

    /// Whether it is of the hash that `FLOWS` is compared with.
    pub(crate) fn is_of_tuples(self) -> bool {
        let kinds = [Self::TupleLookup, Self::TupleMiss, Self::TupleInsert, Self::TupleFull];
        kinds.contains(&self)
    }
}

/// The address family and the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transport {
    pub(crate) is_v6: bool,
    pub(crate) is_udp: bool,
}

/// One case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) hook: Hook,
    pub(crate) kind: Kind,
    pub(crate) transport: Transport,
    /// Flows that take turns, or destinations of what is not ours; a power of two.
    pub(crate) count: u32,
}

/// Flows or destinations.
const ONE: u32 = 1;
const MANY: u32 = 1 << 16;
const MILLION: u32 = 1 << 20;

const TCP4: Transport = Transport { is_v6: false, is_udp: false };

impl Transport {
    pub(crate) const ALL: [Self; 4] = [
        TCP4,
        Self { is_v6: true, is_udp: false },
        Self { is_v6: false, is_udp: true },
        Self { is_v6: true, is_udp: true },
    ];

    fn name(self) -> &'static str {
        match (self.is_udp, self.is_v6) {
            (false, false) => "tcp4",
            (false, true) => "tcp6",
            (true, false) => "udp4",
            (true, true) => "udp6",
        }
    }

    fn endpoint(self, v4: [u8; 4], port: u16) -> Endpoint {
        let [a, b, c, d] = v4;
        let address = if self.is_v6 {
            Address([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d])
        } else {
            Address::v4(v4)
        };
        let protocol = if self.is_udp { UDP } else { TCP };
        Endpoint { address, port: port.to_be_bytes(), protocol }
    }

    /// Where clients connect.
    pub(crate) fn frontend(self) -> Endpoint {
        self.endpoint([10, 96, 0, 10], 80)
    }

    /// Where the instance serves: on another port, which is the dearer case.
    pub(crate) fn backend(self) -> Endpoint {
        self.endpoint([10, 244, 1, 1], 8080)
    }

    /// The first of the destinations that are not ours.
    fn stranger(self) -> Endpoint {
        self.endpoint([10, 250, 0, 0], 443)
    }

    /// The client of a flow: 32,768 ports of one address, then of the next.
    pub(crate) fn client(self, flow: u32) -> Endpoint {
        let [_, b, c, d] = (flow >> PORT_BITS).to_be_bytes();
        let [.., e, f] = (flow & ((1 << PORT_BITS) - 1)).to_be_bytes();
        let port = u16::from_be_bytes([0x80 ^ e, f]);
        self.endpoint([10, 128 ^ b, c, d], port)
    }

    /// Offset of the TCP or UDP header.
    pub(crate) fn l4_at(self) -> usize {
        if self.is_v6 { 54 } else { 34 }
    }
}

impl Case {
    /// All cases: what they are compared with, IPv4 TCP in full, and the other transports at
    /// fewer sizes. Native XDP restores nothing, `to_net` does that for both.
    pub(crate) fn all() -> Vec<Self> {
        let reference = |hook, kind, count| Self { hook, kind, transport: TCP4, count };
        let mut cases = vec![
            reference(Hook::Xdp, Kind::Floor, ONE),
            reference(Hook::Tcx, Kind::Floor, ONE),
            reference(Hook::Xdp, Kind::HashMiss, ONE),
            reference(Hook::Xdp, Kind::LruInsert, ONE),
        ];
        for count in [ONE, MANY, MILLION] {
            cases.push(reference(Hook::Xdp, Kind::Hash, count));
            cases.push(reference(Hook::Xdp, Kind::Lru, count));
        }
        for count in [ONE, MANY, MILLION] {
            let pairs = [
                [Kind::FlowsLookup, Kind::TupleLookup],
                [Kind::FlowsMiss, Kind::TupleMiss],
                [Kind::FlowsInsert, Kind::TupleInsert],
            ];
            cases.extend(pairs.concat().into_iter().map(|kind| reference(Hook::Xdp, kind, count)));
        }
        for kind in [Kind::FlowsFull, Kind::TupleFull] {
            cases.push(reference(Hook::Xdp, kind, MILLION));
        }
        for hook in [Hook::Xdp, Hook::Tcx] {
            for transport in Transport::ALL {
                cases.extend(Self::of(hook, transport));
            }
        }
        cases
    }

    /// The cases of a hook and a transport.
    fn of(hook: Hook, transport: Transport) -> Vec<Self> {
        let mut kinds = vec![
            (Kind::Established, ONE),
            (Kind::Established, MANY),
            (Kind::NotOurs, ONE),
            (Kind::NotOurs, MANY),
            (Kind::SynRoom, ONE),
            (Kind::SynFull, ONE),
        ];
        if !transport.is_udp {
            kinds.push((Kind::Push, ONE));
        }
        if transport == TCP4 {
            kinds.extend([(Kind::Established, MILLION), (Kind::Push, MANY), (Kind::Push, MILLION)]);
        }
        if hook == Hook::Tcx {
            kinds.extend([(Kind::Restore, ONE), (Kind::Restore, MANY)]);
            if transport == TCP4 {
                kinds.push((Kind::Restore, MILLION));
            }
        }
        kinds.into_iter().map(|(kind, count)| Self { hook, kind, transport, count }).collect()
    }

    /// The case of a name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|case| case.name() == name)
    }

    /// As in the report.
    pub(crate) fn name(self) -> String {
        let hook = match self.hook {
            Hook::Xdp => "xdp",
            Hook::Tcx => "tcx",
        };
        let count = match self.count {
            MILLION => "1m",
            MANY => "64k",
            _ => "1",
        };
        let transport = self.transport.name();
        match self.kind {
            Kind::Established => format!("{hook}-established-{transport}-{count}"),
            Kind::Push => format!("{hook}-push-{transport}-{count}"),
            Kind::NotOurs => format!("{hook}-not-ours-{transport}-{count}"),
            Kind::Restore => format!("{hook}-restore-{transport}-{count}"),
            Kind::SynRoom => format!("{hook}-syn-room-{transport}"),
            Kind::SynFull => format!("{hook}-syn-full-{transport}"),
            Kind::Floor => format!("{hook}-floor"),
            Kind::Hash => format!("hash-{count}"),
            Kind::HashMiss => "hash-miss".to_owned(),
            Kind::Lru => format!("lru-{count}"),
            Kind::LruInsert => "lru-insert-full".to_owned(),
            Kind::FlowsLookup => format!("flows-{count}"),
            Kind::FlowsMiss => format!("flows-miss-{count}"),
            Kind::FlowsInsert => format!("flows-insert-{count}"),
            Kind::FlowsFull => format!("flows-insert-full-{count}"),
            Kind::TupleLookup => format!("tuple-{count}"),
            Kind::TupleMiss => format!("tuple-miss-{count}"),
            Kind::TupleInsert => format!("tuple-insert-{count}"),
            Kind::TupleFull => format!("tuple-insert-full-{count}"),
        }
    }

    /// Whether each run is of a flow that was never seen before.
    pub(crate) fn is_new(self) -> bool {
        let new = [
            Kind::SynRoom,
            Kind::SynFull,
            Kind::HashMiss,
            Kind::LruInsert,
            Kind::FlowsMiss,
            Kind::FlowsInsert,
            Kind::FlowsFull,
            Kind::TupleMiss,
            Kind::TupleInsert,
            Kind::TupleFull,
        ];
        new.contains(&self.kind)
    }

    /// Whether it is one of those that the others are compared with.
    pub(crate) fn is_reference(self) -> bool {
        let references = [Kind::Floor, Kind::Hash, Kind::HashMiss, Kind::Lru, Kind::LruInsert];
        references.contains(&self.kind) || self.kind.is_of_flows() || self.kind.is_of_tuples()
    }

    /// Sender and receiver.
    pub(crate) fn ends(self) -> [Endpoint; 2] {
        let transport = self.transport;
        match self.kind {
            Kind::NotOurs => [transport.client(0), transport.stranger()],
            Kind::Restore => [transport.backend(), transport.client(0)],
            _ => [transport.client(0), transport.frontend()],
        }
    }

    /// The packet of flow 0. Sums are as good as any: no step looks at them.
    pub(crate) fn packet(self) -> Vec<u8> {
        if self.is_reference() {
            return vec![0; 64];
        }
        let transport = self.transport;
        let [from, to] = self.ends();
        let l4_len: u16 = if transport.is_udp { 8 } else { 20 };
        let is_bare = self.is_new() && !transport.is_udp;
        let length = l4_len.saturating_add(if is_bare { 0 } else { PAYLOAD });
        // The loopback's own address: a frame for another host is not ours.
        let mut packet = vec![0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2];
        let protocol = from.protocol;
        if transport.is_v6 {
            let [a, b] = length.to_be_bytes();
            packet.extend([0x86, 0xdd, 0x60, 0, 0, 0, a, b, protocol, 64]);
            packet.extend(from.address.0);
            packet.extend(to.address.0);
        } else {
            let [a, b] = length.saturating_add(20).to_be_bytes();
            packet.extend([8, 0, 0x45, 0, a, b, 0, 1, 0x40, 0, 64, protocol, 0x12, 0x34]);
            packet.extend(from.address.as_v4().unwrap_or_default());
            packet.extend(to.address.as_v4().unwrap_or_default());
        }
        packet.extend(from.port);
        packet.extend(to.port);
        if transport.is_udp {
            let [a, b] = length.to_be_bytes();
            packet.extend([a, b, 0x56, 0x78]);
        } else {
            let flags = match self.kind {
                Kind::SynRoom | Kind::SynFull => tcp::SYN,
                Kind::Push => tcp::ACK | tcp::PSH,
                _ => tcp::ACK,
            };
            packet.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0x56, 0x78, 0, 0]);
        }
        packet.extend([0x5a; 64]);
        packet
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_name_leads_to_its_case() {
        for case in Case::all() {
            assert_eq!(Case::named(&case.name()), Some(case));
        }
        let names: BTreeSet<_> = Case::all().into_iter().map(Case::name).collect();
        assert_eq!(names.len(), Case::all().len());
        assert!(names.contains("xdp-established-tcp4-1m"));
        assert!(names.contains("tcx-restore-udp6-64k"));
    }

    #[test]
    fn clients_differ_in_port_and_address_and_have_no_port_0() {
        let flows = [0, 1, 0x7fff, 0x8000, 0xf_ffff, u32::MAX];

        let clients: BTreeSet<_> = flows.map(|flow| TCP4.client(flow)).into_iter().collect();

        assert_eq!(clients.len(), flows.len());
        assert!(clients.iter().all(|client| client.port != [0, 0]));
        assert_eq!(TCP4.client(0x8001), TCP4.endpoint([10, 128, 0, 1], 0x8001));
    }
}
