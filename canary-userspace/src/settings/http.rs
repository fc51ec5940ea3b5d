//! Settings of the API: how many may ask, who, and over what.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

/// Connections at once, over each listener, where nothing else is said.
pub const MAX_CONNECTIONS: usize = 16_384;

/// How the API is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// Connections at once, over each listener.
    pub max_connections: usize,
    /// TLS of the TCP listener, where wanted.
    pub tls: Option<Tls>,
    /// Tokens by name. With any, a request over TCP must show one.
    pub tokens: BTreeMap<String, Token>,
    /// Requests over the socket must show one too.
    pub socket_tokens: bool,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            max_connections: MAX_CONNECTIONS,
            tls: None,
            tokens: BTreeMap::new(),
            socket_tokens: false,
        }
    }
}

/// Files of a TLS listener, all PEM. SIGHUP reads them again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate, and those between it and its authority.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
    /// Authorities of clients: with it, a client must show a certificate of one.
    pub client_ca_file: Option<PathBuf>,
}

/// A token: what to show, and what it allows.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// The secret itself.
    pub secret: Option<String>,
    /// A file with the secret, and perhaps a line break after it.
    pub secret_file: Option<PathBuf>,
    /// What it allows.
    pub policy: Policy,
}

impl std::fmt::Debug for Token {
    /// Without the secret, for settings are logged.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// To look.
    Read,
    /// To look and to change.
    Write,
}
