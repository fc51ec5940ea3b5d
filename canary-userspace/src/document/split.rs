//! What is counted of a split.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One share of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// The service it goes to.
    pub service: String,
    /// The subset of it; empty for all.
    pub subset: String,
    /// Percent, to 0.01.
    pub weight: f64,
    /// Percent as it is written, where the service stands by its brake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<f64>,
    /// Its backends.
    pub backends: Backends,
    /// Connections since `detach`.
    pub connections: Connections,
    /// Payload bytes.
    pub bytes: Bytes,
    /// Time from SYN to SYN-ACK.
    pub connect_us: Option<Quantiles>,
    /// Time from a question's last payload to its answer's first.
    pub response_us: Option<Quantiles>,
    /// What was sent once more.
    #[serde(default)]
    pub retransmits: Retransmits,
    /// HTTP/1 answers by class, `1xx` to `5xx`; `None` where none was seen.
    pub http: Option<BTreeMap<String, u64>>,
}

/// How many backends, and how they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backends {
    /// All of the subset.
    pub total: u64,
    /// Those that take new flows.
    pub healthy: u64,
    /// Those that left and still have live flows.
    pub draining: u64,
}

/// Connections of a split; they only grow, but for `active`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// Started.
    pub opened: u64,
    /// Accepted by a backend.
    pub established: u64,
    /// Refused by a backend.
    pub refused: u64,
    /// Never answered.
    pub timed_out: u64,
    /// The client's payload got no answer.
    pub unanswered: u64,
    /// Established, then reset by the server.
    pub reset_by_server: u64,
    /// Established, then reset by the client.
    pub reset_by_client: u64,
    /// Ended after they were established.
    pub closed: u64,
    /// Established and not ended: the one gauge.
    pub active: u64,
}

/// What the ends of a split's connections sent once more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retransmits {
    /// SYNs that came again before their backend had answered; those of the node's own programs
    /// are not seen.
    pub syn: u64,
    /// Segments that clients and backends on this node sent again; `null` where the kernel does not
    /// tell.
    pub segments: Option<u64>,
}

/// Payload bytes of a split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes {
    /// From clients.
    pub to_backend: u64,
    /// To clients.
    pub to_client: u64,
}

/// A histogram in short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Number of values.
    pub count: u64,
    /// Median in microseconds.
    pub p50: Option<u64>,
    /// 99th percentile in microseconds.
    pub p99: Option<u64>,
}
