//! `status`: what is in force and what the kernel counted.

mod render;
mod watch;

pub(super) use self::render::{name, quantiles};

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};

use super::args;
use super::client::{Client, escape};
use super::console::Console;
use super::failure::Failure;
use super::near::nearest;
use super::paint::Paint;
use crate::document::{Service, Status};

/// The whole status.
pub const PATH: &str = "/v1/canary/status";

/// Time between two questions of `--wait`: an agent that is not there cannot call back.
const RETRY: Duration = Duration::from_millis(50);

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
    if options.watch {
        return watch::run(options, client, console).await;
    }
    let text = frame(options, client, console.paint).await?;
    console.raw(&text)
}

/// The status as it is now, as text that ends its last line.
async fn frame(options: &args::Status, client: &Client, paint: Paint) -> Result<String, Failure> {
    if options.json {
        return document(options, client).await;
    }
    let status: Status = client.get(PATH).await?.ok()?.json()?;
    let shown = match &options.service {
        Some(name) => only(name, status)?,
        None => status,
    };
    Ok(render::text(&shown, paint))
}

/// The agent's own document, field by field, also those that this build does not know.
async fn document(options: &args::Status, client: &Client) -> Result<String, Failure> {
    let path = match &options.service {
        Some(name) => format!("{PATH}/{}", escape(name)),
        None => PATH.to_owned(),
    };
    let document: Value = client.get(&path).await?.ok()?.json()?;
    let text = if options.watch {
        document.to_string()
    } else {
        serde_json::to_string_pretty(&document)
            .map_err(|error| Failure::Error(error.to_string()))?
    };
    Ok(text + "\n")
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
    let near = nearest(name, services.iter().map(|service| service.service.as_str()));
    let hint = near.map(|near| format!(" (did you mean {near:?}?)")).unwrap_or_default();
    format!("no service is known as {name:?}{hint}")
}
