//! A program of the node whose sockets do what its standard input says, a line each.
//!
//! It joins the lab's cgroup first. Each line is answered by one: `ok` and what there is to say,
//! or `error` and what the system says.

use std::{
    collections::HashMap,
    io::{self, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use canary_tests::{lab::cgroup, workload::crowd};
use clap::Parser;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, bind, connect, getpeername,
    recvfrom, send, sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

/// How long a receive waits.
const PATIENCE: Duration = Duration::from_secs(5);
/// Threads that connect side by side.
const THREADS: usize = 4;
/// IANA number of MPTCP.
const MPTCP: libc::c_int = 262;

/// Does with sockets what its input says.
#[derive(Debug, Parser)]
struct Arguments {
    /// Cgroup to join first.
    #[arg(long)]
    cgroup: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    cgroup::join(&arguments.cgroup, 0)?;
    crowd::raise_open_files()?;
    let mut sockets = HashMap::new();
    for line in io::stdin().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let said = match obey(&mut sockets, &words) {
            Ok(said) => format!("ok {said}"),
            Err(error) => format!("error {error:#}"),
        };
        writeln!(io::stdout(), "{}", said.replace('\n', ""))?;
    }
    Ok(())
}

fn obey(sockets: &mut HashMap<String, OwnedFd>, words: &[&str]) -> Result<String> {
    if let ["open", name, kind] = words {
        sockets.insert((*name).to_owned(), open(kind)?);
        return Ok(String::new());
    }
    if let ["connects", protocol, target, count] = words {
        return many(protocol, target.parse()?, count.parse()?).map(|count| count.to_string());
    }
    if let ["time-connects", target, count] = words {
        let target: SocketAddr = target.parse()?;
        let took = median(count.parse()?, || connect_once("tcp", target))?;
        return Ok(took.as_nanos().to_string());
    }
    let [verb, name, rest @ ..] = words else { bail!("{words:?} is no line of this program") };
    let own = sockets.get(*name).with_context(|| format!("no socket {name}"))?.as_raw_fd();
    match (*verb, rest) {
        ("bind", [at]) => bind(own, &address(at)?)?,
        ("connect", [to]) => connect(own, &address(to)?)?,
        ("disconnect", []) => disconnect(own)?,
        ("peer", []) => return Ok(shown(&getpeername(own)?)),
        ("send", [text]) => drop(send(own, text.as_bytes(), MsgFlags::MSG_NOSIGNAL)?),
        ("sendto", [to, text]) => {
            sendto(own, text.as_bytes(), &address(to)?, MsgFlags::MSG_NOSIGNAL)?;
        }
        ("receive", []) => {
            let mut bytes = [0; 2048];
            let (length, from) = recvfrom::<SockaddrStorage>(own, &mut bytes)?;
            let text = String::from_utf8_lossy(bytes.get(..length).unwrap_or_default());
            let from = from.map(|from| shown(&from)).unwrap_or_default();
            return Ok(format!("{from} {}", text.trim_end()));
        }
        ("time-echoes", [count]) => {
            let mut bytes = [0; 64];
            let took = median(count.parse()?, || {
                send(own, b"x", MsgFlags::MSG_NOSIGNAL)?;
                recvfrom::<SockaddrStorage>(own, &mut bytes)?;
                Ok(())
            })?;
            return Ok(took.as_nanos().to_string());
        }
        ("close", []) => drop(sockets.remove(*name)),
        _ => bail!("{words:?} is no line of this program"),
    }
    Ok(String::new())
}

/// Opens a socket of a kind: its protocol and `4` or `6`.
fn open(kind: &str) -> Result<OwnedFd> {
    let (protocol, family) = kind.split_at(kind.len().saturating_sub(1));
    let family = if family == "6" { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let flags = SockFlag::SOCK_CLOEXEC;
    let own = match protocol {
        "tcp" => socket(family, SockType::Stream, flags, None)?,
        "udp" => socket(family, SockType::Datagram, flags, None)?,
        "mptcp" => mptcp(if kind.ends_with('6') { libc::AF_INET6 } else { libc::AF_INET })?,
        _ => bail!("{kind} is no kind of socket"),
    };
    let limit = TimeVal::milliseconds(i64::try_from(PATIENCE.as_millis())?);
    setsockopt(&own, sockopt::ReceiveTimeout, &limit)?;
    Ok(own)
}

#[expect(unsafe_code, reason = "no safe wrapper knows this protocol")]
fn mptcp(family: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: the call takes numbers alone.
    let own = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, MPTCP) };
    if own < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(own) })
}

#[expect(unsafe_code, reason = "no safe wrapper makes an address without a family")]
fn disconnect(own: libc::c_int) -> io::Result<()> {
    // SAFETY: all fields are numbers, and `AF_UNSPEC` is 0.
    let nowhere: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let length =
        libc::socklen_t::try_from(size_of::<libc::sockaddr>()).map_err(io::Error::other)?;
    // SAFETY: the address lives during the call, and is longer than the length says.
    let result = unsafe { libc::connect(own, (&raw const nowhere).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn address(text: &str) -> Result<SockaddrStorage> {
    let at: SocketAddr = text.parse().with_context(|| format!("{text} is no address"))?;
    Ok(SockaddrStorage::from(at))
}

fn shown(at: &SockaddrStorage) -> String {
    let v4 = at.as_sockaddr_in().map(ToString::to_string);
    v4.or_else(|| at.as_sockaddr_in6().map(ToString::to_string)).unwrap_or_default()
}

/// The median time of what is done so often.
fn median(count: usize, mut what: impl FnMut() -> io::Result<()>) -> Result<Duration> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        what()?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    times.get(count / 2).copied().context("nothing was done")
}

/// Connects sockets, each closed at once, until one fails.
fn many(protocol: &str, target: SocketAddr, count: usize) -> Result<usize> {
    let each = count / THREADS;
    let connect = || -> Result<usize> {
        for number in 0..each {
            connect_once(protocol, target).with_context(|| format!("after {number}"))?;
        }
        Ok(each)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(connect)).collect();
        let counts = threads.into_iter().map(thread::ScopedJoinHandle::join);
        counts.map(|count| count.ok().context("a thread panicked")?).sum()
    })
}

fn connect_once(protocol: &str, target: SocketAddr) -> io::Result<()> {
    if protocol == "udp" {
        return UdpSocket::bind(("0.0.0.0", 0))?.connect(target);
    }
    let stream = TcpStream::connect(target)?;
    // Reset when it is closed: otherwise its port would stay in use for a minute.
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&stream, sockopt::Linger, &linger).map_err(io::Error::from)
}
