//! How fast a rollback is, under load: from the start of the command to green's last SYN.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};

use super::cluster::{Cluster, FRONT};
use crate::{lab::wait_for, workload::get::request_while};

/// Requests at the same time: each that meets green waits, so many are needed for SYNs to
/// come every few milliseconds.
const CLIENTS: usize = 32;

/// Requests that have to be sent after the command for the last SYN to be the last.
const AFTER: u64 = 200;

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `command` under load and gives the milliseconds from its start to green's last SYN.
///
/// # Errors
///
/// If the command fails, or green sees no SYN before it.
pub fn time(cluster: &Cluster<'_>, command: impl FnOnce() -> Result<()>) -> Result<f64> {
    let web = cluster.pod_of("web")?.pod.namespace.clone();
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            request_while(&web, FRONT, CLIENTS, || {
                sent.fetch_add(1, Ordering::Relaxed);
                !stop.load(Ordering::Relaxed)
            })
        });
        let timed = under_load(cluster, &sent, command);
        stop.store(true, Ordering::Relaxed);
        load.join().ok().context("the load panicked")??;
        let start = timed?;
        let last = last_syn(cluster)?.context("green saw no SYN at all")?;
        Ok(last.checked_sub(start).unwrap_or_default().as_secs_f64() * 1000.0)
    })
}

/// Waits for the load to reach green, runs the command, waits for more load; gives its start.
fn under_load(
    cluster: &Cluster<'_>,
    sent: &AtomicU64,
    command: impl FnOnce() -> Result<()>,
) -> Result<Duration> {
    let begin = now();
    wait_for("the load to reach green", PATIENCE, || {
        Ok(last_syn(cluster)?.is_some_and(|last| last > begin))
    })?;
    let start = now();
    command()?;
    let target = sent.load(Ordering::Relaxed).saturating_add(AFTER);
    wait_for("requests after the rollback", PATIENCE, || {
        Ok(sent.load(Ordering::Relaxed) >= target)
    })?;
    Ok(start)
}

/// When green's last SYN from api came, since 1970.
fn last_syn(cluster: &Cluster<'_>) -> Result<Option<Duration>> {
    let api = IpAddr::V4(cluster.pod_of("api")?.pod.v4);
    let report = cluster.pod_of("green")?.server.report()?;
    Ok(report.last_syn_ns.get(&api).copied().map(Duration::from_nanos))
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
