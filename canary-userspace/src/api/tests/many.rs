//! Ten thousand queries that wait at once, for an agent in a process of its own.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const QUERIES: usize = 10_000;
const ROOM_KIB: u64 = 200 << 10;
/// Where the agent of another process listens.
const SOCKET: &str = "CANARY_TEST_SOCKET_OF_MANY";

/// The other process: an agent until its standard input ends.
#[tokio::test]
#[ignore = "another test runs it in a process of its own"]
async fn an_agent_for_many() {
    let place = Place::with_payments();
    let agent = place.start().await;
    fs::rename(&agent.socket, std::env::var(SOCKET).unwrap()).unwrap();
    println!("ready");
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().lines().count());
    assert_eq!(ended.await.unwrap(), 0);
    agent.stop().await;
}

struct Other {
    child: Child,
    _said: BufReader<ChildStdout>,
    dir: TempDir,
}

impl Other {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "api::tests::many::an_agent_for_many", "--ignored", "--nocapture"])
            .env(SOCKET, dir.path().join("agent.sock"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.ends_with("ready\n") {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "no agent");
        }
        Self { child, _said: said, dir }
    }

    fn client(&self) -> Running {
        Running { socket: self.dir.path().join("agent.sock"), ..idle() }
    }

    /// Memory of the process in KiB.
    fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        _ = self.child.stdin.take();
        _ = self.child.wait();
    }
}

/// The parts of a [`Running`] that a client does not need.
pub(super) fn idle() -> Running {
    Running {
        socket: PathBuf::new(),
        stop: oneshot::channel().0,
        task: tokio::spawn(async { Ok(()) }),
    }
}

/// Connects, again where the agent has not accepted those before yet.
async fn connect(agent: &Running) -> UnixStream {
    loop {
        match UnixStream::connect(&agent.socket).await {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                tokio::task::yield_now().await;
            }
            connected => return connected.unwrap(),
        }
    }
}

async fn waiting(agent: &Running) -> usize {
    let metrics = agent.get("/metrics").await.text;
    let line = metrics.lines().find(|line| line.starts_with("canary_waiting_queries ")).unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn ten_thousand_queries_wait_in_little_memory_and_all_hear_of_a_change() {
    let wanted = u64::try_from(QUERIES).unwrap() + 1000;
    let (now, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, now.max(wanted), most.max(wanted)).unwrap();
    let other = Other::start();
    let agent = other.client();
    let index = agent.get("/v1/health/service/payments").await.index;
    let before = other.resident();

    let request = format!(
        "GET /v1/health/service/payments?passing&wait=10m&index={index} HTTP/1.1\r\nhost: a\r\n\
         connection: close\r\n\r\n"
    );
    let mut clients = Vec::new();
    for _ in 0..QUERIES {
        let mut client = connect(&agent).await;
        client.write_all(request.as_bytes()).await.unwrap();
        clients.push(client);
    }
    while waiting(&agent).await < QUERIES {}
    let used = other.resident().saturating_sub(before);

    let web = json!({"Name": "web", "Address": "10.1.0.50", "Port": 80});
    agent.done("/v1/agent/service/register", web.to_string()).await;
    assert_eq!(waiting(&agent).await, QUERIES);
    let started = Instant::now();
    let more = json!({"Name": "payments", "ID": "more", "Address": "10.1.0.51", "Port": 8080});
    agent.done("/v1/agent/service/register", more.to_string()).await;
    let written = started.elapsed();
    let newest = agent.get("/v1/health/service/payments").await.index;
    for client in &mut clients {
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.contains(&format!("x-consul-index: {newest}\r\n")), "{answer}");
    }

    println!("{QUERIES} queries: {used} KiB, write {written:?}, all {:?}", started.elapsed());
    std::io::stdout().flush().unwrap();
    assert!(used <= ROOM_KIB, "{used} KiB");
    assert_eq!(waiting(&agent).await, 0);
}
