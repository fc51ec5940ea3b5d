//! Queries that may wait for a change, as Consul's blocking queries.
//!
//! One that waits holds a watch and no place in the agent's loop.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::answer::{self, Document, Error};
use super::query::Asked;
use crate::agent::{Agent, Handle, Refusal, Topic, Watch};

/// What the loop says to one who asks.
enum Turn {
    /// The document or why there is none, as of an index.
    Answer(Result<Document, Refusal>, u64),
    /// Nothing new yet.
    Wait(Watch),
}

/// Answers with what `read` gives: at once, or, where the query names an index, when one of
/// `topics` has moved past it or the time is up.
pub(super) async fn answer(
    handle: &Handle,
    asked: &Asked,
    topics: Vec<Topic>,
    read: impl Fn(&Agent) -> Result<Document, Refusal> + Send + Sync + 'static,
) -> Result<Response, Error> {
    let deadline = Instant::now() + asked.wait;
    let question = Arc::new((topics, read));
    let mut seen = asked.index;
    loop {
        let question = Arc::clone(&question);
        match handle.call(move |agent| turn(agent, &question.0, seen, &question.1)).await? {
            Turn::Answer(document, index) => {
                let response = document
                    .map_or_else(|refusal| Error(refusal).into_response(), Document::into_response);
                return Ok(answer::stamped(response, index));
            }
            Turn::Wait(mut watch) => {
                if timeout_at(deadline, watch.changed()).await.is_err() {
                    seen = 0;
                }
            }
        }
    }
}

/// Answers with what `read` gives: at once, or, where the query has the hash of a content, when
/// that is not the content any more or the time is up. It can only change when `topics` do.
pub(super) async fn answer_by_hash(
    handle: &Handle,
    asked: &Asked,
    topics: Vec<Topic>,
    read: impl Fn(&Agent) -> Result<Value, Refusal> + Send + Sync + 'static,
) -> Result<Response, Error> {
    let deadline = Instant::now() + asked.wait;
    let question = Arc::new((topics, read));
    let mut seen = asked.hash.clone();
    loop {
        let question = Arc::clone(&question);
        let turn = move |agent: &mut Agent| {
            let content = question.1(agent)?;
            let hash = format!("{:016x}", content_hash(&content));
            let watch = agent.topics().watch(&question.0);
            Ok::<_, Refusal>((content, hash, watch))
        };
        let (mut content, hash, mut watch) = handle.call(turn).await??;
        if seen.as_ref() != Some(&hash) {
            if let Value::Object(fields) = &mut content {
                fields.insert("ContentHash".to_owned(), hash.as_str().into());
            }
            let mut response = Document::of(&content)?.into_response();
            answer::stamp_hash(&mut response, &hash);
            return Ok(response);
        }
        if timeout_at(deadline, watch.changed()).await.is_err() {
            seen = None;
        }
    }
}

/// The same for the same content, at every start.
fn content_hash(content: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.to_string().hash(&mut hasher);
    hasher.finish()
}

fn turn(
    agent: &mut Agent,
    topics: &[Topic],
    seen: u64,
    read: &impl Fn(&Agent) -> Result<Document, Refusal>,
) -> Turn {
    let newest = agent.index();
    let index = agent.topics().index(topics);
    // An index that was never given is of another agent or of a store that is lost: who shows it
    // must learn the real one.
    if seen > 0 && index <= seen && seen <= newest {
        return Turn::Wait(agent.topics().watch(topics));
    }
    Turn::Answer(read(agent), index)
}
