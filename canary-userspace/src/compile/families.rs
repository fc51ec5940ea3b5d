//! Where an instance serves clients of each family, and what a service lacks in one.

use std::net::SocketAddr;

use canary_common::endpoint::{Endpoint, Version};

use super::address::{Shown, endpoint};
use super::{DesiredService, DesiredSplit, Warning, service};
use crate::catalog::Registered;
use crate::entry::reference::Target;

/// The tagged address of an instance that clients of a family use, as in Consul.
const fn tag(version: Version) -> &'static str {
    match version {
        Version::V4 => "lan_ipv4",
        Version::V6 => "lan_ipv6",
    }
}

/// Where an instance serves: for clients of the family of its own address, then for the others.
///
/// In each family that is its tagged address `lan_ipv4` or `lan_ipv6`, if it has one of that
/// family, else its own address, which it has in one of them.
pub(super) fn sockets(registered: &Registered) -> impl Iterator<Item = SocketAddr> + use<> {
    let own = registered.socket();
    let families = match own.map(version) {
        Some(Version::V6) => [Version::V6, Version::V4],
        _ => [Version::V4, Version::V6],
    };
    let in_family = families.map(|family| {
        let tagged = registered.instance.tagged_addresses.get(tag(family)).copied();
        let usable = |at: &SocketAddr| {
            let ip = at.ip();
            at.port() != 0 && !ip.is_unspecified() && !ip.is_multicast()
        };
        let of_family = |at: &SocketAddr| version(*at) == family;
        tagged.filter(of_family).filter(usable).or(own.filter(of_family))
    });
    in_family.into_iter().flatten()
}

/// The family that an address counts to: a mapped one is of IPv4.
fn version(at: SocketAddr) -> Version {
    endpoint(at.ip(), at.port(), 0).address.version()
}

/// What is to be said of shares that clients of one family cannot get, while others can.
pub(super) fn unserved(service: &DesiredService) -> Vec<Warning> {
    let of = |family| {
        let frontends = service.frontends.iter();
        let frontends: Vec<&Endpoint> =
            frontends.filter(|at| at.address.version() == family).collect();
        let splits = service.splits.iter().filter(|split| !frontends.is_empty() && split.share > 0);
        let lacks = splits.filter(|split| {
            // Where there is no backend at all, that is said already.
            split.backends.iter().any(|backend| backend.healthy)
                && !split.of(family).any(|backend| backend.healthy)
        });
        lacks.map(|split| refused(service, split, family, &frontends)).collect::<Vec<_>>()
    };
    [Version::V4, Version::V6].into_iter().flat_map(of).collect()
}

fn refused(
    service: &DesiredService,
    split: &DesiredSplit,
    family: Version,
    frontends: &[&Endpoint],
) -> Warning {
    let family = match family {
        Version::V4 => "IPv4",
        Version::V6 => "IPv6",
    };
    let frontends: Vec<String> = frontends.iter().map(|at| Shown(at).to_string()).collect();
    let target = Target { service: &split.key.target, subset: &split.key.subset };
    let text = format!(
        "{} % of new connections to {} are refused: they go to {}, which has no healthy {family} backend",
        f64::from(split.share) / 100.0,
        frontends.join(" and "),
        service::place(&service.name, target),
    );
    Warning { service: service.name.clone(), text }
}

#[cfg(test)]
mod tests;
