//! A fast client: many short connections, counted by who answered.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::lab::Namespace;

/// Threads of one client.
const THREADS: u64 = 4;

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Connects, reads the name, closes.
    Tcp,
    /// Sends a datagram from a new port, receives the name.
    Udp,
}

/// Who answered, and what failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

    fn count(&mut self, answer: io::Result<String>) {
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
    let left = AtomicU64::new(count);
    connect_while(namespace, protocol, target, timeout, || {
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
    more: impl Fn() -> bool + Sync,
) -> Result<Answers> {
    namespace.enter(|| {
        thread::scope(|scope| {
            // Threads start in the namespace of the one that starts them.
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
    })?
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
