//! Servers for connection tests: one answers with its name, one sends back what it gets.

use std::{
    io::{Read, Write},
    net::{Ipv6Addr, Shutdown, TcpListener, TcpStream, UdpSocket},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::sys::socket::{Backlog, setsockopt, sockopt};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    runtime::Builder,
};

use super::control::Counters;

/// Threads that accept on one port.
const ACCEPTORS: usize = 4;

/// The longest datagram.
const DATAGRAM: usize = 65_535;

/// Bytes of datagrams that may wait for the thread that serves them.
const DATAGRAMS: usize = 8 << 20;

/// How long a client may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers each connection and each datagram on `port` with `name`.
///
/// # Errors
///
/// If the port is taken.
pub fn serve_name(port: u16, name: &str, counters: &Counters) -> Result<()> {
    let listener = listen(port)?;
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))
        .with_context(|| format!("bind UDP port {port}"))?;
    let line: Arc<[u8]> = format!("{name}\n").into_bytes().into();
    for _ in 0..ACCEPTORS {
        let (listener, line) = (listener.try_clone()?, Arc::clone(&line));
        let counters = counters.clone();
        thread::spawn(move || {
            while let Ok((stream, client)) = listener.accept() {
                counters.accepted(client.ip());
                // A client that went away is the client's to count.
                let _ = answer(&stream, &line);
            }
        });
    }
    let counters = counters.clone();
    thread::spawn(move || {
        let mut question = [0; 2048];
        loop {
            // An ICMP error about an earlier answer is reported here and ends nothing.
            if let Ok((_, client)) = socket.recv_from(&mut question) {
                counters.datagram(client.ip());
                let _ = socket.send_to(&line, client);
            }
        }
    });
    Ok(())
}

/// Sends back what each connection on `port` sends, after one line with `name`, and each
/// datagram behind such a line. However many there are, one thread serves them.
///
/// # Errors
///
/// If the port is taken.
pub fn serve_hold(port: u16, name: &str, counters: &Counters) -> Result<()> {
    let listener = listen(port)?;
    listener.set_nonblocking(true)?;
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))
        .with_context(|| format!("bind UDP port {port}"))?;
    setsockopt(&socket, sockopt::RcvBufForce, &DATAGRAMS)?;
    let line = format!("{name}\n");
    let streams = counters.clone();
    let stream_line = line.clone();
    let runtime = Builder::new_current_thread().enable_io().build()?;
    thread::spawn(move || runtime.block_on(send_back_all(listener, stream_line, streams)));
    let counters = counters.clone();
    thread::spawn(move || {
        let mut question = vec![0; DATAGRAM];
        loop {
            if let Ok((length, client)) = socket.recv_from(&mut question) {
                counters.datagram(client.ip());
                let question = question.get(..length).unwrap_or_default();
                let _ = socket.send_to(&[line.as_bytes(), question].concat(), client);
            }
        }
    });
    Ok(())
}

/// A listener for both families, with as many waiting clients as the system allows.
pub(super) fn listen(port: u16) -> Result<TcpListener> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
        .with_context(|| format!("listen on TCP port {port}"))?;
    nix::sys::socket::listen(&listener, Backlog::MAXCONN)?;
    Ok(listener)
}

/// Writes the line and closes first: the server keeps the wait for stray packets, and the
/// client's port is free at once.
fn answer(mut stream: &TcpStream, line: &[u8]) -> std::io::Result<()> {
    stream.write_all(line)?;
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(CLOSE_TIMEOUT))?;
    while stream.read(&mut [0; 64])? > 0 {}
    Ok(())
}

async fn send_back_all(
    listener: TcpListener,
    line: String,
    counters: Counters,
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let Ok((stream, client)) = listener.accept().await else {
            // Too many are open for the moment, or the client went away before it was served.
            tokio::task::yield_now().await;
            continue;
        };
        counters.accepted(client.ip());
        tokio::spawn(send_back(stream, line.clone()));
    }
}

async fn send_back(mut stream: tokio::net::TcpStream, line: String) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(line.as_bytes()).await?;
    let mut buffer = [0; 4096];
    loop {
        let length = stream.read(&mut buffer).await?;
        match buffer.get(..length) {
            None | Some([]) => return Ok(()),
            Some(bytes) => stream.write_all(bytes).await?,
        }
    }
}
