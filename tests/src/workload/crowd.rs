//! Many sockets of one client, from given source ports: opened, held, and each asked again.
//!
//! Each sends a question of its own to a server of [`serve_hold`](super::echo::serve_hold) and
//! wants that very question back, after the server's name: a packet that reaches the wrong
//! socket shows. All of them are driven by one thread, so that a thousand that get no answer
//! cost no more time than one.

use std::{
    fs::File,
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::Result;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        socket::{
            AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, getsockopt,
            setsockopt, socket, sockopt,
        },
    },
};

use super::client::{Answers, Protocol};
use crate::lab::Namespace;

/// Sockets that send at once: their packets fit any queue on the way.
const CHUNK: usize = 128;

/// Time that a chunk has before the next one begins; its stragglers go on meanwhile.
const TURN: Duration = Duration::from_millis(300);

/// Time that an answer may take: more than three lost packets of TCP cost.
const PATIENCE: Duration = Duration::from_secs(12);

/// Time after which a datagram without an answer is sent again, as a resolver does.
const AGAIN: Duration = Duration::from_millis(500);

/// The sockets' own ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// These, bound before connecting, at the client's own address.
    Given(IpAddr, Vec<u16>),
    /// As many as that, each chosen by the kernel when it connects.
    Chosen(usize),
}

/// Sockets connected to one target.
#[derive(Debug)]
pub struct Crowd {
    members: Vec<Member>,
    failed: Answers,
    protocol: Protocol,
}

/// A socket and what it waits for.
#[derive(Debug)]
struct Member {
    file: File,
    id: u32,
    question: String,
    received: Vec<u8>,
    waits: Waits,
}

#[derive(Debug)]
enum Waits {
    Connection,
    Answer,
    Nothing,
    Failed(io::Error),
}

impl Crowd {
    /// Connects to `target` from each of `ports` and asks once by each socket.
    ///
    /// # Errors
    ///
    /// If the namespace cannot be entered; failures of sockets are counted by [`Self::ask`] and
    /// [`Self::answers`].
    pub fn open(
        namespace: &Namespace,
        protocol: Protocol,
        target: SocketAddr,
        ports: &Ports,
    ) -> Result<Self> {
        raise_open_files()?;
        let own: Vec<SocketAddr> = match ports {
            Ports::Given(address, ports) => {
                ports.iter().map(|port| (*address, *port).into()).collect()
            }
            Ports::Chosen(count) => vec![unspecified(target); *count],
        };
        let mut crowd = Self { members: Vec::new(), failed: Answers::default(), protocol };
        namespace.enter(|| crowd.connect(&own, target))?;
        Ok(crowd)
    }

    fn connect(&mut self, own: &[SocketAddr], target: SocketAddr) {
        for chunk in own.chunks(CHUNK) {
            let first = self.members.len();
            for own in chunk {
                match Member::connect(self.protocol, *own, target) {
                    Ok(member) => self.members.push(member),
                    Err(error) => self.failed.count(Err(error)),
                }
            }
            self.drive(first, TURN);
        }
        self.finish();
    }

    /// Asks once more by each socket that has not failed, and tells about all: who answered,
    /// and what failed, now or before.
    #[must_use]
    pub fn ask(&mut self) -> Answers {
        for first in (0..self.members.len()).step_by(CHUNK) {
            for member in self.members.iter_mut().skip(first).take(CHUNK) {
                member.ask(self.protocol);
            }
            self.drive(first, TURN);
        }
        self.hear()
    }

    /// Asks by each socket that has not failed, and waits for nothing.
    pub fn send(&mut self) {
        for member in &mut self.members {
            member.ask(self.protocol);
        }
    }

    /// Waits for the answers of all, and tells about them as [`Self::ask`] does.
    #[must_use]
    pub fn hear(&mut self) -> Answers {
        self.finish();
        self.answers()
    }

    /// The last answer of each socket by the server's name, and what failed.
    #[must_use]
    pub fn answers(&self) -> Answers {
        let mut answers = self.failed.clone();
        for member in &self.members {
            answers.count(member.answer());
        }
        answers
    }

    /// Waits for all, and counts those as failed that get no answer.
    fn finish(&mut self) {
        self.drive(0, PATIENCE);
        for member in self.members.iter_mut().filter(|member| member.is_waiting()) {
            let what = match member.waits {
                Waits::Connection => "no connection in time",
                _ => "no answer in time",
            };
            member.waits = Waits::Failed(io::Error::new(ErrorKind::TimedOut, what));
        }
    }

    /// Looks after the members from `first` on until none waits or `patience` has ended.
    fn drive(&mut self, first: usize, patience: Duration) {
        let start = Instant::now();
        let mut sent = start;
        loop {
            let behind = self.members.iter_mut().skip(first);
            let mut waiting: Vec<&mut Member> =
                behind.filter(|member| member.is_waiting()).collect();
            let left = patience.saturating_sub(start.elapsed());
            if waiting.is_empty() || left.is_zero() {
                return;
            }
            if self.protocol == Protocol::Udp && sent.elapsed() >= AGAIN {
                sent = Instant::now();
                for member in &mut waiting {
                    member.send();
                }
            }
            let ready = ready(&waiting, left.min(AGAIN));
            for (member, ready) in waiting.iter_mut().zip(ready) {
                if ready {
                    member.advance();
                }
            }
        }
    }
}

impl Member {
    fn connect(protocol: Protocol, own: SocketAddr, target: SocketAddr) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let file = File::from(start(protocol, own, target)?);
        let mut member = Self {
            file,
            id,
            question: String::new(),
            received: Vec::new(),
            waits: Waits::Connection,
        };
        if protocol == Protocol::Udp {
            member.ask(protocol);
        }
        Ok(member)
    }

    /// Sends a question that no socket has sent before.
    fn ask(&mut self, protocol: Protocol) {
        static ROUND: AtomicU32 = AtomicU32::new(0);
        if let Waits::Failed(_) = self.waits {
            return;
        }
        if protocol == Protocol::Udp {
            // A datagram that came unasked is no answer.
            while matches!(self.file.read(&mut [0; 512]), Ok(length) if length > 0) {}
        }
        let round = ROUND.fetch_add(1, Ordering::Relaxed);
        self.question = format!("{} {round}\n", self.id);
        // Over a stream the name comes once.
        let kept = match protocol {
            Protocol::Tcp => self.name().map_or(0, |name| name.len().saturating_add(1)),
            Protocol::Udp => 0,
        };
        self.received.truncate(kept);
        self.waits = Waits::Answer;
        self.send();
    }

    fn send(&mut self) {
        // A refusal of an earlier datagram is told here, too.
        if let Err(error) = self.file.write_all(self.question.as_bytes()) {
            self.waits = Waits::Failed(error);
        }
    }

    /// Does what its socket is ready for.
    fn advance(&mut self) {
        let done = match self.waits {
            Waits::Connection => self.connected(),
            Waits::Answer => self.receive(),
            Waits::Nothing | Waits::Failed(_) => Ok(()),
        };
        match done {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => self.waits = Waits::Failed(error),
            Ok(()) => {}
        }
    }

    fn connected(&mut self) -> io::Result<()> {
        match getsockopt(&self.file, sockopt::SocketError)? {
            0 => self.ask(Protocol::Tcp),
            error => return Err(io::Error::from_raw_os_error(error)),
        }
        Ok(())
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut some = [0; 512];
        let length = self.file.read(&mut some)?;
        if length == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let before = self.received.len();
        self.received.extend_from_slice(some.get(..length).unwrap_or_default());
        let Some(name) = self.name() else { return Ok(()) };
        let answer = self.received.get(name.len().saturating_add(1)..).unwrap_or_default();
        if answer == self.question.as_bytes() {
            self.waits = Waits::Nothing;
        } else if answer.starts_with(format!("{} ", self.id).as_bytes()) && answer.ends_with(b"\n")
        {
            // A datagram was sent twice, and its second answer is late.
            self.received.truncate(before);
        } else if !self.question.as_bytes().starts_with(answer) {
            return Err(io::Error::new(ErrorKind::InvalidData, "the answer of another socket"));
        }
        Ok(())
    }

    fn name(&self) -> Option<&[u8]> {
        let end = self.received.iter().position(|byte| *byte == b'\n')?;
        self.received.get(..end)
    }

    fn answer(&self) -> io::Result<String> {
        match &self.waits {
            Waits::Nothing => {
                Ok(String::from_utf8_lossy(self.name().unwrap_or_default()).into_owned())
            }
            Waits::Failed(error) => Err(io::Error::new(error.kind(), error.to_string())),
            Waits::Connection | Waits::Answer => Err(ErrorKind::TimedOut.into()),
        }
    }

    fn is_waiting(&self) -> bool {
        matches!(self.waits, Waits::Connection | Waits::Answer)
    }
}

/// Tells for each member whether its socket is ready, after at most `timeout`.
fn ready(members: &[&mut Member], timeout: Duration) -> Vec<bool> {
    let mut files: Vec<PollFd<'_>> = members
        .iter()
        .map(|member| {
            let wanted = match member.waits {
                Waits::Connection => PollFlags::POLLOUT,
                _ => PollFlags::POLLIN,
            };
            PollFd::new(member.file.as_fd(), wanted)
        })
        .collect();
    let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::ZERO);
    // Interrupted or timed out: none is ready.
    let _ = poll(&mut files, timeout);
    files.iter().map(|file| file.any().unwrap_or_default()).collect()
}

/// A socket that connects and does not wait.
fn start(protocol: Protocol, own: SocketAddr, target: SocketAddr) -> io::Result<OwnedFd> {
    let family = if target.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let kind = match protocol {
        Protocol::Tcp => SockType::Stream,
        Protocol::Udp => SockType::Datagram,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, kind, flags, None)?;
    if own.port() != 0 {
        // Another socket of the same port is connected elsewhere.
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
        bind(socket.as_raw_fd(), &SockaddrStorage::from(own))?;
    }
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(target)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

fn unspecified(like: SocketAddr) -> SocketAddr {
    match like {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// Allows this process, and those it starts, as many open files as the system lets it.
///
/// # Errors
///
/// If the kernel refuses.
pub fn raise_open_files() -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}
