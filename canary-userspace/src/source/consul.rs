//! The Consul source: config entries, and the health of the services they are about.
//!
//! Each list is a question of its own that Consul holds until there is news ([`question`]). One
//! task puts the answers together into a picture without gaps ([`follower`]) and sends what is new
//! to the agent. What Consul does not say, because it is away or answers nonsense, stays as it was.

mod answers;
mod client;
#[cfg(test)]
pub(crate) mod fake;
mod follower;
mod pace;
mod picture;
mod question;
mod references;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use axum::body::Bytes;
use tokio::sync::{Semaphore, mpsc, watch};

use self::client::Client;
use self::follower::Follower;
use self::question::Shared;
pub use self::writer::{Answered, Writer};
use super::{Following, News};
use crate::settings::consul::Consul;

/// What `status` and the store call this source.
pub const KIND: &str = "consul";

/// Reports of questions that may wait before the questions wait.
const REPORTS_WAITING: usize = 256;
/// News that may wait for the agent before more are put together.
const NEWS_WAITING: usize = 8;

/// Rows that the source kept in the store, by key.
pub type Kept = BTreeMap<String, Vec<u8>>;

/// Starts to follow the Consul of `settings`; `kept` is what the store has of it.
///
/// # Errors
///
/// A certificate, a key or a token that cannot be read.
pub fn follow(
    settings: &Consul,
    kept: Option<&Kept>,
) -> anyhow::Result<(Following, mpsc::Receiver<News>)> {
    let client = Arc::new(Client::new(settings.clone())?);
    let (reports, reported) = mpsc::channel(REPORTS_WAITING);
    let (news, receiver) = mpsc::channel(NEWS_WAITING);
    let shared = Arc::new(Shared {
        client: Arc::clone(&client),
        wait: settings.wait,
        permits: Semaphore::new(settings.max_queries),
        max_queries: settings.max_queries,
        services: AtomicUsize::new(0),
        reports,
        back: watch::Sender::new(0),
    });
    let mut follower = Follower::new(shared, settings.services.clone(), news);
    let last = kept.map(|kept| follower.restore(kept));
    let task = tokio::spawn(follower.run(reported)).abort_handle();
    let writes = Arc::new(Writer::new(client));
    Ok((Following { kind: KIND, last, writes, tasks: vec![task] }, receiver))
}

/// The key of an entry's row.
fn entry_row(kind: &str, name: &str) -> String {
    format!("entry/{kind}/{name}")
}

/// The key of the row of a service's instances.
fn health_row(service: &str) -> String {
    format!("health/{service}")
}

/// The bytes of a text.
fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}
