//! Tables that are full.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use canary_tests::{
    lab::{AgentOptions, Lab},
    scenario::Scenario,
};

use super::{SUBSETS, all_blue, at, log, register, run, service, unharmed};

/// More than any of the tables below holds.
const ENOUGH: u32 = 12;

/// Small tables, with room for the scenario and a little more.
const SMALL: &str =
    "limits {\n  services = 8\n  frontends = 8\n  backends = 16\n  slots = 300\n}\n";

/// A way to fill a table: what the `number`-th step registers.
struct Filler {
    table: &'static str,
    setting: &'static str,
    holds: u32,
    step: fn(number: u32) -> Result<String>,
}

const FILLERS: [Filler; 4] = [
    Filler {
        table: "SERVICES",
        setting: "limits.services",
        holds: 8,
        // No table of frontends is asked for more: the virtual address is one of two ports.
        step: |number| service(&name(number), &name(number), "10.9.0.1:80", &virtual_at(number)),
    },
    Filler {
        table: "FRONTENDS",
        setting: "limits.frontends",
        holds: 8,
        step: |number| {
            service(
                "other",
                &name(number),
                &format!("10.9.0.{}:80", number + 1),
                &virtual_at(number),
            )
        },
    },
    Filler {
        table: "BACKENDS",
        setting: "limits.backends",
        holds: 16,
        step: |number| {
            service("other", &name(number), &format!("10.9.0.{}:80", number + 1), "10.96.9.9:80")
        },
    },
    Filler {
        table: "SLOTS",
        setting: "limits.slots",
        holds: 300,
        step: |number| {
            let serves = [1, 2].map(|host| format!("10.9.0.{host}:80"));
            let service_name = format!("pair{}", number / 2);
            let [first, second] = serves;
            let serves = if number % 2 == 0 { first } else { second };
            service(
                &service_name,
                &name(number),
                &serves,
                &format!("10.96.9.{}:80", number / 2 + 1),
            )
        },
    },
];

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
    let mut registered = Vec::new();
    let refused = loop {
        let number = u32::try_from(registered.len())?;
        ensure!(number < ENOUGH, "{} took {number} and is not full", filler.table);
        let definition = (filler.step)(number)?;
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
    assert!(!registered.is_empty(), "{}: nothing fitted", filler.table);
    for id in registered {
        let ran = run(lab, &["service", "deregister", &id])?;
        ensure!(ran.code == Some(0), "{}", ran.stderr);
    }
    wait_forgotten(lab)
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
                assert_eq!((number, ran.code), (3, Some(4)), "{}", ran.stderr);
                let text = "STATS is full, this node holds 3; raise `limits.splits`";
                assert!(ran.stderr.contains(text), "{}", ran.stderr);
                return Ok(());
            }
        }
        bail!("the table never was full")
    })
}

/// Waits until what left is out of the tables, so that the next filler finds them as they were.
fn wait_forgotten(lab: &Lab) -> Result<()> {
    canary_tests::lab::wait_for("fillers to be forgotten", Duration::from_secs(30), || {
        let marker = service("marker", "marker", "10.9.9.9:80", "10.96.8.8:80")?;
        let fits = register(lab, "marker.hcl", &marker)?.1.code == Some(0);
        if fits {
            lab.ctl(&["service", "deregister", "marker"])?;
        }
        Ok(fits)
    })
    .map(drop)
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
