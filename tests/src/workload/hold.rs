//! Long connections that exchange data for as long as a test runs.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result};

use super::client::{exchange, greet};
use crate::lab::Namespace;

/// How long an exchange may take: more than one lost packet costs.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Pause between two exchanges of one connection.
const PAUSE: Duration = Duration::from_millis(50);

/// Connections that are open and busy.
#[derive(Debug)]
pub struct Held {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: JoinHandle<BTreeMap<String, u64>>,
    /// Connections by the server they reached.
    pub by_name: BTreeMap<String, u64>,
}

/// Opens `count` connections to `target` and keeps all of them busy until they are ended.
///
/// # Errors
///
/// If one cannot be opened.
pub fn hold(namespace: &Namespace, target: SocketAddr, count: usize) -> Result<Held> {
    let opened = namespace
        .enter(|| (0..count).map(|_| greet(target, TIMEOUT)).collect::<std::io::Result<Vec<_>>>())?
        .with_context(|| format!("open a long connection to {target}"))?;
    let mut by_name: BTreeMap<String, u64> = BTreeMap::new();
    for (_, name) in &opened {
        *by_name.entry(name.clone()).or_default() += 1;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let rounds = Arc::new(AtomicU64::new(0));
    let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&rounds));
    // A socket stays in the namespace it was made in, whoever uses it.
    let thread = thread::spawn(move || keep_busy(opened, &stopped, &counted));
    Ok(Held { stop, rounds, thread, by_name })
}

impl Held {
    /// Rounds in which every connection exchanged data.
    #[must_use]
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// Ends the connections and tells which had failed, by server and error.
    ///
    /// # Errors
    ///
    /// If the thread that kept them busy panicked.
    pub fn end(self) -> Result<BTreeMap<String, u64>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().ok().context("the thread of the long connections panicked")
    }
}

fn keep_busy(
    mut streams: Vec<(TcpStream, String)>,
    stop: &AtomicBool,
    rounds: &AtomicU64,
) -> BTreeMap<String, u64> {
    let mut failed: BTreeMap<String, u64> = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        let round = rounds.fetch_add(1, Ordering::Relaxed);
        let question = format!("round {round}, and some bytes to carry\n");
        streams.retain_mut(|(stream, name)| match exchange(stream, question.as_bytes()) {
            Ok(()) => true,
            Err(error) => {
                *failed.entry(format!("{name}: {error}")).or_default() += 1;
                false
            }
        });
        thread::sleep(PAUSE);
    }
    failed
}
