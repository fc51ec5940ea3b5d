//! `reload`: the configuration directory again.

use super::client::Client;
use super::console::Console;
use super::failure::Failure;

/// Makes the agent read its files again.
///
/// # Errors
///
/// [`Failure::Invalid`] with the file, line and column of what is wrong; nothing changed then.
pub async fn run(client: &Client, console: &mut Console<'_>) -> Result<(), Failure> {
    let answer = client.put("/v1/agent/reload", String::new()).await?.accepted()?;
    console.say("Configuration reload triggered")?;
    console.warn(&answer.warnings)
}
