//! `GET /v1/discovery-chain/:name`: a compiled chain in Consul's shape.
//!
//! What only a mesh has, such as SNI, is left out: there is none.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DiscoveryChain {
    /// The chain.
    pub chain: Chain,
}

/// The chain of a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Chain {
    /// The service.
    pub service_name: String,
    /// Always `default`.
    pub namespace: String,
    /// Always `default`.
    pub partition: String,
    /// The datacenter.
    pub datacenter: String,
    /// No entry says anything about the service.
    #[serde(default, skip_serializing_if = "is_false")]
    pub default: bool,
    /// The service's protocol.
    pub protocol: String,
    /// Pairs of the service's defaults.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub service_meta: BTreeMap<String, String>,
    /// Key of the node where it starts.
    pub start_node: String,
    /// Splitters and resolvers, by `TYPE:NAME`.
    pub nodes: BTreeMap<String, Node>,
    /// Where connections can go, by id.
    pub targets: BTreeMap<String, Target>,
}

/// A splitter or a resolver.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Node {
    /// `splitter` or `resolver`.
    pub r#type: String,
    /// Its name in the chain.
    pub name: String,
    /// Of a splitter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub splits: Vec<Split>,
    /// Of a resolver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolver: Option<Resolver>,
    /// How instances are chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<LoadBalancer>,
}

/// A split, nested ones multiplied out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Split {
    /// The first split that leads there, as written.
    pub definition: Definition,
    /// Percent; left out if it is 0.
    #[serde(default, skip_serializing_if = "is_zero", serialize_with = "as_go")]
    pub weight: f64,
    /// Key of the node.
    pub next_node: String,
}

/// A split as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Definition {
    /// Percent.
    #[serde(serialize_with = "as_go")]
    pub weight: f64,
    /// The service, where one is named.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service: String,
    /// The subset, where one is named.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service_subset: String,
}

/// What a resolver node says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Resolver {
    /// There is no resolver entry, or one that says nothing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub default: bool,
    /// Time for a connection to open, as Go writes it.
    pub connect_timeout: String,
    /// Time for an answer, as Go writes it; left out if it is not said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request_timeout: String,
    /// Id of the target.
    pub target: String,
    /// What takes over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover: Option<Failover>,
}

/// What takes over for a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Failover {
    /// Ids of targets, in order.
    pub targets: Vec<String>,
}

/// Some instances of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Target {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// The service.
    pub service: String,
    /// The subset; left out for all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service_subset: String,
    /// Always `default`.
    pub namespace: String,
    /// Always `default`.
    pub partition: String,
    /// The datacenter.
    pub datacenter: String,
    /// Always empty.
    pub mesh_gateway: BTreeMap<String, String>,
    /// What the subset is.
    pub subset: Subset,
    /// Time for a connection to open, as Go writes it.
    pub connect_timeout: String,
}

/// A subset as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Subset {
    /// The filter.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub filter: String,
    /// An instance with a check that warns is not healthy.
    #[serde(default, skip_serializing_if = "is_false")]
    pub only_passing: bool,
}

/// How instances are chosen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LoadBalancer {
    /// The policy.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub policy: String,
    /// For `ring_hash`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring_hash_config: Option<RingHashConfig>,
    /// For `least_request`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least_request_config: Option<LeastRequestConfig>,
    /// What is hashed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hash_policies: Vec<HashPolicy>,
}

/// Sizes of a hash ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RingHashConfig {
    /// The least.
    #[serde(default, skip_serializing_if = "is_none")]
    pub minimum_ring_size: u64,
    /// The most.
    #[serde(default, skip_serializing_if = "is_none")]
    pub maximum_ring_size: u64,
}

/// How many candidates there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LeastRequestConfig {
    /// Candidates.
    pub choice_count: u32,
}

/// What is hashed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HashPolicy {
    /// A header, a cookie or a query parameter: nothing at layer 4.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
    /// Which of them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field_value: String,
    /// The client's address.
    #[serde(rename = "SourceIP", default, skip_serializing_if = "is_false")]
    pub source_ip: bool,
    /// Later policies are not asked once this one has a value.
    #[serde(default, skip_serializing_if = "is_false")]
    pub terminal: bool,
}

/// Whole numbers without a fraction: `60`, and `33.33`.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn as_go<S: Serializer>(percent: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    match (0..=100_u8).find(|whole| (f64::from(*whole) - *percent).abs() < f64::EPSILON) {
        Some(whole) => serializer.serialize_u8(whole),
        None => serializer.serialize_f64(*percent),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
pub(super) fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_none(value: &u64) -> bool {
    *value == 0
}
