//! `detach` and a lab's end leave nothing behind.

use anyhow::Result;
use canary_tests::{
    lab::{Gate, Lab, Leftovers},
    scenario::{Scenario, Subset, TCP4, TIMEOUT},
    workload::connect_many,
};

#[test]
fn nothing_is_left_of_an_agent_that_is_detached() -> Result<()> {
    let _alone = Gate::alone()?;
    let before = Leftovers::snapshot()?;
    let lab = Lab::new("detach")?;
    let subsets = [Subset { name: "blue", pods: 2 }, Subset { name: "green", pods: 1 }];
    let scenario = Scenario::start(&lab, &subsets)?;
    let client = scenario.client.namespace.clone();
    let answers = connect_many(&client, TCP4.protocol, TCP4.frontend(), 100, TIMEOUT)?;
    assert_eq!(answers.of("blue"), 100, "{answers:?}");
    let made = Leftovers::snapshot()?.since(&before);
    for kind in ["program ", "map ", "bpf-link "] {
        assert!(made.iter().any(|thing| thing.starts_with(kind)), "no {kind}in {made:#?}");
    }

    let refused = lab.detach(&[]).unwrap_err();
    assert!(format!("{refused:#}").contains("--stop"), "{refused:#}");
    lab.detach(&["--stop"])?;

    before.wait_gone(is_bpf)?;
    let entries = std::fs::read_dir(lab.bpffs())?.flatten().map(|entry| entry.path());
    // The kernel itself puts two listings into every bpffs.
    let pins: Vec<_> =
        entries.filter(|path| path.extension().is_none_or(|kind| kind != "debug")).collect();
    assert!(pins.is_empty(), "{pins:?} stay in bpffs");
    // Where nothing is left, there is nothing to do, and no virtual address either.
    lab.detach(&[])?;
    let answers = connect_many(&client, TCP4.protocol, TCP4.frontend(), 1, TIMEOUT)?;
    assert_eq!(answers.failed(), 1, "{answers:?}");
    let name = lab.name().to_owned();
    drop(scenario);
    drop(lab);
    before.wait_gone(|thing| is_bpf(thing) || thing.contains(&name))
}

#[test]
fn nothing_is_left_of_a_lab_whose_agent_was_killed() -> Result<()> {
    let _alone = Gate::alone()?;
    let before = Leftovers::snapshot()?;
    let lab = Lab::new("killed")?;
    let scenario = Scenario::start(&lab, &[Subset { name: "blue", pods: 1 }])?;
    scenario.agent.kill9()?;
    let name = lab.name().to_owned();
    drop(scenario);

    drop(lab);

    before.wait_gone(|thing| is_bpf(thing) || thing.contains(&name))
}

fn is_bpf(thing: &str) -> bool {
    ["program ", "map ", "bpf-link "].iter().any(|kind| thing.starts_with(kind))
}
