//! What runs where: instances, their checks and their health.

mod check;
mod definition;
mod pairs;
mod render;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use crate::error::Position;

pub use check::{
    Check, CheckState, GrpcProbe, Header, HttpProbe, LoneCheck, NODE_MAINTENANCE, Probe,
    SERVICE_MAINTENANCE, Thresholds, Tls,
};
pub use definition::{lone_check, maintenance, parse_check, parse_registration, service};
pub use pairs::Pairs;
pub use render::{to_agent_json, to_check_definition, to_definition, to_maintenance};

/// The virtual addresses of an instance have tagged-address names that start with this.
pub const VIRTUAL_PREFIX: &str = "virtual";

/// The one datacenter that a node of this agent is in, by Consul's default name.
pub const DATACENTER: &str = "dc1";

/// Where a definition came from; `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A file of the configuration directory.
    File {
        /// Path of the file.
        path: String,
        /// Where in it the definition starts.
        position: Position,
    },
    /// The agent's own store: somebody wrote it over the API.
    Store,
    /// The source that the agent follows, by its kind.
    Followed(&'static str),
}

impl Origin {
    /// Whether only an editor can change it: everything else is written over the API.
    #[must_use]
    pub fn is_of_file(&self) -> bool {
        matches!(self, Self::File { .. })
    }
}

/// Something together with where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Sourced<T> {
    /// The thing itself.
    pub value: T,
    /// Where it was defined.
    pub origin: Origin,
}

impl<T> Sourced<T> {
    /// The same place with another thing.
    pub fn map<U>(self, into: impl FnOnce(T) -> U) -> Sourced<U> {
        Sourced { value: into(self.value), origin: self.origin }
    }
}

/// Weights of an instance within its subset, by health, as Consul has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Weights {
    /// Weight while every check passes.
    pub passing: u32,
    /// Weight while a check warns.
    pub warning: u32,
}

impl Default for Weights {
    fn default() -> Self {
        Self { passing: 1, warning: 1 }
    }
}

/// One registered copy of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Instance {
    /// Name of the service.
    pub service: String,
    /// Identity within this agent; the service's name where none was given.
    pub id: String,
    /// Address it serves on; its node's where it names none.
    pub address: Option<IpAddr>,
    /// Port it serves on.
    pub port: u16,
    /// Free words, in the order given.
    pub tags: Vec<String>,
    /// Free pairs.
    pub meta: Pairs<String>,
    /// Addresses with names; those named `virtual...` are frontends of the service.
    pub tagged_addresses: Pairs<SocketAddr>,
    /// Weights within the subset.
    pub weights: Weights,
    /// Checks that decide its health; none means healthy.
    pub checks: Vec<Arc<Check>>,
    /// Services that it reaches at loopback addresses of its own.
    pub upstreams: Box<[Upstream]>,
}

/// A service that an instance reaches at a loopback address of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Upstream {
    /// The service.
    pub destination: String,
    /// The address; `None` is `127.0.0.1` and `::1`.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

impl Upstream {
    /// Where it is reached.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let both = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let own = self.address;
        both.into_iter().filter(move |_| own.is_none()).chain(own)
    }
}

/// Health of an instance over all its checks, worst first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// A check failed, or has not succeeded yet.
    #[default]
    Critical,
    /// A check warns.
    Warning,
    /// Every check passes, or there is none.
    Passing,
}

/// An instance as a source reports it.
#[derive(Clone, Debug, PartialEq)]
pub struct Registered {
    /// Where it runs.
    pub node: Arc<Node>,
    /// Its checks and those of its node; shared, for a node's are those of all its instances.
    pub checks: Box<[Arc<CheckState>]>,
    /// The instance.
    pub instance: Instance,
    /// Where it was registered.
    pub origin: Origin,
    /// Its health at the time of the snapshot.
    pub health: Health,
}

impl Registered {
    /// Where it serves; `None` if neither it nor its node has an IP address.
    #[must_use]
    pub fn socket(&self) -> Option<SocketAddr> {
        let of_node = || self.node.address.parse().ok();
        let address = self.instance.address.or_else(of_node)?;
        Some(SocketAddr::new(address, self.instance.port))
    }
}

/// A node that instances run on, for `Node.*` selectors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Node {
    /// Identity, a UUID; empty if it has none.
    pub id: String,
    /// Its datacenter.
    pub datacenter: String,
    /// Its other addresses, by name.
    pub tagged_addresses: Pairs<String>,
    /// Name, by default the host's.
    pub name: String,
    /// Address, the one of the default route where there is one.
    pub address: String,
    /// Free pairs from `--node-meta`.
    pub meta: Pairs<String>,
}

#[cfg(test)]
mod tests;
