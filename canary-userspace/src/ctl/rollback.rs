//! `rollback`: everything to one subset, at once.

use super::args::Rollback;
use super::client::{Client, escape, with_query};
use super::console::Console;
use super::failure::Failure;
use super::{moved, sever};
use crate::document;

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
    let sever = options.sever.then(|| format!("sever&{}", sever::rate(options.rate)));
    let path = format!("/v1/canary/rollback/{service}");
    let path = with_query(&path, [sever, options.dry_run.parameter()]);
    let answer = client.put(&path, body).await?.accepted()?;
    moved::print("Rolled back", "Would roll back", &answer, console)
}
