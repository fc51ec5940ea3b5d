//! A machine two hops from the node: behind a router, and a link that takes smaller packets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use super::{Lab, Namespace, Outside, Pod};

/// The router's and the machine's address on the link between them.
const V4: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(198, 51, 100, 2)];

/// The same of IPv6.
const V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 2),
];

/// The machine, and the router in front of it.
#[derive(Clone, Debug)]
pub struct Far {
    /// The router, which is the node's neighbour.
    pub router: Outside,
    /// The machine, as a pod that is on no interface of the node.
    pub machine: Pod,
}

impl Lab {
    /// A machine behind the node's uplink, a router and a link of this MTU, of which the machine
    /// says nothing: it asks for segments as long as if all links took 1,500 bytes.
    ///
    /// # Errors
    ///
    /// If a namespace or a link cannot be made.
    pub fn far(&self, mtu: u32) -> Result<Far> {
        let router = self.outside("router")?;
        let namespace = Namespace::create(self.undo(), &format!("{}-far", self.name()))?;
        for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            router.namespace.sysctl(&format!("net/{setting}"), "1")?;
        }
        let ([near4, v4], [near6, v6]) = (V4, V6);
        router.namespace.ip(&[
            format!("link add far0 mtu {mtu} type veth peer name eth0 netns {namespace}"),
            format!("address add {near4}/24 dev far0"),
            format!("address add {near6}/64 dev far0 nodad"),
            "link set far0 up".to_owned(),
        ])?;
        namespace.ip(&[
            format!("link set eth0 mtu {mtu}"),
            format!("address add {v4}/24 dev eth0"),
            format!("address add {v6}/64 dev eth0 nodad"),
            "link set eth0 up".to_owned(),
            format!("route add default via {near4} advmss 1460"),
            format!("route add default via {near6} advmss 1440"),
        ])?;
        namespace.sysctl("net/ipv4/tcp_timestamps", "2")?;
        let interface = String::new();
        let machine = Pod { name: "far".to_owned(), namespace, v4, v6: Some(v6), interface };
        Ok(Far { router, machine })
    }
}

impl Far {
    /// The router's address of the family of `like`, on the link to the machine.
    #[must_use]
    pub fn router_like(&self, like: IpAddr) -> IpAddr {
        let ([v4, _], [v6, _]) = (V4, V6);
        if like.is_ipv4() { v4.into() } else { v6.into() }
    }
}
