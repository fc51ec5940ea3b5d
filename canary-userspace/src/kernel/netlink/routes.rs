//! What routes say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType,
};

/// How an address is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Index of the interface: the loopback's for an address of this node.
    pub interface: u32,
    /// The own address that packets of this node bear on this way.
    pub source: Option<IpAddr>,
}

impl Way {
    pub(super) fn read(route: &RouteMessage) -> Option<Self> {
        let source = route.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::PrefSource(address) => ip(address),
            _ => None,
        });
        Some(Self { interface: outputs(route).next()?, source })
    }
}

/// The addresses that a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    address: IpAddr,
    len: u8,
}

impl Prefix {
    /// The addresses of a route that was told of; `None` for one of another kind than IP.
    #[must_use]
    pub fn of(route: &RouteMessage) -> Option<Self> {
        let any = match route.header.address_family {
            AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => return None,
        };
        let address = route.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Destination(address) => ip(address),
            _ => None,
        });
        let len = route.header.destination_prefix_length;
        Some(Self { address: address.unwrap_or(any), len })
    }

    /// Whether an address is one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let beyond = |bits: u32| bits.saturating_sub(u32::from(self.len));
        match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (a.to_bits() ^ b.to_bits()).checked_shr(beyond(32)).unwrap_or(0) == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                (a.to_bits() ^ b.to_bits()).checked_shr(beyond(128)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

/// Whether `route` is a way to everywhere, in the table that `ip route` shows.
pub(in crate::kernel) fn is_default_route(route: &RouteMessage) -> bool {
    let table = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    route.header.destination_prefix_length == 0
        && route.header.kind == RouteType::Unicast
        && table.unwrap_or_else(|| route.header.table.into())
            == u32::from(RouteHeader::RT_TABLE_MAIN)
}

/// Indices of the interfaces that `route` leads to.
pub(super) fn outputs(route: &RouteMessage) -> impl Iterator<Item = u32> {
    route.attributes.iter().flat_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => vec![*index],
        RouteAttribute::MultiPath(hops) => hops.iter().map(|hop| hop.interface_index).collect(),
        _ => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(address: &str, len: u8) -> Prefix {
        Prefix { address: address.parse().unwrap(), len }
    }

    #[test]
    fn a_prefix_has_the_addresses_that_begin_as_it_does_and_are_of_its_family() {
        let is_in =
            |address: &str, len, other: &str| prefix(address, len).contains(other.parse().unwrap());

        assert!(is_in("10.244.2.0", 24, "10.244.2.255"));
        assert!(!is_in("10.244.2.0", 24, "10.244.3.0"));
        assert!(is_in("10.244.2.7", 32, "10.244.2.7"));
        assert!(!is_in("10.244.2.7", 32, "10.244.2.6"));
        assert!(is_in("0.0.0.0", 0, "203.0.113.9"));
        assert!(!is_in("0.0.0.0", 0, "2001:db8::1"));
        assert!(is_in("2001:db8::", 32, "2001:db8:ffff::1"));
        assert!(!is_in("2001:db8::", 32, "2001:db9::1"));
        assert!(is_in("::", 0, "2001:db8::1"));
    }
}
