//! The one way into an agent: HTTP over its socket.

use std::io;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::address::Address;
use super::failure::Failure;
use super::tls::{Tls, TlsOptions};

/// How long an agent may take to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an agent may take to answer, a publication included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Header in which an agent puts a sentence that stops nothing; it may come several times.
pub const WARNING_HEADER: &str = "x-canary-warning";
/// Header in which an agent says what a write moved, where the body is as Consul's.
pub const CHANGED_HEADER: &str = "x-canary-changed";

/// What a path segment may hold as it is (RFC 3986, section 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Escapes a name for use within a path or a query.
#[must_use]
pub fn escape(segment: &str) -> String {
    utf8_percent_encode(segment, ESCAPED).to_string()
}

/// A path with parameters.
#[must_use]
pub fn with_query(path: &str, parameters: impl IntoIterator<Item = Option<String>>) -> String {
    let parameters: Vec<String> = parameters.into_iter().flatten().collect();
    if parameters.is_empty() { path.to_owned() } else { format!("{path}?{}", parameters.join("&")) }
}

/// An agent's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Body as text.
    pub body: String,
    /// What the agent warns of.
    pub warnings: Vec<String>,
    /// What a write moved, as JSON.
    pub changed: Option<String>,
}

impl Answer {
    /// The same answer if it is a success.
    ///
    /// # Errors
    ///
    /// The [`Failure`] that belongs to the status, with the body as its text.
    pub fn ok(self) -> Result<Self, Failure> {
        let text = self.body.trim();
        let text = if text.is_empty() {
            format!("the agent answered {}", self.status)
        } else {
            text.to_owned()
        };
        match self.status {
            200..=299 => Ok(self),
            404 => Err(Failure::NotFound(text)),
            400 | 405 | 422 => Err(Failure::Invalid(text)),
            409 => Err(Failure::Conflict(text)),
            _ => Err(Failure::Error(text)),
        }
    }

    /// The same answer if it is a success, where Consul's 500 means that the content is refused.
    ///
    /// # Errors
    ///
    /// As [`Answer::ok`], with 500 as [`Failure::Invalid`].
    pub fn accepted(self) -> Result<Self, Failure> {
        let refused = self.status == 500;
        self.ok().map_err(|failure| match failure {
            Failure::Error(text) if refused => Failure::Invalid(text),
            other => other,
        })
    }

    /// The body as a document.
    ///
    /// # Errors
    ///
    /// [`Failure::Error`] if it is not one: the other side is no agent, or of another version.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_str(&self.body).map_err(|error| {
            Failure::Error(format!("the agent's answer is not understood: {error}"))
        })
    }
}

/// A client of one agent.
#[derive(Clone, Debug)]
pub struct Client {
    address: Address,
    token: Option<String>,
    /// How to speak where the address is one of TLS.
    tls: Option<Tls>,
}

impl Client {
    /// A client of the agent at `address`.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self { address, token: None, tls: None }
    }

    /// The same client, showing a token with every request.
    #[must_use]
    pub fn with_token(self, token: Option<String>) -> Self {
        Self { token, ..self }
    }

    /// The same client, for an address over TLS.
    ///
    /// # Errors
    ///
    /// [`Failure::Error`] for a file that cannot be used.
    pub fn with_tls(self, options: &TlsOptions) -> Result<Self, Failure> {
        let Address::Tcp { host, tls: true, .. } = &self.address else { return Ok(self) };
        let tls = Tls::new(host, options)?;
        Ok(Self { tls: Some(tls), ..self })
    }

    /// Where the agent listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Reads a path.
    ///
    /// # Errors
    ///
    /// [`Failure::Unreachable`] without an answer; any status is an answer.
    pub async fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.send(Method::GET, path, String::new()).await
    }

    /// Writes a body to a path.
    ///
    /// # Errors
    ///
    /// As [`Client::get`].
    pub async fn put(&self, path: &str, body: String) -> Result<Answer, Failure> {
        self.send(Method::PUT, path, body).await
    }

    /// Deletes a path.
    ///
    /// # Errors
    ///
    /// As [`Client::get`].
    pub async fn delete(&self, path: &str) -> Result<Answer, Failure> {
        self.send(Method::DELETE, path, String::new()).await
    }

    /// Reads a path that is answered line by line, as they come.
    ///
    /// # Errors
    ///
    /// As [`Client::get`], and the failure of an answer that is none of success.
    pub async fn lines(&self, path: &str) -> Result<Lines, Failure> {
        let request = self.request(Method::GET, path, String::new())?;
        let stream = self.connect().await?;
        let (response, connection) = timeout(ANSWER_TIMEOUT, stream.ask(request))
            .await
            .map_err(|_| self.unreachable("no answer within 30 s"))?
            .map_err(|error| self.unreachable(&error.to_string()))?;
        if response.status().is_success() {
            return Ok(Lines { body: response.into_body(), rest: Vec::new(), connection });
        }
        let answer = whole(response, &connection).await;
        answer.map_err(|error| self.unreachable(&error.to_string()))?.ok()?;
        Err(Failure::Error("the agent's answer is no stream of lines".to_owned()))
    }

    async fn send(&self, method: Method, path: &str, body: String) -> Result<Answer, Failure> {
        let request = self.request(method, path, body)?;
        let stream = self.connect().await?;
        let exchange = async {
            let (response, connection) = stream.ask(request).await?;
            whole(response, &connection).await
        };
        timeout(ANSWER_TIMEOUT, exchange)
            .await
            .map_err(|_| self.unreachable("no answer within 30 s"))?
            .map_err(|error| self.unreachable(&error.to_string()))
    }

    async fn connect(&self) -> Result<Stream, Failure> {
        let connect = async {
            match &self.address {
                Address::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
                Address::Tcp { host, port, .. } => {
                    let stream = TcpStream::connect((host.as_str(), *port)).await?;
                    match &self.tls {
                        None => Ok(Stream::Tcp(stream)),
                        Some(tls) => Ok(Stream::Tls(Box::new(tls.connect(stream).await?))),
                    }
                }
            }
        };
        timeout(CONNECT_TIMEOUT, connect)
            .await
            .map_err(|_| self.unreachable("no answer within 5 s"))?
            .map_err(|error| self.unreachable(&reason(&error)))
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("host", self.address.authority());
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        if let Some(token) = &self.token {
            request = request.header("x-consul-token", token);
        }
        request.body(Full::from(body)).map_err(|error| Failure::Error(format!("{path}: {error}")))
    }

    fn unreachable(&self, cause: &str) -> Failure {
        Failure::Unreachable { address: self.address.to_string(), cause: cause.to_owned() }
    }
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    async fn ask(self, request: Request<Full<Bytes>>) -> hyper::Result<Asked> {
        match self {
            Self::Unix(stream) => ask(stream, request).await,
            Self::Tcp(stream) => ask(stream, request).await,
            Self::Tls(stream) => ask(stream, request).await,
        }
    }
}

/// The head of an answer, and what drives its connection.
type Asked = (Response<Incoming>, JoinHandle<hyper::Result<()>>);

async fn ask<S>(stream: S, request: Request<Full<Bytes>>) -> hyper::Result<Asked>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends by itself once the answer is read, with the error that the exchange reports.
    let connection = tokio::spawn(connection);
    Ok((sender.send_request(request).await?, connection))
}

/// An answer with its whole body.
async fn whole(
    response: Response<Incoming>,
    connection: &JoinHandle<hyper::Result<()>>,
) -> hyper::Result<Answer> {
    let status = response.status().as_u16();
    let changed = response.headers().get(CHANGED_HEADER);
    let changed = changed.map(|json| String::from_utf8_lossy(json.as_bytes()).into_owned());
    let warnings = response.headers().get_all(WARNING_HEADER);
    let warnings = warnings
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect();
    let body = response.into_body().collect().await?.to_bytes();
    connection.abort();
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Answer { status, body, warnings, changed })
}

/// An answer's lines, as they come.
#[derive(Debug)]
pub struct Lines {
    body: Incoming,
    /// What came of the next line, and of those after it.
    rest: Vec<u8>,
    connection: JoinHandle<hyper::Result<()>>,
}

impl Lines {
    /// The next line; `None` once the agent has ended the answer, or is gone.
    ///
    /// # Errors
    ///
    /// [`Failure::Error`] for bytes that are no text.
    pub async fn next(&mut self) -> Result<Option<String>, Failure> {
        let mut looked = 0;
        loop {
            let fresh = self.rest.iter().skip(looked).position(|byte| *byte == b'\n');
            if let Some(end) = fresh {
                let behind = self.rest.split_off(looked.saturating_add(end).saturating_add(1));
                let mut line = std::mem::replace(&mut self.rest, behind);
                line.pop();
                return match String::from_utf8(line) {
                    Ok(line) => Ok(Some(line)),
                    Err(error) => Err(Failure::Error(error.to_string())),
                };
            }
            looked = self.rest.len();
            match self.body.frame().await {
                Some(Ok(frame)) => self.rest.extend(frame.into_data().unwrap_or_default()),
                Some(Err(_)) | None => return Ok(None),
            }
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// An error of the system without its number.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_becomes_the_failure_with_its_exit_code() {
        let code = |status, accepted: bool| {
            let answer = Answer { status, body: "why\n".to_owned(), ..Answer::default() };
            let outcome = if accepted { answer.accepted() } else { answer.ok() };
            outcome.map_or_else(|failure| failure.exit_code(), |_| 0)
        };

        assert_eq!(
            [200, 404, 400, 409, 500, 503].map(|status| code(status, false)),
            [0, 3, 4, 6, 1, 1]
        );
        assert_eq!(
            [200, 404, 400, 409, 500, 503].map(|status| code(status, true)),
            [0, 3, 4, 6, 4, 1]
        );
    }

    #[test]
    fn names_are_escaped_for_paths() {
        assert_eq!(escape("a/b c?d"), "a%2Fb%20c%3Fd");
        assert_eq!(escape("payments-v2.x_~"), "payments-v2.x_~");
    }

    #[tokio::test]
    async fn nobody_at_the_address_is_said_with_the_address() {
        let client = Client::new(Address::Unix("/nowhere/agent.sock".into()));

        let failure = client.get("/v1/status/leader").await.unwrap_err();

        assert_eq!(failure.exit_code(), 5);
        assert_eq!(
            failure.to_string(),
            "agent unreachable at unix:///nowhere/agent.sock: No such file or directory (is canary-agent running?)"
        );
    }
}
