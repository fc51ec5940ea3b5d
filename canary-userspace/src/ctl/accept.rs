//! `accept`: believe an input that is held, once.

use std::io::{BufRead, IsTerminal};

use super::applied;
use super::args::Accept;
use super::client::{Client, escape, with_query};
use super::console::Console;
use super::failure::Failure;
use super::status;
use crate::document::{Held, Status};

/// Shows what would go, and has it go where that is meant.
///
/// # Errors
///
/// [`Failure::Conflict`] if by now something else would go than the digest says, with the new
/// list; [`Failure::Usage`] where nobody can be asked and no digest is said.
pub async fn run(
    options: &Accept,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let held = held(options, client).await?;
    if held.is_empty() {
        return console.say("nothing is held");
    }
    let digest = held.iter().map(|held| held.digest.as_str()).collect::<Vec<_>>().join("+");
    if options.yes.as_ref().is_some_and(|said| *said != digest) {
        show(&held, console)?;
        return Err(Failure::Conflict(format!("something else goes by now: --yes {digest}")));
    }
    if options.yes.is_none() {
        show(&held, console)?;
        if !asked(&digest, console)? {
            return Err(Failure::Error("nothing was accepted".to_owned()));
        }
    }
    let input = options.input.as_ref().map(|input| format!("input={}", escape(input)));
    let path =
        with_query("/v1/canary/accept", [input, Some(format!("digest={}", escape(&digest)))]);
    let answer = client.put(&path, String::new()).await?.accepted()?;
    applied::print("Accepted", "Would accept", &answer, console)
}

/// The inputs that are held, as far as they are wanted.
async fn held(options: &Accept, client: &Client) -> Result<Vec<Held>, Failure> {
    let status: Status = client.get(status::PATH).await?.ok()?.json()?;
    let wanted = |held: &Held| options.input.as_ref().is_none_or(|input| *input == held.input);
    let any = !status.source.held.is_empty();
    let held: Vec<Held> = status.source.held.into_iter().filter(wanted).collect();
    match &options.input {
        Some(input) if held.is_empty() && any => {
            Err(Failure::NotFound(format!("the input {input:?} is not held")))
        }
        _ => Ok(held),
    }
}

/// Shows what would go.
fn show(held: &[Held], console: &mut Console<'_>) -> Result<(), Failure> {
    for Held { input, reason, removals, .. } in held {
        console.data(format!("{input}: {reason}; without it go:"))?;
        for name in removals {
            console.data(format!("  {name}"))?;
        }
        if removals.is_empty() {
            console.data("  nothing")?;
        }
    }
    Ok(())
}

/// True if the answer at the terminal is yes.
fn asked(digest: &str, console: &mut Console<'_>) -> Result<bool, Failure> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        let text = format!("nobody can be asked: say --yes {digest} to accept this list");
        return Err(Failure::Usage(text));
    }
    console.say("Let it go? Only \"yes\" is yes.")?;
    let mut line = String::new();
    input.lock().read_line(&mut line)?;
    Ok(line.trim() == "yes")
}
