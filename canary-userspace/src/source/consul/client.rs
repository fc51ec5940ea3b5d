//! Questions to Consul over HTTP: the address that answers, the token, TLS, and limits.

use std::error::Error;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Certificate, Identity, Method, StatusCode};

use crate::settings::consul::{Address, Consul, Tls, tls_files};

/// Bytes of an answer at most, unpacked: ten thousand instances have a quarter of it.
pub(super) const MAX_ANSWER: usize = 64 << 20;
/// Time to open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for an answer that Consul does not hold.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Quiet time after which the kernel asks whether the other side is still there.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Characters of a refusal's text that are shown.
const MAX_TEXT: usize = 300;

/// All but what RFC 3986 calls unreserved.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// `name` as a part of a path.
pub(super) fn escape(name: &str) -> PercentEncode<'_> {
    utf8_percent_encode(name, ESCAPED)
}

/// What Consul answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// The status.
    pub(super) status: u16,
    /// `X-Consul-Index`, at least 1; `None` where there is none.
    pub(super) index: Option<u64>,
    /// The token's rights have left something out.
    pub(super) is_filtered: bool,
    /// The body.
    pub(super) body: Bytes,
    /// Which of the addresses it was.
    pub(super) from: usize,
}

impl Answer {
    /// The answer if it is a success.
    ///
    /// # Errors
    ///
    /// Consul's text.
    pub(super) fn success(self) -> Result<Self, Fault> {
        if self.status == 200 {
            return Ok(self);
        }
        let text = String::from_utf8_lossy(&self.body);
        let text: String = text.trim().chars().take(MAX_TEXT).collect();
        Err(Fault {
            is_refusal: (400..500).contains(&self.status) && self.status != 429,
            text: format!("answered {} ({text})", self.status),
        })
    }
}

/// Why there is no answer that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Consul is there and says no: to ask another one is of no use.
    pub(super) is_refusal: bool,
    /// The sentence.
    pub(super) text: String,
}

impl Fault {
    /// Something came that is no answer.
    pub(super) fn garbage(text: impl Into<String>) -> Self {
        Self { is_refusal: false, text: text.into() }
    }
}

/// Consul behind several addresses, of which one is asked until it fails.
#[derive(Debug)]
pub(super) struct Client {
    settings: Consul,
    /// What each address is in a request's URL.
    bases: Vec<String>,
    /// Index of the address that is asked.
    current: AtomicUsize,
    secrets: Mutex<Secrets>,
    max_answer: usize,
}

/// What is read from files, and may change there.
#[derive(Debug)]
struct Secrets {
    /// One client for each address.
    clients: Vec<reqwest::Client>,
    /// Contents of the TLS files that they were made of.
    files: Vec<Vec<u8>>,
    token: Option<HeaderValue>,
}

impl Client {
    /// A client for the Consul of `settings`.
    ///
    /// # Errors
    ///
    /// A certificate, a key or the token file that cannot be read.
    pub(super) fn new(settings: Consul) -> anyhow::Result<Self> {
        // Another part of the program may have chosen it before: it is the same one.
        _ = rustls::crypto::ring::default_provider().install_default();
        let secrets = Secrets::read(&settings).map_err(anyhow::Error::msg)?;
        let bases = settings.addresses.iter().map(|address| base(address, &settings.tls));
        Ok(Self {
            bases: bases.collect::<Result<_, _>>().map_err(anyhow::Error::msg)?,
            settings,
            current: AtomicUsize::new(0),
            secrets: Mutex::new(secrets),
            max_answer: MAX_ANSWER,
        })
    }

    /// The address that is asked.
    pub(super) fn address(&self) -> String {
        let at = self.current.load(Ordering::Relaxed);
        self.settings.addresses.get(at).map(ToString::to_string).unwrap_or_default()
    }

    /// Asks with the agent's own token.
    pub(super) async fn get(&self, path: &str, limit: Duration) -> Result<Answer, Fault> {
        self.ask(Method::GET, path, None, None, limit).await
    }

    /// Asks, and takes the next address for the next question if this one does not answer.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
        token: Option<HeaderValue>,
        limit: Duration,
    ) -> Result<Answer, Fault> {
        let at = self.current.load(Ordering::Relaxed);
        let (client, own) = {
            let secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
            (secrets.clients.get(at).cloned(), secrets.token.clone())
        };
        let (Some(client), Some(base)) = (client, self.bases.get(at)) else {
            return Err(Fault::garbage("no address is known"));
        };
        let mut request = client.request(method, format!("{base}{path}")).timeout(limit);
        if let Some(token) = token.or(own) {
            request = request.header("x-consul-token", token);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let outcome = match request.send().await {
            Ok(response) => self.receive(response, at).await,
            Err(error) => Err(Fault::garbage(sentence(error))),
        };
        let away = match &outcome {
            Ok(answer) => answer.status >= 500 || answer.status == 429,
            Err(_) => true,
        };
        if away {
            self.move_on(at);
        }
        outcome
    }

    async fn receive(&self, mut response: reqwest::Response, from: usize) -> Result<Answer, Fault> {
        let status = response.status();
        let (index, is_filtered) = read_head(response.headers());
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|e| Fault::garbage(sentence(e)))? {
            if body.len().saturating_add(part.len()) > self.max_answer {
                let text = format!("the answer is longer than {} bytes", self.max_answer);
                return Err(Fault::garbage(text));
            }
            body.extend_from_slice(&part);
        }
        if status == StatusCode::FORBIDDEN {
            self.read_again();
        }
        Ok(Answer { status: status.as_u16(), index, is_filtered, body: body.into(), from })
    }

    /// The next address from now on, unless somebody has gone on already.
    pub(super) fn move_on(&self, from: usize) {
        let next = from.saturating_add(1).checked_rem(self.settings.addresses.len()).unwrap_or(0);
        // Two that failed at once go on by one.
        _ = self.current.compare_exchange(from, next, Ordering::Relaxed, Ordering::Relaxed);
        self.read_again();
    }

    /// Takes note of another token and other certificates; what cannot be read is as it was.
    pub(super) fn read_again(&self) {
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        match read_token(&self.settings) {
            Ok(token) => secrets.token = token,
            Err(error) => tracing::warn!(%error, "the token stays as it was"),
        }
        let files = match contents(&self.settings.tls) {
            Ok(files) if files == secrets.files => return,
            Ok(files) => files,
            Err(error) => {
                tracing::warn!(%error, "certificates stay as they were");
                return;
            }
        };
        match clients(&self.settings) {
            Ok(clients) => (secrets.clients, secrets.files) = (clients, files),
            Err(error) => tracing::warn!(%error, "certificates stay as they were"),
        }
    }
}

impl Secrets {
    fn read(settings: &Consul) -> Result<Self, String> {
        Ok(Self {
            files: contents(&settings.tls)?,
            clients: clients(settings)?,
            token: read_token(settings)?,
        })
    }
}

/// What the head of an answer says: the index, and whether rights have left something out.
fn read_head(headers: &HeaderMap) -> (Option<u64>, bool) {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let index = text("x-consul-index").and_then(|index| index.parse().ok());
    // Consul itself may say 0, which asks for no index at all.
    let index = index.map(|index: u64| index.max(1));
    (index, text("x-consul-results-filtered-by-acls") == Some("true"))
}

fn read_token(settings: &Consul) -> Result<Option<HeaderValue>, String> {
    let text = match &settings.token_file {
        Some(path) => Some(read(path).map(|text| String::from_utf8_lossy(&text).into_owned())?),
        None => settings.token.clone(),
    };
    let Some(text) = text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let mut token = HeaderValue::from_str(&text)
        .map_err(|_| "the token has characters that a header cannot hold".to_owned())?;
    token.set_sensitive(true);
    Ok(Some(token))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Contents of the files that clients are made of, one after the other.
fn contents(tls: &Tls) -> Result<Vec<Vec<u8>>, String> {
    let mut contents = Vec::new();
    for path in tls_files(tls) {
        if path.is_dir() {
            for path in list(path).map_err(|error| format!("{}: {error}", path.display()))? {
                contents.push(read(&path)?);
            }
        } else {
            contents.push(read(path)?);
        }
    }
    Ok(contents)
}

fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let paths: io::Result<Vec<PathBuf>> =
        fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut files: Vec<_> = paths?.into_iter().filter(|path| path.is_file()).collect();
    files.sort();
    Ok(files)
}

fn clients(settings: &Consul) -> Result<Vec<reqwest::Client>, String> {
    settings.addresses.iter().map(|address| client(address, settings)).collect()
}

fn client(address: &Address, settings: &Consul) -> Result<reqwest::Client, String> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("canary-agent/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        // Each question its own connection: one that hangs holds nobody else up.
        .http1_only()
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_keepalive(KEEPALIVE)
        .tcp_keepalive_interval(KEEPALIVE)
        .pool_max_idle_per_host(settings.max_queries);
    if let Some(socket) = &address.socket {
        builder = builder.unix_socket(socket.clone());
    }
    if address.is_tls() {
        builder = with_tls(builder, &settings.tls, address)?;
    }
    builder.build().map_err(|error| format!("Consul at {address}: {}", chain(&error)))
}

fn with_tls(
    mut builder: reqwest::ClientBuilder,
    tls: &Tls,
    address: &Address,
) -> Result<reqwest::ClientBuilder, String> {
    let mut roots = Vec::new();
    if let Some(path) = &tls.ca_file {
        roots.push(path.clone());
    }
    if let Some(path) = &tls.ca_path {
        roots.extend(list(path).map_err(|error| format!("{}: {error}", path.display()))?);
    }
    builder = builder.tls_built_in_root_certs(roots.is_empty());
    for path in &roots {
        let bundle = Certificate::from_pem_bundle(&read(path)?)
            .map_err(|error| format!("{}: {}", path.display(), chain(&error)))?;
        builder = bundle.into_iter().fold(builder, reqwest::ClientBuilder::add_root_certificate);
    }
    if let (Some(cert), Some(key)) = (&tls.client_cert, &tls.client_key) {
        let pem = [read(key)?, b"\n".to_vec(), read(cert)?].concat();
        let identity = Identity::from_pem(&pem)
            .map_err(|error| format!("{}: {}", cert.display(), chain(&error)))?;
        builder = builder.identity(identity);
    }
    if tls.server_name.is_some() {
        builder = builder.dns_resolver(Arc::new(Renamed { host: host(address)? }));
    }
    Ok(builder.danger_accept_invalid_certs(!tls.verify))
}

/// The address as requests name it: by the name in the certificate, where one is given.
fn base(address: &Address, tls: &Tls) -> Result<String, String> {
    let Some(name) = tls.server_name.as_deref().filter(|_| address.is_tls()) else {
        return Ok(address.base.clone());
    };
    let mut url = reqwest::Url::parse(&address.base).map_err(|error| error.to_string())?;
    url.set_host(Some(name)).map_err(|error| format!("server name {name:?}: {error}"))?;
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn host(address: &Address) -> Result<String, String> {
    let url = reqwest::Url::parse(&address.base).map_err(|error| error.to_string())?;
    let host = url.host_str().unwrap_or_default();
    // An address of IPv6 has brackets in a URL and none elsewhere.
    Ok(host.trim_start_matches('[').trim_end_matches(']').to_owned())
}

/// Finds `host`, whatever name is asked for: that one is only in the certificate.
#[derive(Debug)]
struct Renamed {
    host: String,
}

impl Resolve for Renamed {
    fn resolve(&self, _name: Name) -> Resolving {
        let host = self.host.clone();
        Box::pin(async move {
            // The port is that of the URL.
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
            let found: Addrs = Box::new(found.into_iter());
            Ok(found)
        })
    }
}

/// An error of the HTTP library as one sentence, without the URL: who asked says what was asked.
fn sentence(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    chain(&error.without_url())
}

/// The innermost reasons say most: `connection refused`, `certificate expired`.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = inner.source();
    }
    text
}
