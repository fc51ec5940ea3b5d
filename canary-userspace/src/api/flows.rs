//! `/v1/canary/flows`: what the flow table holds.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::answer::{Document, OwnError};
use super::query;
use crate::agent::{Handle, Refusal};
use crate::seen::{KINDS, STATES, Wanted, Whose, meaning};

/// Entries of a page, where nothing is asked.
const PAGE: usize = 1_000;
/// Entries of a page at most: so many are made in memory at once.
const MAX_PAGE: usize = 10_000;

/// Reads of the table at once: each takes a thread, and a core for as long.
static READS: Semaphore = Semaphore::const_new(2);

/// A page of the entries that are wanted.
pub(super) async fn list(State(handle): State<Handle>, uri: Uri) -> Result<Response, OwnError> {
    let Asked { wanted, from, limit } = asked(&uri)?;
    let service = wanted.whose.service.clone();
    let look = handle.call(move |agent| agent.look(service.as_deref())).await??;
    let _permit = READS.acquire().await.map_err(|error| Refusal::failed(error.to_string()))?;
    // A large table takes longer than the loop may wait.
    let read = spawn_blocking(move || {
        let page = look.flows(&wanted, from, limit).map_err(|error| format!("{error:#}"))?;
        Document::of(&page).map_err(|refusal| refusal.text)
    });
    let read = read.await.map_err(|error| Refusal::failed(error.to_string()))?;
    Ok(read.map_err(Refusal::failed)?.into_response())
}

struct Asked {
    wanted: Wanted,
    from: u32,
    limit: usize,
}

fn asked(uri: &Uri) -> Result<Asked, OwnError> {
    let mut asked = Asked { wanted: Wanted::default(), from: 0, limit: PAGE };
    for (name, value) in query::pairs(uri)? {
        let Wanted { kinds, states, whose } = &mut asked.wanted;
        if is_whose(whose, &name, &value)? {
            continue;
        }
        match name.as_str() {
            "kind" => kinds.push(meaning(&name, &KINDS, &value).map_err(Refusal::bad_request)?),
            "state" => states.push(meaning(&name, &STATES, &value).map_err(Refusal::bad_request)?),
            "from" => asked.from = number(&name, &value, 0..=u32::MAX)?,
            "limit" => asked.limit = number(&name, &value, 1..=MAX_PAGE)?,
            _ => {}
        }
    }
    Ok(asked)
}

/// Takes a parameter that says whose connections are wanted; whether it is one.
pub(super) fn is_whose(whose: &mut Whose, name: &str, value: &str) -> Result<bool, Refusal> {
    match name {
        "service" => whose.service = Some(value.to_owned()),
        "subset" => whose.subset = Some(value.to_owned()),
        "client" => {
            whose.client = Some(value.parse().map_err(|text: String| Refusal::bad_request(text))?);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// A number within bounds.
pub(super) fn number<T>(name: &str, value: &str, of: RangeInclusive<T>) -> Result<T, Refusal>
where
    T: FromStr + PartialOrd + Display,
{
    value.parse().ok().filter(|number| of.contains(number)).ok_or_else(|| {
        let (least, most) = (of.start(), of.end());
        let text = format!("{name} must be a number from {least} to {most}, not {value:?}");
        Refusal::bad_request(text)
    })
}
