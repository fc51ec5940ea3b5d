//! A router that several nodes, and clients behind it, have as their only neighbour.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use super::{Lab, Namespace, Outside};

/// A machine between networks, one for each of its neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Router {
    /// Its namespace.
    pub namespace: Namespace,
}

/// A neighbour of the router: its address of each family on `eth0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
}

impl Neighbour {
    fn of(number: u8) -> Self {
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, number.into(), 0, 0, 0, 0, 1);
        Self { v4: Ipv4Addr::new(198, 18, number, 1), v6 }
    }

    /// Its address of a family.
    #[must_use]
    pub const fn address(&self, v6: bool) -> IpAddr {
        if v6 { IpAddr::V6(self.v6) } else { IpAddr::V4(self.v4) }
    }
}

impl Router {
    /// A router without neighbours, which goes with the lab. It spreads connections, by ports.
    ///
    /// # Errors
    ///
    /// If a namespace cannot be made.
    pub fn new(lab: &Lab) -> Result<Self> {
        let namespace = Namespace::create(lab.undo(), &format!("{}-router", lab.name()))?;
        for (parameter, value) in [
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv6/conf/all/forwarding", "1"),
            ("net/ipv4/conf/all/rp_filter", "0"),
            ("net/ipv4/conf/default/rp_filter", "0"),
            ("net/ipv4/fib_multipath_hash_policy", "1"),
            ("net/ipv6/fib_multipath_hash_policy", "1"),
        ] {
            namespace.sysctl(parameter, value)?;
        }
        Ok(Self { namespace })
    }

    /// Makes a node its neighbour: the router is the node's default route by `eth0`, and has the
    /// node's pods behind it, those of `10.244.NUMBER.0/24` and `fd00:244:NUMBER::/64`.
    ///
    /// # Errors
    ///
    /// If the link cannot be made.
    pub fn join(&self, lab: &Lab, number: u8) -> Result<Neighbour> {
        let neighbour = self.link(lab.node(), number)?;
        let Neighbour { v4, v6 } = neighbour;
        self.namespace.ip(&[
            format!("route add 10.244.{number}.0/24 via {v4}"),
            format!("route add fd00:244:{number}::/64 via {v6}"),
        ])?;
        Ok(neighbour)
    }

    /// A client behind it.
    ///
    /// # Errors
    ///
    /// If a namespace or the link cannot be made.
    pub fn client(&self, lab: &Lab, number: u8) -> Result<Outside> {
        let name = format!("{}-client{number}", lab.name());
        let namespace = Namespace::create(lab.undo(), &name)?;
        let Neighbour { v4, v6 } = self.link(&namespace, number)?;
        Ok(Outside { namespace, v4, v6 })
    }

    /// The router's end of the link to a neighbour.
    #[must_use]
    pub fn interface(number: u8) -> String {
        format!("n{number}")
    }

    fn link(&self, of: &Namespace, number: u8) -> Result<Neighbour> {
        let neighbour = Neighbour::of(number);
        let Neighbour { v4, v6 } = neighbour;
        let (own, router) = (Self::interface(number), &self.namespace);
        of.ip(&[
            format!("link add eth0 type veth peer name {own} netns {router}"),
            format!("address add {v4}/24 dev eth0"),
            format!("address add {v6}/64 dev eth0 nodad"),
            "link set eth0 up".to_owned(),
        ])?;
        router.ip(&[
            format!("address add 198.18.{number}.254/24 dev {own}"),
            format!("address add 2001:db8:{number:02x}::fe/64 dev {own} nodad"),
            format!("link set {own} up"),
        ])?;
        of.ip(&[
            format!("route add default via 198.18.{number}.254"),
            format!("route add default via 2001:db8:{number:02x}::fe"),
        ])?;
        Ok(neighbour)
    }
}
