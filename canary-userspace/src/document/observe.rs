//! `/v1/canary/observe`: what becomes of packets, a document a line.

use serde::{Deserialize, Serialize};

/// A packet that somebody wants to know of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, in RFC 3339.
    pub time: String,
    /// `connection`, `clash`, `reset`, `refused`, `dropped` or `passed`.
    pub kind: String,
    /// Why it was not forwarded; `null` if it was.
    pub reason: Option<String>,
    /// Who sent it: `client` or `backend`.
    pub sender: String,
    /// `tcp` or `udp`; `null` for a packet whose headers cannot be read, as are the addresses.
    pub protocol: Option<String>,
    /// Where it comes from, as it came.
    pub source: Option<String>,
    /// Where it goes to, as it came.
    pub destination: Option<String>,
    /// What it was: a `packet`, or the call of a `socket` that is given its backend.
    #[serde(default)]
    pub by: String,
    /// The interface it came by.
    pub interface: Option<String>,
    /// The service that the client connects to.
    pub service: Option<String>,
    /// The service that it is sent to.
    pub target: Option<String>,
    /// The subset of that; empty for all of it.
    pub subset: Option<String>,
    /// The backend.
    pub backend: Option<String>,
    /// The client's port on the other side of the node, where that is another one.
    pub port: Option<u16>,
    /// The connection was answered; `null` where none is known.
    pub answered: Option<bool>,
}

/// Events that the observer will not see: it was too slow, or the node too busy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// `lost`.
    pub kind: String,
    /// How many.
    pub count: u64,
}

impl Lost {
    /// The word for it.
    pub const KIND: &str = "lost";

    /// So many.
    #[must_use]
    pub fn new(count: u64) -> Self {
        Self { kind: Self::KIND.to_owned(), count }
    }
}
