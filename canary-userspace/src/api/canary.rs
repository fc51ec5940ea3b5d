//! `/v1/canary`: status and the verbs of a release.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::de::DeserializeOwned;

use super::answer::{OwnError, json};
use super::document::{Rollback, SplitChange};
use crate::agent::{Handle, Refusal};

/// Everything.
pub(super) async fn status(State(handle): State<Handle>) -> Result<Response, OwnError> {
    let (status, index) =
        handle.call(|agent| (agent.status(&agent.measure()), agent.index())).await?;
    Ok(json(index, &status))
}

/// One service.
pub(super) async fn service_status(
    State(handle): State<Handle>,
    Path(service): Path<String>,
) -> Result<Response, OwnError> {
    let missing = Refusal::not_found(format!("no service is in force as {service:?}"));
    let (status, index) =
        handle.call(move |agent| (agent.service_status(&service), agent.index())).await?;
    Ok(json(index, &status.ok_or(missing)?))
}

/// Weights of a service.
pub(super) async fn split(
    State(handle): State<Handle>,
    Path(service): Path<String>,
) -> Result<Response, OwnError> {
    let (weights, index) =
        handle.call(move |agent| (agent.weights(&service), agent.index())).await?;
    Ok(json(index, &weights?))
}

/// New weights for some subsets.
pub(super) async fn set_split(
    State(handle): State<Handle>,
    Path(service): Path<String>,
    body: Bytes,
) -> Result<Response, OwnError> {
    let change: SplitChange = decode(&body)?;
    let (changed, index) =
        handle.call(move |agent| (agent.set_split(&service, &change), agent.index())).await?;
    Ok(json(index, &changed?))
}

/// Everything to the stable subset.
pub(super) async fn roll_back(
    State(handle): State<Handle>,
    Path(service): Path<String>,
    body: Bytes,
) -> Result<Response, OwnError> {
    let wanted = if body.trim_ascii().is_empty() { Rollback::default() } else { decode(&body)? };
    let roll_back = move |agent: &mut crate::agent::Agent| {
        (agent.roll_back(&service, wanted.to.as_deref()), agent.index())
    };
    let (changed, index) = handle.call(roll_back).await?;
    Ok(json(index, &changed?))
}

/// What was in force before the last change.
pub(super) async fn undo(
    State(handle): State<Handle>,
    Path(service): Path<String>,
) -> Result<Response, OwnError> {
    let (changed, index) = handle.call(move |agent| (agent.undo(&service), agent.index())).await?;
    Ok(json(index, &changed?))
}

/// The tables' sizes.
pub(super) async fn maps(State(handle): State<Handle>) -> Result<Response, OwnError> {
    let (maps, index) = handle.call(|agent| (agent.maps(), agent.index())).await?;
    Ok(json(index, &maps))
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|error| Refusal::bad_request(format!("Request decoding failed: {error}")))
}
