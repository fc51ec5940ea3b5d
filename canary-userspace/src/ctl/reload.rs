//! `reload`: the configuration directory again.

use super::applied;
use super::args::Reload;
use super::client::Client;
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
    let path = format!("/v1/agent/reload{}", options.dry_run.query());
    let answer = client.put(&path, String::new()).await?.accepted()?;
    if options.dry_run.wanted {
        return applied::print("", "Would reload", &answer, console);
    }
    console.say("Configuration reload triggered")?;
    console.warn(&answer.warnings)
}
