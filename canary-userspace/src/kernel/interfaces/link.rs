//! One interface, as the kernel describes it.

use netlink_packet_route::link::{
    LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, LinkXdp,
};

/// Bytes of an Ethernet header.
const ETHERNET_LEN: usize = 14;

/// Buses of paravirtual devices: a neighbour on the same host may send them packets whose
/// checksums nobody finished, and XDP cannot see which.
const PARAVIRTUAL: [&str; 3] = ["virtio", "vmbus", "xen"];

/// What an interface is to us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// The node's end of a pod's interface.
    Pod,
    /// The way to the network.
    Uplink,
    /// Neither: answers are restored there.
    #[default]
    Other,
}

impl Role {
    /// The word for it in status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Uplink => "uplink",
            Self::Other => "other",
        }
    }
}

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Number of the interface, in its namespace.
    pub index: u32,
    /// Name.
    pub name: String,
    /// What it is to us.
    pub role: Role,
    /// Kind of a virtual device, such as `veth`, `bridge`, `vlan`; `device` for all others.
    pub kind: String,
    /// Whether a driver of hardware is behind it, whose packets carry whole checksums.
    pub has_real_driver: bool,
    /// Bytes before the network header: 14 on Ethernet, 0 where packets have none.
    pub l2_len: usize,
    /// Whether it is set up.
    pub up: bool,
    /// Hardware address, where it is one of Ethernet's.
    pub mac: Option<[u8; 6]>,
    /// Index of the bridge or bond it belongs to.
    pub controller: Option<u32>,
    /// Id of the XDP program on it, ours or another's.
    pub xdp_program: Option<u32>,
}

impl Link {
    /// Reads a description; `None` for a loopback.
    pub(super) fn read(message: &LinkMessage, role: impl Fn(&str, u32) -> Role) -> Option<Self> {
        let header = &message.header;
        if header.flags.contains(LinkFlags::Loopback) {
            return None;
        }
        let mut link = Self {
            index: header.index,
            kind: "device".to_owned(),
            l2_len: if header.link_layer_type == LinkLayerType::Ether { ETHERNET_LEN } else { 0 },
            up: header.flags.contains(LinkFlags::Up),
            ..Self::default()
        };
        let mut is_virtual = false;
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Address(address) => link.mac = address.as_slice().try_into().ok(),
                LinkAttribute::Controller(index) => link.controller = Some(*index),
                LinkAttribute::ParentDevBusName(bus) => {
                    link.has_real_driver = !PARAVIRTUAL.contains(&bus.as_str());
                }
                LinkAttribute::LinkInfo(infos) => {
                    if let Some(kind) = kind(infos) {
                        link.kind = kind;
                        is_virtual = true;
                    }
                }
                LinkAttribute::Xdp(xdp) => link.xdp_program = xdp_program(xdp),
                _ => {}
            }
        }
        // A VLAN on hardware has a parent, too, and no driver of its own.
        link.has_real_driver &= !is_virtual;
        link.role = role(&link.name, link.index);
        Some(link)
    }
}

fn kind(infos: &[LinkInfo]) -> Option<String> {
    infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    })
}

fn xdp_program(xdp: &[LinkXdp]) -> Option<u32> {
    xdp.iter().find_map(|fact| match fact {
        LinkXdp::ProgId(id) => Some(*id),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::InfoKind;

    use super::*;

    fn message(layer: LinkLayerType, attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = 7;
        message.header.flags = LinkFlags::Up;
        message.header.link_layer_type = layer;
        message.attributes = attributes;
        message
    }

    fn read(layer: LinkLayerType, attributes: Vec<LinkAttribute>) -> Link {
        Link::read(&message(layer, attributes), |_, _| Role::Other).unwrap()
    }

    #[test]
    fn a_veth_has_an_ethernet_header_and_no_driver() {
        let link = read(
            LinkLayerType::Ether,
            vec![
                LinkAttribute::IfName("veth1".to_owned()),
                LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]),
                LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth)]),
            ],
        );

        let wanted = Link {
            index: 7,
            name: "veth1".to_owned(),
            kind: "veth".to_owned(),
            l2_len: 14,
            up: true,
            mac: Some([2, 0, 0, 0, 0, 1]),
            ..Link::default()
        };
        assert_eq!(link, wanted);
    }

    #[test]
    fn only_hardware_has_a_real_driver() {
        let bus = |bus: &str| LinkAttribute::ParentDevBusName(bus.to_owned());
        let vlan = || LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vlan)]);

        assert!(read(LinkLayerType::Ether, vec![bus("pci")]).has_real_driver);
        assert!(!read(LinkLayerType::Ether, vec![bus("virtio")]).has_real_driver);
        assert!(!read(LinkLayerType::Ether, vec![bus("pci"), vlan()]).has_real_driver);
        assert!(!read(LinkLayerType::Ether, vec![]).has_real_driver);
    }

    #[test]
    fn a_tunnel_has_no_header_and_no_hardware_address() {
        let link = read(LinkLayerType::None, vec![LinkAttribute::Address(vec![10, 0, 0, 1])]);

        assert_eq!((link.l2_len, link.mac), (0, None));
    }

    #[test]
    fn a_loopback_is_left_out() {
        let mut loopback = message(LinkLayerType::Loopback, vec![]);
        loopback.header.flags = LinkFlags::Up | LinkFlags::Loopback;

        assert_eq!(Link::read(&loopback, |_, _| Role::Other), None);
    }
}
