//! What Consul's answers say, in the agent's terms.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::client::Fault;
use crate::catalog::{
    CheckState, Health, Instance, Node, Origin, Pairs, Registered, VIRTUAL_PREFIX, Weights,
};
use crate::compile::Warning;
use crate::entry::{self, Entry};
use crate::source::Indices;

/// Where everything comes from that is read here.
pub(super) const ORIGIN: Origin = Origin::Followed("consul");

/// A config entry of a list.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Listed {
    /// The entry, or why it cannot be served.
    pub(super) entry: Result<Entry, String>,
    /// Consul's indices.
    pub(super) indices: Indices,
    /// What people should know of it.
    pub(super) warnings: Vec<String>,
    /// Consul's text of it.
    pub(super) json: String,
}

/// The entries of one kind, by name.
pub(super) type Entries = BTreeMap<String, Arc<Listed>>;

/// The instances of one service.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Instances {
    /// Those that can be served, by id and node.
    pub(super) registered: Vec<Registered>,
    /// Why others cannot.
    pub(super) warnings: Vec<Warning>,
    /// The datacenter that Consul says they are in.
    pub(super) datacenter: Option<String>,
}

/// Reads `GET /v1/config/KIND`.
///
/// # Errors
///
/// If it is no such list: nothing of it may be used.
pub(super) fn entries(kind: &str, body: &[u8]) -> Result<Entries, Fault> {
    let list: Vec<Value> = parse(body)?;
    let mut entries = Entries::new();
    for element in list {
        let (name, listed) = entry(kind, &element.to_string())?;
        entries.insert(name, Arc::new(listed));
    }
    Ok(entries)
}

/// Reads one entry of `kind`.
///
/// # Errors
///
/// If it is no entry of that kind at all.
pub(super) fn entry(kind: &str, json: &str) -> Result<(String, Listed), Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Head {
        kind: String,
        name: String,
        #[serde(default)]
        create_index: u64,
        #[serde(default)]
        modify_index: u64,
    }
    let head: Head = parse(json.as_bytes())?;
    if head.kind != kind || head.name.is_empty() {
        return Err(Fault::garbage(format!(
            "a list of {kind} has {:?} {:?}",
            head.kind, head.name
        )));
    }
    let (entry, warnings) = match entry::parse(json.as_bytes()) {
        Ok(decoded) => (Ok(decoded.entry), decoded.warnings),
        Err(error) => (Err(error.text), Vec::new()),
    };
    let indices = Indices { create: head.create_index, modify: head.modify_index };
    let warnings = warnings.into_iter().map(|warning| warning.text).collect();
    Ok((head.name, Listed { entry, indices, warnings, json: json.to_owned() }))
}

/// Reads `GET /v1/health/service/NAME`.
///
/// # Errors
///
/// If it is no such list, or one of another service.
pub(super) fn instances(service: &str, body: &[u8]) -> Result<Instances, Fault> {
    let rows: Vec<Row> = parse(body)?;
    let mut instances = Instances::default();
    for row in rows {
        if row.service.service != service {
            let text =
                format!("a list of {service:?} has an instance of {:?}", row.service.service);
            return Err(Fault::garbage(text));
        }
        let datacenter = row.node.datacenter.clone().filter(|name| !name.is_empty());
        instances.datacenter = instances.datacenter.or(datacenter);
        match row.registered(&mut instances.warnings) {
            Ok(registered) => instances.registered.push(registered),
            Err(text) => instances.warnings.push(Warning { service: service.to_owned(), text }),
        }
    }
    let key = |r: &Registered| (r.instance.id.clone(), r.node.name.clone());
    instances.registered.sort_by_cached_key(key);
    Ok(instances)
}

/// The datacenter that `GET /v1/agent/self` names.
pub(super) fn datacenter(body: &[u8]) -> Option<String> {
    let document: Value = serde_json::from_slice(body).ok()?;
    let name = document.get("Config")?.get("Datacenter")?.as_str()?;
    Some(name.to_owned()).filter(|name| !name.is_empty())
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Fault> {
    serde_json::from_slice(body)
        .map_err(|error| Fault::garbage(format!("the answer is not what Consul says: {error}")))
}

/// An element of a health answer. What is `null` in it is what is absent.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    node: RowNode,
    service: RowService,
    #[serde(default, deserialize_with = "or_default")]
    checks: Vec<RowCheck>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RowNode {
    #[serde(rename = "ID", default, deserialize_with = "or_default")]
    id: String,
    node: String,
    #[serde(default, deserialize_with = "or_default")]
    address: String,
    #[serde(default)]
    datacenter: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    tagged_addresses: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    meta: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RowService {
    #[serde(rename = "ID")]
    id: String,
    service: String,
    #[serde(default, deserialize_with = "or_default")]
    tags: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    address: String,
    #[serde(default)]
    port: i64,
    #[serde(default, deserialize_with = "or_default")]
    meta: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    tagged_addresses: BTreeMap<String, RowAddress>,
    #[serde(default)]
    weights: Option<RowWeights>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RowAddress {
    address: String,
    #[serde(default)]
    port: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RowWeights {
    passing: i64,
    warning: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RowCheck {
    #[serde(rename = "CheckID")]
    check_id: String,
    #[serde(default, deserialize_with = "or_default")]
    name: String,
    status: String,
    #[serde(default, deserialize_with = "or_default")]
    notes: String,
    #[serde(default, deserialize_with = "or_default")]
    output: String,
    #[serde(rename = "ServiceID", default, deserialize_with = "or_default")]
    service_id: String,
    #[serde(rename = "Type", default, deserialize_with = "or_default")]
    kind: String,
}

/// Go writes an empty list and an empty map as `null`.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl Row {
    /// The instance, or why it cannot be served.
    fn registered(self, warnings: &mut Vec<Warning>) -> Result<Registered, String> {
        let Self { node, service, checks } = self;
        let serves = if service.address.is_empty() { &node.address } else { &service.address };
        let which = format!("instance {:?} on node {:?}", service.id, node.node);
        let address: IpAddr = serves
            .parse()
            .map_err(|_| format!("{which} is left out: its address {serves:?} is no IP address"))?;
        let port = usable_port(service.port)
            .ok_or_else(|| format!("{which} is left out: it has no port to connect to"))?;
        let mut tagged = BTreeMap::new();
        for (name, RowAddress { address, port: number }) in service.tagged_addresses {
            match (address.parse::<IpAddr>(), usable_port(number)) {
                (Ok(address), Some(port)) => {
                    tagged.insert(name, SocketAddr::new(address, port));
                }
                _ if name.starts_with(VIRTUAL_PREFIX) => warnings.push(Warning {
                    service: service.service.clone(),
                    text: format!(
                        "{which}: tagged address {name:?} ({address:?} port {number}) is no frontend: it \
                         needs an IP address and a port"
                    ),
                }),
                _ => {}
            }
        }
        let checks: Box<[_]> =
            checks.into_iter().map(|check| Arc::new(CheckState::from(check))).collect();
        let health = Health::worst(&checks);
        let instance = Instance {
            id: service.id,
            service: service.service,
            address: (!service.address.is_empty()).then_some(address),
            port,
            tags: service.tags,
            meta: service.meta.into(),
            tagged_addresses: tagged.into(),
            weights: service.weights.map(Weights::from).unwrap_or_default(),
            checks: Vec::new(),
            upstreams: Box::default(),
        };
        Ok(Registered { node: Arc::new(node.into()), checks, instance, origin: ORIGIN, health })
    }
}

fn usable_port(number: i64) -> Option<u16> {
    u16::try_from(number).ok().filter(|port| *port > 0)
}

impl From<RowNode> for Node {
    fn from(node: RowNode) -> Self {
        Self {
            id: node.id,
            datacenter: node.datacenter.unwrap_or_default(),
            tagged_addresses: Pairs::from(node.tagged_addresses),
            name: node.node,
            address: node.address,
            meta: Pairs::from(node.meta),
        }
    }
}

impl From<RowWeights> for Weights {
    /// A weight below 1 makes an instance unhealthy: 0 says the same.
    fn from(weights: RowWeights) -> Self {
        let read = |weight: i64| u32::try_from(weight.max(0)).unwrap_or(u32::MAX);
        Self { passing: read(weights.passing), warning: read(weights.warning) }
    }
}

impl From<RowCheck> for CheckState {
    fn from(check: RowCheck) -> Self {
        Self {
            id: check.check_id.into(),
            name: check.name.into(),
            status: match check.status.as_str() {
                "passing" => Health::Passing,
                "warning" => Health::Warning,
                // Consul has no fourth; what it may call maintenance is critical.
                _ => Health::Critical,
            },
            notes: check.notes.into(),
            output: check.output.into(),
            kind: check.kind.into(),
            of_node: check.service_id.is_empty(),
            ..Self::default()
        }
    }
}
