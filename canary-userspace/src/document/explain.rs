//! `GET /v1/canary/explain/:service`: where new connections of a service go, and why.

use serde::{Deserialize, Serialize};

use super::{Frontend, Warning};

/// A service as it is compiled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explain {
    /// Name.
    pub service: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Virtual addresses; none if nothing can connect to it.
    pub frontends: Vec<Frontend>,
    /// How a backend is chosen: `evenly`, `maglev` or `ring_hash`.
    pub policy: String,
    /// What a client keeps its backend by: `connection` or `source_ip`.
    pub affinity: String,
    /// What becomes of the share of a leaf without a healthy instance: `reset` or `redistribute`.
    pub on_empty: String,
    /// The splitters on the way, the service's own first, as they are written.
    pub splitters: Vec<Splitter>,
    /// Where connections go in the end, in the order written; equal ones are one.
    pub leaves: Vec<Leaf>,
    /// Why the service cannot be compiled; there are no leaves then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What people should know of the service.
    pub warnings: Vec<Warning>,
    /// The revision in force.
    pub revision: u64,
}

/// A splitter on the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Splitter {
    /// Whose.
    pub service: String,
    /// Its splits, as written.
    pub splits: Vec<Written>,
}

/// A split as written, and where it leads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Written {
    /// Percent, to 0.01.
    pub weight: f64,
    /// The service named; the splitter's own where none is.
    pub service: String,
    /// The subset named; empty for none.
    pub subset: String,
    /// What it leads to.
    pub next: Next,
}

/// What a reference leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// The splitter of a service.
    Splitter(String),
    /// Instances, after redirects and default subsets.
    Target(Target),
}

/// Some instances of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The service.
    pub service: String,
    /// The subset of it; empty for all.
    pub subset: String,
}

/// One place where connections go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Leaf {
    /// The service.
    pub service: String,
    /// The subset of it; empty for all.
    pub subset: String,
    /// What the weights on the way multiply to, in percent; all leaves together have 100.
    pub weight: f64,
    /// What it gets of new connections, in percent: other than the weight where shares of leaves
    /// without a healthy instance are redistributed.
    pub share: f64,
    /// Its connections are refused: it has a share and no level has a healthy instance.
    pub refused: bool,
    /// The leaf's own instances, then those of its failover, in the order they are asked.
    pub levels: Vec<Level>,
}

/// Instances that serve a leaf while no level before them has a healthy one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// 0 for the leaf itself, then rising.
    pub priority: u32,
    /// The service.
    pub service: String,
    /// The subset of it; empty for all.
    pub subset: String,
    /// New connections of the leaf go here.
    pub in_use: bool,
    /// The subset's filter; empty for all instances.
    pub filter: String,
    /// Why the filter cannot be used: the subset has no instances then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter_error: Option<String>,
    /// An instance with a check that warns is not healthy.
    pub only_passing: bool,
    /// Every registered instance of the service, members of the subset or not, by id.
    pub instances: Vec<Instance>,
}

/// A registered instance beside a subset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// Identity.
    pub id: String,
    /// `ADDRESS:PORT`; `null` if neither the instance nor its node has an IP address.
    pub address: Option<String>,
    /// Name of its node.
    pub node: String,
    /// `passing`, `warning` or `critical`, over all its checks.
    pub health: String,
    /// Its checks that do not pass.
    pub checks: Vec<Check>,
    /// It takes new connections here, were the level in use.
    pub healthy: bool,
    /// Weight within the subset, by its health.
    pub weight: u32,
    /// It is in the subset.
    pub member: bool,
    /// Why it is not, or why it is: the terms of the filter that decide it. Empty without a filter.
    pub why: String,
}

/// A check that does not pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Identity.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// `warning` or `critical`.
    pub status: String,
    /// What the last probe said.
    pub output: String,
    /// It is about the node.
    pub of_node: bool,
}
