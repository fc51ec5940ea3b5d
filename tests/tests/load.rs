//! Changes under load: weights, backends, and an agent that dies meanwhile.
#![expect(clippy::print_stdout, reason = "a test tells what it measured")]

use std::{
    env,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use canary_tests::{
    lab::Lab,
    scenario::{HOLD, Scenario, Subset, TCP4, TIMEOUT},
    workload::{Answers, connect_while, hold::hold},
};

const SUBSETS: [Subset; 2] = [Subset { name: "blue", pods: 2 }, Subset { name: "green", pods: 2 }];

/// Long connections that exchange data throughout.
const LONG: usize = 200;

/// The first number, or the second if `CANARY_LONG` is set.
fn times(short: usize, long: usize) -> usize {
    if env::var_os("CANARY_LONG").is_some() { long } else { short }
}

#[test]
fn hundreds_of_weight_changes_under_load() -> Result<()> {
    Lab::run("weights", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;

        let answers = under_load(&scenario, || {
            for change in 0..times(200, 500) {
                let weights =
                    if change % 2 == 0 { ["blue=0", "green=100"] } else { ["blue=100", "green=0"] };
                for offer in [TCP4, HOLD] {
                    lab.set_split(offer.service, &weights)?;
                }
            }
            Ok(())
        })?;

        assert!(answers.of("blue") > 0 && answers.of("green") > 0, "{answers:?}");
        Ok(())
    })
}

#[test]
fn backends_leave_and_come_back_under_load() -> Result<()> {
    Lab::run("backends", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;
        for offer in [TCP4, HOLD] {
            scenario.split(offer.service, &[("blue", 50.0), ("green", 50.0)])?;
        }

        under_load(&scenario, || {
            for round in 0..times(20, 200) {
                let own = &scenario.backends[round % scenario.backends.len()];
                for offer in [TCP4, HOLD] {
                    let file = format!("{}_{}.hcl", offer.service, own.pod.name);
                    let path = lab.config_directory().join(&file);
                    std::fs::remove_file(&path).with_context(|| format!("remove {file}"))?;
                    lab.ctl(&["reload"])?;
                    lab.wait_healthy(offer.service, 3)?;
                    std::fs::write(&path, own.definition(&offer).unwrap())?;
                    lab.ctl(&["reload"])?;
                    lab.wait_healthy(offer.service, 4)?;
                }
            }
            Ok(())
        })
        .map(drop)
    })
}

#[test]
fn the_agent_is_killed_again_and_again_amid_weight_changes() -> Result<()> {
    Lab::run("kills", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;

        under_load(&scenario, || {
            for kill in 0..u64::try_from(times(20, 100))? {
                let done = AtomicBool::new(false);
                thread::scope(|scope| -> Result<()> {
                    // Weights change all the while; each fails once the agent is gone.
                    scope.spawn(|| {
                        let turns = [["blue=0", "green=100"], ["blue=100", "green=0"]];
                        for weights in turns.iter().cycle() {
                            if done.load(Ordering::Relaxed) {
                                break;
                            }
                            let _ = lab.set_split(TCP4.service, weights);
                        }
                    });
                    // Instants spread over a few changes, coprime to how long one takes.
                    thread::sleep(Duration::from_micros(1_000 + kill * 7_919 % 60_000));
                    let killed = scenario.agent.kill9();
                    done.store(true, Ordering::Relaxed);
                    killed
                })?;
                scenario.agent.restart()?;
            }
            Ok(())
        })
        .map(drop)
    })
}

/// Runs `changes` while new connections come and long ones exchange data; none may fail.
fn under_load(scenario: &Scenario<'_>, changes: impl FnOnce() -> Result<()>) -> Result<Answers> {
    let client = &scenario.client.namespace;
    let held = hold(client, HOLD.frontend(), LONG)?;
    let ended = AtomicBool::new(false);
    let start = Instant::now();
    let answers = thread::scope(|scope| {
        let load = scope.spawn(|| {
            let more = || !ended.load(Ordering::Relaxed);
            connect_while(client, TCP4.protocol, TCP4.frontend(), TIMEOUT, more)
        });
        let changed = changes();
        ended.store(true, Ordering::Relaxed);
        let answers = load.join().ok().context("the load panicked")??;
        changed.map(|()| answers)
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let rounds = held.rounds();
    let broken = held.end()?;

    let total: u64 = answers.by_name.values().sum();
    let rate = f64::from(u32::try_from(total)?) / seconds;
    println!("{total} connections in {seconds:.1} s, {rate:.0}/s; {rounds} rounds of {LONG}");
    ensure!(answers.failed() == 0, "new connections failed: {:?}", answers.failures);
    ensure!(broken.is_empty(), "long connections broke: {broken:?}");
    ensure!(rate >= 500.0, "the load was only {rate:.0} connections a second");
    ensure!(rounds >= 3, "long connections were idle");
    Ok(answers)
}
