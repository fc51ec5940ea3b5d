//! How long a new split takes to be seen: from the command to a connection that follows it.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::sample::Samples;
use crate::lab::Lab;
use crate::scenario::{Scenario, Subset, TCP4, TIMEOUT};
use crate::workload::client::ask;

/// Changes that are measured.
const CHANGES: usize = 200;
/// What takes turns in getting everything.
const SUBSETS: [Subset; 2] = [Subset { name: "blue", pods: 1 }, Subset { name: "green", pods: 1 }];

/// Milliseconds of each change, in a lab with the real agent and the real command.
pub(super) fn measure() -> Result<Samples> {
    let mut samples = Samples::default();
    Lab::run("bench", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;
        let turns = [("green", ["blue=0", "green=100"]), ("blue", ["blue=100", "green=0"])];
        for (subset, weights) in turns.into_iter().cycle().take(CHANGES) {
            samples.add(change(&scenario, subset, &weights)?.as_secs_f64() * 1e3);
        }
        Ok(())
    })?;
    Ok(samples)
}

/// From the start of the command until a new connection was answered by a pod of `subset`.
///
/// The client connects again and again, one connection after the other, without a pause.
fn change(scenario: &Scenario<'_>, subset: &str, weights: &[&str]) -> Result<Duration> {
    scenario.client.namespace.enter(|| {
        let start = Instant::now();
        thread::scope(|scope| {
            let command = scope.spawn(|| scenario.lab.set_split(TCP4.service, weights));
            let took = loop {
                let answer = ask(TCP4.protocol, TCP4.frontend(), TIMEOUT).context("ask")?;
                let took = start.elapsed();
                if answer.starts_with(subset) {
                    break took;
                }
                ensure!(took < TIMEOUT, "{subset} does not answer after {took:?}");
            };
            command.join().ok().context("the command panicked")??;
            Ok(took)
        })
    })?
}
