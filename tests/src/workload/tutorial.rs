//! A service as the tutorial's: it calls its upstreams and answers with what they said.

use std::{
    io::{self, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{control::Counters, download, echo::listen, http};

/// How long a client may take to send its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// What a service is and does.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Addresses it says it has.
    pub addresses: Vec<IpAddr>,
    /// What it calls.
    pub upstreams: Vec<SocketAddr>,
    /// How long it waits for each.
    pub timeout: Duration,
    /// How long it sleeps before it answers.
    pub delay: Duration,
}

/// A service's answer: the tutorial's fields in their order, empty ones left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The service.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What was asked of it.
    pub uri: String,
    /// `HTTP`.
    #[serde(default, rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Its addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_addresses: Vec<String>,
    /// When it began, in UTC.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub start_time: String,
    /// When it ended, in UTC.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub end_time: String,
    /// How long it took, as Go writes it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub duration: String,
    /// What it has to say.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub body: Value,
    /// What its upstreams answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstream_calls: Vec<Self>,
    /// Its status, -1 where none came.
    pub code: i32,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// Serves on `port`, a thread for each connection.
///
/// # Errors
///
/// If the port is taken.
pub fn serve(port: u16, service: Service, counters: &Counters) -> Result<()> {
    let listener = listen(port)?;
    let (service, counters) = (Arc::new(service), counters.clone());
    thread::spawn(move || {
        while let Ok((stream, client)) = listener.accept() {
            counters.accepted(client.ip());
            let service = Arc::clone(&service);
            thread::spawn(move || {
                // A client that does not wait for the answer is the client's to count.
                let _ = service.answer(stream);
            });
        }
    });
    Ok(())
}

impl Service {
    fn answer(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let path = http::read_path(&mut stream, REQUEST_TIMEOUT)?;
        if let Some(length) = download::asked_for(&path) {
            http::write_head(&mut stream, 200, "application/octet-stream")?;
            return download::send(&mut stream, length);
        }
        if path == "/health" {
            // A check opens and closes; this is for people.
            http::write_head(&mut stream, 200, "text/plain")?;
            return stream.write_all(b"OK\n");
        }
        let reply = self.reply(&path);
        let status = u16::try_from(reply.code).unwrap_or(500);
        http::write_head(&mut stream, status, "application/json")?;
        serde_json::to_writer_pretty(&mut stream, &reply)?;
        stream.write_all(b"\n")
    }

    fn reply(&self, uri: &str) -> Reply {
        let (start_time, start) = (timestamp(SystemTime::now()), Instant::now());
        thread::sleep(self.delay);
        let calls: Vec<Reply> =
            self.upstreams.iter().map(|upstream| call(*upstream, self.timeout)).collect();
        let failed = calls.iter().find(|call| call.code != 200);
        let error = failed.map_or_else(String::new, |call| {
            let (uri, code) = (&call.uri, call.code);
            format!("Error processing upstream request: {uri}, expected code 200, got {code}")
        });
        Reply {
            name: self.name.clone(),
            uri: uri.to_owned(),
            kind: "HTTP".to_owned(),
            ip_addresses: self.addresses.iter().map(IpAddr::to_string).collect(),
            start_time,
            end_time: timestamp(SystemTime::now()),
            duration: go_duration(start.elapsed()),
            body: if failed.is_some() { Value::Null } else { "Hello World".into() },
            code: if failed.is_some() { 500 } else { 200 },
            upstream_calls: calls,
            error,
        }
    }
}

/// Calls an upstream over a new connection.
fn call(upstream: SocketAddr, timeout: Duration) -> Reply {
    let uri = format!("http://{upstream}/");
    match http::get(upstream, "/", timeout) {
        Ok(answer) => {
            let mut reply: Reply = serde_json::from_slice(&answer.body).unwrap_or_default();
            reply.uri = uri;
            reply.code = i32::from(answer.status);
            reply
        }
        Err(error) => Reply {
            error: format!("Error communicating with upstream service: Get {uri}: {error}"),
            uri,
            code: -1,
            ..Reply::default()
        },
    }
}

/// A moment as `2006-01-02T15:04:05.000000` in UTC.
fn timestamp(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let micros = since.subsec_micros();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}")
}

/// The Gregorian date of a day counted from 1970-01-01.
fn civil(days: u64) -> (u64, u64, u64) {
    let (mut year, mut day) = (1970, days);
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    (year, month, day + 1)
}

/// A duration as Go prints it: `24.882855ms`.
fn go_duration(duration: Duration) -> String {
    // Rust prints the same units and digits.
    format!("{duration:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_the_tutorial_does() {
        let at = UNIX_EPOCH + Duration::from_micros(1_574_368_547_751_446);

        assert_eq!(timestamp(at), "2019-11-21T20:35:47.751446");
    }

    #[test]
    fn leap_days_are_days() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(11_017), (2000, 3, 1));
        assert_eq!(civil(20_453), (2025, 12, 31));
    }

    #[test]
    fn durations_read_as_go_prints_them() {
        assert_eq!(go_duration(Duration::from_nanos(24_882_855)), "24.882855ms");
        assert_eq!(go_duration(Duration::from_nanos(5_009_025_002)), "5.009025002s");
        assert_eq!(go_duration(Duration::from_nanos(1_500)), "1.5µs");
    }

    #[test]
    fn an_upstream_that_cannot_be_reached_is_code_minus_one() {
        let reply = call(([127, 0, 0, 1], 1).into(), Duration::from_millis(300));

        assert_eq!(reply.code, -1);
        let start = "Error communicating with upstream service: Get http://127.0.0.1:1/: ";
        assert!(reply.error.starts_with(start), "{}", reply.error);
    }
}
