//! `service maintenance`: takes an instance out of service, and puts it back.

use clap::Args;

use super::client::{Client, escape};
use super::console::Console;
use super::failure::Failure;

/// `service maintenance`
#[derive(Debug, Args)]
pub struct Maintenance {
    /// The instance's id; none for the whole node
    #[arg(required_unless_present = "node")]
    pub id: Option<String>,
    /// All instances of this node
    #[arg(long, conflicts_with = "id")]
    pub node: bool,
    /// Take it out: it gets no new connections
    #[arg(long, required_unless_present = "disable", conflicts_with = "disable")]
    pub enable: bool,
    /// Put it back
    #[arg(long)]
    pub disable: bool,
    /// Why, for whoever looks at the checks
    #[arg(long, value_name = "TEXT", conflicts_with = "disable")]
    pub reason: Option<String>,
}

/// Begins or ends a maintenance mode.
///
/// # Errors
///
/// [`Failure`]
pub async fn run(
    options: &Maintenance,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let path = match &options.id {
        Some(id) => format!("/v1/agent/service/maintenance/{}", escape(id)),
        None => "/v1/agent/maintenance".to_owned(),
    };
    let reason = options.reason.as_deref().map(|reason| format!("&reason={}", escape(reason)));
    let enable = options.enable;
    let path = format!("{path}?enable={enable}{}", reason.unwrap_or_default());
    let answer = client.put(&path, String::new()).await?.accepted()?;
    let state = if enable { "enabled" } else { "disabled" };
    let what = match &options.id {
        Some(id) => format!("service {id}"),
        None => "this node".to_owned(),
    };
    console.data(format_args!("Maintenance mode {state}: {what}"))?;
    console.warn(&answer.warnings)
}
