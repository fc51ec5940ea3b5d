//! `GET /v1/canary/explain-flow?client=..&frontend=..`: where one flow goes.

use serde::{Deserialize, Serialize};

/// What a flow gets by the tables in force, and what it has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainFlow {
    /// The client, `ADDRESS:PORT`.
    pub client: String,
    /// The frontend, `ADDRESS:PORT`.
    pub frontend: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The service that the frontend belongs to.
    pub service: String,
    /// What is hashed of the client: `connection` for address and port, `source_ip` for the
    /// address alone.
    pub affinity: String,
    /// The flow's hash, 16 hexadecimal digits.
    pub hash: String,
    /// Where the hash's upper half is in the whole, in percent.
    pub position: f64,
    /// The service's splits that have a share, in the order of the tables.
    pub splits: Vec<Bounds>,
    /// Where the hash's lower half is among the drawn split's slots; `null` where it has no
    /// slots, for one backend needs none.
    pub slot: Option<Slot>,
    /// The backend that a new flow gets; `null` if it is refused.
    pub backend: Option<String>,
    /// The flow, if it is known already: then its own backend stands, whatever is drawn.
    pub known: Option<Known>,
    /// The revision in force.
    pub revision: u64,
}

/// A split's part of the whole, in percent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// The service it goes to.
    pub service: String,
    /// The subset of it; empty for all.
    pub subset: String,
    /// Where it begins.
    pub from: f64,
    /// Where it ends.
    pub to: f64,
    /// The flow's position is in it.
    pub drawn: bool,
}

/// A slot among those of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Which, from 0.
    pub index: u32,
    /// How many there are.
    pub of: u32,
}

/// A flow that the tables have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// `opening` until the backend has answered and the client spoken since, `established`, or
    /// `ended`.
    pub state: String,
    /// Its backend; `null` if that is gone.
    pub backend: Option<String>,
    /// The service whose counters it moves.
    pub service: String,
    /// The subset of it; empty for all.
    pub subset: String,
    /// Seconds since its last packet.
    pub idle_seconds: u64,
}
