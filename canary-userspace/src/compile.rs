//! The compiler: from a snapshot of what is wanted to what the tables must say.
//!
//! Pure: the same snapshot gives the same answer on every node, in whatever order files were
//! read and instances registered, and an entry of one service never makes another one fail.

mod address;
mod advice;
mod chain;
mod compiler;
mod document;
mod explain;
mod facts;
mod families;
mod fraction;
mod frontends;
mod locals;
pub mod maglev;
mod members;
mod sentences;
mod service;
mod sets;
mod shares;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use canary_common::endpoint::{Endpoint, Version};

pub(crate) use self::address::Shown;
pub use self::address::{endpoint, protocol_name, socket};
pub use self::chain::MAX_TARGETS;
pub use self::compiler::{Compiler, Names};
pub use self::document::discovery_chain;
pub use self::explain::explain;
pub use self::sentences::Sentences;
use crate::entry::reference::Target;
use crate::entry::{TrafficPolicy, Units};
use crate::snapshot::Snapshot;

/// The service that each frontend in force belongs to.
pub type Claims = BTreeMap<Endpoint, String>;

/// Identity of a split's counters: they follow it through every change.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SplitKey {
    /// The service whose frontends clients connect to.
    pub service: String,
    /// The service the share goes to.
    pub target: String,
    /// The subset of it; empty for all its instances.
    pub subset: String,
}

impl SplitKey {
    /// The name that people give it: its subset, or its target where it has none.
    #[must_use]
    pub fn name(&self) -> &str {
        if self.subset.is_empty() { &self.target } else { &self.subset }
    }

    /// True if people who say `name` mean it.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        self.name() == name
    }
}

/// A backend of a split: an instance where it serves clients of one family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DesiredBackend {
    /// Where it serves.
    pub endpoint: Endpoint,
    /// Weight within the split, 1 to 128.
    pub weight: u32,
    /// Takes new flows; otherwise it only keeps its live ones.
    pub healthy: bool,
    /// The instance has another backend, of the other family, which stands for it where instances
    /// are counted.
    pub second: bool,
}

/// A compiled share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredSplit {
    /// Whose counters it moves.
    pub key: SplitKey,
    /// What the weights as written multiply to, in ten-thousandths.
    pub weight: Units,
    /// What it gets of new connections, in ten-thousandths.
    pub share: Units,
    /// Its backends, sorted: those of the first failover level that has a healthy one.
    pub backends: Vec<DesiredBackend>,
    /// Where the other levels serve, sorted: they keep the connections they have.
    pub standby: Vec<Endpoint>,
}

impl DesiredSplit {
    /// Its backends with addresses of one family: those that clients of that family are sent to.
    pub fn of(&self, version: Version) -> impl Iterator<Item = &DesiredBackend> {
        self.backends.iter().filter(move |backend| backend.endpoint.address.version() == version)
    }

    /// Its instances, each by one of its backends.
    pub fn instances(&self) -> impl Iterator<Item = &DesiredBackend> {
        self.backends.iter().filter(|backend| !backend.second)
    }
}

/// What a client keeps its backend by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Affinity {
    /// Every connection is a new draw.
    #[default]
    Flow,
    /// All connections from one address go to one backend.
    Source,
}

/// A service as the tables shall hold it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct DesiredService {
    /// Name.
    pub name: String,
    /// Virtual addresses, sorted.
    pub frontends: Vec<Endpoint>,
    /// The subset that the resolver makes the default; empty without one. Its thresholds come first.
    pub default_subset: String,
    /// Shares in the order people wrote them; they add to 10000, and so do their weights.
    pub splits: Vec<DesiredSplit>,
    /// Has a splitter: its splits get histograms.
    pub histograms: bool,
    /// What a client keeps its backend by.
    pub affinity: Affinity,
    /// Datagrams follow the weights: a flow whose draw falls to another split is picked anew.
    pub follows: bool,
    /// Which backends clients of the node are given.
    pub internal: TrafficPolicy,
    /// Which backends clients outside are given.
    pub external: TrafficPolicy,
    /// Somebody reaches it at a loopback address.
    pub upstream: bool,
    /// It stands by a brake that its entries do not say.
    pub braked: bool,
}

/// Behind a service's name: the same with the backends of this node alone. No service that people
/// name ends so.
const LOCAL: &str = " \u{1}local";

impl DesiredService {
    /// Whether there is anything that leads to it.
    #[must_use]
    pub fn is_served(&self) -> bool {
        self.upstream || !self.frontends.is_empty()
    }

    /// The splits that have a share, in the order of their thresholds: the default subset first, so
    /// that a canary beside it takes from it alone.
    #[must_use]
    pub fn splits_with_share(&self) -> Vec<&DesiredSplit> {
        let mut splits: Vec<_> = self.splits.iter().filter(|split| split.share > 0).collect();
        splits.sort_by_key(|DesiredSplit { key, .. }| {
            let default = key.target == self.name && key.subset == self.default_subset;
            (!default, &key.target, &key.subset)
        });
        splits
    }

    /// Whether some of its clients are given backends of this node alone.
    #[must_use]
    pub fn has_local(&self) -> bool {
        [self.internal, self.external].contains(&TrafficPolicy::Local)
    }

    /// The name of the service that stands for its backends of this node.
    #[must_use]
    pub fn local_name(&self) -> String {
        format!("{}{LOCAL}", self.name)
    }

    /// Whether it stands for backends of this node.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.name.ends_with(LOCAL)
    }

    /// The same service with those backends alone that are on this node, for clients that are given
    /// no others. What falls to a split that has none goes to those that have one.
    #[must_use]
    pub fn local(&self, is_here: impl Fn(&Endpoint) -> bool) -> Self {
        let mut splits = self.splits.clone();
        for split in &mut splits {
            split.backends.retain(|backend| is_here(&backend.endpoint));
            split.standby.clear();
        }
        let weights: Vec<Units> = splits.iter().map(|split| split.share).collect();
        let taken: Vec<bool> =
            splits.iter().map(|split| split.backends.iter().any(|own| own.healthy)).collect();
        let names: Vec<Target<'_>> = self
            .splits
            .iter()
            .map(|split| Target { service: &split.key.target, subset: &split.key.subset })
            .collect();
        let shares = shares::redistribute(&weights, &taken, &names);
        for (split, share) in splits.iter_mut().zip(shares) {
            split.share = share;
        }
        Self {
            name: self.local_name(),
            frontends: Vec::new(),
            upstream: false,
            splits,
            ..self.clone()
        }
    }

    /// Every endpoint that answers may come from.
    #[must_use]
    pub fn endpoints(&self) -> BTreeSet<Endpoint> {
        let of_split = |split: &DesiredSplit| {
            let backends = split.backends.iter().map(|backend| backend.endpoint);
            backends.chain(split.standby.iter().copied()).collect::<Vec<_>>()
        };
        self.splits.iter().flat_map(of_split).collect()
    }
}

/// What the tables shall hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Services, sorted by name.
    pub services: Vec<Arc<DesiredService>>,
    /// Services at loopback addresses of one scope, sorted.
    pub locals: Vec<DesiredLocal>,
}

/// A service at a loopback address, for those alone who have an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DesiredLocal {
    /// Whose: the address of the instance that has the upstream.
    pub owner: IpAddr,
    /// Where it is reached.
    pub at: Endpoint,
    /// The service.
    pub service: String,
}

/// Something a person should know that stops nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Warning {
    /// The service it is about; empty for the node as a whole.
    pub service: String,
    /// One sentence.
    pub text: String,
}

/// A service that cannot be compiled: what is in force for it should stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The service.
    pub service: String,
    /// Why, in Consul's words where it has some.
    pub text: String,
}

/// What a snapshot compiles to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compiled {
    /// What the tables shall hold: every service that something leads to and that was not refused.
    pub desired: Desired,
    /// What people should know.
    pub warnings: Sentences,
    /// Services that were left out, sorted by name.
    pub refused: Vec<Refused>,
    /// Services that have entries and no frontend: not for the tables, but people ask for them.
    pub idle: Vec<Arc<DesiredService>>,
}

impl Desired {
    /// The service of this name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&DesiredService> {
        self.shared(name).map(|service| &**service)
    }

    /// The service of this name, for one who keeps it.
    #[must_use]
    pub fn shared(&self, name: &str) -> Option<&Arc<DesiredService>> {
        let place = self.services.binary_search_by(|service| service.name.as_str().cmp(name));
        self.services.get(place.ok()?)
    }

    /// Who holds which frontend once this is in force.
    #[must_use]
    pub fn claims(&self) -> Claims {
        let pairs = self.services.iter().flat_map(|service| {
            service.frontends.iter().map(|frontend| (*frontend, service.name.clone()))
        });
        pairs.collect()
    }
}

/// Compiles `snapshot`, where frontends stay with the services that hold them `in_force`.
#[must_use]
pub fn compile(snapshot: &Snapshot, in_force: &Claims) -> Compiled {
    Compiler::new(snapshot, in_force).into_compiled()
}

#[cfg(test)]
mod tests;
