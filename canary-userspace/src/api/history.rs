//! `/v1/canary/history`: the log of changes.

use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;
use tokio::task::spawn_blocking;

use super::answer::{OwnError, json};
use super::author::name_users;
use crate::agent::{Handle, Refusal};
use crate::audit::Record;
use crate::store::{Log, MAX_RECORDS, StoreError};

/// Changes that are shown where nobody says how many.
const DEFAULT_LIMIT: usize = 100;

/// Parameters of a history.
#[derive(Debug, Deserialize)]
pub(super) struct Parameters {
    limit: Option<String>,
}

impl Parameters {
    fn limit(&self) -> Result<usize, Refusal> {
        let Some(text) = &self.limit else { return Ok(DEFAULT_LIMIT) };
        let most = usize::try_from(MAX_RECORDS).unwrap_or(usize::MAX);
        text.parse().ok().filter(|limit| (1..=most).contains(limit)).ok_or_else(|| {
            Refusal::bad_request(format!("limit must be a number from 1 to {most}, not {text:?}"))
        })
    }
}

/// The last changes of everything, newest first.
pub(super) async fn all(
    State(handle): State<Handle>,
    Query(parameters): Query<Parameters>,
) -> Result<Response, OwnError> {
    let limit = parameters.limit()?;
    read(&handle, move |log| log.all(limit)).await
}

/// The last changes of one service, newest first.
pub(super) async fn of_service(
    State(handle): State<Handle>,
    Path(service): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Result<Response, OwnError> {
    let limit = parameters.limit()?;
    read(&handle, move |log| log.of_service(&service, 0, limit)).await
}

/// Reads beside the loop, which has other things to do.
async fn read(
    handle: &Handle,
    read: impl FnOnce(Log) -> Result<Vec<Record>, StoreError> + Send + 'static,
) -> Result<Response, OwnError> {
    let (log, index) = handle.call(|agent| (agent.log(), agent.index())).await?;
    let named = move || {
        read(log).map(|mut records| {
            name_users(&mut records);
            records
        })
    };
    let records = spawn_blocking(named)
        .await
        .map_err(|error| Refusal::failed(error.to_string()))?
        .map_err(Refusal::from)?;
    Ok(json(index, &records))
}
