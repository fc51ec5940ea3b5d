//! Who asks: taken from the connection, and given to the agent with every change.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;

use axum::extract::{FromRequestParts, Query};
use axum::http::HeaderValue;
use axum::http::request::Parts;
use nix::unistd::{Uid, User};
use serde::Deserialize;
use tokio::net::UnixStream;

use super::answer::{Error, flag};
use super::gate::shown;
use crate::agent::Refusal;
use crate::audit::{Author, Intent, Record};

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Peer {
    /// A process of this node, as the kernel names it; nothing where the kernel does not know.
    Process(Option<Process>),
    /// An address.
    Tcp(SocketAddr),
}

/// A process as it was when it connected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    uid: u32,
    gid: u32,
    pid: Option<i32>,
}

impl Peer {
    /// The process that has connected.
    pub(super) fn of(stream: &UnixStream) -> Self {
        let process = stream.peer_cred().ok().map(|credentials| Process {
            uid: credentials.uid(),
            gid: credentials.gid(),
            // 0 is a process that this pid namespace does not have.
            pid: credentials.pid().filter(|pid| *pid > 0),
        });
        Self::Process(process)
    }
}

/// Name of the token that a request showed; whoever checks tokens puts it beside the [`Peer`].
#[derive(Clone, Debug)]
pub(super) struct TokenName(pub(super) String);

/// The parameter of every write.
#[derive(Debug, Deserialize)]
struct DryRun {
    #[serde(rename = "dry-run")]
    dry_run: Option<String>,
}

/// Who asks for a change, and whether it is to be made.
#[derive(Debug)]
pub(super) struct Asked(pub(super) Intent);

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let Query(DryRun { dry_run }) = Query::try_from_uri(&parts.uri)
            .map_err(|error| Refusal::bad_request(error.body_text()))?;
        let dry_run = flag("dry-run", dry_run.as_deref())?;
        let token = parts.extensions.get().map(|TokenName(name)| name.clone());
        let author = match parts.extensions.get() {
            Some(Peer::Tcp(peer)) => Author::Tcp { peer: *peer, token },
            Some(Peer::Process(Some(process))) => named(*process, token),
            Some(Peer::Process(None)) | None => {
                return Err(Refusal::failed("who asks for the change is not known").into());
            }
        };
        Ok(Self(Intent { author, dry_run }))
    }
}

/// The token of whoever asks, for the source that is followed; none if it is one of this agent.
#[derive(Debug)]
pub(super) struct SourceToken(pub(super) Option<HeaderValue>);

impl<S: Send + Sync> FromRequestParts<S> for SourceToken {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        if parts.extensions.get::<TokenName>().is_some() {
            return Ok(Self(None));
        }
        // As the gate reads it: a token that it sees must not be passed over for the agent's own.
        let mut token = shown(&parts.headers).and_then(|text| HeaderValue::from_str(text).ok());
        if let Some(token) = &mut token {
            token.set_sensitive(true);
        }
        Ok(Self(token))
    }
}

/// The process as the kernel knows it. Its user's name is looked up when it is shown: that may ask
/// a server, and no change waits for one.
fn named(Process { uid, gid, pid }: Process, token: Option<String>) -> Author {
    let of_process = |file: &str| pid.and_then(|pid| fs::read(format!("/proc/{pid}/{file}")).ok());
    let process = of_process("comm").map(|name| printable(&name));
    let login = of_process("loginuid").and_then(|text| String::from_utf8(text).ok());
    // All ones: nobody has logged in.
    let login = login.and_then(|text| text.trim().parse().ok()).filter(|login| *login != u32::MAX);
    Author::Socket { uid, gid, pid, login, user: None, process, token }
}

/// Looks up the names of the users in `records`. It may wait for a server.
pub(super) fn name_users(records: &mut [Record]) {
    let mut known: BTreeMap<u32, Option<String>> = BTreeMap::new();
    for record in records {
        if let Author::Socket { uid, user, .. } = &mut record.author
            && user.is_none()
        {
            let name = known.entry(*uid).or_insert_with(|| {
                let found = User::from_uid(Uid::from_raw(*uid)).ok().flatten();
                found.map(|found| found.name)
            });
            user.clone_from(name);
        }
    }
}

/// A process's name as it can be printed: it may give itself any.
fn printable(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    let safe = |letter: char| if letter.is_control() { '?' } else { letter };
    name.trim_end_matches('\n').chars().map(safe).collect()
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    async fn asked(request: Request<()>) -> Result<Intent, String> {
        let (mut parts, ()) = request.into_parts();
        let asked = Asked::from_request_parts(&mut parts, &()).await;
        asked.map(|Asked(intent)| intent).map_err(|error| format!("{error:?}"))
    }

    #[tokio::test]
    async fn over_tcp_the_author_is_the_address_and_the_tokens_name() {
        let peer: SocketAddr = "10.0.0.7:5000".parse().unwrap();
        let request =
            || Request::builder().uri("/v1/config?cas=3&dry-run").extension(Peer::Tcp(peer));

        let bare = asked(request().body(()).unwrap()).await.unwrap();
        let token = request().extension(TokenName("ci".to_owned())).body(()).unwrap();
        let token = asked(token).await.unwrap();

        assert_eq!(bare, Intent { author: Author::Tcp { peer, token: None }, dry_run: true });
        assert_eq!(token.author, Author::Tcp { peer, token: Some("ci".to_owned()) });
    }

    #[tokio::test]
    async fn who_is_not_known_changes_nothing() {
        let nobody = Request::builder().uri("/v1/config").body(()).unwrap();
        let unnamed = Request::builder().uri("/").extension(Peer::Process(None)).body(()).unwrap();

        assert!(asked(nobody).await.unwrap_err().contains("is not known"));
        assert!(asked(unnamed).await.unwrap_err().contains("is not known"));
    }

    #[tokio::test]
    async fn a_token_for_the_source_is_found_however_it_is_shown() {
        let token = async |headers: &[(&str, &str)]| {
            let request = headers
                .iter()
                .fold(Request::builder(), |request, (name, value)| request.header(*name, *value));
            let (mut parts, ()) = request.body(()).unwrap().into_parts();
            let SourceToken(token) =
                SourceToken::from_request_parts(&mut parts, &()).await.unwrap();
            token.map(|token| token.to_str().unwrap().to_owned())
        };

        for headers in [
            &[("x-consul-token", "weak")][..],
            &[("authorization", "Bearer weak")],
            &[("authorization", "bearer  weak")],
            &[("x-consul-token", ""), ("authorization", "BEARER weak")],
        ] {
            assert_eq!(token(headers).await.as_deref(), Some("weak"), "{headers:?}");
        }
        assert_eq!(token(&[("x-consul-token", "")]).await, None);
    }

    #[test]
    fn a_process_cannot_write_to_somebodys_screen() {
        assert_eq!(printable(b"canaryctl\n"), "canaryctl");
        assert_eq!(printable(b"\x1b[2J\xff"), "?[2J\u{fffd}");
    }
}
