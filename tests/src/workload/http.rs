//! The little of HTTP/1.1 that the tutorial's services speak: one request a connection.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// Longest head of a request or an answer, in bytes.
const MAX_HEAD: usize = 8192;

/// Longest body of an answer that is read whole, in bytes.
const MAX_BODY: u64 = 1 << 20;

/// An answer, read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Body.
    pub body: Vec<u8>,
}

/// Gets `path` over a new connection, all within `timeout`.
///
/// # Errors
///
/// What the system says, or that the answer is not HTTP.
pub fn get(target: SocketAddr, path: &str, timeout: Duration) -> io::Result<Answer> {
    let deadline = Instant::now() + timeout;
    let mut stream = TcpStream::connect_timeout(&target, timeout)?;
    stream.set_nodelay(true)?;
    stream.write_all(request(target, path).as_bytes())?;
    let (head, mut body) = read_head(&mut stream, deadline)?;
    let mut rest = [0; 4096];
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        let length = stream.read(&mut rest)?;
        match rest.get(..length) {
            None | Some([]) => break,
            Some(bytes) => body.extend_from_slice(bytes),
        }
        if u64::try_from(body.len()).is_ok_and(|length| length > MAX_BODY) {
            return Err(invalid("the answer is too long"));
        }
    }
    Ok(Answer { status: status(&head)?, body })
}

/// The text of a request for `path`.
#[must_use]
pub fn request(target: SocketAddr, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n")
}

/// The path that a client asks for.
///
/// # Errors
///
/// What the system says, or that the request is not HTTP.
pub fn read_path(stream: &mut TcpStream, timeout: Duration) -> io::Result<String> {
    let (head, _) = read_head(stream, Instant::now() + timeout)?;
    let path = head.split(' ').nth(1).ok_or_else(|| invalid("the request names no path"))?;
    Ok(path.to_owned())
}

/// Writes an answer's head; the end of the connection ends the body.
///
/// # Errors
///
/// What the system says.
pub fn write_head(stream: &mut TcpStream, status: u16, kind: &str) -> io::Result<()> {
    let reason = match status {
        200 => "OK",
        404 => "Not Found",
        _ => "Internal Server Error",
    };
    let head =
        format!("HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())
}

/// The status code in an answer's head.
///
/// # Errors
///
/// If it is not HTTP.
pub fn status(head: &str) -> io::Result<u16> {
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    code.filter(|_| head.starts_with("HTTP/1.")).ok_or_else(|| invalid("the answer is not HTTP"))
}

/// Reads up to the empty line; gives the head and what came after it.
///
/// # Errors
///
/// What the system says, or that the head is too long or cut short.
pub fn read_head(stream: &mut TcpStream, deadline: Instant) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut some = [0; 1024];
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        let length = stream.read(&mut some)?;
        match some.get(..length) {
            None | Some([]) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Some(more) => bytes.extend_from_slice(more),
        }
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let body = bytes.split_off(end.saturating_add(4));
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), body));
        }
        if bytes.len() > MAX_HEAD {
            return Err(invalid("the head is too long"));
        }
    }
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read_from_http_alone() {
        assert_eq!(status("HTTP/1.1 500 Internal Server Error\r\n\r\n").unwrap(), 500);
        assert!(status("SSH-2.0 500 x").is_err());
        assert!(status("").is_err());
    }
}
