//! `/v1/catalog`: what is registered, whatever its health.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::answer::{Document, Error};
use super::blocking;
use super::query::Asked;
use super::rows::{FlatRow, NodeRow, ServiceRow};
use crate::agent::{Agent, Handle, Topic};
use crate::catalog::{Node, Registered};
use crate::filter::{ListFilter, Shape};

/// Names of services with the tags of their instances.
pub(super) async fn services(
    State(handle): State<Handle>,
    asked: Asked,
) -> Result<Response, Error> {
    let filter = asked.filter(Shape::CatalogService)?;
    let wanted = asked.clone();
    // What a filter looks at may change without the names.
    let topic = if filter.is_empty() { Topic::Services } else { Topic::Instances };
    blocking::answer(&handle, &asked, vec![topic], move |agent| {
        let mut names: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for registered in agent.instances().iter().filter(|found| wanted.is_node(&found.node)) {
            let row = || serde_json::to_value(flat(agent, registered)).unwrap_or_default();
            if !filter.is_empty() && !filter.matches(&row()) {
                continue;
            }
            let tags = names.entry(&registered.instance.service).or_default();
            tags.extend(registered.instance.tags.iter().map(String::as_str));
        }
        Document::of(&names)
    })
    .await
}

/// Instances of a service.
pub(super) async fn service(
    State(handle): State<Handle>,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Response, Error> {
    let filter = asked.filter(Shape::CatalogService)?;
    let (wanted, topics) = (asked.clone(), vec![Topic::Service(name.clone())]);
    blocking::answer(&handle, &asked, topics, move |agent| {
        let found = agent.instances_of(&name).iter().filter(|found| wanted.is_instance(found));
        Document::list(found.map(|found| flat(agent, found)), &filter)
    })
    .await
}

/// The nodes: this one and those that instances run on.
pub(super) async fn nodes(State(handle): State<Handle>, asked: Asked) -> Result<Response, Error> {
    let filter = asked.filter(Shape::Node)?;
    let wanted = asked.clone();
    blocking::answer(&handle, &asked, vec![Topic::Nodes], move |agent| {
        let indices = agent.node_indices();
        let nodes = nodes_of(agent).into_values().filter(|node| wanted.is_node(node));
        Document::list(nodes.map(|node| NodeRow::new(node, indices)), &filter)
    })
    .await
}

/// A node and its services by id.
pub(super) async fn node(
    State(handle): State<Handle>,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Response, Error> {
    let filter = asked.filter(Shape::Service)?;
    blocking::answer(&handle, &asked, vec![Topic::Instances], move |agent| {
        let Some((node, services)) = services_on(agent, &name, &filter) else {
            return Document::of(&());
        };
        let by_id = |row: Value| Some((row.get("ID")?.as_str()?.to_owned(), row));
        let services: Map<_, _> = services.filter_map(by_id).collect();
        Document::of(&json!({"Node": node, "Services": services}))
    })
    .await
}

/// A node and its services as a list.
pub(super) async fn node_services(
    State(handle): State<Handle>,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Response, Error> {
    let filter = asked.filter(Shape::Service)?;
    blocking::answer(&handle, &asked, vec![Topic::Instances], move |agent| {
        let Some((node, services)) = services_on(agent, &name, &filter) else {
            return Document::of(&json!({"Node": null, "Services": []}));
        };
        Document::of(&json!({"Node": node, "Services": services.collect::<Vec<_>>()}))
    })
    .await
}

/// The datacenters that can be asked for: the own one.
pub(super) async fn datacenters(
    State(handle): State<Handle>,
    _asked: Asked,
) -> Result<Response, Error> {
    let document = handle.call(|agent| Document::of(&[&agent.node().datacenter])).await??;
    Ok(document.into_response())
}

/// Consul's servers take registrations for any node here; an agent has only its own.
pub(super) async fn not_here() -> Response {
    let text = "the catalogue is made of this agent's services: \
                use /v1/agent/service/register and /v1/agent/service/deregister";
    (StatusCode::METHOD_NOT_ALLOWED, text).into_response()
}

/// All nodes by name.
fn nodes_of(agent: &Agent) -> BTreeMap<&str, &Node> {
    let own = agent.node();
    let others = agent.instances().iter().map(|registered| registered.node.as_ref());
    std::iter::once(own).chain(others).map(|node| (node.name.as_str(), node)).collect()
}

/// The node that is called `name` or has it as its id, and what is registered there.
fn services_on<'a>(
    agent: &'a Agent,
    name: &str,
    filter: &'a ListFilter,
) -> Option<(NodeRow<'a>, impl Iterator<Item = Value>)> {
    let node = nodes_of(agent).into_values().find(|node| is_named(node, name))?;
    let there = agent.instances().iter().filter(|found| found.node.name == node.name);
    let rows = there.filter_map(|found| {
        let indices = agent.instance_indices(&found.instance.id);
        serde_json::to_value(ServiceRow::new(found, indices)).ok()
    });
    let rows = rows.filter(|row| filter.matches(row));
    Some((NodeRow::new(node, agent.node_indices()), rows))
}

fn flat<'a>(agent: &Agent, registered: &'a Registered) -> FlatRow<'a> {
    FlatRow::new(registered, agent.instance_indices(&registered.instance.id))
}

/// Whether `node` is meant by `name`: its name, in any case of letters, or its id.
pub(super) fn is_named(node: &Node, name: &str) -> bool {
    node.name.eq_ignore_ascii_case(name) || (!name.is_empty() && node.id == name)
}
