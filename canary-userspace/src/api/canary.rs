//! `/v1/canary`: status and the verbs of a release.

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::HeaderValue;
use axum::response::Response;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::answer::{OwnError, flag, json};
use super::author::{Asked, SourceToken};
use crate::agent::{self, Agent, Handle, Refusal, Released, Ticket, Wanted};
use crate::audit::Intent;
use crate::document::{Changed, Rollback, SplitChange, Warning};
use crate::sever::Rate;

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
    Query(ends): Query<EndParameters>,
    Asked(intent): Asked,
    SourceToken(token): SourceToken,
    body: Bytes,
) -> Result<Response, OwnError> {
    let change: SplitChange = decode(&body)?;
    let rebalance = ends.rate_if("rebalance")?;
    let asked = intent.clone();
    let set_split = move |agent: &mut Agent| agent.set_split(&asked, &service, &change, rebalance);
    released(&handle, token, intent, set_split).await
}

/// Everything to the stable subset.
pub(super) async fn roll_back(
    State(handle): State<Handle>,
    Path(service): Path<String>,
    Query(ends): Query<EndParameters>,
    Asked(intent): Asked,
    SourceToken(token): SourceToken,
    body: Bytes,
) -> Result<Response, OwnError> {
    let wanted = if body.trim_ascii().is_empty() { Rollback::default() } else { decode(&body)? };
    let sever = ends.rate_if("sever")?;
    let rollback = agent::Rollback { intent: intent.clone(), service, to: wanted.to, sever };
    let done = handle.roll_back(Ticket { token, cas: None }, rollback).await?;
    finish(&handle, intent, done).await
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

/// Parameters of a change of weights that ends connections.
#[derive(Debug, Deserialize)]
pub(super) struct EndParameters {
    sever: Option<String>,
    rebalance: Option<String>,
    rate: Option<String>,
}

impl EndParameters {
    /// The pace, if the flag `name` is there; the other one is not for this path.
    fn rate_if(&self, name: &str) -> Result<Option<Rate>, Refusal> {
        let (own, other) = match name {
            "sever" => (&self.sever, ("rebalance", &self.rebalance)),
            _ => (&self.rebalance, ("sever", &self.sever)),
        };
        if let (other, Some(_)) = other {
            return Err(Refusal::bad_request(format!("{other} is not for this path: {name} is")));
        }
        let is_wanted = own.is_some() && flag(name, own.as_deref())?;
        match (is_wanted, &self.rate) {
            (false, Some(_)) => Err(Refusal::bad_request(format!("rate is for {name} only"))),
            (false, None) => Ok(None),
            (true, rate) => parse_rate(rate.as_deref()).map(Some),
        }
    }
}

fn parse_rate(text: Option<&str>) -> Result<Rate, Refusal> {
    text.map_or_else(|| Ok(Rate::default()), |text| text.parse().map_err(Refusal::bad_request))
}

/// Parameters of an order to end connections.
#[derive(Debug, Deserialize)]
pub(super) struct SeverParameters {
    subset: Option<String>,
    backend: Option<String>,
    rate: Option<String>,
}

/// Ends live connections that a service should not have.
pub(super) async fn sever(
    State(handle): State<Handle>,
    Path(service): Path<String>,
    Query(SeverParameters { subset, backend, rate }): Query<SeverParameters>,
    Asked(intent): Asked,
) -> Result<Response, OwnError> {
    let socket = |text: String| {
        text.parse().map_err(|_| {
            Refusal::bad_request(format!("backend must be ADDRESS:PORT, not {text:?}"))
        })
    };
    let backend = backend.map(socket).transpose()?;
    let wanted = Wanted { subset, backend, rate: parse_rate(rate.as_deref())? };
    let order = handle.call(move |agent| agent.order(&service, &wanted)).await??;
    let severing = handle.sever(intent, order).await?;
    let index = handle.call(|agent| agent.index()).await?;
    Ok(json(index, &severing))
}

/// How far that is.
pub(super) async fn severing(
    State(handle): State<Handle>,
    Path(service): Path<String>,
) -> Result<Response, OwnError> {
    let (severing, index) =
        handle.call(move |agent| (agent.severing(&service), agent.index())).await?;
    Ok(json(index, &severing?))
}

/// Makes a change of one service, ends what it says, and answers with both.
async fn released(
    handle: &Handle,
    token: Option<HeaderValue>,
    intent: Intent,
    work: impl Fn(&mut Agent) -> Result<Released, Refusal> + Clone + Send + 'static,
) -> Result<Response, OwnError> {
    let done = handle.change(Ticket { token, cas: None }, work).await?;
    finish(handle, intent, done).await
}

/// Ends the connections that a change says, and answers with both.
async fn finish(
    handle: &Handle,
    intent: Intent,
    Released { mut changed, order }: Released,
) -> Result<Response, OwnError> {
    if let Some(order) = order {
        match handle.sever(intent, order).await {
            Ok(severing) => changed.severing = Some(severing),
            // The weights are in force all the same.
            Err(Refusal { text, .. }) => {
                let text = format!("no connection is severed: {text}");
                changed.warnings.push(Warning { service: changed.service.clone(), text });
            }
        }
    }
    let index = handle.call(|agent| agent.index()).await?;
    Ok(json(index, &changed))
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
