//! `undo`: what was in force before a service's last change.

use super::args::Undo;
use super::client::{Client, escape};
use super::console::Console;
use super::failure::Failure;
use super::moved;

/// Undoes a service's last change and says what moved.
///
/// # Errors
///
/// [`Failure`]
pub async fn run(
    options: &Undo,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let path = format!("/v1/canary/undo/{}", escape(&options.service));
    let answer = client.put(&path, String::new()).await?.accepted()?;
    moved::print("Undone", &answer, console)
}
