//! `/v1/agent`, `/v1/catalog`, `/v1/status`: registrations, and what Consul's clients ask first.

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::answer::{Error, Listing, json as answer, sentences, with_warnings};
use super::checks::{is_true, undecoded};
use crate::agent::{Handle, Refusal};
use crate::catalog::{Registered, parse_registration, to_agent_json};

/// Parameters of a registration.
#[derive(Debug, Deserialize)]
pub(super) struct Options {
    #[serde(rename = "replace-existing-checks")]
    replace: Option<String>,
}

impl Options {
    /// Whether checks that the registration does not name go; the bare name says so too.
    fn replaces(&self) -> bool {
        self.replace.as_deref().is_some_and(|value| is_true(value) != Some(false))
    }
}

/// Registers an instance.
pub(super) async fn register(
    State(handle): State<Handle>,
    Query(options): Query<Options>,
    body: Bytes,
) -> Result<Response, Error> {
    let instance = parse_registration(&body).map_err(undecoded)?;
    let service = instance.service.clone();
    let warnings = handle
        .call(move |agent| {
            agent.register(instance, options.replaces())?;
            Ok::<_, Refusal>(agent.warnings_of(&service))
        })
        .await??;
    Ok(with_warnings(StatusCode::OK.into_response(), &sentences(warnings)))
}

/// Takes a registration back.
pub(super) async fn deregister(
    State(handle): State<Handle>,
    Path(id): Path<String>,
) -> Result<Response, Error> {
    handle.call(move |agent| agent.deregister(&id)).await??;
    Ok(StatusCode::OK.into_response())
}

/// All instances by id.
pub(super) async fn list(
    State(handle): State<Handle>,
    Query(listing): Query<Listing>,
) -> Result<Response, Error> {
    listing.check()?;
    let (instances, index) = handle
        .call(|agent| {
            let shown = |registered: &Registered| {
                let instance = &registered.instance;
                (instance.id.clone(), to_agent_json(instance))
            };
            let instances: Map<String, Value> = agent.instances().iter().map(shown).collect();
            (instances, agent.index())
        })
        .await?;
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

/// Reads the files again.
pub(super) async fn reload(State(handle): State<Handle>) -> Result<Response, Error> {
    let warnings = handle
        .call(|agent| {
            agent.reload()?;
            Ok::<_, Refusal>(agent.status(&agent.measure()).warnings)
        })
        .await??;
    let sentence = |warning: super::document::Warning| match warning.service.as_str() {
        "" => warning.text,
        service => format!("{service}: {}", warning.text),
    };
    let warnings: Vec<String> = warnings.into_iter().map(sentence).collect();
    Ok(with_warnings(StatusCode::OK.into_response(), &warnings))
}

/// The leader: this agent needs none, and says the address that clients take for "yes".
pub(super) async fn leader(State(handle): State<Handle>) -> Result<Response, Error> {
    let (node, index) = handle.call(|agent| (agent.node().clone(), agent.index())).await?;
    Ok(answer(index, &format!("{}:8300", node.address)))
}
