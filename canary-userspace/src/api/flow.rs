//! `/v1/canary/explain-flow`: where one flow goes.

use std::net::SocketAddr;

use axum::extract::{Query, State};
use axum::response::Response;
use canary_common::endpoint::{TCP, UDP};
use serde::Deserialize;

use super::answer::{OwnError, json};
use crate::agent::{Handle, Refusal};
use crate::compile::endpoint;

/// Which flow.
#[derive(Debug, Deserialize)]
pub(super) struct Parameters {
    client: Option<String>,
    frontend: Option<String>,
    protocol: Option<String>,
}

/// Where a new flow would go, and where the flow goes if it is known.
pub(super) async fn explain(
    State(handle): State<Handle>,
    Query(parameters): Query<Parameters>,
) -> Result<Response, OwnError> {
    let protocol = match parameters.protocol.as_deref() {
        None | Some("" | "tcp") => TCP,
        Some("udp") => UDP,
        Some(other) => {
            return Err(Refusal::bad_request(format!(
                "protocol must be tcp or udp, not {other:?}"
            ))
            .into());
        }
    };
    let client = socket("client", parameters.client.as_deref())?;
    let frontend = socket("frontend", parameters.frontend.as_deref())?;
    if client.is_ipv4() != frontend.is_ipv4() {
        let text =
            format!("no flow leads from {client} to {frontend}: one is IPv4, the other IPv6");
        return Err(Refusal::bad_request(text).into());
    }
    let [client, frontend] =
        [client, frontend].map(|socket| endpoint(socket.ip(), socket.port(), protocol));
    let (explained, index) =
        handle.call(move |agent| (agent.explain_flow(client, frontend), agent.index())).await?;
    Ok(json(index, &explained?))
}

fn socket(name: &str, text: Option<&str>) -> Result<SocketAddr, Refusal> {
    let text = text.unwrap_or_default();
    let wrong = |_| Refusal::bad_request(format!("{name} must be ADDRESS:PORT, not {text:?}"));
    text.parse().map_err(wrong)
}
