//! A second agent.

use std::time::Duration;

use anyhow::{Result, ensure};
use canary_tests::{lab::Lab, scenario::Scenario};

use super::{SUBSETS, log, unharmed};

/// How soon an agent that cannot run must have ended.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_second_agent_is_told_what_the_first_one_has() -> Result<()> {
    Lab::run("second", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;
        let first = scenario.agent.process().id();
        let path = |name: &str| lab.directory().join(name).display().to_string();
        let pins = format!(
            "canary-agent: an agent (pid {first}) runs on the pins under {}",
            lab.bpffs().display()
        );

        unharmed(&scenario, || {
            for (args, text) in [
                (
                    vec!["--socket".to_owned(), path("other.sock")],
                    "store.redb: the store is in use: another agent runs with this data directory",
                ),
                (
                    vec![
                        "--socket".to_owned(),
                        path("other.sock"),
                        "--data-dir".to_owned(),
                        path("other"),
                    ],
                    pins.as_str(),
                ),
            ] {
                let before = log(lab)?.len();

                let status = lab.start_agent(&args)?.wait(SOON)?;

                ensure!(status.code() == Some(1), "{status}");
                let log = log(lab)?;
                let said = log.get(before..).unwrap_or_default();
                ensure!(said.contains(text), "{text:?} is not in {said}");
            }
            Ok(())
        })
    })
}
