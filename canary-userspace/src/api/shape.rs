//! What all answers have in common: Consul's headers, indented JSON where asked, texts of refusals
//! that no handler gives.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::answer::INDEX;
use super::transfer::MAX_IMPORT;
use super::{MAX_BODY, query};

/// Header that says how consistent an answer is.
const CONSISTENCY: HeaderName = HeaderName::from_static("x-consul-effective-consistency");
/// Header that says how an answer that can be waited for was made.
const BACKEND: HeaderName = HeaderName::from_static("x-consul-query-backend");
/// The path of bodies that may be longer.
const IMPORT: &str = "/v1/canary/import";
/// What Consul indents with.
const INDENT: &[u8] = b"    ";

/// What of a request says how its answer is to look.
pub(super) struct Look {
    length: Option<usize>,
    most: usize,
    pretty: bool,
    consistency: &'static str,
}

impl Look {
    pub(super) fn of(request: &Request) -> Self {
        let modes = ["stale", "consistent"];
        let mode = modes.into_iter().find(|mode| query::has(request.uri(), mode));
        Self {
            length: body_length(request),
            most: if request.uri().path() == IMPORT { MAX_IMPORT } else { MAX_BODY },
            pretty: query::has(request.uri(), "pretty"),
            consistency: mode.unwrap_or("leader"),
        }
    }

    /// Whether the request says that its body is longer than any that is taken.
    pub(super) fn is_too_large(&self) -> bool {
        self.length.is_some_and(|length| length > self.most)
    }

    /// Adds what every answer has.
    pub(super) async fn finish(self, mut response: Response) -> Response {
        if response.status() == StatusCode::PAYLOAD_TOO_LARGE {
            response =
                (StatusCode::PAYLOAD_TOO_LARGE, too_large(self.length, self.most)).into_response();
        }
        let headers = response.headers_mut();
        headers.entry(header::VARY).or_insert(HeaderValue::from_static("Accept-Encoding"));
        if headers.contains_key(INDEX) {
            headers.insert(CONSISTENCY, HeaderValue::from_static(self.consistency));
            headers.insert(BACKEND, HeaderValue::from_static("blocking-query"));
        }
        let is_json =
            headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
        if self.pretty && is_json { indented(response).await } else { response }
    }
}

fn body_length(request: &Request) -> Option<usize> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(length: Option<usize>, most: usize) -> String {
    let length = length.map(|length| format!("({length} bytes)")).unwrap_or_default();
    format!("Request body{length} too large, max size: {most} bytes")
}

async fn indented(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let text = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let mut out = Vec::with_capacity(text.len().saturating_mul(2));
    let written = serde_json::from_slice::<Value>(&text).and_then(|value| {
        value.serialize(&mut Serializer::with_formatter(
            &mut out,
            PrettyFormatter::with_indent(INDENT),
        ))
    });
    let body = if written.is_ok() { Body::from(out) } else { Body::from(text) };
    Response::from_parts(parts, body)
}

/// The answer on a path that nothing is at.
pub(super) async fn nowhere(request: Request) -> Response {
    let path = request.uri().path();
    let text = format!("Invalid URL path: not a recognized HTTP API endpoint: {path}");
    (StatusCode::NOT_FOUND, text).into_response()
}

/// The answer to a method that a path does not have.
pub(super) async fn no_method(method: Method) -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, format!("method {method} not allowed")).into_response()
}
