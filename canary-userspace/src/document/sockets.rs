//! Sockets in the status: whose are served, and what they reach at loopback addresses.

use serde::{Deserialize, Serialize};

/// Whose sockets are served when they connect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sockets {
    /// `host`, `all` or `off`.
    pub whose: String,
    /// Network namespaces of pods that are served; `null` where pods' sockets are not.
    pub namespaces: Option<u64>,
    /// Cgroups that are left out.
    pub excepted: u64,
}

/// A loopback address at which the sockets of one pod, or of the node, reach a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Local {
    /// Address of the instance that has the upstream: whose sockets.
    pub owner: String,
    /// Address.
    pub address: String,
    /// Port.
    pub port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
}
