//! `/v1/canary/observe`: what becomes of packets, as it happens, a document a line.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;

use super::answer::OwnError;
use super::flows::{is_whose, number};
use super::query;
use crate::agent::{Handle, Refusal};
use crate::observe::{Subscription, Wanted};
use crate::seen::{EVENTS, meaning, reasons};

/// Media type of a document a line.
pub(super) const KIND: &str = "application/x-ndjson";
/// Lines that are sent at once.
const MOST: usize = 128;

/// Lines until the client goes.
pub(super) async fn observe(State(handle): State<Handle>, uri: Uri) -> Result<Response, OwnError> {
    let wanted = asked(&uri)?;
    let service = wanted.whose.service.clone();
    let look = handle.call(move |agent| agent.look(service.as_deref())).await??;
    let subscription =
        look.observe(wanted).map_err(|error| Refusal::failed(format!("{error:#}")))?;
    let kind = HeaderValue::from_static(KIND);
    let body = Body::new(Lines(subscription));
    Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
}

fn asked(uri: &Uri) -> Result<Wanted, OwnError> {
    let mut wanted = Wanted::default();
    for (name, value) in query::pairs(uri)? {
        if is_whose(&mut wanted.whose, &name, &value)? {
            continue;
        }
        let refused = |text: String| Refusal::bad_request(text);
        match name.as_str() {
            "kind" => wanted.kinds.push(meaning(&name, &EVENTS, &value).map_err(refused)?),
            "reason" => wanted.reasons.push(meaning(&name, &reasons(), &value).map_err(refused)?),
            "sample" => wanted.sample = number(&name, &value, 1..=u32::MAX)?,
            _ => {}
        }
    }
    Ok(wanted)
}

/// An answer that goes on until its reader goes away.
struct Lines(Subscription);

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.0.poll(context, MOST).map(|lines| Some(Ok(Frame::data(lines.into()))))
    }
}
