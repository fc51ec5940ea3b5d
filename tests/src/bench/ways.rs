//! What a pod's connection costs by packets, by a pick at connect time, and straight to the backend:
//! each way from a pod of its own.

use anyhow::{Result, ensure};
use clap::Args;

use crate::lab::{Lab, cgroup, wait_for};
use crate::scenario::{HOLD, Scenario, Subset, TCP4, TIMEOUT, UDP4};
use crate::workload::Script;

/// How long to measure.
#[derive(Args, Debug)]
pub struct Options {
    /// Rounds; each way has its turn in every one
    #[arg(long, default_value_t = 15)]
    rounds: usize,
}

/// Things done in each turn.
const EACH: usize = 1_000;

/// What is measured.
const WHAT: [&str; 3] = ["connect, TCP", "question and answer, TCP", "question and answer, UDP"];

/// Measures the three ways side by side, from one pod to another of the node.
///
/// # Errors
///
/// If the lab fails, or a connection does.
#[expect(clippy::print_stdout, reason = "a table for whoever asked")]
pub fn ways(options: &Options) -> Result<()> {
    Lab::run("ways", |lab| {
        let subsets = [Subset { name: "blue", pods: 1 }];
        let scenario = Scenario::start_with(lab, &subsets, &["--socket-lb", "all"])?;
        // Of one client the ports that one way used are taken for the others for a while.
        let [second, third] = [lab.pod("second")?, lab.pod("third")?];
        wait_for("the pods' sockets to be served", TIMEOUT, || {
            Ok(lab.status()?.sockets.namespaces == Some(4))
        })?;
        let pod = &scenario.backend("blue-1")?.pod;
        let namespace = &scenario.client.namespace;
        // No program of sockets is attached to it.
        let outside = cgroup::create(lab.undo(), &format!("{}-outside", lab.name()))?;
        let straight = [TCP4, HOLD, UDP4].map(|offer| offer.backend(pod));
        let virtuals = [TCP4, HOLD, UDP4].map(|offer| Some(offer.frontend()));
        let ways = [
            ("packets", lab.script_in(namespace, &outside)?, virtuals),
            ("connect time", lab.script(&second.namespace)?, virtuals),
            ("straight", lab.script_in(&third.namespace, &outside)?, straight),
        ];
        let mut times = [(); 3].map(|()| [(); 3].map(|()| Vec::new()));
        for _ in 0..options.rounds {
            for ((_, script, targets), times) in ways.iter().zip(&mut times) {
                for (time, took) in times.iter_mut().zip(turn(script, targets)?) {
                    time.push(took);
                }
            }
        }
        for (place, what) in WHAT.iter().enumerate() {
            let medians: Vec<u64> =
                times.iter_mut().filter_map(|times| middle(times.get_mut(place)?)).collect();
            let [packets, _, _] = medians.as_slice() else { continue };
            for ((way, ..), median) in ways.iter().zip(&medians) {
                let percent = median.saturating_mul(100) / (*packets).max(1);
                println!("{what:<26} {way:<13} {median:>8} ns {percent:>4} %");
            }
        }
        Ok(())
    })
}

/// The median times of one turn, in nanoseconds.
fn turn(script: &Script, targets: &[Option<std::net::SocketAddr>; 3]) -> Result<[u64; 3]> {
    let [Some(tcp), Some(hold), Some(udp)] = targets else { anyhow::bail!("no address") };
    let connects = script.run(&format!("time-connects {tcp} {EACH}"))?.parse()?;
    script.open("tcp", "tcp4")?;
    script.connect("tcp", *hold)?;
    let name = script.run("receive tcp")?;
    ensure!(!name.is_empty(), "the server says who it is first");
    let stream = script.run(&format!("time-echoes tcp {EACH}"))?.parse()?;
    script.open("udp", "udp4")?;
    script.connect("udp", *udp)?;
    let datagrams = script.run(&format!("time-echoes udp {EACH}"))?.parse()?;
    Ok([connects, stream, datagrams])
}

fn middle(times: &mut [u64]) -> Option<u64> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}
