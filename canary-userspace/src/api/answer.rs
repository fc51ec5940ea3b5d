//! Answers as Consul's clients expect them: JSON with an index, errors as plain text.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer as _};
use serde_json::{Serializer, Value};

use crate::agent::{Kind, Refusal};
use crate::document::Changed;
use crate::filter::ListFilter;

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

/// Header with the index of the last change to what was asked for.
pub(super) const INDEX: HeaderName = HeaderName::from_static("x-consul-index");
/// Header with the hash of the content of an agent's answer.
const CONTENT_HASH: HeaderName = HeaderName::from_static("x-consul-contenthash");
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
            Kind::NotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::OfSource(status) => {
                StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY)
            }
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

impl From<Error> for OwnError {
    fn from(Error(refusal): Error) -> Self {
        Self(refusal)
    }
}

impl IntoResponse for OwnError {
    fn into_response(self) -> Response {
        match self.0.kind {
            Kind::Invalid => (StatusCode::BAD_REQUEST, self.0.text).into_response(),
            _ => Error(self.0).into_response(),
        }
    }
}

/// A JSON document, as text.
#[derive(Debug)]
pub(super) struct Document(String);

impl Document {
    /// `content` as a document. It is read where it stands, so that nothing is copied first.
    ///
    /// # Errors
    ///
    /// It cannot be JSON.
    pub(super) fn of<T: Serialize + ?Sized>(content: &T) -> Result<Self, Refusal> {
        serde_json::to_string(content).map(Self).map_err(|error| Refusal::failed(error.to_string()))
    }

    /// The `rows` that pass `filter`, as a list.
    ///
    /// # Errors
    ///
    /// They cannot be JSON.
    pub(super) fn list<T: Serialize>(
        rows: impl Iterator<Item = T>,
        filter: &ListFilter,
    ) -> Result<Self, Refusal> {
        let failed = |error: serde_json::Error| Refusal::failed(error.to_string());
        let mut text = Vec::new();
        let mut list = Serializer::new(&mut text);
        if filter.is_empty() {
            list.collect_seq(rows).map_err(failed)?;
        } else {
            let rows: Result<Vec<Value>, _> = rows.map(|row| serde_json::to_value(row)).collect();
            let rows = rows.map_err(failed)?;
            list.collect_seq(rows.iter().filter(|row| filter.matches(row))).map_err(failed)?;
        }
        String::from_utf8(text).map(Self).map_err(|error| Refusal::failed(error.to_string()))
    }

    /// An answer that is the document, without an index.
    pub(super) fn into_response(self) -> Response {
        let kind = HeaderValue::from_static("application/json");
        ([(header::CONTENT_TYPE, kind)], self.0).into_response()
    }
}

/// A JSON document as of the change with `index`.
pub(super) fn json<T: Serialize>(index: u64, document: &T) -> Response {
    let response = Document::of(document)
        .map_or_else(|refusal| Error(refusal).into_response(), Document::into_response);
    stamped(response, index)
}

/// The same answer as of the change with `index`.
pub(super) fn stamped(mut response: Response, index: u64) -> Response {
    let headers = response.headers_mut();
    // Clients treat 0 as an error.
    headers.insert(INDEX, HeaderValue::from(index.max(1)));
    headers.insert(KNOWN_LEADER, HeaderValue::from_static("true"));
    headers.insert(LAST_CONTACT, HeaderValue::from_static("0"));
    response
}

/// Puts the hash of its content on an answer.
pub(super) fn stamp_hash(response: &mut Response, hash: &str) {
    if let Ok(value) = HeaderValue::from_str(hash) {
        response.headers_mut().insert(CONTENT_HASH, value);
    }
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
