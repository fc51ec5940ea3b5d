//! `/v1/canary/export` and `/v1/canary/import`.

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::answer::{OwnError, flag, json};
use super::author::{Asked, SourceToken};
use super::canary::decode;
use crate::agent::{Handle, Ticket};
use crate::document::Import;
use crate::store::SourceFile;

/// Bytes of an import's body at most: what 5,000 services of 20 instances take.
pub(super) const MAX_IMPORT: usize = 64 << 20;

/// Parameters of an export.
#[derive(Debug, Deserialize)]
pub(super) struct ExportParameters {
    all: Option<String>,
}

/// What the store defines or, with `all`, what is in force.
pub(super) async fn export(
    State(handle): State<Handle>,
    Query(ExportParameters { all }): Query<ExportParameters>,
) -> Result<Response, OwnError> {
    let all = flag("all", all.as_deref())?;
    let (export, index) = handle.call(move |agent| (agent.export(all), agent.index())).await?;
    Ok(json(index, &export))
}

/// Parameters of an import.
#[derive(Debug, Deserialize)]
pub(super) struct ImportParameters {
    replace: Option<String>,
}

/// Takes files into the store, all or nothing.
pub(super) async fn import(
    State(handle): State<Handle>,
    Query(ImportParameters { replace }): Query<ImportParameters>,
    Asked(intent): Asked,
    SourceToken(token): SourceToken,
    body: Bytes,
) -> Result<Response, OwnError> {
    let replace = flag("replace", replace.as_deref())?;
    let Import { files } = decode(&body)?;
    let source = |file: crate::document::File| SourceFile {
        path: file.path,
        content: file.content.into_bytes(),
    };
    let files: Vec<SourceFile> = files.into_iter().map(source).collect();
    let applied = handle
        .change(Ticket { token, cas: None }, move |agent| agent.import(&intent, &files, replace))
        .await?;
    let index = handle.call(|agent| agent.index()).await?;
    Ok(json(index, &applied))
}

/// Parameters of an acceptance.
#[derive(Debug, Deserialize)]
pub(super) struct AcceptParameters {
    input: Option<String>,
    digest: Option<String>,
}

/// Believes inputs that are held.
pub(super) async fn accept(
    State(handle): State<Handle>,
    Query(AcceptParameters { input, digest }): Query<AcceptParameters>,
    Asked(intent): Asked,
) -> Result<Response, OwnError> {
    let (applied, index) = handle
        .call(move |agent| {
            let applied = agent.accept(&intent, input.as_deref(), digest.as_deref());
            (applied, agent.index())
        })
        .await?;
    Ok(json(index, &applied?))
}
