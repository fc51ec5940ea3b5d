//! `/v1/agent`: registrations on this node.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::Map;

use super::answer::{Document, Error, sentences, with_warnings};
use super::blocking;
use super::query::Asked;
use crate::agent::{Handle, Refusal, Topic};
use crate::catalog::{Registered, parse_registration, to_agent_json, to_definition};

/// Registers an instance.
pub(super) async fn register(State(handle): State<Handle>, body: Bytes) -> Result<Response, Error> {
    let instance = parse_registration(&body).map_err(|error| {
        Refusal::bad_request(format!("Request decoding failed: {}", error.text))
    })?;
    let json = to_definition(&instance);
    let service = instance.service.clone();
    let warnings = handle
        .call(move |agent| {
            agent.register(instance, json)?;
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
pub(super) async fn list(State(handle): State<Handle>, asked: Asked) -> Result<Response, Error> {
    asked.check_no_filter()?;
    blocking::answer(&handle, &asked, vec![Topic::Instances], |agent| {
        let shown = |registered: &Registered| {
            let instance = &registered.instance;
            (instance.id.clone(), to_agent_json(instance))
        };
        Document::of(&agent.instances().iter().map(shown).collect::<Map<_, _>>())
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
