//! A Consul of a few lines for tests: lists, blocking, writes, and every way to misbehave.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::any};
use futures_util::{StreamExt, stream};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// What every answer is instead.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Mischief {
    #[default]
    None,
    /// This status and text.
    Status(u16, &'static str),
    /// This body, with a good head.
    Body(&'static str),
    /// Half of the right body, then the connection ends.
    CutOff,
    /// A body without end.
    Endless,
    /// Nothing at all, as long as it lasts.
    Hung,
    /// The head without `X-Consul-Index`.
    NoIndex,
    /// The right one, and always at once, with this index.
    Stuck(u64),
    /// Lists without what the token may not read.
    Filtered,
}

/// What it holds.
#[derive(Debug, Default)]
pub(crate) struct World {
    index: u64,
    /// Index of the last change by path.
    changed: BTreeMap<String, u64>,
    entries: BTreeMap<(String, String), Value>,
    services: BTreeMap<String, Vec<Value>>,
    mischief: Mischief,
    /// Services whose answer is held back.
    held: Vec<String>,
    /// Questions that wait are not answered any more.
    frozen: bool,
    /// The only token that is let in.
    token: Option<String>,
    /// Every request: method, path and parameters, token.
    asked: Vec<(String, String)>,
}

/// The server; dropping it ends it and every connection.
#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    shared: Shared,
    task: AbortHandle,
}

#[derive(Clone, Debug)]
struct Shared {
    world: Arc<Mutex<World>>,
    news: Arc<watch::Sender<u64>>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap()).await
    }

    pub(crate) async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Shared { world: Arc::default(), news: Arc::new(watch::Sender::new(0)) };
        let router = Router::new().fallback(any(answer)).with_state(shared.clone());
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let service = TowerToHyperService::new(router.clone());
                let io = TokioIo::new(stream);
                connections.spawn(async move {
                    _ = http1::Builder::new().serve_connection(io, service).await;
                });
            }
        });
        let fake = Self { address, shared, task: task.abort_handle() };
        fake.change(|world| world.index = 10);
        fake
    }

    /// Serves on a socket and over TLS too: `serve` gets each stream's bytes to the router.
    pub(crate) fn listen_unix(&self, path: &std::path::Path) {
        let listener = UnixListener::bind(path).unwrap();
        let router = Router::new().fallback(any(answer)).with_state(self.shared.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = TowerToHyperService::new(router.clone());
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
    }

    /// Serves over TLS on a port of its own.
    pub(crate) async fn listen_tls(&self, config: rustls::ServerConfig) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let router = Router::new().fallback(any(answer)).with_state(self.shared.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, router) = (acceptor.clone(), router.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = TowerToHyperService::new(router);
                    let io = TokioIo::new(stream);
                    _ = http1::Builder::new().serve_connection(io, service).await;
                });
            }
        });
        address
    }

    /// Changes the world, and lets every held question look again.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let done = change(&mut self.shared.world.lock().unwrap());
        self.shared.news.send_modify(|times| *times += 1);
        done
    }

    pub(crate) fn misbehave(&self, mischief: Mischief) {
        self.change(|world| world.mischief = mischief);
    }

    pub(crate) fn asked(&self) -> Vec<(String, String)> {
        self.shared.world.lock().unwrap().asked.clone()
    }
}

impl World {
    fn touch(&mut self, path: String) -> u64 {
        self.index += 1;
        self.changed.insert(path, self.index);
        self.index
    }

    pub(crate) fn put(&mut self, mut entry: Value) -> u64 {
        let [kind, name] = ["Kind", "Name"].map(|key| entry[key].as_str().unwrap().to_owned());
        let index = self.touch(format!("/v1/config/{kind}"));
        let key = (kind, name);
        let create = self.entries.get(&key).map_or(index.into(), |old| old["CreateIndex"].clone());
        entry["CreateIndex"] = create;
        entry["ModifyIndex"] = index.into();
        self.entries.insert(key, entry);
        index
    }

    pub(crate) fn delete(&mut self, kind: &str, name: &str) {
        self.touch(format!("/v1/config/{kind}"));
        self.entries.remove(&(kind.to_owned(), name.to_owned()));
    }

    pub(crate) fn register(&mut self, service: &str, rows: Vec<Value>) {
        self.touch(format!("/v1/health/service/{service}"));
        self.services.insert(service.to_owned(), rows);
    }

    pub(crate) fn hold(&mut self, services: &[&str]) {
        self.held = services.iter().map(|&name| name.to_owned()).collect();
    }

    pub(crate) fn freeze(&mut self) {
        self.frozen = true;
    }

    pub(crate) fn set_token(&mut self, token: &str) {
        self.token = Some(token.to_owned());
    }

    /// As if it had been set up anew: the same content, and small indices.
    pub(crate) fn set_back(&mut self) {
        self.index = 3;
        self.changed.clear();
    }

    pub(crate) fn entry(&self, kind: &str, name: &str) -> Option<&Value> {
        self.entries.get(&(kind.to_owned(), name.to_owned()))
    }

    fn modify_index(&self, kind: &str, name: &str) -> u64 {
        self.entry(kind, name).map_or(0, |entry| entry["ModifyIndex"].as_u64().unwrap())
    }

    fn list(&self, path: &str) -> Option<Value> {
        if let Some(kind) = path.strip_prefix("/v1/config/") {
            let of_kind = self.entries.iter().filter(|((of, _), _)| of == kind);
            return Some(of_kind.map(|(_, entry)| entry.clone()).collect());
        }
        let name = path.strip_prefix("/v1/health/service/")?;
        Some(self.services.get(name).cloned().unwrap_or_default().into())
    }
}

/// An instance of `service` as `/v1/health/service` shows it.
pub(crate) fn row(service: &str, id: &str, host: u8, version: &str, status: &str) -> Value {
    json!({
        "Node": {"ID": "", "Node": format!("node-{host}"), "Address": format!("10.1.0.{host}"),
            "Datacenter": "dc7", "TaggedAddresses": null, "Meta": {"zone": "a"}},
        "Service": {"ID": id, "Service": service, "Tags": null, "Address": "", "Port": 8080,
            "Meta": {"version": version}, "EnableTagOverride": false, "Proxy": {}, "Connect": {},
            "TaggedAddresses": {"virtual": {"Address": "10.96.0.10", "Port": 80},
                "lan": {"Address": "host.example", "Port": 80}}},
        "Checks": [
            {"Node": format!("node-{host}"), "CheckID": "serfHealth", "Name": "Serf", "Status": "passing",
                "Notes": "", "Output": "alive", "ServiceID": "", "ServiceName": "", "ServiceTags": [],
                "Type": ""},
            {"Node": format!("node-{host}"), "CheckID": format!("service:{id}"), "Name": "tcp",
                "Status": status, "Output": "", "ServiceID": id, "ServiceName": service, "Type": "tcp"},
        ],
    })
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
    let token = parts.headers.get("x-consul-token").map(|token| token.to_str().unwrap().to_owned());
    let token = token.unwrap_or_default();
    let parameters = |name: &str| {
        let query = parts.uri.query().unwrap_or_default();
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find_map(|(key, value)| (key == name).then(|| value.to_owned()))
    };
    let mut news = shared.news.subscribe();
    {
        let mut world = shared.world.lock().unwrap();
        let line = format!("{} {}", parts.method, parts.uri);
        world.asked.push((line, token.clone()));
        if world.token.as_ref().is_some_and(|wanted| *wanted != token) {
            return (StatusCode::FORBIDDEN, "ACL not found").into_response();
        }
    }
    let cas = parameters("cas").map(|cas| cas.parse::<u64>().unwrap());
    let path = parts.uri.path().to_owned();
    if parts.method != Method::GET {
        return write(&shared, &parts.method, &path, &body, cas);
    }
    let index: u64 = parameters("index").map_or(0, |index| index.parse().unwrap());
    let wait = parameters("wait").map_or(0, |wait| wait.trim_end_matches("ms").parse().unwrap());
    let deadline = tokio::time::Instant::now() + Duration::from_millis(wait);
    loop {
        news.borrow_and_update();
        let (at, is_held, mischief) = {
            let world = shared.world.lock().unwrap();
            let at = world.changed.get(&path).copied().unwrap_or(world.index.min(10));
            let held = path.strip_prefix("/v1/health/service/");
            let is_held = held.is_some_and(|name| world.held.iter().any(|held| held == name));
            let is_held = is_held || world.frozen;
            (at, is_held, world.mischief.clone())
        };
        let is_over = tokio::time::Instant::now() >= deadline;
        if mischief != Mischief::None && mischief != Mischief::Hung
            || !is_held && mischief == Mischief::None && (at > index || is_over)
        {
            return reply(&shared, &path, at, &mischief);
        }
        tokio::select! {
            _ = news.changed() => {}
            () = tokio::time::sleep_until(deadline), if !is_over => {}
        }
    }
}

fn write(shared: &Shared, method: &Method, path: &str, body: &Bytes, cas: Option<u64>) -> Response {
    let mut world = shared.world.lock().unwrap();
    match &world.mischief {
        Mischief::Status(status, text) => {
            return (StatusCode::from_u16(*status).unwrap(), *text).into_response();
        }
        Mischief::None => {}
        other => panic!("writes do not know {other:?}"),
    }
    let entry: Value = serde_json::from_slice(body).unwrap_or_default();
    let (kind, name) = match path.strip_prefix("/v1/config/").and_then(|rest| rest.split_once('/'))
    {
        Some((kind, name)) => (kind.to_owned(), name.to_owned()),
        None => (entry["Kind"].as_str().unwrap().into(), entry["Name"].as_str().unwrap().into()),
    };
    if cas.is_some_and(|cas| cas != world.modify_index(&kind, &name)) {
        return "false".into_response();
    }
    if *method == Method::PUT {
        world.put(entry);
    } else {
        world.delete(&kind, &name);
    }
    drop(world);
    shared.news.send_modify(|times| *times += 1);
    "true".into_response()
}

fn reply(shared: &Shared, path: &str, index: u64, mischief: &Mischief) -> Response {
    let world = shared.world.lock().unwrap();
    if path == "/v1/agent/self" {
        return json!({"Config": {"Datacenter": "dc7"}}).to_string().into_response();
    }
    let Some(list) = world.list(path) else { return StatusCode::NOT_FOUND.into_response() };
    let text = list.to_string();
    let with = |index: u64, body: Body| {
        let head = [("x-consul-index", index.to_string())];
        (head, body).into_response()
    };
    match mischief {
        Mischief::Status(status, text) => {
            (StatusCode::from_u16(*status).unwrap(), *text).into_response()
        }
        Mischief::Body(body) => with(index + 1, (*body).into()),
        Mischief::CutOff => {
            let half = Bytes::from(text.as_bytes()[..text.len() / 2].to_vec());
            let parts = [Ok(half), Err(std::io::Error::other("cut"))];
            with(index + 1, Body::from_stream(stream::iter(parts)))
        }
        Mischief::Endless => {
            let blanks = Bytes::from(vec![b' '; 1 << 20]);
            let parts = stream::repeat(blanks).map(Ok::<_, std::io::Error>);
            with(index + 1, Body::from_stream(parts))
        }
        Mischief::NoIndex => text.into_response(),
        Mischief::Stuck(stuck) => with(*stuck, text.into()),
        Mischief::Filtered => {
            let mut response = with(index + 1, "[]".into());
            let name = "x-consul-results-filtered-by-acls";
            response.headers_mut().insert(name, "true".parse().unwrap());
            response
        }
        Mischief::None | Mischief::Hung => with(index, text.into()),
    }
}
