//! The agent over its socket, on a datapath of plain memory.

mod bad_input;
mod blocking;
mod brake;
mod catalog;
mod chain;
mod checks;
mod consul;
mod filters;
mod follow;
mod full_disk;
mod held;
mod history;
mod many;
mod release;
mod restart;
mod security;
mod sever;
mod watching;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Listeners, Security};
use crate::agent::memory::Memory;
use crate::daemon;
use crate::settings::Settings;
use crate::store::{Opened, Store};

const RESOLVER: &str = r#"
kind = "service-resolver"
name = "payments"
default_subset = "blue"
subsets = {
  blue = { filter = "Service.Meta.version == 2" }
  green = { filter = "Service.Meta.version == 3" }
}
"#;

/// The directories of one agent, and what it is made of.
struct Place {
    dir: TempDir,
    memory: Memory,
}

/// An agent that runs, and a way to talk to it.
#[derive(Debug)]
struct Running {
    socket: PathBuf,
    stop: oneshot::Sender<()>,
    task: JoinHandle<anyhow::Result<()>>,
}

#[derive(Debug)]
struct Reply {
    status: u16,
    text: String,
    warnings: Vec<String>,
    index: u64,
    headers: HeaderMap,
    changed: Option<String>,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        Self { dir, memory: Memory::default() }
    }

    /// A place with blue twice and green once, by files.
    fn with_payments() -> Self {
        let place = Self::new();
        let services: String = [("blue-1", 1, 2), ("blue-2", 2, 2), ("green-1", 3, 3)]
            .map(|(id, host, version)| service("payments", id, host, version))
            .concat();
        place.file("services.hcl", &services);
        place
    }

    fn file(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("etc").join(name)
    }

    fn settings_with(&self, more: &[&str]) -> Settings {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let (etc, data, socket) = (path("etc"), path("data"), path("agent.sock"));
        let own = ["canary-agent", "--config-dir", &etc, "--data-dir", &data, "--socket", &socket];
        let name = ["--node-name", "node-1"];
        let file = path("agent.hcl");
        let file = fs::exists(&file).unwrap().then_some(["--config", &file]);
        let all = own.iter().chain(&name).chain(file.iter().flatten()).chain(more);
        Settings::from_args(all.copied()).unwrap()
    }

    /// Starts an agent and waits until it serves.
    async fn start(&self) -> Running {
        let running = self.try_start().await;
        let reply = running.get("/v1/canary/status").await;
        assert_eq!(reply.json()["ready"], true);
        running
    }

    async fn try_start(&self) -> Running {
        self.try_start_with(&[]).await
    }

    async fn try_start_with(&self, more: &[&str]) -> Running {
        let settings = self.settings_with(more);
        let opened = Store::open(&settings.data_dir).unwrap();
        Self::run(&self.memory, settings, opened).await
    }

    /// Starts an agent whose store is open already.
    async fn try_start_on(&self, opened: Opened) -> Running {
        Self::run(&self.memory, self.settings_with(&[]), opened).await
    }

    async fn run(memory: &Memory, settings: Settings, opened: Opened) -> Running {
        let listeners = Listeners::bind(&settings.socket, settings.http).await.unwrap();
        let (stop, stopped) = oneshot::channel();
        let datapath = Box::new(memory.clone());
        let socket = settings.socket.clone();
        let task = tokio::spawn(async move {
            let stop = async { _ = stopped.await };
            let security = Security::load(&settings.api)?;
            daemon::serve(&settings, opened, datapath, listeners, security, stop).await
        });
        Running { socket, stop, task }
    }
}

impl Running {
    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }

    async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, "").await
    }

    async fn put(&self, path: &str, body: impl Into<String>) -> Reply {
        self.ask("PUT", path, body).await
    }

    async fn delete(&self, path: &str) -> Reply {
        self.ask("DELETE", path, "").await
    }

    async fn ask(&self, method: &str, path: &str, body: impl Into<String>) -> Reply {
        let asked = self.try_ask(method, path, body.into());
        tokio::time::timeout(Duration::from_secs(60), asked).await.expect("an answer").unwrap()
    }

    async fn try_ask(&self, method: &str, path: &str, body: String) -> anyhow::Result<Reply> {
        self.try_ask_with(method, path, body, &[]).await
    }

    /// As [`Running::ask`], with more in the head.
    async fn ask_with(&self, method: &str, path: &str, body: &str, head: &[(&str, &str)]) -> Reply {
        let asked = self.try_ask_with(method, path, body.to_owned(), head);
        tokio::time::timeout(Duration::from_secs(60), asked).await.expect("an answer").unwrap()
    }

    async fn try_ask_with(
        &self,
        method: &str,
        path: &str,
        body: String,
        head: &[(&str, &str)],
    ) -> anyhow::Result<Reply> {
        let stream = UnixStream::connect(&self.socket).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", "agent");
        for (name, value) in head {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body)))?;
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let header = |name: &str| {
            let values = response.headers().get_all(name).iter();
            values.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let warnings = header("x-canary-warning");
        let index = header("x-consul-index").first().map_or(0, |index| index.parse().unwrap());
        let headers = response.headers().clone();
        let changed = header("x-canary-changed").pop();
        let text = String::from_utf8(response.into_body().collect().await?.to_bytes().into())?;
        driver.abort();
        Ok(Reply { status, text, warnings, index, headers, changed })
    }

    /// Puts what must be accepted.
    async fn done(&self, path: &str, body: impl Into<String>) -> Reply {
        let reply = self.put(path, body).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply
    }

    async fn status(&self) -> Value {
        self.get("/v1/canary/status").await.json()
    }

    /// Everything that a refused request must leave alone.
    async fn everything(&self, place: &Place) -> (Value, Value, Value, crate::compile::Desired) {
        (
            without_indices(self.get("/v1/config/service-splitter").await.json()),
            without_indices(self.get("/v1/config/service-resolver").await.json()),
            self.get("/v1/agent/services").await.json(),
            place.memory.get().published.clone(),
        )
    }
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Entries but for their indices: those of files are counted from each start.
fn without_indices(mut entries: Value) -> Value {
    for entry in entries.as_array_mut().unwrap() {
        let fields = entry.as_object_mut().unwrap();
        fields.retain(|name, _| !["CreateIndex", "ModifyIndex"].contains(&name.as_str()));
    }
    entries
}

/// A service definition in a file.
fn service(name: &str, id: &str, host: u8, version: u8) -> String {
    format!(
        "service {{\n  name = \"{name}\"\n  id = \"{name}-{id}\"\n  address = \"10.1.0.{host}\"\n  \
         port = 8080\n  meta {{ version = \"{version}\" }}\n  tagged_addresses {{ virtual {{ \
         address = \"10.96.0.10\" port = 80 }} }}\n}}\n"
    )
}

fn resolver() -> String {
    json!({
        "Kind": "service-resolver", "Name": "payments", "DefaultSubset": "blue",
        "Subsets": {
            "blue": {"Filter": "Service.Meta.version == 2"},
            "green": {"Filter": "Service.Meta.version == 3"},
        },
    })
    .to_string()
}

fn splitter(blue: f64, green: f64) -> String {
    json!({
        "Kind": "service-splitter", "Name": "payments",
        "Splits": [
            {"Weight": blue, "ServiceSubset": "blue"},
            {"Weight": green, "ServiceSubset": "green"},
        ],
    })
    .to_string()
}

fn shares(blue: u16, green: u16) -> Vec<(String, u16)> {
    vec![("blue".to_owned(), blue), ("green".to_owned(), green)]
}
