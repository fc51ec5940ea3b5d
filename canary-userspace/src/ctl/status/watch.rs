//! `status --watch`: again whenever something is different.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::frame;
use crate::ctl::args;
use crate::ctl::client::Client;
use crate::ctl::console::Console;
use crate::ctl::ends::ended;
use crate::ctl::failure::Failure;
use crate::ctl::screen;

/// Time between two looks at least: nobody reads faster, and a screen would flicker.
const PAUSE: Duration = Duration::from_millis(200);
/// Looks take a tenth of the time at most, so that a node with many services can breathe.
const SPARING: u32 = 9;

/// Shows the status whenever it is another, until somebody has seen enough.
///
/// # Errors
///
/// [`Failure`] of the first look; later ones are told and waited out, for an agent that restarts
/// is back soon, and its traffic never left.
pub(super) async fn run(
    options: &args::Status,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let in_place = console.screen && !options.json;
    if in_place {
        console.raw(screen::OPEN)?;
    }
    let outcome = tokio::select! {
        () = ended() => Ok(()),
        outcome = looks(options, client, console, in_place) => outcome,
    };
    if in_place {
        console.raw(screen::CLOSE)?;
    }
    outcome
}

async fn looks(
    options: &args::Status,
    client: &Client,
    console: &mut Console<'_>,
    in_place: bool,
) -> Result<(), Failure> {
    let mut seen: Option<String> = None;
    let mut away: Option<String> = None;
    loop {
        let start = Instant::now();
        let found = frame(options, client, console.paint).await;
        let took = start.elapsed();
        if console.left() {
            return Ok(());
        }
        match (found, &seen) {
            (Err(failure), None) => return Err(failure),
            (Err(failure), Some(last)) => {
                let text = failure.to_string();
                if away.as_ref() != Some(&text) {
                    if in_place {
                        let note = console.paint.red(format_args!("‼ {text}"));
                        console.raw(&screen::frame(&format!("{last}\n{note}\n")))?;
                    } else {
                        console.say(&text)?;
                    }
                    away = Some(text);
                }
            }
            (Ok(text), last) => {
                let back = away.take().is_some();
                if back && !in_place {
                    console.say("the agent answers again")?;
                }
                if back && in_place || last.as_ref() != Some(&text) {
                    if in_place {
                        console.raw(&screen::frame(&text))?;
                    } else {
                        console.raw(&text)?;
                    }
                    seen = Some(text);
                }
            }
        }
        sleep(PAUSE.max(took.saturating_mul(SPARING))).await;
    }
}
