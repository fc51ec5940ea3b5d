//! `/v1/config`: config entries.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderValue;
use axum::response::Response;
use serde_json::Value;

use super::answer::{Document, Error, json, with_changed, with_warnings};
use super::author::SourceToken;
use super::query::Asked;
use super::{author, blocking};
use crate::agent::{Handle, Refusal, Ticket, Topic};
use crate::entry::{self, Decoded, Entry};
use crate::filter::Shape;
use crate::source::{EntryKey, Indices, KINDS};

/// Kinds that Consul has and this agent does not serve: there is never one.
const UNSERVED_KINDS: [&str; 15] = [
    "api-gateway",
    "bound-api-gateway",
    "control-plane-request-limit",
    "exported-services",
    "file-system-certificate",
    "http-route",
    "ingress-gateway",
    "inline-certificate",
    "jwt-provider",
    "mesh",
    "sameness-group",
    "service-intentions",
    "service-router",
    "tcp-route",
    "terminating-gateway",
];

/// Writes an entry: `true`, or `false` where `cas` does not fit.
pub(super) async fn write(
    State(handle): State<Handle>,
    asked: Asked,
    author::Asked(intent): author::Asked,
    SourceToken(token): SourceToken,
    body: Bytes,
) -> Result<Response, Error> {
    let cas = asked.cas;
    let Decoded { entry, warnings, .. } = decode(&body)?;
    let warnings: Vec<String> = warnings.into_iter().map(|warning| warning.text).collect();
    let changed = handle
        .change(ticket(token, cas), move |agent| agent.write_entry(&intent, entry.clone(), cas))
        .await?;
    let index = handle.call(|agent| agent.index()).await?;
    let response = with_warnings(json(index, &changed.is_some()), &warnings);
    Ok(match changed {
        Some(changed) => with_changed(response, changed),
        None => response,
    })
}

/// All entries of a kind.
pub(super) async fn list(
    State(handle): State<Handle>,
    Path(kind): Path<String>,
    asked: Asked,
) -> Result<Response, Error> {
    check_kind(&kind)?;
    let filter = asked.filter(Shape::of_entries(&kind))?;
    let topics = vec![Topic::Kind(kind.clone())];
    blocking::answer(&handle, &asked, topics, move |agent| {
        let entries = agent.entries(&kind);
        Document::list(entries.iter().map(|(entry, at)| shown(entry, *at)), &filter)
    })
    .await
}

/// One entry.
pub(super) async fn read(
    State(handle): State<Handle>,
    Path(key): Path<(String, String)>,
    asked: Asked,
) -> Result<Response, Error> {
    check_kind(&key.0)?;
    let topics = vec![Topic::Entry(key.clone())];
    blocking::answer(&handle, &asked, topics, move |agent| {
        let (entry, at) = agent.entry(&key).ok_or_else(|| missing(&key))?;
        Document::of(&shown(&entry, at))
    })
    .await
}

/// What goes along to a followed source.
fn ticket(token: Option<HeaderValue>, cas: Option<u64>) -> Ticket {
    Ticket { token, cas }
}

fn missing((kind, name): &EntryKey) -> Refusal {
    Refusal::not_found(format!("Config entry not found for {kind:?} / {name:?}"))
}

/// Deletes an entry: `{}`, or with `cas` whether that fitted.
pub(super) async fn delete(
    State(handle): State<Handle>,
    Path(key): Path<(String, String)>,
    asked: Asked,
    author::Asked(intent): author::Asked,
    SourceToken(token): SourceToken,
) -> Result<Response, Error> {
    check_kind(&key.0)?;
    let cas = asked.cas;
    let changed = handle
        .change(ticket(token, cas), move |agent| agent.delete_entry(&intent, key.clone(), cas))
        .await?;
    let index = handle.call(|agent| agent.index()).await?;
    let done = changed.is_some();
    let answer = if cas.is_some() { Value::Bool(done) } else { Value::Object(<_>::default()) };
    let response = json(index, &answer);
    Ok(match changed {
        Some(changed) => with_changed(response, changed),
        None => response,
    })
}

/// Reads an entry: what is no entry is 400, an entry that is refused is 500.
fn decode(body: &[u8]) -> Result<Decoded, Refusal> {
    entry::parse(body).map_err(|error| {
        if error.is_rule {
            Refusal::invalid(error.text)
        } else {
            Refusal::bad_request(format!("Request decoding failed: {}", error.text))
        }
    })
}

fn check_kind(kind: &str) -> Result<(), Error> {
    if KINDS.contains(&kind) || UNSERVED_KINDS.contains(&kind) {
        return Ok(());
    }
    Err(Error(Refusal::invalid(format!("invalid config entry kind: {kind}"))))
}

/// An entry as Consul shows it.
fn shown(entry: &Entry, indices: Indices) -> Value {
    let mut json = entry::to_json(entry);
    if let Value::Object(fields) = &mut json {
        fields.insert("CreateIndex".to_owned(), indices.create.into());
        fields.insert("ModifyIndex".to_owned(), indices.modify.into());
    }
    json
}
