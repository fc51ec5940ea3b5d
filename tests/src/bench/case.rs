//! The cases: a hook, what kind of packet, and its bytes.

use canary_common::endpoint::{Address, Endpoint, TCP, UDP};
use canary_common::wire::tcp;

/// Bytes behind the headers: a packet in the middle of a stream.
const PAYLOAD: u16 = 64;

/// Which program runs.
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
    /// To an address that is not ours.
    NotOurs,
    /// A backend's packet of such a flow.
    Restore,
    /// The first packet of a flow.
    Syn,
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
}

impl Transport {
    pub(crate) const ALL: [Self; 4] = [
        Self { is_v6: false, is_udp: false },
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
            Address([0xfd, 0, a, b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, c, d])
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

    /// Where nothing of ours is.
    fn stranger(self) -> Endpoint {
        self.endpoint([10, 250, 7, 7], 443)
    }

    /// The client of flow 0.
    pub(crate) fn client(self) -> Endpoint {
        self.endpoint([10, 244, 2, 0], 40_000)
    }

    /// Offset of the TCP or UDP header.
    pub(crate) fn l4_at(self) -> usize {
        if self.is_v6 { 54 } else { 34 }
    }
}

impl Case {
    /// Every case that exists: native XDP restores nothing, `to_net` does that for both.
    pub(crate) fn all() -> Vec<Self> {
        let kinds = [
            (Hook::Xdp, Kind::Established),
            (Hook::Xdp, Kind::NotOurs),
            (Hook::Xdp, Kind::Syn),
            (Hook::Tcx, Kind::Established),
            (Hook::Tcx, Kind::NotOurs),
            (Hook::Tcx, Kind::Restore),
            (Hook::Tcx, Kind::Syn),
        ];
        kinds
            .into_iter()
            .flat_map(|(hook, kind)| Transport::ALL.map(|transport| Self { hook, kind, transport }))
            .collect()
    }

    /// As in the report.
    pub(crate) fn name(self) -> String {
        let hook = match self.hook {
            Hook::Xdp => "xdp",
            Hook::Tcx => "tcx",
        };
        let kind = match self.kind {
            Kind::Established => "established",
            Kind::NotOurs => "not-ours",
            Kind::Restore => "restore",
            Kind::Syn => "syn",
        };
        format!("{hook}-{kind}-{}", self.transport.name())
    }

    /// Sender and receiver.
    pub(crate) fn ends(self) -> [Endpoint; 2] {
        let transport = self.transport;
        match self.kind {
            Kind::Established | Kind::Syn => [transport.client(), transport.frontend()],
            Kind::NotOurs => [transport.client(), transport.stranger()],
            Kind::Restore => [transport.backend(), transport.client()],
        }
    }

    /// The packet of flow 0. Sums are as good as any: no step looks at them.
    pub(crate) fn packet(self) -> Vec<u8> {
        let transport = self.transport;
        let [from, to] = self.ends();
        let l4_len: u16 = if transport.is_udp { 8 } else { 20 };
        let is_bare = self.kind == Kind::Syn && !transport.is_udp;
        let length = l4_len.saturating_add(if is_bare { 0 } else { PAYLOAD });
        let mut packet = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
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
            let flags = if is_bare { tcp::SYN } else { tcp::ACK };
            packet.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0x56, 0x78, 0, 0]);
        }
        packet.extend([0x5a; 64]);
        packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_report_and_each_is_there_once() {
        let names: Vec<_> = Case::all().iter().copied().map(Case::name).collect();

        assert!(names.contains(&"xdp-established-tcp4".to_owned()));
        assert!(names.contains(&"tcx-restore-udp6".to_owned()));
        assert_eq!(names.len(), 28);
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), 28);
    }
}
