//! Answers as Consul's clients expect them: JSON with an index, errors as plain text.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::document::Changed;
use super::filter;
use crate::agent::{Kind, Refusal};
use crate::filter::{ListFilter, Shape};

/// Parameters of a list.
#[derive(Debug, Deserialize)]
pub(super) struct Listing {
    filter: Option<String>,
}

impl Listing {
    /// The filter of a list of `shape`.
    pub(super) fn filter(&self, shape: Shape) -> Result<ListFilter, Error> {
        filter::read(self.filter.as_deref(), shape)
    }
}

/// Reads a parameter that is there or not: `?name`, `?name=true`, `?name=false`.
pub(super) fn flag(name: &str, value: Option<&str>) -> Result<bool, Refusal> {
    match value {
        None | Some("false" | "0") => Ok(false),
        Some("" | "true" | "1") => Ok(true),
        Some(other) => {
            Err(Refusal::bad_request(format!("{name} must be true or false, not {other:?}")))
        }
    }
}

/// Header with the index of the last write.
const INDEX: HeaderName = HeaderName::from_static("x-consul-index");
/// Header that tells clients that reads are consistent.
const KNOWN_LEADER: HeaderName = HeaderName::from_static("x-consul-knownleader");
/// Header with the age of the answer in milliseconds.
const LAST_CONTACT: HeaderName = HeaderName::from_static("x-consul-lastcontact");
/// Header with a sentence that stops nothing; it may come several times.
const WARNING: HeaderName = HeaderName::from_static("x-canary-warning");

/// Header with what a write moved, a [`Changed`], where the body is as Consul's.
const CHANGED: HeaderName = HeaderName::from_static("x-canary-changed");

/// A refused request.
#[derive(Debug)]
pub(super) struct Error(pub(super) Refusal);

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = match self.0.kind {
            Kind::BadRequest => StatusCode::BAD_REQUEST,
            Kind::NotFound => StatusCode::NOT_FOUND,
            // Consul's code for content that it refuses.
            Kind::Invalid => StatusCode::INTERNAL_SERVER_ERROR,
            Kind::Failed => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, self.0.text).into_response()
    }
}

/// A refused request on a path of our own, where refused content is the client's fault.
#[derive(Debug)]
pub(super) struct OwnError(Refusal);

impl From<Refusal> for OwnError {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl IntoResponse for OwnError {
    fn into_response(self) -> Response {
        match self.0.kind {
            Kind::Invalid => (StatusCode::BAD_REQUEST, self.0.text).into_response(),
            Kind::BadRequest | Kind::NotFound | Kind::Failed => Error(self.0).into_response(),
        }
    }
}

/// A JSON document as of the write with `index`.
pub(super) fn json<T: Serialize>(index: u64, document: &T) -> Response {
    match serde_json::to_string(document) {
        Ok(text) => {
            let mut response = text.into_response();
            let kind = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            stamp(response.headers_mut(), index);
            response
        }
        Err(error) => Error(Refusal::failed(error.to_string())).into_response(),
    }
}

fn stamp(headers: &mut HeaderMap, index: u64) {
    // Clients treat 0 as an error.
    headers.insert(INDEX, HeaderValue::from(index.max(1)));
    headers.insert(KNOWN_LEADER, HeaderValue::from_static("true"));
    headers.insert(LAST_CONTACT, HeaderValue::from_static("0"));
}

/// The same answer with sentences for people.
pub(super) fn with_warnings(mut response: Response, warnings: &[String]) -> Response {
    for warning in warnings {
        // A header holds no line break.
        if let Ok(value) = HeaderValue::from_str(&warning.replace(['\n', '\r'], " ")) {
            response.headers_mut().append(WARNING, value);
        }
    }
    response
}

/// The same answer with what a write moved, and the warnings about its service.
pub(super) fn with_changed(mut response: Response, changed: Changed) -> Response {
    let sentences: Vec<String> =
        changed.warnings.iter().map(|warning| warning.text.clone()).collect();
    // The warnings have a header of their own.
    let moved = serde_json::to_vec(&Changed { warnings: Vec::new(), ..changed });
    if let Some(value) = moved.ok().and_then(|json| HeaderValue::from_bytes(&json).ok()) {
        response.headers_mut().insert(CHANGED, value);
    }
    with_warnings(response, &sentences)
}
