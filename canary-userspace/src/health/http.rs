//! `http` checks: 2xx passes, 429 warns, everything else is critical.

use std::error::Error as _;
use std::fmt::Write as _;
use std::sync::Arc;

use reqwest::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, StatusCode};
use tokio::sync::OnceCell;

use super::names::Names;
use super::prober::Found;
use super::trust::Trust;
use crate::catalog::{Health, HttpProbe};

/// Redirects that are followed, as in Consul.
const MAX_REDIRECTS: usize = 10;
/// What a probe calls itself where its check does not say.
const OWN_NAME: HeaderValue = HeaderValue::from_static("Canary Health Check");
/// What a probe wants to read where its check does not say.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain, text/*, */*");

/// One client for each way to ask, made when it is first needed.
#[derive(Debug, Default)]
pub(super) struct Clients([OnceCell<Client>; 4]);

impl Clients {
    /// The client that trusts anybody or not, and stays or follows redirects.
    ///
    /// # Errors
    ///
    /// Why it cannot be made.
    pub(super) async fn get(
        &self,
        unverified: bool,
        stay: bool,
        trust: &Trust,
        names: &Names,
    ) -> Result<&Client, String> {
        let [a, b, c, d] = &self.0;
        let cell = match (unverified, stay) {
            (false, false) => a,
            (false, true) => b,
            (true, false) => c,
            (true, true) => d,
        };
        cell.get_or_try_init(async || {
            let settings = trust.settings(unverified).await.map_err(|error| error.to_string())?;
            let redirects = if stay { Policy::none() } else { Policy::limited(MAX_REDIRECTS) };
            Client::builder()
                .use_preconfigured_tls(settings)
                .redirect(redirects)
                // Each probe opens a connection: that the server still takes some is half of it.
                .pool_max_idle_per_host(0)
                .no_proxy()
                .dns_resolver(Arc::new(names.clone()))
                .build()
                .map_err(|error| error.to_string())
        })
        .await
    }
}

/// Asks and judges the answer.
pub(super) async fn probe(http: &HttpProbe, client: Result<&Client, String>) -> Found {
    let answer = match client {
        Ok(client) => ask(http, client).await,
        Err(error) => Err(error),
    };
    match answer {
        Ok((status, body)) => {
            let HttpProbe { method, url, .. } = http;
            (judge(status), format!("HTTP {method} {url}: {status} Output: {body}"))
        }
        Err(error) => (Health::Critical, failure(http, &error)),
    }
}

fn judge(status: StatusCode) -> Health {
    match status {
        StatusCode::TOO_MANY_REQUESTS => Health::Warning,
        status if status.is_success() => Health::Passing,
        _ => Health::Critical,
    }
}

/// The answer's status and the beginning of its body.
async fn ask(http: &HttpProbe, client: &Client) -> Result<(StatusCode, String), String> {
    let method = Method::from_bytes(http.method.as_bytes()).map_err(|error| error.to_string())?;
    let asked =
        client.request(method, &*http.url).headers(headers(http)).body(http.body.to_string());
    let mut answer = asked.send().await.map_err(|error| innermost(&error))?;
    let status = answer.status();
    let limit = usize::from(http.shown);
    let mut body = Vec::new();
    while body.len() < limit
        && let Some(chunk) = answer.chunk().await.map_err(|error| innermost(&error))?
    {
        body.extend(chunk.iter().take(limit.saturating_sub(body.len())));
    }
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

fn headers(http: &HttpProbe) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &http.headers {
        // Both were checked when the check was defined.
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
        {
            headers.append(name, value);
        }
    }
    headers.entry(USER_AGENT).or_insert(OWN_NAME);
    headers.entry(ACCEPT).or_insert(TEXT);
    headers
}

/// What is said of a question that got no answer.
pub(super) fn failure(http: &HttpProbe, why: &str) -> String {
    let mut text = String::new();
    let mut letters = http.method.chars();
    text.extend(letters.next());
    text.extend(letters.map(|letter| letter.to_ascii_lowercase()));
    // Writing to a string cannot fail.
    _ = write!(text, " {:?}: {why}", http.url);
    text
}

/// The cause at the end of the chain: what the machine said.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut text = error.to_string();
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    text
}
