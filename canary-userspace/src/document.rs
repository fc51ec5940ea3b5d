//! The JSON documents of `/v1/canary`, as programs rely on them.
//!
//! What a build or a protocol does not measure is `null`, never 0.

pub mod chain;
pub mod explain;
pub mod flow;
pub mod flows;
pub mod observe;
mod sockets;
mod split;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::sockets::{Local, Sockets};
pub use self::split::{Backends, Bytes, Connections, Quantiles, Retransmits, Split};

/// `GET /v1/canary/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The first revision is in force.
    pub ready: bool,
    /// Number of the published state.
    pub revision: u64,
    /// The agent's version.
    pub version: String,
    /// Layout version of the tables.
    pub layout: u32,
    /// Where configuration comes from, and how it is.
    pub source: Source,
    /// Interfaces served.
    pub interfaces: Vec<Interface>,
    /// Whose sockets are served when they connect.
    #[serde(default)]
    pub sockets: Sockets,
    /// Services, by name.
    pub services: Vec<Service>,
    /// Packets not forwarded, by reason; zeros left out.
    pub reasons: BTreeMap<String, u64>,
    /// What people should know.
    pub warnings: Vec<Warning>,
}

/// The source of configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// `files`, `consul` or `kubernetes`.
    pub kind: String,
    /// Who is asked, where that is somebody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Its last answer could be used.
    pub ok: bool,
    /// Seconds since its last good answer, 0 while it is well.
    pub stale_seconds: u64,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Inputs that cannot be believed: their last content stays in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<Held>,
}

/// An input that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Its name: a configuration directory.
    pub input: String,
    /// For how many seconds.
    pub seconds: u64,
    /// Why it cannot be believed.
    pub reason: String,
    /// What would go if it were: `KIND/NAME`, with `service` and `check` for what is registered.
    pub removals: Vec<String>,
    /// What stands for this list, to accept it.
    pub digest: String,
}

/// An interface the programs are attached to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// `pod`, `uplink` or `other`.
    pub role: String,
    /// `tcx` or `xdp`.
    pub hook: String,
}

/// `GET /v1/canary/status/:service`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Name.
    pub service: String,
    /// Virtual addresses.
    pub frontends: Vec<Frontend>,
    /// Loopback addresses at which somebody reaches it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locals: Vec<Local>,
    /// Origin of each entry in force: `store` or `file NAME`.
    pub origin: BTreeMap<String, String>,
    /// Splits in the order written.
    pub splits: Vec<Split>,
    /// The brake, where the service stands by it: its splits then have what is written, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brake: Option<Brake>,
}

/// The traffic policy that is left out.
const CLUSTER: &str = "Cluster";

/// A virtual address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frontend {
    /// Address.
    pub address: String,
    /// Port.
    pub port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The node's own address that backends elsewhere see for clients outside, if it has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Whether they see the client instead, and answer it past this node: its packets go to them
    /// within others from that address.
    #[serde(default, skip_serializing_if = "chain::is_false")]
    pub direct_return: bool,
    /// Which backends pods and processes of the node are given: `Cluster` for all, `Local` for
    /// those of the node.
    #[serde(default = "all", skip_serializing_if = "is_all")]
    pub internal_traffic_policy: String,
    /// The same of clients outside.
    #[serde(default = "all", skip_serializing_if = "is_all")]
    pub external_traffic_policy: String,
}

fn all() -> String {
    CLUSTER.to_owned()
}

fn is_all(policy: &str) -> bool {
    policy == CLUSTER
}

/// A sentence about a service, or about the node when `service` is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// The service.
    pub service: String,
    /// The sentence.
    pub text: String,
}

/// `GET /v1/canary/split/:service` and the answer to its `PUT`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weights {
    /// The service.
    pub service: String,
    /// Weights in the order written.
    pub splits: Vec<Weight>,
    /// Revision in force.
    pub revision: u64,
    /// The brake, where the service stands by it: what is in force is not what is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brake: Option<Brake>,
}

/// A rollback that holds on this node and is not written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brake {
    /// What gets everything: a subset, or a service without subsets.
    pub subset: String,
    /// Since how many seconds, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// Who set it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why it is not written.
    pub reason: String,
}

/// A weight of a split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weight {
    /// The service it goes to.
    pub service: String,
    /// The subset; empty for the default.
    pub subset: String,
    /// Percent, to 0.01.
    pub weight: f64,
}

/// Body of `PUT /v1/canary/split/:service`: new weights in percent by subset; others stay.
pub type SplitChange = BTreeMap<String, f64>;

/// Body of `PUT /v1/canary/rollback/:service`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// The subset that gets everything; the resolver's default subset where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// Answer to a split change, a rollback or an undo: weights before and after, by subset. Other
/// writes that are about one service have it in the header `X-Canary-Changed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// The service.
    pub service: String,
    /// What moved, in file order: (subset, before, after) in percent.
    pub weights: Vec<Moved>,
    /// Revision before.
    pub revision_before: u64,
    /// Revision in force.
    pub revision: u64,
    /// Nothing has changed: it was only asked what would.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// What people should know.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// Live connections that end because of it, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severing: Option<Severing>,
}

/// Answer to `PUT /v1/canary/sever/:service`, and how far that is: `GET` of the same path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Severing {
    /// The service.
    pub service: String,
    /// Connections that were found, by split.
    pub splits: Vec<SeveredSplit>,
    /// All of them.
    pub found: u64,
    /// The pace as it was asked for.
    pub rate: String,
    /// The pace in connections a second; `null` for all at once.
    pub per_second: Option<u64>,
    /// Connections that were ended.
    pub ended: u64,
    /// Connections that had gone by themselves when it was their turn.
    pub gone: u64,
    /// Connections whose turn is still to come.
    pub left: u64,
    /// `counted` (by a dry run), `running`, `done`, or `stopped` by other shares.
    pub state: String,
}

/// Live connections of a split.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeveredSplit {
    /// The service it goes to.
    pub service: String,
    /// The subset; empty for the default.
    pub subset: String,
    /// Connections.
    pub tcp: u64,
    /// Flows of datagrams.
    pub udp: u64,
}

/// Answer to an import, and to a reload of which only the effect was asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Applied {
    /// What is different, by service.
    pub changes: Vec<Difference>,
    /// Revision before.
    pub revision_before: u64,
    /// Revision in force.
    pub revision: u64,
    /// Nothing has changed: it was only asked what would.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// What people should know.
    #[serde(default)]
    pub warnings: Vec<Warning>,
}

/// `GET /v1/canary/export`: config entries in Consul's JSON, bodies of registrations, and
/// maintenance modes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Export {
    /// Config entries.
    pub entries: Vec<Value>,
    /// Registrations.
    pub services: Vec<Value>,
    /// Registrations of checks on their own.
    pub checks: Vec<Value>,
    /// Maintenance modes: `Reason`, and `ServiceID` where it is not the node's.
    pub maintenance: Vec<Value>,
}

/// Body of `PUT /v1/canary/import`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// The files, as the configuration directory may have them.
    pub files: Vec<File>,
}

/// A file of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// What it is called; refusals name it so.
    pub path: String,
    /// Its text.
    pub content: String,
}

/// A definition that a change is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Difference {
    /// The service.
    pub service: String,
    /// The entry's kind, or `service` for the registration of an instance.
    pub kind: String,
    /// The entry's name, or the instance's id.
    pub name: String,
    /// `new`, `changed` or `gone`.
    pub how: String,
}

/// A weight that moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    /// The subset, or the target service where the split names no subset.
    pub subset: String,
    /// Percent before; `None` if the split is new.
    pub before: Option<f64>,
    /// Percent after; `None` if the split is gone.
    pub after: Option<f64>,
}

/// `GET /v1/canary/maps`: a table of a datapath.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Map {
    /// Name.
    pub name: String,
    /// Kind.
    pub kind: String,
    /// Entries in use, where that can be told.
    pub entries: Option<u64>,
    /// Entries at most.
    pub capacity: u64,
    /// Memory in bytes as the kernel accounts it.
    pub bytes: u64,
    /// What else is known of it, if it is the flow table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flows: Option<Flows>,
}

/// What fills the flow table, and what became of inserts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flows {
    /// Share of the places that are in use, in percent.
    pub percent: u64,
    /// Connections that go through us; each has two entries.
    pub connections: u64,
    /// Entries by what they are: connections by how far they got, and what is none of ours.
    pub kinds: BTreeMap<String, u64>,
    /// Entries in their second choice: lookups that miss may take two buckets.
    pub spilled: u64,
    /// Entries that others pushed out, by what they were.
    pub evicted: BTreeMap<String, u64>,
    /// Inserts that found no room.
    pub refused: u64,
    /// Interfaces that hold half of the places and get no more.
    pub crowded: Vec<String>,
}
