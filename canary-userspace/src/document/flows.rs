//! `/v1/canary/flows`: what the flow table holds.

use serde::{Deserialize, Serialize};

/// `GET /v1/canary/flows`: a page of entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flows {
    /// The entries that match, in the order of the table.
    pub flows: Vec<Flow>,
    /// Where the next page begins, for `from`; `null` where nothing more matches.
    pub next: Option<u32>,
}

/// An entry of the flow table: of both directions of a connection, where it has both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// `forward`, `return`, `straight`, `foreign` or `fragment`.
    pub kind: String,
    /// `opening`, `established`, `closed`, `reset`, `exchange` or `stream`; `null` where the entry
    /// does not say.
    pub state: Option<String>,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The client.
    pub client: String,
    /// Where it connects to: a frontend, or a backend itself.
    pub destination: String,
    /// The backend; `null` where there is none, or it is gone.
    pub backend: Option<String>,
    /// The source port that the backend sees, where it is not the client's own.
    pub port: Option<u16>,
    /// The service that the client connects to.
    pub service: Option<String>,
    /// The service that it is sent to.
    pub target: Option<String>,
    /// The subset of that; empty for all of it.
    pub subset: Option<String>,
    /// The interface that its packets come by; `null` for the group of uplinks and tunnels.
    pub interface: Option<String>,
    /// Seconds since a packet of either direction.
    pub idle_seconds: u32,
    /// It ends with its next packet.
    pub severed: bool,
}
