//! An HTTP server for tests: it records what it is asked and answers what it is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use http_body_util::BodyExt;
use tempfile::TempDir;
use tokio::net::UnixListener;

use super::client::WARNING_HEADER;

/// A request: method, path with query, body, and the token it showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) line: String,
    pub(super) body: String,
    pub(super) token: Option<String>,
}

/// What to answer.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    status: u16,
    body: String,
    warnings: Vec<&'static str>,
}

impl Reply {
    pub(super) fn new(status: u16, body: impl Into<String>) -> Self {
        Self { status, body: body.into(), warnings: Vec::new() }
    }

    pub(super) fn warning(mut self, text: &'static str) -> Self {
        self.warnings.push(text);
        self
    }
}

#[derive(Default)]
struct Tape {
    asked: Vec<Asked>,
    replies: VecDeque<Reply>,
}

/// A server on a socket of its own.
pub(super) struct Server {
    directory: TempDir,
    tape: Arc<Mutex<Tape>>,
}

impl Server {
    /// Starts a server that gives these answers in order, the last one again and again.
    pub(super) fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tape = Arc::new(Mutex::new(Tape {
            asked: Vec::new(),
            replies: replies.into_iter().collect(),
        }));
        let listener = UnixListener::bind(directory.path().join("agent.sock")).unwrap();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&tape));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { directory, tape }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> String {
        format!("unix://{}/agent.sock", self.directory.path().display())
    }

    /// What it was asked so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.tape.lock().unwrap().asked.clone()
    }

    /// The request lines so far.
    pub(super) fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }
}

async fn answer(State(tape): State<Arc<Mutex<Tape>>>, request: Request) -> Response<String> {
    let line = format!("{} {}", request.method(), request.uri());
    let token =
        request.headers().get("x-consul-token").map(|token| token.to_str().unwrap().to_owned());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let mut tape = tape.lock().unwrap();
    tape.asked.push(Asked { line, body, token });
    let reply = match tape.replies.len() {
        0 | 1 => tape.replies.front().cloned().unwrap(),
        _ => tape.replies.pop_front().unwrap(),
    };
    let mut response = Response::builder().status(StatusCode::from_u16(reply.status).unwrap());
    for warning in reply.warnings {
        response = response.header(WARNING_HEADER, warning);
    }
    response.body(reply.body).unwrap()
}
