//! `/v1/discovery-chain` and `/v1/canary/explain`: where connections of a service go.

use axum::extract::{Path, State};
use axum::response::Response;

use super::answer::{Error, OwnError, json};
use crate::agent::Handle;

/// The chain of a service in Consul's shape; of a name that nobody knows the default one.
pub(super) async fn discovery_chain(
    State(handle): State<Handle>,
    Path(service): Path<String>,
) -> Result<Response, Error> {
    let (chain, index) =
        handle.call(move |agent| (agent.discovery_chain(&service), agent.index())).await?;
    Ok(json(index, &chain?))
}

/// Where connections of a service go, and why.
pub(super) async fn explain(
    State(handle): State<Handle>,
    Path(service): Path<String>,
) -> Result<Response, OwnError> {
    let (explain, index) =
        handle.call(move |agent| (agent.explain(&service), agent.index())).await?;
    Ok(json(index, &explain?))
}
