//! `status`: what is in force and what the kernel counted.

mod render;

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};

use super::args;
use super::client::{Client, escape};
use super::console::Console;
use super::failure::Failure;
use crate::api::document::{Service, Status};

/// The whole status.
pub const PATH: &str = "/v1/canary/status";

/// Time between two frames of `--watch`.
const FRAME: Duration = Duration::from_secs(1);
/// Time between two questions of `--wait`: an agent that is not there cannot call back.
const RETRY: Duration = Duration::from_millis(50);
/// Moves the cursor home and clears the screen.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Shows the status, once or again and again.
///
/// # Errors
///
/// [`Failure`]; [`Failure::NotFound`] for a service nobody knows.
pub async fn run(
    options: &args::Status,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    if options.wait {
        wait(options.timeout, client).await?;
    }
    show(options, client, console).await?;
    if !options.watch {
        return Ok(());
    }
    let mut frames = interval(FRAME);
    frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
    frames.tick().await;
    loop {
        frames.tick().await;
        match show(options, client, console).await {
            // An agent that restarts is back soon, and its traffic never left.
            Err(failure @ Failure::Unreachable { .. }) => console.say(failure)?,
            outcome => outcome?,
        }
    }
}

async fn show(
    options: &args::Status,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    if options.json {
        return show_json(options, client, console).await;
    }
    let status: Status = client.get(PATH).await?.ok()?.json()?;
    let shown = match &options.service {
        Some(name) => only(name, status)?,
        None => status,
    };
    let text = render::text(&shown, console.paint);
    if options.watch && console.screen {
        return console.raw(&format!("{CLEAR}{text}"));
    }
    console.raw(&text)
}

/// The agent's own document, field by field, also those that this build does not know.
async fn show_json(
    options: &args::Status,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let path = match &options.service {
        Some(name) => format!("{PATH}/{}", escape(name)),
        None => PATH.to_owned(),
    };
    let document: Value = client.get(&path).await?.ok()?.json()?;
    if options.watch { console.data(document) } else { console.json(&document) }
}

/// Returns once the agent is ready.
async fn wait(limit: Duration, client: &Client) -> Result<(), Failure> {
    let deadline = Instant::now() + limit;
    let mut last = Failure::Error("it did not answer".to_owned());
    loop {
        let answer = async { client.get(PATH).await?.ok()?.json::<Status>() };
        match timeout_at(deadline, answer).await {
            Ok(Ok(status)) if status.ready => return Ok(()),
            Ok(Ok(status)) => last = Failure::Error(why_not_ready(&status)),
            Ok(Err(failure)) => last = failure,
            Err(_) => {}
        }
        if Instant::now() + RETRY >= deadline {
            return Err(gave_up(limit, last));
        }
        sleep(RETRY).await;
    }
}

fn why_not_ready(status: &Status) -> String {
    let warning = || status.warnings.first().map(|warning| warning.text.clone());
    status
        .source
        .error
        .clone()
        .or_else(warning)
        .unwrap_or_else(|| "no revision is in force yet".to_owned())
}

fn gave_up(limit: Duration, last: Failure) -> Failure {
    match last {
        Failure::Unreachable { address, cause } => {
            Failure::Unreachable { address, cause: format!("{cause}, for {limit:?}") }
        }
        other => Failure::Error(format!("the agent is not ready after {limit:?}: {other}")),
    }
}

/// The status as far as it is about one service.
fn only(name: &str, mut status: Status) -> Result<Status, Failure> {
    if !status.services.iter().any(|service| service.service == name) {
        return Err(Failure::NotFound(unknown(name, &status.services)));
    }
    status.services.retain(|service| service.service == name);
    status.warnings.retain(|warning| warning.service.is_empty() || warning.service == name);
    Ok(status)
}

fn unknown(name: &str, services: &[Service]) -> String {
    let close = |service: &&Service| strsim::osa_distance(name, &service.service);
    match services.iter().min_by_key(close) {
        Some(service) if close(&service) <= 2 => {
            format!("no service is known as {name:?} (did you mean {:?}?)", service.service)
        }
        _ => format!("no service is known as {name:?}"),
    }
}
