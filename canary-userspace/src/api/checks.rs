//! `/v1/agent/check`, `/v1/agent/checks`, maintenance and the agent's view of health.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::answer::{Document, Error, with_changed};
use super::query::Asked;
use super::rows::CheckRow;
use super::{author, blocking};
use crate::agent::{Handle, Refusal, Topic};
use crate::catalog::{
    CheckState, Health, NODE_MAINTENANCE, Registered, SERVICE_MAINTENANCE, parse_check,
    to_agent_json,
};
use crate::error::ConfigError;
use crate::filter::Shape;
use crate::source::Indices;
use crate::syntax;

/// A body that is refused: Consul's words where a rule is broken.
pub(super) fn undecoded(error: ConfigError) -> Refusal {
    let text = error.text;
    Refusal::bad_request(if error.is_rule {
        text
    } else {
        format!("Request decoding failed: {text}")
    })
}

/// A truth value of a query, as Go reads it.
fn is_true(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Some(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// All checks by id.
pub(super) async fn list(State(handle): State<Handle>, asked: Asked) -> Result<Response, Error> {
    let filter = asked.filter(Shape::Check)?;
    blocking::answer(&handle, &asked, vec![Topic::Instances], move |agent| {
        let shown = |(instance, state): (Option<_>, Arc<CheckState>)| {
            let row = CheckRow::new(agent.node(), instance, &state, Indices::default());
            Some((state.id.to_string(), serde_json::to_value(row).ok()?))
        };
        let checks = agent.check_states().into_iter().filter_map(shown);
        Document::of(&checks.filter(|(_, check)| filter.matches(check)).collect::<Map<_, _>>())
    })
    .await
}

/// Registers a check.
pub(super) async fn register(
    State(handle): State<Handle>,
    author::Asked(intent): author::Asked,
    body: Bytes,
) -> Result<Response, Error> {
    let check = parse_check(&body).map_err(undecoded)?;
    let changed = handle.call(move |agent| agent.register_check(&intent, check)).await??;
    Ok(with_changed(StatusCode::OK.into_response(), changed))
}

/// Takes a check back.
pub(super) async fn deregister(
    State(handle): State<Handle>,
    Path(id): Path<String>,
    author::Asked(intent): author::Asked,
) -> Result<Response, Error> {
    let changed = handle.call(move |agent| agent.deregister_check(&intent, &id)).await??;
    Ok(with_changed(StatusCode::OK.into_response(), changed))
}

/// What a client says with a `ttl` check's state.
#[derive(Debug, Deserialize)]
pub(super) struct Note {
    #[serde(default)]
    note: String,
}

/// Says that a `ttl` check passes.
pub(super) async fn pass(
    handle: State<Handle>,
    id: Path<String>,
    note: Query<Note>,
) -> Result<Response, Error> {
    set(handle, id, Health::Passing, note.0.note).await
}

/// Says that a `ttl` check warns.
pub(super) async fn warn(
    handle: State<Handle>,
    id: Path<String>,
    note: Query<Note>,
) -> Result<Response, Error> {
    set(handle, id, Health::Warning, note.0.note).await
}

/// Says that a `ttl` check fails.
pub(super) async fn fail(
    handle: State<Handle>,
    id: Path<String>,
    note: Query<Note>,
) -> Result<Response, Error> {
    set(handle, id, Health::Critical, note.0.note).await
}

/// Sets a `ttl` check's state by a body.
pub(super) async fn update(
    handle: State<Handle>,
    id: Path<String>,
    body: Bytes,
) -> Result<Response, Error> {
    let (status, output) = read_update(&body)
        .map_err(|error| Refusal::bad_request(format!("Request decode failed: {}", error.text)))?;
    let health = Health::from_word(&status)
        .ok_or_else(|| Refusal::bad_request(format!("Invalid check status: '{status}'")))?;
    set(handle, id, health, output).await
}

fn read_update(body: &[u8]) -> Result<(String, String), ConfigError> {
    let mut remarks = syntax::Remarks::default();
    let value = syntax::parse(body)?;
    let mut fields = syntax::Fields::of(&value, "", &mut remarks)?;
    let status = fields.string("Status", "status", &mut remarks)?.value;
    let output = fields.string("Output", "output", &mut remarks)?.value;
    fields.finish(&mut remarks);
    remarks.settle()?;
    Ok((status, output))
}

async fn set(
    State(handle): State<Handle>,
    Path(id): Path<String>,
    health: Health,
    mut output: String,
) -> Result<Response, Error> {
    cut(&mut output);
    handle.call(move |agent| agent.set_check(&id, health, &output)).await??;
    Ok(StatusCode::OK.into_response())
}

/// Bytes that a client may say with a check's state; the rest is cut off, as in Consul.
const MAX_OUTPUT: usize = 4096;

fn cut(output: &mut String) {
    let end = (0..=MAX_OUTPUT).rev().find(|end| output.is_char_boundary(*end));
    output.truncate(end.unwrap_or_default());
}

/// Parameters of a maintenance mode.
#[derive(Debug, Deserialize)]
pub(super) struct Maintenance {
    enable: Option<String>,
    #[serde(default)]
    reason: String,
}

/// Begins or ends the maintenance mode of the node.
pub(super) async fn node_maintenance(
    handle: State<Handle>,
    wanted: Query<Maintenance>,
    asked: author::Asked,
) -> Result<Response, Error> {
    maintain(handle, String::new(), wanted, asked).await
}

/// Begins or ends the maintenance mode of an instance.
pub(super) async fn service_maintenance(
    handle: State<Handle>,
    Path(id): Path<String>,
    wanted: Query<Maintenance>,
    asked: author::Asked,
) -> Result<Response, Error> {
    maintain(handle, id, wanted, asked).await
}

async fn maintain(
    State(handle): State<Handle>,
    id: String,
    Query(Maintenance { enable, reason }): Query<Maintenance>,
    author::Asked(intent): author::Asked,
) -> Result<Response, Error> {
    let enable = enable.ok_or_else(|| Refusal::bad_request("Missing value for enable"))?;
    let enable = is_true(&enable)
        .ok_or_else(|| Refusal::bad_request(format!("Invalid value for enable: {enable:?}")))?;
    let changed = handle.call(move |agent| agent.maintain(&intent, &id, enable, &reason)).await??;
    Ok(with_changed(StatusCode::OK.into_response(), changed))
}

/// How an answer about health is shown.
#[derive(Debug, Deserialize)]
pub(super) struct Shown {
    format: Option<String>,
}

impl Shown {
    /// The answer: a word or a document, with the status code that says the same.
    fn answer(&self, code: StatusCode, word: &str, document: &Value) -> Response {
        if self.format.as_deref() == Some("text") {
            return (code, word.to_owned()).into_response();
        }
        let mut response = (code, document.to_string()).into_response();
        let kind = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

/// The health of one instance.
pub(super) async fn instance_health(
    State(handle): State<Handle>,
    Path(id): Path<String>,
    Query(shown): Query<Shown>,
) -> Result<Response, Error> {
    let wanted = id.clone();
    let found = handle
        .call(move |agent| {
            let mut instances = agent.instances().iter();
            let found = instances.find(|registered| registered.instance.id == wanted)?;
            Some(health_of(found))
        })
        .await?;
    let Some((word, document)) = found else {
        let nothing = json!({"AggregatedStatus": "critical", "Service": null, "Checks": null});
        let text = format!("ServiceId {id} not found");
        return Ok(shown.answer(StatusCode::NOT_FOUND, &text, &nothing));
    };
    Ok(shown.answer(code(word), word, &document))
}

/// The health of a service's instances; the worst decides the status code.
pub(super) async fn service_health(
    State(handle): State<Handle>,
    Path(name): Path<String>,
    Query(shown): Query<Shown>,
) -> Result<Response, Error> {
    let wanted = name.clone();
    let found = handle
        .call(move |agent| {
            let of_it = agent.instances_of(&wanted).iter();
            of_it.map(|found| health_of(found)).collect::<Vec<_>>()
        })
        .await?;
    let worst = found.iter().map(|(word, _)| *word).max_by_key(|word| code(word));
    let (code, word) = match worst {
        Some(word) => (code(word), word.to_owned()),
        None => (StatusCode::NOT_FOUND, format!("ServiceName {name} Not Found")),
    };
    let documents: Value = found.into_iter().map(|(_, document)| document).collect();
    Ok(shown.answer(code, &word, &documents))
}

/// Consul's word for the health of an instance, and the document about it.
fn health_of(registered: &Registered) -> (&'static str, Value) {
    let Registered { instance, checks, health, .. } = registered;
    let in_maintenance = checks
        .iter()
        .any(|check| &*check.id == NODE_MAINTENANCE || check.id.starts_with(SERVICE_MAINTENANCE));
    let word = if in_maintenance { "maintenance" } else { health.as_str() };
    let row = |check| CheckRow::of(registered, check, Indices::default());
    let checks: Vec<_> = checks.iter().map(|check| row(check)).collect();
    let service = to_agent_json(instance);
    (word, json!({"AggregatedStatus": word, "Service": service, "Checks": checks}))
}

fn code(word: &str) -> StatusCode {
    match word {
        "passing" => StatusCode::OK,
        "warning" => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}
