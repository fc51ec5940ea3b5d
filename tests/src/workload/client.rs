//! A fast client: many short connections, counted by who answered.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::lab::{Lab, Namespace, binaries};

/// Threads of one client.
const THREADS: u64 = 4;

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// Connects, reads the name, closes.
    Tcp,
    /// Sends a datagram from a new port, receives the name.
    Udp,
}

impl Protocol {
    /// Its name, as configuration and rules of netfilter have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Who answered, and what failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// Answers by the server's name.
    pub by_name: BTreeMap<String, u64>,
    /// Failures by what the system said.
    pub failures: BTreeMap<String, u64>,
}

impl Answers {
    /// Answers of servers whose name starts with `prefix`.
    #[must_use]
    pub fn of(&self, prefix: &str) -> u64 {
        let ours = self.by_name.iter().filter(|(name, _)| name.starts_with(prefix));
        ours.map(|(_, count)| count).sum()
    }

    /// Connections that failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Adds the counts of another client.
    pub fn add(&mut self, other: &Self) {
        for (name, count) in &other.by_name {
            *self.by_name.entry(name.clone()).or_default() += count;
        }
        for (error, count) in &other.failures {
            *self.failures.entry(error.clone()).or_default() += count;
        }
    }

    pub(super) fn count(&mut self, answer: io::Result<String>) {
        match answer {
            Ok(name) => *self.by_name.entry(name).or_default() += 1,
            Err(error) => *self.failures.entry(error.to_string()).or_default() += 1,
        }
    }
}

/// Asks `target` for its name `count` times, from inside `namespace`, each time anew.
///
/// # Errors
///
/// If the namespace cannot be entered; failures of connections are counted.
pub fn connect_many(
    namespace: &Namespace,
    protocol: Protocol,
    target: SocketAddr,
    count: u64,
    timeout: Duration,
) -> Result<Answers> {
    namespace.enter(|| connect_here(protocol, target, count, timeout))?
}

/// Asks `target` for its name `count` times, from the caller's own namespace.
///
/// # Errors
///
/// If a thread panicked; failures of connections are counted.
pub fn connect_here(
    protocol: Protocol,
    target: SocketAddr,
    count: u64,
    timeout: Duration,
) -> Result<Answers> {
    let left = AtomicU64::new(count);
    side_by_side(protocol, target, timeout, || {
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    })
}

/// Asks `target` for its name for as long as `more` says.
///
/// # Errors
///
/// If the namespace cannot be entered; failures of connections are counted.
pub fn connect_while(
    namespace: &Namespace,
    protocol: Protocol,
    target: SocketAddr,
    timeout: Duration,
    more: impl Fn() -> bool + Send + Sync,
) -> Result<Answers> {
    namespace.enter(|| side_by_side(protocol, target, timeout, more))?
}

impl Lab {
    /// Asks `target` for its name `count` times from a program of the node's own, whose sockets
    /// the agent serves when they connect.
    ///
    /// # Errors
    ///
    /// If the program cannot be run; failures of connections are counted.
    pub fn ask_from_node(
        &self,
        protocol: Protocol,
        target: SocketAddr,
        count: u64,
        timeout: Duration,
    ) -> Result<Answers> {
        let mut command = Command::new(binaries::helper("ask")?);
        let protocol = protocol.to_possible_value().context("a protocol without a name")?;
        command
            .arg("--cgroup")
            .arg(self.cgroup())
            .args(["--protocol", protocol.get_name(), "--target", &target.to_string()])
            .args(["--count", &count.to_string()])
            .args(["--timeout-ms", &timeout.as_millis().to_string()]);
        let output = self.node().output(&mut command)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ask from the node: {}: {said}", output.status);
        serde_json::from_slice(&output.stdout).context("read what the node's client counted")
    }
}

/// Threads start in the namespace of the one that starts them.
fn side_by_side(
    protocol: Protocol,
    target: SocketAddr,
    timeout: Duration,
    more: impl Fn() -> bool + Sync,
) -> Result<Answers> {
    thread::scope(|scope| {
        let clients: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let mut answers = Answers::default();
                    while more() {
                        answers.count(ask(protocol, target, timeout));
                    }
                    answers
                })
            })
            .collect();
        let mut all = Answers::default();
        for client in clients {
            all.add(&client.join().ok().context("a client panicked")?);
        }
        Ok(all)
    })
}

/// Asks once, from the caller's own namespace.
///
/// # Errors
///
/// What the system says.
pub fn ask(protocol: Protocol, target: SocketAddr, timeout: Duration) -> io::Result<String> {
    let name = match protocol {
        Protocol::Tcp => {
            let mut stream = TcpStream::connect_timeout(&target, timeout)?;
            let peer = stream.peer_addr()?;
            if peer != target {
                return Err(io::Error::other(format!("the peer of the socket is {peer}")));
            }
            stream.set_read_timeout(Some(timeout))?;
            let mut name = String::new();
            stream.read_to_string(&mut name)?;
            name
        }
        Protocol::Udp => {
            let any: SocketAddr = match target {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let socket = UdpSocket::bind(any)?;
            socket.connect(target)?;
            socket.set_read_timeout(Some(timeout))?;
            socket.send(b"who are you?\n")?;
            let mut name = [0; 256];
            let length = socket.recv(&mut name)?;
            String::from_utf8_lossy(name.get(..length).unwrap_or_default()).into_owned()
        }
    };
    match name.strip_suffix('\n') {
        Some(name) => Ok(name.to_owned()),
        None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "no name before the end")),
    }
}

/// Opens a connection, reads the first line and gives both.
///
/// # Errors
///
/// What the system says.
pub fn greet(target: SocketAddr, timeout: Duration) -> io::Result<(TcpStream, String)> {
    let mut stream = TcpStream::connect_timeout(&target, timeout)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let mut name = Vec::new();
    let mut byte = [0];
    loop {
        stream.read_exact(&mut byte)?;
        match byte {
            [b'\n'] => break,
            [other] => name.push(other),
        }
    }
    Ok((stream, String::from_utf8_lossy(&name).into_owned()))
}

/// Sends `question` and wants it back.
///
/// # Errors
///
/// What the system says, or that something else came back.
pub fn exchange(stream: &mut TcpStream, question: &[u8]) -> io::Result<()> {
    stream.write_all(question)?;
    let mut answer = vec![0; question.len()];
    stream.read_exact(&mut answer)?;
    if answer == question {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "another answer than the question"))
    }
}
