//! Tables that are full.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use canary_tests::{
    lab::{AgentOptions, Lab, wait_for},
    scenario::{Scenario, TCP4},
};

use super::{SUBSETS, all_blue, at, log, register, run, service, unharmed};

/// How long what has left may stay in the tables while no flow leads to it.
const FORGOTTEN: Duration = Duration::from_secs(30);

/// More than any of the tables below holds.
const ENOUGH: u32 = 12;

/// Room for the scenario, and for one or two rows more in each table.
const SMALL: &str =
    "limits {\n  services = 7\n  frontends = 7\n  backends = 12\n  slots = 300\n}\n";

/// A way to fill a table: what the `number`-th step registers, `pods` being backends already.
struct Filler {
    table: &'static str,
    setting: &'static str,
    holds: u32,
    step: fn(number: u32, pods: &[String]) -> Result<String>,
}

/// The first one needs a backend that no other has left behind.
const FILLERS: [Filler; 4] = [
    Filler {
        table: "SLOTS",
        setting: "limits.slots",
        holds: 300,
        // Two backends take 211 slots, three 401.
        step: |number, pods| {
            service("other", &name(number), &pod_or_new(number, pods), "10.96.9.9:80")
        },
    },
    Filler {
        table: "SERVICES",
        setting: "limits.services",
        holds: 7,
        step: |number, _| service(&name(number), &name(number), "10.9.0.1:80", &virtual_at(number)),
    },
    Filler {
        table: "FRONTENDS",
        setting: "limits.frontends",
        holds: 7,
        step: |number, pods| {
            service("other", &name(number), &pod_or_new(number, pods), &virtual_at(number))
        },
    },
    Filler {
        table: "BACKENDS",
        setting: "limits.backends",
        holds: 12,
        step: |number, _| service("other", &name(number), &new(number), "10.96.9.9:80"),
    },
];

/// A backend that is in the tables, as long as there are some.
fn pod_or_new(number: u32, pods: &[String]) -> String {
    let known = usize::try_from(number).ok().and_then(|number| pods.get(number));
    known.cloned().unwrap_or_else(|| new(number))
}

/// A backend that is new.
fn new(number: u32) -> String {
    format!("10.9.0.{}:80", number + 1)
}

fn name(number: u32) -> String {
    format!("filler{number}")
}

fn virtual_at(number: u32) -> String {
    format!("10.96.9.{}:80", number + 1)
}

#[test]
fn a_full_table_refuses_the_change_by_name_and_the_rest_goes_on() -> Result<()> {
    Lab::run("full", |lab| {
        let settings = lab.file("agent.hcl", SMALL)?.display().to_string();
        let scenario = Scenario::start_with(lab, &SUBSETS, &["--config", &settings])?;

        for filler in &FILLERS {
            fill(&scenario, filler)?;
        }

        // What was refused is not in the store either.
        scenario.agent.kill9()?;
        scenario.agent.restart()?;
        scenario.wait_healthy()?;
        let list = lab.ctl(&["service", "list"])?;
        ensure!(!list.contains("filler"), "{list}");
        all_blue(&scenario)
    })
}

/// Registers until the table is full, and takes everything back.
fn fill(scenario: &Scenario<'_>, filler: &Filler) -> Result<()> {
    let lab = scenario.lab;
    // What the filler before has left is forgotten once a walk through the flows found none.
    let pods: Vec<String> = scenario
        .backends
        .iter()
        .filter_map(|backend| Some(TCP4.backend(&backend.pod)?.to_string()))
        .collect();
    let first = (filler.step)(0, &pods)?;
    wait_for("room in the tables", FORGOTTEN, || {
        Ok(register(lab, "filler.hcl", &first)?.1.code == Some(0))
    })?;
    let mut registered = vec![name(0)];
    let refused = loop {
        let number = u32::try_from(registered.len())?;
        ensure!(number < ENOUGH, "{} took {number} and is not full", filler.table);
        let definition = (filler.step)(number, &pods)?;
        if register(lab, "filler.hcl", &definition)?.1.code != Some(0) {
            break definition;
        }
        registered.push(name(number));
    };

    unharmed(scenario, || {
        let (path, ran) = register(lab, "filler.hcl", &refused)?;
        assert_eq!(ran.code, Some(4), "{}", ran.stderr);
        assert!(ran.stderr.starts_with(&at(&path, "1:1")), "{}", ran.stderr);
        let text = format!(
            "{} is full, this node holds {}; raise `{}`",
            filler.table, filler.holds, filler.setting
        );
        assert!(ran.stderr.contains(&text), "{text:?} is not in {}", ran.stderr);
        Ok(())
    })?;
    for id in registered {
        let ran = run(lab, &["service", "deregister", &id])?;
        ensure!(ran.code == Some(0), "{}", ran.stderr);
    }
    Ok(())
}

#[test]
fn a_full_table_of_counters_is_named_too() -> Result<()> {
    Lab::run("counters", |lab| {
        let settings = lab.file("agent.hcl", "limits {\n  splits = 3\n}\n")?;
        let settings = settings.display().to_string();
        let _agent = lab.agent(AgentOptions::default().args(["--config", &settings]))?;

        for number in 0..ENOUGH {
            let definition =
                service(&name(number), &name(number), "10.9.0.1:80", &virtual_at(number))?;
            let ran = register(lab, "filler.hcl", &definition)?.1;
            if ran.code != Some(0) {
                assert!(number > 0 && ran.code == Some(4), "{number}: {}", ran.stderr);
                let text = "STATS is full, this node holds 3; raise `limits.splits`";
                assert!(ran.stderr.contains(text), "{}", ran.stderr);
                return Ok(());
            }
        }
        bail!("the table never was full")
    })
}

#[test]
fn files_that_do_not_fit_at_the_first_start_are_refused_by_name() -> Result<()> {
    Lab::run("first", |lab| {
        let settings = lab.file("agent.hcl", "limits {\n  services = 2\n}\n")?;
        let mut options =
            AgentOptions::default().args(["--config", &settings.display().to_string()]);
        for number in 0..4 {
            let definition =
                service(&name(number), &name(number), "10.9.0.1:80", &virtual_at(number))?;
            options = options.file(format!("{number}.hcl"), definition);
        }

        let refused = lab.agent(options);

        ensure!(refused.is_err(), "the agent started");
        let log = log(lab)?;
        assert!(
            log.contains("SERVICES is full, this node holds 2; raise `limits.services`"),
            "{log}"
        );
        assert!(log.contains("canary-agent: service filler"), "{log}");
        Ok(())
    })
}
