//! `/v1/agent/self`, `/v1/agent/members`, `/v1/status`: what Consul's clients ask first.

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use super::answer::{Document, Error};
use super::query::Asked;
use crate::agent::{Agent, Handle};
use crate::catalog::Node;

/// Port of Consul's servers among each other, which clients only show.
const SERVER_PORT: u16 = 8300;
/// Port of Consul's gossip, which clients only show.
const GOSSIP_PORT: u16 = 8301;
/// A member that is alive, as Consul's gossip numbers it.
const ALIVE: u8 = 1;

/// What Consul says of itself, as far as it means something here.
pub(super) async fn own(State(handle): State<Handle>, _asked: Asked) -> Result<Response, Error> {
    read(&handle, |agent| {
        let node = agent.node();
        json!({
            "Config": {
                "Datacenter": node.datacenter,
                "PrimaryDatacenter": node.datacenter,
                "NodeName": node.name,
                "NodeID": node.id,
                "Server": false,
                "Version": env!("CARGO_PKG_VERSION"),
            },
            "Member": member(node),
            "Stats": {
                "agent": {"services": agent.instances().len().to_string()},
                "build": {"version": env!("CARGO_PKG_VERSION")},
            },
            "Meta": node.meta,
        })
    })
    .await
}

/// The members of the pool: this agent knows of no other.
pub(super) async fn members(State(handle): State<Handle>, asked: Asked) -> Result<Response, Error> {
    // Of the pool between datacenters only servers are members.
    read(&handle, move |agent| if asked.wan { json!([]) } else { json!([member(agent.node())]) })
        .await
}

/// The leader: this agent needs none, and says the address that clients take for "yes".
pub(super) async fn leader(State(handle): State<Handle>, _asked: Asked) -> Result<Response, Error> {
    read(&handle, |agent| server(agent.node()).into()).await
}

/// The servers that agree on what is stored: this agent alone.
pub(super) async fn peers(State(handle): State<Handle>, _asked: Asked) -> Result<Response, Error> {
    read(&handle, |agent| json!([server(agent.node())])).await
}

async fn read(
    handle: &Handle,
    read: impl Fn(&Agent) -> Value + Send + 'static,
) -> Result<Response, Error> {
    let document = handle.call(move |agent| Document::of(&read(agent))).await??;
    Ok(document.into_response())
}

fn server(node: &Node) -> String {
    if node.address.contains(':') {
        format!("[{}]:{SERVER_PORT}", node.address)
    } else {
        format!("{}:{SERVER_PORT}", node.address)
    }
}

fn member(node: &Node) -> Value {
    json!({
        "Name": node.name,
        "Addr": node.address,
        "Port": GOSSIP_PORT,
        "Tags": {
            "build": env!("CARGO_PKG_VERSION"),
            "dc": node.datacenter,
            "id": node.id,
            "role": "node",
        },
        "Status": ALIVE,
        "ProtocolMin": 1,
        "ProtocolMax": 5,
        "ProtocolCur": 2,
        "DelegateMin": 2,
        "DelegateMax": 5,
        "DelegateCur": 4,
    })
}
