//! `/v1/health`: what is registered, with its checks.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;

use super::answer::{Document, Error};
use super::blocking;
use super::catalog::is_named;
use super::query::Asked;
use super::rows::{CheckRow, HealthRow};
use crate::agent::{Agent, Handle, Refusal, Topic};
use crate::catalog::{CheckState, Registered};
use crate::filter::{ListFilter, Shape};

/// Instances of a service with their checks and those of their nodes.
pub(super) async fn service(
    State(handle): State<Handle>,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Response, Error> {
    let filter = asked.filter(Shape::Instance)?;
    let (wanted, topics) = (asked.clone(), vec![Topic::Health(name.clone())]);
    blocking::answer(&handle, &asked, topics, move |agent| {
        let found = agent.instances_of(&name).iter().filter(|found| wanted.is_instance(found));
        Document::list(found.map(|found| HealthRow::new(agent, found)), &filter)
    })
    .await
}

/// Checks of a service's instances, without those of their nodes.
pub(super) async fn checks(
    State(handle): State<Handle>,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Response, Error> {
    let filter = asked.filter(Shape::Check)?;
    let (wanted, topics) = (asked.clone(), vec![Topic::Health(name.clone())]);
    blocking::answer(&handle, &asked, topics, move |agent| {
        let found = agent.instances_of(&name).iter().filter(|found| wanted.is_node(&found.node));
        rows(agent, found, &filter, |check| !check.of_node)
    })
    .await
}

/// Checks of a node and of what is registered there.
pub(super) async fn node(
    State(handle): State<Handle>,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Response, Error> {
    let filter = asked.filter(Shape::Check)?;
    blocking::answer(&handle, &asked, vec![Topic::Instances], move |agent| {
        let there = agent.instances().iter().filter(|found| is_named(&found.node, &name));
        rows(agent, there, &filter, |_| true)
    })
    .await
}

/// Checks in a state, or all of them.
pub(super) async fn state(
    State(handle): State<Handle>,
    Path(state): Path<String>,
    asked: Asked,
) -> Result<Response, Error> {
    let filter = asked.filter(Shape::Check)?;
    let wanted = asked.clone();
    blocking::answer(&handle, &asked, vec![Topic::Instances], move |agent| {
        let found = agent.instances().iter().filter(|found| wanted.is_node(&found.node));
        rows(agent, found, &filter, |check| state == "any" || state == check.status.as_str())
    })
    .await
}

/// The `wanted` checks of `instances`. Each of an instance's checks of its node is there once for
/// the node, not once for each instance.
fn rows<'a, I: Iterator<Item = &'a Arc<Registered>>>(
    agent: &Agent,
    instances: I,
    filter: &ListFilter,
    wanted: impl Fn(&CheckState) -> bool,
) -> Result<Document, Refusal> {
    let mut of_nodes = BTreeSet::new();
    let mut rows = Vec::new();
    for registered in instances {
        let indices = agent.instance_indices(&registered.instance.id);
        for check in registered.checks.iter().filter(|check| wanted(check)) {
            let first = !check.of_node || of_nodes.insert((&registered.node.name, &check.id));
            rows.extend(first.then(|| CheckRow::of(registered, check, indices)));
        }
    }
    Document::list(rows.into_iter(), filter)
}
