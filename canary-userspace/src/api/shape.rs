//! What all answers have in common: Consul's headers, indented JSON where asked, texts of refusals
//! that no handler gives.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::answer::INDEX;
use super::{MAX_BODY, query};

/// Header that says how consistent an answer is.
const CONSISTENCY: HeaderName = HeaderName::from_static("x-consul-effective-consistency");
/// Header that says how an answer that can be waited for was made.
const BACKEND: HeaderName = HeaderName::from_static("x-consul-query-backend");
/// What Consul indents with.
const INDENT: &[u8] = b"    ";

/// Adds what every answer has.
pub(super) async fn finish(request: Request, next: Next) -> Response {
    let length = body_length(&request);
    let pretty = query::has(request.uri(), "pretty");
    let consistency = ["stale", "consistent"]
        .into_iter()
        .find(|mode| query::has(request.uri(), mode))
        .unwrap_or("leader");
    let mut response = next.run(request).await;
    if response.status() == StatusCode::PAYLOAD_TOO_LARGE {
        response = (StatusCode::PAYLOAD_TOO_LARGE, too_large(length)).into_response();
    }
    let headers = response.headers_mut();
    headers.entry(header::VARY).or_insert(HeaderValue::from_static("Accept-Encoding"));
    if headers.contains_key(INDEX) {
        headers.insert(CONSISTENCY, HeaderValue::from_static(consistency));
        headers.insert(BACKEND, HeaderValue::from_static("blocking-query"));
    }
    let is_json = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if pretty && is_json { indented(response).await } else { response }
}

fn body_length(request: &Request) -> Option<usize> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The limit is the path's own, and only what has a length can be said to be of that length.
fn too_large(length: Option<usize>) -> String {
    let length = length.map(|length| format!("({length} bytes)")).unwrap_or_default();
    format!("Request body{length} too large: a config entry may have {MAX_BODY} bytes")
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
