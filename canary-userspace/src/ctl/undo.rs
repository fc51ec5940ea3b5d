//! `undo`: what was in force before a service's last change, or after an earlier one.

use super::args::Undo;
use super::client::{Client, escape, with_query};
use super::console::Console;
use super::failure::Failure;
use super::moved;

/// Undoes a service's last change, or all after one, and says what moved.
///
/// # Errors
///
/// [`Failure::NotFound`] if there is no such change; the agent's reason otherwise.
pub async fn run(
    options: &Undo,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let to = options.to.map(|number| format!("to={number}"));
    let path = format!("/v1/canary/undo/{}", escape(&options.service));
    let path = with_query(&path, [to, options.dry_run.parameter()]);
    let answer = client.put(&path, String::new()).await?.accepted()?;
    moved::print("Undone", "Would undo", &answer, console)
}
