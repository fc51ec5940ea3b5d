//! The HTTP API: Consul's paths and our own.

mod answer;
mod author;
mod canary;
mod checks;
mod config;
pub mod document;
mod filter;
mod history;
mod instances;
mod server;
mod transfer;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use tokio::time::timeout;

pub use self::server::{Listeners, Server};
use crate::agent::Handle;
use crate::metrics;

/// Bytes of a request's body at most: a config entry may have 1 MiB.
const MAX_BODY: usize = 1 << 20;
/// Time from a request's head to its answer at most.
const REQUEST_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

/// The API of the agent behind `handle`.
pub fn router(handle: Handle) -> Router {
    Router::new()
        .route("/v1/config", put(config::write))
        .route("/v1/config/{kind}", get(config::list))
        .route("/v1/config/{kind}/{name}", get(config::read).delete(config::delete))
        .route("/v1/agent/service/register", put(instances::register))
        .route("/v1/agent/service/deregister/{id}", put(instances::deregister))
        .route("/v1/agent/service/maintenance/{id}", put(checks::service_maintenance))
        .route("/v1/agent/services", get(instances::list))
        .route("/v1/agent/checks", get(checks::list))
        .route("/v1/agent/check/register", put(checks::register))
        .route("/v1/agent/check/deregister/{id}", put(checks::deregister))
        .route("/v1/agent/check/pass/{id}", put(checks::pass))
        .route("/v1/agent/check/warn/{id}", put(checks::warn))
        .route("/v1/agent/check/fail/{id}", put(checks::fail))
        .route("/v1/agent/check/update/{id}", put(checks::update))
        .route("/v1/agent/maintenance", put(checks::node_maintenance))
        .route("/v1/agent/health/service/id/{id}", get(checks::instance_health))
        .route("/v1/agent/health/service/name/{name}", get(checks::service_health))
        .route("/v1/agent/self", get(instances::own_node))
        .route("/v1/agent/reload", put(instances::reload))
        .route("/v1/catalog/services", get(instances::names))
        .route("/v1/status/leader", get(instances::leader))
        .route("/v1/canary/status", get(canary::status))
        .route("/v1/canary/status/{service}", get(canary::service_status))
        .route("/v1/canary/split/{service}", get(canary::split).put(canary::set_split))
        .route("/v1/canary/rollback/{service}", put(canary::roll_back))
        .route("/v1/canary/undo/{service}", put(canary::undo))
        .route("/v1/canary/history", get(history::all))
        .route("/v1/canary/history/{service}", get(history::of_service))
        .route("/v1/canary/export", get(transfer::export))
        .route(
            "/v1/canary/import",
            put(transfer::import).layer(DefaultBodyLimit::max(transfer::MAX_IMPORT)),
        )
        .route("/v1/canary/maps", get(canary::maps))
        .route("/metrics", get(show_metrics))
        .fallback(nowhere)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(within_time))
        .with_state(handle)
}

async fn nowhere(request: Request) -> Response {
    let text = format!("no such path: {} {}", request.method(), request.uri().path());
    (StatusCode::NOT_FOUND, text).into_response()
}

/// Gives up on a client that sends its body too slowly.
async fn within_time(request: Request, next: Next) -> Response {
    match timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "the request took too long").into_response(),
    }
}

async fn show_metrics(State(handle): State<Handle>) -> Result<Response, answer::Error> {
    let (status, measured, maps) = handle
        .call(|agent| {
            let measured = agent.measure();
            (agent.status(&measured), measured, agent.maps())
        })
        .await?;
    let mut response = metrics::render(&status, &measured, &maps).into_response();
    let kind = HeaderValue::from_static(metrics::CONTENT_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

#[cfg(test)]
mod tests;
