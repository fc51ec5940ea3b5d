//! `reload`: the configuration directory again.

use super::applied;
use super::args::Reload;
use super::client::{Client, with_query};
use super::console::Console;
use super::failure::Failure;

/// Makes the agent read its files again.
///
/// # Errors
///
/// [`Failure::Invalid`] with the file, line and column of what is wrong; nothing changed then.
pub async fn run(
    options: Reload,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let changes = Some("changes".to_owned());
    let path = with_query("/v1/agent/reload", [changes, options.dry_run.parameter()]);
    let answer = client.put(&path, String::new()).await?.accepted()?;
    if !options.dry_run.wanted {
        console.say("Configuration reload triggered")?;
    }
    applied::print("Reloaded", "Would reload", &answer, console)
}
