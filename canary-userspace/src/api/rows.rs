//! Rows of Consul's catalogue: nodes, services and checks as its API shows them.
//!
//! They borrow from the agent's own picture and go straight into the answer's text.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::agent::Agent;
use crate::catalog::{CheckState, Instance, Node, Pairs, Registered, Weights};
use crate::source::Indices;
use crate::syntax::format_duration;

/// A node, as in `/v1/catalog/nodes`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NodeRow<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    node: &'a str,
    address: &'a str,
    datacenter: &'a str,
    tagged_addresses: &'a Pairs<String>,
    meta: &'a Pairs<String>,
    create_index: u64,
    modify_index: u64,
}

impl<'a> NodeRow<'a> {
    pub(super) fn new(node: &'a Node, indices: Indices) -> Self {
        Self {
            id: &node.id,
            node: &node.name,
            address: &node.address,
            datacenter: &node.datacenter,
            tagged_addresses: &node.tagged_addresses,
            meta: &node.meta,
            create_index: indices.create,
            modify_index: indices.modify,
        }
    }
}

/// An instance beside its node, as in `/v1/health/service`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ServiceRow<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    service: &'a str,
    tags: &'a [String],
    address: Text<IpAddr>,
    tagged_addresses: Sockets<'a>,
    meta: &'a Pairs<String>,
    port: u16,
    weights: WeightsRow,
    enable_tag_override: bool,
    proxy: Proxy,
    connect: Empty,
    peer_name: &'static str,
    create_index: u64,
    modify_index: u64,
}

impl<'a> ServiceRow<'a> {
    pub(super) fn new(registered: &'a Registered, indices: Indices) -> Self {
        let instance = &registered.instance;
        Self {
            id: &instance.id,
            service: &instance.service,
            tags: &instance.tags,
            address: Text(instance.address),
            tagged_addresses: Sockets(&instance.tagged_addresses),
            meta: &instance.meta,
            port: instance.port,
            weights: instance.weights.into(),
            enable_tag_override: false,
            proxy: Proxy::default(),
            connect: Empty {},
            peer_name: "",
            create_index: indices.create,
            modify_index: indices.modify,
        }
    }
}

/// An instance and its node in one, as in `/v1/catalog/service`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct FlatRow<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    node: &'a str,
    address: &'a str,
    datacenter: &'a str,
    tagged_addresses: &'a Pairs<String>,
    node_meta: &'a Pairs<String>,
    service_kind: &'static str,
    #[serde(rename = "ServiceID")]
    service_id: &'a str,
    service_name: &'a str,
    service_tags: &'a [String],
    service_address: Text<IpAddr>,
    service_tagged_addresses: Sockets<'a>,
    service_weights: WeightsRow,
    service_meta: &'a Pairs<String>,
    service_port: u16,
    service_socket_path: &'static str,
    service_enable_tag_override: bool,
    service_proxy: Proxy,
    service_connect: Empty,
    create_index: u64,
    modify_index: u64,
}

impl<'a> FlatRow<'a> {
    pub(super) fn new(registered: &'a Registered, indices: Indices) -> Self {
        let Registered { node, instance, .. } = registered;
        Self {
            id: &node.id,
            node: &node.name,
            address: &node.address,
            datacenter: &node.datacenter,
            tagged_addresses: &node.tagged_addresses,
            node_meta: &node.meta,
            service_kind: "",
            service_id: &instance.id,
            service_name: &instance.service,
            service_tags: &instance.tags,
            service_address: Text(instance.address),
            service_tagged_addresses: Sockets(&instance.tagged_addresses),
            service_weights: instance.weights.into(),
            service_meta: &instance.meta,
            service_port: instance.port,
            service_socket_path: "",
            service_enable_tag_override: false,
            service_proxy: Proxy::default(),
            service_connect: Empty {},
            create_index: indices.create,
            modify_index: indices.modify,
        }
    }
}

/// A check, as in `/v1/health/checks`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CheckRow<'a> {
    node: &'a str,
    #[serde(rename = "CheckID")]
    check_id: &'a str,
    name: &'a str,
    status: &'static str,
    notes: &'a str,
    output: &'a str,
    #[serde(rename = "ServiceID")]
    service_id: &'a str,
    service_name: &'a str,
    service_tags: &'a [String],
    #[serde(rename = "Type")]
    kind: &'a str,
    interval: String,
    timeout: String,
    exposed_port: u16,
    definition: Empty,
    create_index: u64,
    modify_index: u64,
}

impl<'a> CheckRow<'a> {
    /// `check`, which is one of `instance` or, with none, of the whole node.
    pub(super) fn new(
        node: &'a Node,
        instance: Option<&'a Instance>,
        check: &'a CheckState,
        indices: Indices,
    ) -> Self {
        let instance = instance.filter(|_| !check.of_node);
        let time = |time: Duration| {
            if time.is_zero() { String::new() } else { format_duration(time) }
        };
        Self {
            node: &node.name,
            check_id: &check.id,
            name: &check.name,
            status: check.status.as_str(),
            notes: &check.notes,
            output: &check.output,
            service_id: instance.map(|instance| instance.id.as_str()).unwrap_or_default(),
            service_name: instance.map(|instance| instance.service.as_str()).unwrap_or_default(),
            service_tags: instance.map(|instance| instance.tags.as_slice()).unwrap_or_default(),
            kind: &check.kind,
            interval: time(check.interval),
            timeout: time(check.timeout),
            exposed_port: 0,
            definition: Empty {},
            create_index: indices.create,
            modify_index: indices.modify,
        }
    }

    /// `check`, which is one of `registered`'s or of its node.
    pub(super) fn of(registered: &'a Registered, check: &'a CheckState, indices: Indices) -> Self {
        Self::new(&registered.node, Some(&registered.instance), check, indices)
    }
}

/// An instance with its node and all that is known of its health, as in `/v1/health/service`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct HealthRow<'a> {
    node: NodeRow<'a>,
    service: ServiceRow<'a>,
    checks: Vec<CheckRow<'a>>,
}

impl<'a> HealthRow<'a> {
    pub(super) fn new(agent: &Agent, registered: &'a Registered) -> Self {
        let checks = registered.checks.iter();
        let indices = agent.instance_indices(&registered.instance.id);
        Self {
            node: NodeRow::new(&registered.node, agent.node_indices()),
            service: ServiceRow::new(registered, indices),
            checks: checks.map(|check| CheckRow::of(registered, check, indices)).collect(),
        }
    }
}

/// Weights, as every row has them.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct WeightsRow {
    passing: u32,
    warning: u32,
}

impl From<Weights> for WeightsRow {
    fn from(Weights { passing, warning }: Weights) -> Self {
        Self { passing, warning }
    }
}

/// What Consul shows of a mesh proxy where there is none.
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Proxy {
    mode: &'static str,
    mesh_gateway: Empty,
    expose: Empty,
}

/// An object without fields.
#[derive(Default, Serialize)]
struct Empty {}

/// A value as text; empty where there is none.
struct Text<T>(Option<T>);

impl<T: std::fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_str(""),
        }
    }
}

/// Tagged addresses of an instance.
struct Sockets<'a>(&'a Pairs<SocketAddr>);

impl Serialize for Sockets<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, socket) in self.0.iter() {
            let row = SocketRow { address: socket.ip(), port: socket.port() };
            map.serialize_entry(name, &row)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SocketRow {
    address: IpAddr,
    port: u16,
}
