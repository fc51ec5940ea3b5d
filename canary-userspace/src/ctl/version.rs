//! `version`: this command's, and the agent's where one answers.

use serde_json::json;

use super::args::Json;
use super::client::Client;
use super::console::Console;
use super::failure::Failure;
use super::status;
use crate::document::Status;

/// Version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Shows both versions; an agent that does not answer is no failure.
///
/// # Errors
///
/// [`Failure::Output`]
pub async fn run(options: Json, client: &Client, console: &mut Console<'_>) -> Result<(), Failure> {
    let answer = async { client.get(status::PATH).await?.ok()?.json::<Status>() }.await;
    if options.json {
        let agent = answer
            .as_ref()
            .ok()
            .map(|agent| json!({"version": agent.version, "layout": agent.layout}));
        return console.json(&json!({"client": {"version": VERSION}, "agent": agent}));
    }
    console.data(format_args!("canaryctl {VERSION}"))?;
    match answer {
        Ok(agent) => {
            console.data(format_args!("canary-agent {} (layout {})", agent.version, agent.layout))
        }
        Err(failure) => console.say(failure),
    }
}
