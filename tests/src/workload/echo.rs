//! Servers for connection tests: one answers with its name, one sends back what it gets.

use std::{
    io::{Read, Write},
    net::{Ipv6Addr, Shutdown, TcpListener, TcpStream, UdpSocket},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result};

use super::control::Counters;

/// Threads that accept on one port.
const ACCEPTORS: usize = 4;

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

/// Sends back what each connection on `port` sends, after a line with `name`.
///
/// # Errors
///
/// If the port is taken.
pub fn serve_hold(port: u16, name: &str, counters: &Counters) -> Result<()> {
    let listener = listen(port)?;
    let (line, counters) = (format!("{name}\n"), counters.clone());
    thread::spawn(move || {
        while let Ok((stream, client)) = listener.accept() {
            counters.accepted(client.ip());
            let line = line.clone();
            thread::spawn(move || {
                let _ = send_back(stream, &line);
            });
        }
    });
    Ok(())
}

/// A listener for both families.
pub(super) fn listen(port: u16) -> Result<TcpListener> {
    TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
        .with_context(|| format!("listen on TCP port {port}"))
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

fn send_back(mut stream: TcpStream, line: &str) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(line.as_bytes())?;
    let mut buffer = [0; 4096];
    loop {
        let length = stream.read(&mut buffer)?;
        match buffer.get(..length) {
            None | Some([]) => return Ok(()),
            Some(bytes) => stream.write_all(bytes)?,
        }
    }
}
