//! Pods and what lies outside: namespaces and the veth pairs that lead to them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};

use super::{Lab, namespace::Namespace};

/// What every routed pod calls its gateway, as container networks do.
const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// The same for IPv6.
const GATEWAY_V6: &str = "fe80::1";

/// The node's end of the uplink.
pub const UPLINK_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// The node's end of the uplink for IPv6.
pub const UPLINK_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// A pod: a namespace with `eth0`, whose other end is an interface of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name within the lab.
    pub name: String,
    /// Its namespace.
    pub namespace: Namespace,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address, if it has one.
    pub v6: Option<Ipv6Addr>,
    /// The node's end of its veth pair.
    pub interface: String,
}

/// A bridge of the node whose ports are pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// The interface.
    pub interface: String,
    /// The node's address on it.
    pub gateway: Ipv4Addr,
    /// Length of the network's prefix.
    pub prefix_len: u8,
}

/// A machine outside the node, behind its uplink `eth0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
}

impl Lab {
    /// A routed pod with the next free addresses of `10.244.1.0/24` and `fd00:244:1::/64`.
    ///
    /// # Errors
    ///
    /// If a namespace or a link cannot be made.
    pub fn pod(&self, name: &str) -> Result<Pod> {
        let host = self.next_host();
        let [high, low] = host.to_be_bytes();
        let v4 = Ipv4Addr::new(10, 244, high.saturating_add(1), low);
        let v6 = Ipv6Addr::new(0xfd00, 0x244, 1, 0, 0, 0, 0, host);
        self.pod_at(name, v4, Some(v6))
    }

    /// A routed pod: one address of each family, everything through the node.
    ///
    /// # Errors
    ///
    /// If a namespace or a link cannot be made.
    pub fn pod_at(&self, name: &str, v4: Ipv4Addr, v6: Option<Ipv6Addr>) -> Result<Pod> {
        let (namespace, interface) = self.plug(name)?;
        self.node().ip(&[
            format!("address add {GATEWAY_V4}/32 dev {interface}"),
            format!("address add {GATEWAY_V6}/64 dev {interface} nodad"),
            format!("route add {v4}/32 dev {interface} src {}", super::NODE_V4),
        ])?;
        namespace.ip(&[
            format!("address add {v4}/32 dev eth0"),
            format!("route add {GATEWAY_V4} dev eth0 scope link"),
            format!("route add default via {GATEWAY_V4} dev eth0"),
        ])?;
        if let Some(v6) = v6 {
            let source = super::NODE_V6;
            self.node().ip(&[format!("route add {v6}/128 dev {interface} src {source}")])?;
            namespace.ip(&[
                format!("address add {v6}/128 dev eth0 nodad"),
                format!("route add default via {GATEWAY_V6} dev eth0"),
            ])?;
        }
        let pod = Pod { name: name.to_owned(), namespace, v4, v6, interface };
        self.remember(&pod);
        Ok(pod)
    }

    /// A bridge of the node with its gateway's address.
    ///
    /// # Errors
    ///
    /// If the link cannot be made.
    pub fn bridge(&self, interface: &str, gateway: Ipv4Addr, prefix_len: u8) -> Result<Bridge> {
        self.node().ip(&[
            format!("link add {interface} type bridge"),
            format!("address add {gateway}/{prefix_len} dev {interface}"),
            format!("link set {interface} up"),
        ])?;
        Ok(Bridge { interface: interface.to_owned(), gateway, prefix_len })
    }

    /// A pod that is a port of a bridge, on one network with its neighbours.
    ///
    /// # Errors
    ///
    /// If a namespace or a link cannot be made.
    pub fn bridge_pod(&self, bridge: &Bridge, name: &str, v4: Ipv4Addr) -> Result<Pod> {
        let (namespace, interface) = self.plug(name)?;
        self.node().ip(&[format!("link set {interface} master {}", bridge.interface)])?;
        namespace.ip(&[
            format!("address add {v4}/{} dev eth0", bridge.prefix_len),
            format!("route add default via {}", bridge.gateway),
        ])?;
        let pod = Pod { name: name.to_owned(), namespace, v4, v6: None, interface };
        self.remember(&pod);
        Ok(pod)
    }

    /// A machine behind the node's uplink; each is the other's default route.
    ///
    /// # Errors
    ///
    /// If a namespace or a link cannot be made.
    pub fn outside(&self, name: &str) -> Result<Outside> {
        let namespace = self.client_namespace(name)?;
        let (v4, v6) =
            (Ipv4Addr::new(192, 0, 2, 2), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2));
        self.node().ip(&[
            format!("link add eth0 type veth peer name eth0 netns {namespace}"),
            format!("address add {UPLINK_V4}/24 dev eth0"),
            format!("address add {UPLINK_V6}/64 dev eth0 nodad"),
            "link set eth0 up".to_owned(),
            format!("route add default via {v4}"),
        ])?;
        namespace.ip(&[
            format!("address add {v4}/24 dev eth0"),
            format!("address add {v6}/64 dev eth0 nodad"),
            "link set eth0 up".to_owned(),
            format!("route add default via {UPLINK_V4}"),
            format!("route add default via {UPLINK_V6}"),
        ])?;
        self.node().ip(&[format!("route add default via {v6}")])?;
        Ok(Outside { namespace, v4, v6 })
    }

    /// Takes a pod away: its namespace and both ends of its link.
    ///
    /// # Errors
    ///
    /// If it is gone already.
    pub fn unplug(&self, pod: &Pod) -> Result<()> {
        self.forget(pod);
        self.node().ip(&[format!("link delete {}", pod.interface)])?;
        pod.namespace.delete()
    }

    /// A namespace joined to the node by a veth pair that is up on both ends.
    fn plug(&self, name: &str) -> Result<(Namespace, String)> {
        let namespace = self.client_namespace(name)?;
        let interface = self.next_interface();
        self.node()
            .ip(&[
                format!("link add {interface} type veth peer name eth0 netns {namespace}"),
                format!("link set {interface} up"),
            ])
            .with_context(|| format!("plug in pod {name}"))?;
        namespace.ip(&["link set eth0 up"])?;
        Ok((namespace, interface))
    }

    /// A namespace for something that speaks to virtual addresses and to pods alike.
    fn client_namespace(&self, name: &str) -> Result<Namespace> {
        let namespace = Namespace::create(self.undo(), &format!("{}-{name}", self.name()))?;
        // One clock of timestamps for all destinations: a pod sees connections to it and to a
        // virtual address as from one client, and refuses timestamps that go back.
        namespace.sysctl("net/ipv4/tcp_timestamps", "2")?;
        namespace.sysctl("net/core/somaxconn", "8192")?;
        namespace.sysctl("net/ipv4/tcp_max_syn_backlog", "8192")?;
        Ok(namespace)
    }
}

impl Pod {
    /// Its address of the family of `like`.
    ///
    /// # Errors
    ///
    /// If it has none of that family.
    pub fn address_like(&self, like: IpAddr) -> Result<IpAddr> {
        match like {
            IpAddr::V4(_) => Ok(IpAddr::V4(self.v4)),
            IpAddr::V6(_) => {
                self.v6.map(IpAddr::V6).with_context(|| format!("{} has no IPv6", self.name))
            }
        }
    }
}
