//! `/v1/agent`, `/v1/catalog`, `/v1/status`: registrations, and what Consul's clients ask first.

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::answer::{Error, Listing, flag, json as answer, with_changed, with_warnings};
use super::author::Asked;
use super::checks::undecoded;
use super::document::Warning;
use crate::agent::{Handle, Refusal};
use crate::catalog::{Registered, parse_registration, to_agent_json};
use crate::filter::Shape;

/// Whether checks that a registration does not name go.
const REPLACE: &str = "replace-existing-checks";

/// Parameters of a registration.
#[derive(Debug, Deserialize)]
pub(super) struct Options {
    #[serde(rename = "replace-existing-checks")]
    replace: Option<String>,
}

/// Registers an instance.
pub(super) async fn register(
    State(handle): State<Handle>,
    Query(options): Query<Options>,
    Asked(intent): Asked,
    body: Bytes,
) -> Result<Response, Error> {
    let instance = parse_registration(&body).map_err(undecoded)?;
    let replaces = flag(REPLACE, options.replace.as_deref())?;
    let changed = handle.call(move |agent| agent.register(&intent, instance, replaces)).await??;
    Ok(with_changed(StatusCode::OK.into_response(), changed))
}

/// Takes a registration back.
pub(super) async fn deregister(
    State(handle): State<Handle>,
    Path(id): Path<String>,
    Asked(intent): Asked,
) -> Result<Response, Error> {
    let changed = handle.call(move |agent| agent.deregister(&intent, &id)).await??;
    Ok(with_changed(StatusCode::OK.into_response(), changed))
}

/// All instances by id.
pub(super) async fn list(
    State(handle): State<Handle>,
    Query(listing): Query<Listing>,
) -> Result<Response, Error> {
    let filter = listing.filter(Shape::Service)?;
    let (mut instances, index) = handle
        .call(|agent| {
            let shown = |registered: &Registered| {
                let instance = &registered.instance;
                (instance.id.clone(), to_agent_json(instance))
            };
            let instances: Map<String, Value> = agent.instances().iter().map(shown).collect();
            (instances, agent.index())
        })
        .await?;
    instances.retain(|_, instance| filter.matches(instance));
    Ok(answer(index, &instances))
}

/// Names of services with the tags of their instances.
pub(super) async fn names(State(handle): State<Handle>) -> Result<Response, Error> {
    let (names, index) = handle
        .call(|agent| {
            let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for registered in agent.instances() {
                let tags = names.entry(registered.instance.service.clone()).or_default();
                tags.extend(registered.instance.tags.iter().cloned());
            }
            (names, agent.index())
        })
        .await?;
    Ok(answer(index, &names))
}

/// What Consul says of itself, as far as it means something here.
pub(super) async fn own_node(State(handle): State<Handle>) -> Result<Response, Error> {
    let (node, index) = handle.call(|agent| (agent.node().clone(), agent.index())).await?;
    let version = env!("CARGO_PKG_VERSION");
    let document = json!({
        "Config": {"NodeName": node.name, "Version": version, "Server": false},
        "Member": {"Name": node.name, "Addr": node.address},
        "Meta": node.meta,
    });
    Ok(answer(index, &document))
}

/// Reads the files again: nothing to say but warnings or, where only that was asked for, what
/// would be different.
pub(super) async fn reload(
    State(handle): State<Handle>,
    Asked(intent): Asked,
) -> Result<Response, Error> {
    let (applied, index) = handle
        .call(move |agent| {
            let applied = agent.reload(&intent)?;
            Ok::<_, Refusal>((applied, agent.index()))
        })
        .await??;
    if applied.dry_run {
        return Ok(answer(index, &applied));
    }
    let sentence = |warning: Warning| match warning.service.as_str() {
        "" => warning.text,
        service => format!("{service}: {}", warning.text),
    };
    let warnings: Vec<String> = applied.warnings.into_iter().map(sentence).collect();
    Ok(with_warnings(StatusCode::OK.into_response(), &warnings))
}

/// The leader: this agent needs none, and says the address that clients take for "yes".
pub(super) async fn leader(State(handle): State<Handle>) -> Result<Response, Error> {
    let (node, index) = handle.call(|agent| (agent.node().clone(), agent.index())).await?;
    Ok(answer(index, &format!("{}:8300", node.address)))
}
