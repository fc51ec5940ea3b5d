//! `/v1/canary`: status and the verbs of a release.

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::answer::{OwnError, json};
use super::author::Asked;
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
    Asked(intent): Asked,
    body: Bytes,
) -> Result<Response, OwnError> {
    let change: SplitChange = decode(&body)?;
    let (changed, index) = handle
        .call(move |agent| (agent.set_split(&intent, &service, &change), agent.index()))
        .await?;
    Ok(json(index, &changed?))
}

/// Everything to the stable subset.
pub(super) async fn roll_back(
    State(handle): State<Handle>,
    Path(service): Path<String>,
    Asked(intent): Asked,
    body: Bytes,
) -> Result<Response, OwnError> {
    let wanted = if body.trim_ascii().is_empty() { Rollback::default() } else { decode(&body)? };
    let roll_back = move |agent: &mut crate::agent::Agent| {
        (agent.roll_back(&intent, &service, wanted.to.as_deref()), agent.index())
    };
    let (changed, index) = handle.call(roll_back).await?;
    Ok(json(index, &changed?))
}

/// Parameters of an undo.
#[derive(Debug, Deserialize)]
pub(super) struct UndoParameters {
    to: Option<String>,
}

/// What was in force before the last change, or after the change `to`.
pub(super) async fn undo(
    State(handle): State<Handle>,
    Path(service): Path<String>,
    Query(UndoParameters { to }): Query<UndoParameters>,
    Asked(intent): Asked,
) -> Result<Response, OwnError> {
    let number = |text: String| {
        let wrong = format!("to must be the number of a change, not {text:?}");
        text.parse().map_err(|_| Refusal::bad_request(wrong))
    };
    let to = to.map(number).transpose()?;
    let (changed, index) =
        handle.call(move |agent| (agent.undo(&intent, &service, to), agent.index())).await?;
    Ok(json(index, &changed?))
}

/// The tables' sizes.
pub(super) async fn maps(State(handle): State<Handle>) -> Result<Response, OwnError> {
    let (maps, index) = handle.call(|agent| (agent.maps(), agent.index())).await?;
    Ok(json(index, &maps))
}

pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|error| Refusal::bad_request(format!("Request decoding failed: {error}")))
}
