//! The same with a running agent: writes that are acknowledged, and clients that wait.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{Figure, milliseconds, texts};
use crate::bench::sample::Samples;
use crate::lab::{Agent, AgentOptions, Lab};

/// Writes of each kind that are measured.
const WRITES: u32 = 300;
/// Queries that wait at once.
const WAITING: usize = 10_000;
/// More than the defaults hold.
const SETTINGS: &str = "limits {\n  splits = 20000\n  slots = 16777216\n}\n";

/// Prints each figure as soon as it is known.
pub(super) fn measure() -> Result<()> {
    Lab::run("model", |lab| {
        let settings = lab.file("agent.hcl", SETTINGS)?;
        let args = ["--config".to_owned(), settings.display().to_string()];
        let options = texts::all()
            .fold(AgentOptions::default().args(args), |options, (name, text)| {
                options.file(name, text)
            });
        let agent = lab.agent(options)?;
        let weights = writes(lab, &agent, texts::splitter)?;
        let filters = writes(lab, &agent, texts::other_resolver)?;
        let acknowledged =
            |name, samples| Figure { name, unit: "ms", samples, quantile: 0.99, bar: 10.0 };
        let work = |name, samples| Figure { name, unit: "ms", samples, quantile: 0.5, bar: 2.0 };
        acknowledged("a splitter's weights written: acknowledged", weights.wall).print();
        work("  of which the agent's processor time", weights.processor).print();
        acknowledged("a resolver's filter written: acknowledged", filters.wall).print();
        work("  of which the agent's processor time", filters.processor).print();
        waiting(lab, &agent)?.print();
        Ok(())
    })
}

#[derive(Default)]
struct Written {
    wall: Samples,
    processor: Samples,
}

/// Writes entries one after the other, each of another service.
fn writes(lab: &Lab, agent: &Agent<'_>, text: fn(u32, u32) -> String) -> Result<Written> {
    let mut written = Written::default();
    let mut stream = UnixStream::connect(lab.socket()).context("connect to the agent")?;
    for number in 0..WRITES {
        let body = text(number, number % 49);
        let (start, before) = (Instant::now(), processor_time(agent)?);
        let answer = ask(&mut stream, "PUT /v1/config", &body)?;
        written.wall.add(milliseconds(start.elapsed()));
        written.processor.add(milliseconds(processor_time(agent)?.saturating_sub(before)));
        ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    Ok(written)
}

/// One request over a connection that stays open; the answer as it came.
fn ask(stream: &mut UnixStream, what: &str, body: &str) -> Result<String> {
    let length = body.len();
    let head = format!("{what} HTTP/1.1\r\nhost: canary\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    loop {
        let count = stream.read(&mut part).context("read the answer")?;
        ensure!(count > 0, "the agent hung up");
        answer.extend(part.iter().take(count));
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, rest)) = text.split_once("\r\n\r\n") {
            let length = header(head, "content-length")?;
            if rest.len() >= length.parse()? {
                return Ok(text.into_owned());
            }
        }
    }
}

/// A header of an answer.
fn header<'a>(answer: &'a str, wanted: &str) -> Result<&'a str> {
    let mut pairs = answer.lines().filter_map(|line| line.split_once(':'));
    let found = pairs.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
    found.map(|(_, value)| value.trim()).with_context(|| format!("no {wanted}"))
}

/// Memory that waiting queries take.
fn waiting(lab: &Lab, agent: &Agent<'_>) -> Result<Figure> {
    allow_files()?;
    let before = memory_mib(agent)?;
    let mut streams = Vec::new();
    for place in 0..WAITING {
        let mut stream = UnixStream::connect(lab.socket()).context("connect to the agent")?;
        let service = texts::name(u32::try_from(place)? % super::SERVICES);
        let query = format!("GET /v1/health/service/{service}");
        let answer = ask(&mut stream, &query, "")?;
        let index = header(&answer, "x-consul-index")?;
        let request = format!("{query}?index={index}&wait=10m HTTP/1.1\r\nhost: canary\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        streams.push(stream);
    }
    // Asked last and answered: the queries before have been taken up.
    lab.status()?;
    let mut samples = Samples::default();
    samples.add(memory_mib(agent)? - before);
    for stream in &streams {
        stream.set_nonblocking(true)?;
        let early = (&*stream).read(&mut [0; 1]);
        ensure!(
            early.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock),
            "a query did not wait"
        );
    }
    let name = "10,000 blocking queries: the agent's memory";
    Ok(Figure { name, unit: "MiB", samples, quantile: 0.5, bar: 200.0 })
}

/// Raises the limit of open files, which each stream is one of.
fn allow_files() -> Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("raise the limit of open files")
}

/// Processor time of all threads of the agent so far.
fn processor_time(agent: &Agent<'_>) -> Result<Duration> {
    let mut total = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{}/task", agent.process().id()))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let on_processor = text.split(' ').next().context("an empty schedstat")?;
        total += Duration::from_nanos(on_processor.parse()?);
    }
    Ok(total)
}

/// Anonymous memory of the agent.
fn memory_mib(agent: &Agent<'_>) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{}/status", agent.process().id()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
    let kib: u32 = line.trim().trim_end_matches(" kB").parse().context("RssAnon is no number")?;
    Ok(f64::from(kib) / 1024.0)
}
