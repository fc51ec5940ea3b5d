//! `/v1/canary`: status and the verbs of a release.

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::HeaderValue;
use axum::response::Response;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::answer::{OwnError, json};
use super::author::{Asked, SourceToken};
use super::document::{Changed, Rollback, SplitChange};
use crate::agent::{Agent, Handle, Refusal, Ticket};

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
    SourceToken(token): SourceToken,
    body: Bytes,
) -> Result<Response, OwnError> {
    let change: SplitChange = decode(&body)?;
    let set_split = move |agent: &mut Agent| agent.set_split(&intent, &service, &change);
    changed(&handle, token, set_split).await
}

/// Everything to the stable subset.
pub(super) async fn roll_back(
    State(handle): State<Handle>,
    Path(service): Path<String>,
    Asked(intent): Asked,
    SourceToken(token): SourceToken,
    body: Bytes,
) -> Result<Response, OwnError> {
    let wanted = if body.trim_ascii().is_empty() { Rollback::default() } else { decode(&body)? };
    let roll_back =
        move |agent: &mut Agent| agent.roll_back(&intent, &service, wanted.to.as_deref());
    changed(&handle, token, roll_back).await
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
    SourceToken(token): SourceToken,
) -> Result<Response, OwnError> {
    let number = |text: String| {
        let wrong = format!("to must be the number of a change, not {text:?}");
        text.parse().map_err(|_| Refusal::bad_request(wrong))
    };
    let to = to.map(number).transpose()?;
    changed(&handle, token, move |agent: &mut Agent| agent.undo(&intent, &service, to)).await
}

/// Makes a change of one service and answers with what moved.
async fn changed(
    handle: &Handle,
    token: Option<HeaderValue>,
    work: impl Fn(&mut Agent) -> Result<Changed, Refusal> + Clone + Send + 'static,
) -> Result<Response, OwnError> {
    let changed = handle.change(Ticket { token, cas: None }, work).await?;
    let index = handle.call(|agent| agent.index()).await?;
    Ok(json(index, &changed))
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
