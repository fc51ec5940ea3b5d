//! Traffic goes on without the agent, and the next one adopts it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::Result;
use canary_tests::{
    lab::{Lab, wait_for},
    scenario::{HOLD, Scenario, Subset, TCP4, TIMEOUT, UDP4},
    workload::{connect_many, connect_while, hold::hold},
};

const SUBSETS: [Subset; 2] = [Subset { name: "blue", pods: 2 }, Subset { name: "green", pods: 1 }];

#[test]
fn killed_under_load_and_started_again_without_a_failure() -> Result<()> {
    Lab::run("restart", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;
        scenario.split(TCP4.service, &[("blue", 50.0), ("green", 50.0)])?;
        scenario.split(HOLD.service, &[("blue", 50.0), ("green", 50.0)])?;
        let client = &scenario.client.namespace;
        let held = hold(client, HOLD.frontend(), 50)?;
        let opened = lab.service(TCP4.service)?.splits[0].connections.opened;
        let ended = AtomicBool::new(false);

        let answers = thread::scope(|scope| {
            let load = scope.spawn(|| {
                let more = || !ended.load(Ordering::Relaxed);
                connect_while(client, TCP4.protocol, TCP4.frontend(), TIMEOUT, more)
            });
            let killed = kill_and_restart(&scenario, 5, || held.rounds());
            ended.store(true, Ordering::Relaxed);
            let answers = load.join().unwrap()?;
            killed.map(|()| answers)
        })?;

        assert_eq!(answers.failed(), 0, "{answers:?}");
        assert!(answers.of("blue") > 100 && answers.of("green") > 100, "{answers:?}");
        assert_eq!(held.end()?.len(), 0, "long connections broke");
        let now = lab.service(TCP4.service)?.splits[0].connections.opened;
        assert_eq!(now - opened, answers.of("blue"), "counters were lost");
        Ok(())
    })
}

#[test]
fn stopped_by_sigterm_the_datapath_stays() -> Result<()> {
    Lab::run("sigterm", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;
        let client = &scenario.client.namespace;

        scenario.agent.terminate()?;

        for offer in [TCP4, UDP4] {
            let answers = connect_many(client, offer.protocol, offer.frontend(), 500, TIMEOUT)?;
            assert_eq!(answers.of("blue"), 500, "{offer:?} {answers:?}");
        }
        scenario.agent.restart()?;
        lab.set_split(TCP4.service, &["blue=0", "green=100"])?;
        let answers = connect_many(client, TCP4.protocol, TCP4.frontend(), 500, TIMEOUT)?;
        assert_eq!(answers.of("green"), 500, "{answers:?}");
        Ok(())
    })
}

#[test]
fn a_second_agent_on_the_same_pins_is_refused() -> Result<()> {
    Lab::run("second", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;

        let other = lab.directory().join("other.sock");
        let second = lab.start_agent_at(&other, &[])?;

        let status = second.wait(Duration::from_secs(10))?;
        assert_eq!(status.code(), Some(1));
        let client = &scenario.client.namespace;
        let answers = connect_many(client, TCP4.protocol, TCP4.frontend(), 200, TIMEOUT)?;
        assert_eq!(answers.of("blue"), 200, "{answers:?}");
        assert!(lab.status()?.ready);
        Ok(())
    })
}

/// Kills the agent `times` times; lets all long connections exchange data between.
fn kill_and_restart(scenario: &Scenario<'_>, times: usize, rounds: impl Fn() -> u64) -> Result<()> {
    for _ in 0..times {
        scenario.agent.kill9()?;
        let target = rounds() + 3;
        wait_for("traffic without an agent", TIMEOUT, || Ok(rounds() >= target))?;
        scenario.agent.restart()?;
        let target = rounds() + 3;
        wait_for("traffic with the next agent", TIMEOUT, || Ok(rounds() >= target))?;
    }
    Ok(())
}
