//! `/v1/config`: config entries.

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;

use super::answer::{Error, Listing, json, with_changed, with_warnings};
use super::author::Asked;
use crate::agent::{Handle, Indices, Refusal};
use crate::entry::{self, Decoded, Entry};
use crate::filter::Shape;
use crate::source::KINDS;

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

/// Parameters of a write.
#[derive(Debug, Deserialize)]
pub(super) struct Parameters {
    cas: Option<String>,
}

impl Parameters {
    fn cas(&self) -> Result<Option<u64>, Error> {
        let wrong =
            |text: &str| Refusal::bad_request(format!("cas must be an index, not {text:?}"));
        let parse = |text: &String| text.parse().map_err(|_| Error(wrong(text)));
        self.cas.as_ref().map(parse).transpose()
    }
}

/// Writes an entry: `true`, or `false` where `cas` does not fit.
pub(super) async fn write(
    State(handle): State<Handle>,
    Query(parameters): Query<Parameters>,
    Asked(intent): Asked,
    body: Bytes,
) -> Result<Response, Error> {
    let cas = parameters.cas()?;
    let Decoded { entry, warnings, .. } = decode(&body)?;
    let warnings: Vec<String> = warnings.into_iter().map(|warning| warning.text).collect();
    let (changed, index) = handle
        .call(move |agent| {
            let changed = agent.write_entry(&intent, entry, cas)?;
            Ok::<_, Refusal>((changed, agent.index()))
        })
        .await??;
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
    Query(listing): Query<Listing>,
) -> Result<Response, Error> {
    check_kind(&kind)?;
    let filter = listing.filter(Shape::of_entries(&kind))?;
    let (entries, index) = handle.call(move |agent| (agent.entries(&kind), agent.index())).await?;
    let entries = entries.iter().map(|(entry, at)| shown(entry, *at));
    let entries: Vec<Value> = entries.filter(|entry| filter.matches(entry)).collect();
    Ok(json(index, &entries))
}

/// One entry.
pub(super) async fn read(
    State(handle): State<Handle>,
    Path(key): Path<(String, String)>,
) -> Result<Response, Error> {
    check_kind(&key.0)?;
    let missing =
        Refusal::not_found(format!("Config entry not found for {:?} / {:?}", key.0, key.1));
    let (entry, index) = handle.call(move |agent| (agent.entry(&key), agent.index())).await?;
    let (entry, at) = entry.ok_or(missing)?;
    Ok(json(index, &shown(&entry, at)))
}

/// Deletes an entry: `{}`, or with `cas` whether that fitted.
pub(super) async fn delete(
    State(handle): State<Handle>,
    Path(key): Path<(String, String)>,
    Query(parameters): Query<Parameters>,
    Asked(intent): Asked,
) -> Result<Response, Error> {
    check_kind(&key.0)?;
    let cas = parameters.cas()?;
    let (changed, index) = handle
        .call(move |agent| {
            let changed = agent.delete_entry(&intent, key, cas)?;
            Ok::<_, Refusal>((changed, agent.index()))
        })
        .await??;
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
