//! Writes of config entries, which go through to Consul.

use std::sync::Arc;

use reqwest::Method;
use reqwest::header::HeaderValue;
use serde_json::Value;

use super::client::{ANSWER_TIMEOUT, Client, Fault, escape};
use crate::source::EntryKey;

/// Writes to the Consul that is followed.
#[derive(Debug)]
pub struct Writer {
    client: Arc<Client>,
}

/// What Consul said to a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// The body, without blanks around it.
    pub text: String,
}

impl Writer {
    pub(super) fn new(client: Arc<Client>) -> Self {
        Self { client }
    }

    /// Writes `entry`, Consul's JSON of it, or deletes `key` where there is none.
    ///
    /// `token` is that of whoever asked for it; without one the agent's own is used.
    ///
    /// # Errors
    ///
    /// Why there is no answer. The write may have been done all the same.
    pub async fn write(
        &self,
        key: &EntryKey,
        entry: Option<&Value>,
        cas: Option<u64>,
        token: Option<HeaderValue>,
    ) -> Result<Answered, String> {
        let cas = cas.map(|cas| format!("?cas={cas}")).unwrap_or_default();
        let (method, path, body) = if let Some(json) = entry {
            (Method::PUT, format!("/v1/config{cas}"), Some(json.to_string()))
        } else {
            let path = format!("/v1/config/{}/{}{cas}", escape(&key.0), escape(&key.1));
            (Method::DELETE, path, None)
        };
        let asked = self.client.ask(method, &path, body, token, ANSWER_TIMEOUT).await;
        let answer = asked.map_err(|Fault { text, .. }| format!("Consul: {text}"))?;
        let text = String::from_utf8_lossy(&answer.body).trim().to_owned();
        Ok(Answered { status: answer.status, text })
    }

    /// Reads the token and the certificates anew.
    pub fn read_again(&self) {
        self.client.read_again();
    }
}
