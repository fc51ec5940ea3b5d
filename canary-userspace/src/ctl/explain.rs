//! `explain`: where new connections of a service go and why, or where one flow goes.

mod chain;
mod flow;
mod levels;

use std::net::SocketAddr;

use serde_json::Value;

use super::args;
use super::client::{Client, escape};
use super::console::Console;
use super::failure::Failure;
use crate::document::explain::Explain;
use crate::document::flow::ExplainFlow;

/// Explains a service or a flow.
///
/// # Errors
///
/// [`Failure`]; [`Failure::NotFound`] for a service or a frontend that nobody knows.
pub async fn run(
    options: &args::Explain,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let path = path(options)?;
    let answer = client.get(&path).await?.ok()?;
    if options.json {
        return console.json(&answer.json::<Value>()?);
    }
    let paint = console.paint;
    let lines =
        if options.frontend.is_some() {
            flow::lines(&answer.json::<ExplainFlow>()?, paint)
        } else {
            let explain: Explain = answer.json()?;
            let mut lines = chain::lines(&explain, paint);
            lines.extend(levels::lines(&explain.leaves, options.all, paint));
            if !explain.warnings.is_empty() {
                lines.push(String::new());
            }
            lines.extend(explain.warnings.iter().map(|warning| {
                paint.yellow(format_args!("‼ {}: {}", warning.service, warning.text))
            }));
            lines
        };
    lines.into_iter().try_for_each(|line| console.data(line))
}

/// What to ask for.
fn path(options: &args::Explain) -> Result<String, Failure> {
    let Some(frontend) = &options.frontend else {
        if options.what.parse::<SocketAddr>().is_ok() {
            return Err(Failure::Usage(format!(
                "{} is one end of a flow: name the frontend's ADDRESS:PORT too, or a service alone",
                options.what
            )));
        }
        return Ok(format!("/v1/canary/explain/{}", escape(&options.what)));
    };
    let socket = |text: &str| {
        text.parse::<SocketAddr>().map_err(|_| {
            Failure::Usage(format!(
                "{text:?} is not ADDRESS:PORT, as 10.0.0.7:51234 or [fd00::7]:51234 is"
            ))
        })
    };
    let (client, frontend) = (socket(&options.what)?, socket(frontend)?);
    let escaped = |socket: SocketAddr| escape(&socket.to_string());
    let protocol = if options.udp { "&protocol=udp" } else { "" };
    Ok(format!(
        "/v1/canary/explain-flow?client={}&frontend={}{protocol}",
        escaped(client),
        escaped(frontend)
    ))
}

#[cfg(test)]
mod tests;
