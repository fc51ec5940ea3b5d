//! The HTTP API: Consul's paths and our own.

mod answer;
mod author;
mod blocking;
mod canary;
mod catalog;
mod chain;
mod checks;
mod config;
mod filter;
mod flow;
mod flows;
mod gate;
mod health;
mod history;
mod instances;
mod large;
mod node;
mod observe;
mod query;
mod rows;
mod server;
mod shape;
mod transfer;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use tokio::time::timeout;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate};

pub use self::gate::Gate;
pub use self::server::{Listeners, Security, Server};
use crate::agent::Handle;
use crate::metrics;

/// Bytes of a request's body at most: a config entry may have 1 MiB.
const MAX_BODY: usize = 1 << 20;
/// Time from a request's head to its answer at most, beside what it asked to wait.
const REQUEST_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

/// What is sent as it comes is not packed: packing waits for more.
const AT_ONCE: NotForContentType = NotForContentType::const_new(observe::KIND);

/// The API of the agent behind `handle`, for whom `gate` lets through.
pub fn router(handle: Handle, gate: Arc<Gate>) -> Router {
    let door = Door { gate, room: large::Room::default() };
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
        .route("/v1/agent/service/{id}", get(instances::read))
        .route("/v1/agent/self", get(node::own))
        .route("/v1/agent/members", get(node::members))
        .route("/v1/agent/reload", put(instances::reload))
        .route("/v1/catalog/services", get(catalog::services))
        .route("/v1/catalog/service/{name}", get(catalog::service))
        .route("/v1/catalog/nodes", get(catalog::nodes))
        .route("/v1/catalog/node/{name}", get(catalog::node))
        .route("/v1/catalog/node-services/{name}", get(catalog::node_services))
        .route("/v1/catalog/datacenters", get(catalog::datacenters))
        .route("/v1/catalog/register", put(catalog::not_here))
        .route("/v1/catalog/deregister", put(catalog::not_here))
        .route("/v1/health/service/{name}", get(health::service))
        .route("/v1/health/checks/{name}", get(health::checks))
        .route("/v1/health/node/{name}", get(health::node))
        .route("/v1/health/state/{state}", get(health::state))
        .route("/v1/status/leader", get(node::leader))
        .route("/v1/status/peers", get(node::peers))
        .merge(own_routes())
        .route("/metrics", get(show_metrics))
        .fallback(shape::nowhere)
        .method_not_allowed_fallback(shape::no_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(door, pass))
        .layer(CompressionLayer::new().compress_when(DefaultPredicate::new().and(AT_ONCE)))
        .with_state(handle)
}

/// The routes that are not Consul's.
fn own_routes() -> Router<Handle> {
    Router::new()
        .route("/v1/canary/status", get(canary::status))
        .route("/v1/canary/status/{service}", get(canary::service_status))
        .route("/v1/canary/split/{service}", get(canary::split).put(canary::set_split))
        .route("/v1/canary/rollback/{service}", put(canary::roll_back))
        .route("/v1/canary/sever/{service}", get(canary::severing).put(canary::sever))
        .route("/v1/canary/undo/{service}", put(canary::undo))
        .route("/v1/canary/history", get(history::all))
        .route("/v1/canary/history/{service}", get(history::of_service))
        .route("/v1/canary/export", get(transfer::export))
        .route("/v1/canary/accept", put(transfer::accept))
        .route(
            "/v1/canary/import",
            put(transfer::import).layer(DefaultBodyLimit::max(transfer::MAX_IMPORT)),
        )
        .route("/v1/canary/explain/{service}", get(chain::explain))
        .route("/v1/discovery-chain/{service}", get(chain::discovery_chain))
        .route("/v1/canary/explain-flow", get(flow::explain))
        .route("/v1/canary/flows", get(flows::list))
        .route("/v1/canary/observe", get(observe::observe))
        .route("/v1/canary/maps", get(canary::maps))
}

/// What all requests pass, each way.
#[derive(Clone)]
struct Door {
    gate: Arc<Gate>,
    room: large::Room,
}

/// One function for all of it, for ten thousand requests may stand in it at once.
async fn pass(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    let look = shape::Look::of(&request);
    let limit = REQUEST_TIMEOUT.saturating_add(query::longest_wait(request.uri()));
    let response = match door.gate.pass(&mut request) {
        Err(text) => (StatusCode::FORBIDDEN, text).into_response(),
        Ok(()) if look.is_too_large() => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        // Gives up on a client that sends its body too slowly.
        Ok(()) => timeout(limit, next.run(request)).await.unwrap_or_else(|_| {
            (StatusCode::REQUEST_TIMEOUT, "the request took too long").into_response()
        }),
    };
    door.room.keep(look.finish(response).await)
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
