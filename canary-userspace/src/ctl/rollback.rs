//! `rollback`: everything to one subset, at once.

use super::args::Rollback;
use super::client::{Client, escape};
use super::console::Console;
use super::failure::Failure;
use super::moved;
use crate::api::document;

/// Rolls a service back and says what moved.
///
/// # Errors
///
/// [`Failure`]; [`Failure::Invalid`] where neither a default subset nor `--to` says whereto.
pub async fn run(
    options: &Rollback,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let body = serde_json::to_string(&document::Rollback { to: options.to.clone() })
        .map_err(|error| Failure::Error(error.to_string()))?;
    let service = escape(&options.service);
    let path = format!("/v1/canary/rollback/{service}{}", options.dry_run.query());
    let answer = client.put(&path, body).await?.accepted()?;
    moved::print("Rolled back", "Would roll back", &answer, console)
}
