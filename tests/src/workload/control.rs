//! What a pod's program counts and tells: one line asked, one line of JSON answered.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Write},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// Asks for a [`Report`].
pub(crate) const REPORT: &str = "report";

/// Printed once all ports are open.
pub(crate) const READY: &str = "ready";

/// What a pod saw, by the client's address: a health check is a client of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Connections accepted.
    pub accepted: BTreeMap<IpAddr, u64>,
    /// Datagrams received.
    pub datagrams: BTreeMap<IpAddr, u64>,
    /// When the last SYN came, in nanoseconds since 1970, for pods that watch them.
    pub last_syn_ns: BTreeMap<IpAddr, u64>,
}

impl Report {
    /// Connections from all clients but `except`.
    #[must_use]
    pub fn accepted_but(&self, except: &[IpAddr]) -> u64 {
        self.accepted
            .iter()
            .filter(|(client, _)| !except.contains(client))
            .map(|(_, count)| count)
            .sum()
    }
}

/// The counters of a running pod, shared by its threads.
#[derive(Clone, Debug, Default)]
pub struct Counters(Arc<Mutex<Report>>);

impl Counters {
    /// Counts a connection.
    pub fn accepted(&self, client: IpAddr) {
        self.change(|report| *report.accepted.entry(client.to_canonical()).or_default() += 1);
    }

    /// Counts a datagram.
    pub fn datagram(&self, client: IpAddr) {
        self.change(|report| *report.datagrams.entry(client.to_canonical()).or_default() += 1);
    }

    /// Notes when a SYN came.
    pub fn syn(&self, client: IpAddr, at_ns: u64) {
        self.change(|report| {
            report.last_syn_ns.insert(client, at_ns);
        });
    }

    fn change(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn report(&self) -> Report {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Says that the pod is ready and answers questions until the lab closes the pipe.
///
/// # Errors
///
/// If a question is unknown or an answer cannot be written.
pub fn serve(counters: &Counters) -> Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{READY}")?;
    stdout.flush()?;
    for line in io::stdin().lock().lines() {
        match line.context("read a question")?.as_str() {
            REPORT => writeln!(stdout, "{}", serde_json::to_string(&counters.report())?)?,
            other => bail!("unknown question {other:?}"),
        }
        stdout.flush()?;
    }
    Ok(())
}
