//! `/v1/agent`: registrations on this node.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Map;

use super::answer::{Document, Error, flag, json as answer, with_changed, with_warnings};
use super::checks::undecoded;
use super::query::Asked;
use super::{author, blocking};
use crate::agent::{Handle, Refusal, Topic};
use crate::catalog::{Registered, parse_registration, to_agent_json};
use crate::document::Warning;
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
    author::Asked(intent): author::Asked,
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
    author::Asked(intent): author::Asked,
) -> Result<Response, Error> {
    let changed = handle.call(move |agent| agent.deregister(&intent, &id)).await??;
    Ok(with_changed(StatusCode::OK.into_response(), changed))
}

/// All instances by id.
pub(super) async fn list(State(handle): State<Handle>, asked: Asked) -> Result<Response, Error> {
    let filter = asked.filter(Shape::Service)?;
    blocking::answer(&handle, &asked, vec![Topic::Instances], move |agent| {
        let shown = |registered: &Arc<Registered>| {
            let instance = &registered.instance;
            (instance.id.clone(), to_agent_json(instance))
        };
        let shown = agent.instances().iter().map(shown);
        Document::of(&shown.filter(|(_, shown)| filter.matches(shown)).collect::<Map<_, _>>())
    })
    .await
}

/// One instance, with a hash of what is said of it.
pub(super) async fn read(
    State(handle): State<Handle>,
    Path(id): Path<String>,
    asked: Asked,
) -> Result<Response, Error> {
    blocking::answer_by_hash(&handle, &asked, vec![Topic::Instances], move |agent| {
        let missing = || Refusal::not_found(format!("unknown service ID: {id}"));
        let registered = agent.instance(&id).ok_or_else(missing)?;
        Ok(to_agent_json(&registered.instance))
    })
    .await
}

/// Parameters of a reload.
#[derive(Debug, Deserialize)]
pub(super) struct ReloadParameters {
    changes: Option<String>,
}

/// Reads the files again: nothing to say but warnings or, where that was asked for, what differs.
pub(super) async fn reload(
    State(handle): State<Handle>,
    Query(ReloadParameters { changes }): Query<ReloadParameters>,
    author::Asked(intent): author::Asked,
) -> Result<Response, Error> {
    let applied = handle.reload(intent).await?;
    if applied.dry_run || changes.is_some() {
        let index = handle.call(|agent| agent.index()).await?;
        return Ok(answer(index, &applied));
    }
    let sentence = |warning: Warning| match warning.service.as_str() {
        "" => warning.text,
        service => format!("{service}: {}", warning.text),
    };
    let warnings: Vec<String> = applied.warnings.into_iter().map(sentence).collect();
    Ok(with_warnings(StatusCode::OK.into_response(), &warnings))
}
