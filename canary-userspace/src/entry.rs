//! Config entries: Consul's kinds that this agent serves, decoded and validated.

mod decode;
mod graph;
mod hcl;
mod kinds;
pub mod reference;
mod render;
mod validate;

use std::collections::BTreeMap;

use std::time::Duration;

use serde_json::{Map, Value as Json};

use crate::error::{ConfigError, Position};
use crate::syntax::{self, Value};

pub use self::hcl::to_hcl;
pub use graph::{GraphError, Part, check_graph, check_names, circular, split_meant};
pub use kinds::set_aside;
pub use render::to_json;
pub use validate::{WEIGHT_RANGE, check_sum, units_of};

/// Share in units of a ten-thousandth: 100 % is 10000.
pub type Units = u16;

/// The whole, in [`Units`].
pub const WHOLE: Units = 10_000;

/// A subset of a service's instances.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subset {
    /// Filter expression as written; empty means every instance.
    pub filter: String,
    /// An instance with a check that warns is not healthy.
    pub only_passing: bool,
}

/// Where every reference to a service leads instead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redirect {
    /// The other service; empty for the entry's own.
    pub service: String,
    /// The subset; empty for the default of the target.
    pub service_subset: String,
}

/// A (service, subset) that takes over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailoverTarget {
    /// The service; empty for the entry's own.
    pub service: String,
    /// The subset; empty for the target's default.
    pub service_subset: String,
}

/// What takes over when a subset has no healthy instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failover {
    /// One service or subset: `service` and `service_subset`.
    One(FailoverTarget),
    /// Several, in this order: `targets`.
    Targets(Vec<FailoverTarget>),
}

/// How one of a target's instances is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Not said: evenly.
    #[default]
    Unset,
    /// `random`
    Random,
    /// `round_robin`
    RoundRobin,
    /// `least_request`
    LeastRequest,
    /// `ring_hash`
    RingHash,
    /// `maglev`
    Maglev,
}

impl Policy {
    /// All of them, by the names that entries use.
    const NAMES: [(Self, &'static str); 6] = [
        (Self::Unset, ""),
        (Self::Random, "random"),
        (Self::RoundRobin, "round_robin"),
        (Self::LeastRequest, "least_request"),
        (Self::RingHash, "ring_hash"),
        (Self::Maglev, "maglev"),
    ];

    /// The policy of that name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, of)| *of == name).map(|(policy, _)| *policy)
    }

    /// Its name in entries; empty where none is said.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(policy, _)| *policy == self).map_or("", |(_, name)| name)
    }

    /// Whether the same hash leads to the same instance.
    #[must_use]
    pub fn is_hash_based(self) -> bool {
        matches!(self, Self::RingHash | Self::Maglev)
    }
}

/// Sizes of a hash ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingHash {
    /// The least; 0 if not said.
    pub minimum_ring_size: u64,
    /// The most; 0 if not said.
    pub maximum_ring_size: u64,
}

/// What a hash policy hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HashPolicy {
    /// `header`, `cookie`, `query_parameter`, or empty with `source_ip`.
    pub field: String,
    /// Which of them.
    pub field_value: String,
    /// How a cookie is made, where the field is one.
    pub cookie: Option<Cookie>,
    /// The client's address.
    pub source_ip: bool,
    /// Later policies are not asked once this one has a value.
    pub terminal: bool,
}

/// A cookie that a proxy would set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cookie {
    /// It ends with the browser's session.
    pub session: bool,
    /// It ends after this time.
    pub ttl: Duration,
    /// Where it is sent.
    pub path: String,
}

/// The `load_balancer` of a resolver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadBalancer {
    /// How an instance is chosen.
    pub policy: Policy,
    /// Sizes for `ring_hash`.
    pub ring_hash: Option<RingHash>,
    /// Candidates for `least_request`.
    pub choice_count: Option<u32>,
    /// What is hashed, for `ring_hash` and `maglev`.
    pub hash_policies: Vec<HashPolicy>,
}

/// A `service-resolver` entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolver {
    /// The service.
    pub name: String,
    /// What a plain reference to the service means; empty for all instances.
    pub default_subset: String,
    /// Subsets by name.
    pub subsets: BTreeMap<String, Subset>,
    /// Where every reference leads instead.
    pub redirect: Option<Redirect>,
    /// What takes over, by subset; `*` is for all.
    pub failover: BTreeMap<String, Failover>,
    /// Time for a connection to open; zero if not said. Nothing at layer 4 waits for it.
    pub connect_timeout: Duration,
    /// Time for an answer; zero if not said. Nothing at layer 4 waits for it.
    pub request_timeout: Duration,
    /// How an instance is chosen.
    pub load_balancer: Option<LoadBalancer>,
    /// Free pairs.
    pub meta: BTreeMap<String, String>,
}

impl Resolver {
    /// Whether the entry says nothing but whose it is.
    #[must_use]
    pub fn says_nothing(&self) -> bool {
        let (name, meta) = (self.name.clone(), self.meta.clone());
        *self == Self { name, meta, ..Self::default() }
    }
}

/// One share of a splitter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Weight in ten-thousandths.
    pub weight: Units,
    /// Target service; empty for the entry's own.
    pub service: String,
    /// Target subset; empty for the target's default.
    pub service_subset: String,
}

/// A `service-splitter` entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Splitter {
    /// The service.
    pub name: String,
    /// Shares in the order written; they add to [`WHOLE`].
    pub splits: Vec<Split>,
    /// Free pairs.
    pub meta: BTreeMap<String, String>,
}

/// The key of a splitter's meta that says what becomes of a share that nobody can take.
pub(crate) const ON_EMPTY: &str = "on_empty";

impl Splitter {
    /// Whether the share of a subset without healthy instances goes to the others.
    ///
    /// Otherwise its connections are refused, as in Consul.
    #[must_use]
    pub fn redistributes(&self) -> bool {
        self.meta.get(ON_EMPTY).is_some_and(|value| value == "redistribute")
    }
}

/// A `service-defaults` entry, as far as this agent uses it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceDefaults {
    /// The service.
    pub name: String,
    /// Protocol in lower case: `udp` makes the frontends UDP, anything else is TCP.
    pub protocol: String,
    /// Everything else of it as it was written: it says nothing to this agent.
    pub other: Map<String, Json>,
}

/// Key of a `service-defaults` entry's meta: its datagrams follow the weights.
pub(crate) const FOLLOW_WEIGHTS: &str = "canary/udp-follow-weights";

/// Keys of the meta of the same: which backends clients of the node and outside are given.
pub(crate) const INTERNAL_POLICY: &str = "canary/internal-traffic-policy";
/// The same of clients outside.
pub(crate) const EXTERNAL_POLICY: &str = "canary/external-traffic-policy";

/// Which backends clients are given: Kubernetes' words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// All.
    #[default]
    Cluster,
    /// Those of the node that they come to.
    Local,
}

impl TrafficPolicy {
    /// The policy of this name.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        match word {
            "" | "Cluster" => Some(Self::Cluster),
            "Local" => Some(Self::Local),
            _ => None,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cluster => "Cluster",
            Self::Local => "Local",
        }
    }
}

impl ServiceDefaults {
    /// The policy under a key of the meta.
    #[must_use]
    pub(crate) fn policy(&self, key: &str) -> TrafficPolicy {
        let word = self.other.get("Meta").and_then(|meta| meta.get(key)).and_then(Json::as_str);
        word.and_then(TrafficPolicy::of).unwrap_or_default()
    }

    /// Whether datagrams follow the weights: their flows go to the split that they are drawn for,
    /// also when they began in another one.
    #[must_use]
    pub fn datagrams_follow(&self) -> bool {
        let meta = self.other.get("Meta").and_then(|meta| meta.get(FOLLOW_WEIGHTS));
        meta.is_some_and(|value| value == "true")
    }
}

/// A `proxy-defaults` entry, as far as this agent uses it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyDefaults {
    /// Always `global`.
    pub name: String,
    /// `config.protocol` in lower case, for services whose own defaults name none.
    pub protocol: String,
    /// Everything else of it as it was written, `config` included.
    pub other: Map<String, Json>,
}

/// A config entry of any kind that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// `service-resolver`
    Resolver(Resolver),
    /// `service-splitter`
    Splitter(Splitter),
    /// `service-defaults`
    Defaults(ServiceDefaults),
    /// `proxy-defaults`
    Proxy(ProxyDefaults),
}

impl Entry {
    /// The kind, as entries name it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Resolver(_) => kinds::RESOLVER,
            Self::Splitter(_) => kinds::SPLITTER,
            Self::Defaults(_) => kinds::DEFAULTS,
            Self::Proxy(_) => kinds::PROXY,
        }
    }

    /// The service that the entry is about.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Resolver(resolver) => &resolver.name,
            Self::Splitter(splitter) => &splitter.name,
            Self::Defaults(defaults) => &defaults.name,
            Self::Proxy(defaults) => &defaults.name,
        }
    }
}

/// An entry as it was read, with what is to be told about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The entry.
    pub entry: Entry,
    /// Where its parts are in the text.
    pub places: Places,
    /// What was accepted and should be known, each with its place.
    pub warnings: Vec<ConfigError>,
}

/// Where the parts of an entry are, for errors that show only beside other entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// The entry's name.
    pub name: Position,
    /// Of each split the target: its subset, else its service, else where the split starts.
    pub splits: Vec<Position>,
}

impl Places {
    /// Where in `entry` a refusal is about that an agent gave in words: a split, else the name.
    #[must_use]
    pub fn of_refusal(&self, entry: &Entry, text: &str) -> Position {
        let split = match entry {
            Entry::Splitter(splitter) => split_meant(splitter, text),
            Entry::Resolver(_) | Entry::Defaults(_) | Entry::Proxy(_) => None,
        };
        split.and_then(|split| self.splits.get(split)).copied().unwrap_or(self.name)
    }
}

/// Reads an entry from a text: HCL or JSON, as `consul config write` takes it.
///
/// # Errors
///
/// What is wrong and where: syntax, types, unknown keys, what is not supported, then Consul's
/// own rules in its order and words.
pub fn parse(text: &[u8]) -> Result<Decoded, ConfigError> {
    decode(&syntax::parse(text)?)
}

/// Reads an entry from a parsed text.
///
/// # Errors
///
/// As [`parse`], but for syntax.
pub fn decode(value: &Value) -> Result<Decoded, ConfigError> {
    decode::decode(value)
}

#[cfg(test)]
pub(crate) mod tests;
