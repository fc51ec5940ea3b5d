//! Socket addresses as the tables hold them, and endpoints as people read them.

use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use canary_common::endpoint::{Address, Endpoint, UDP};

/// The endpoint at `ip` and `port`; an IPv4 address and its mapped form give the same one.
#[must_use]
pub fn endpoint(ip: IpAddr, port: u16, protocol: u8) -> Endpoint {
    let address = match ip {
        IpAddr::V4(ip) => Address::v4(ip.octets()),
        IpAddr::V6(ip) => Address(ip.octets()),
    };
    Endpoint { address, port: port.to_be_bytes(), protocol }
}

/// The socket address of `endpoint`.
#[must_use]
pub fn socket(endpoint: &Endpoint) -> SocketAddr {
    let ip = endpoint
        .address
        .as_v4()
        .map_or_else(|| Ipv6Addr::from(endpoint.address.0).into(), |ip| Ipv4Addr::from(ip).into());
    SocketAddr::new(ip, u16::from_be_bytes(endpoint.port))
}

/// The name of an IANA protocol number that is served: `tcp` or `udp`.
#[must_use]
pub const fn protocol_name(protocol: u8) -> &'static str {
    if protocol == UDP { "udp" } else { "tcp" }
}

/// Shows an endpoint as `10.96.0.10:80/tcp`.
pub(crate) struct Shown<'a>(pub(crate) &'a Endpoint);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", socket(self.0), protocol_name(self.0.protocol))
    }
}
