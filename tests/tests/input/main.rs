//! Bad input, end to end: refused or warned of by name and place, and nothing else changes.

mod agent;
mod files;
mod limits;
mod node;

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use canary_tests::{
    lab::Lab,
    scenario::{HOLD, Scenario, Subset, TCP4, TIMEOUT},
    workload::{connect_many, hold::hold},
};
use canary_userspace::document::{Service, Status};

/// One pod a subset is enough: all that is asked here is whether traffic goes on.
const SUBSETS: [Subset; 2] = [Subset { name: "blue", pods: 1 }, Subset { name: "green", pods: 1 }];

/// Connections that are held open while something bad is handed in.
const HELD: usize = 10;

/// What a command of `canaryctl` answered.
struct Ran {
    code: Option<i32>,
    stderr: String,
}

/// Runs `canaryctl`, whatever comes of it.
fn run(lab: &Lab, args: &[impl AsRef<OsStr>]) -> Result<Ran> {
    let output = lab.ctl_output(args)?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(Ran { code: output.status.code(), stderr })
}

/// Writes an entry of the lab's directory through `canaryctl`; gives the file as well.
fn write(lab: &Lab, name: &str, content: &str) -> Result<(PathBuf, Ran)> {
    let path = lab.file(name, content)?;
    let ran = run(lab, &["config".as_ref(), "write".as_ref(), path.as_os_str()])?;
    Ok((path, ran))
}

/// Registers the services of a file of the lab's directory through `canaryctl`.
fn register(lab: &Lab, name: &str, content: &str) -> Result<(PathBuf, Ran)> {
    let path = lab.file(name, content)?;
    let ran = run(lab, &["service".as_ref(), "register".as_ref(), path.as_os_str()])?;
    Ok((path, ran))
}

/// Puts a file into the agent's directory and reloads; gives the file as well.
fn reload_with(lab: &Lab, name: &str, content: &str) -> Result<(PathBuf, Ran)> {
    let path = lab.config_directory().join(name);
    fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
    Ok((path, run(lab, &["reload"])?))
}

/// A service definition with a virtual address.
fn service(name: &str, id: &str, serves: &str, frontend: &str) -> Result<String> {
    let split = |address: &str| {
        let (ip, port) = address.rsplit_once(':').context("ADDRESS:PORT")?;
        Ok::<_, anyhow::Error>(format!("address = \"{ip}\" port = {port}"))
    };
    Ok(format!(
        "service {{\n  name = \"{name}\"\n  id = \"{id}\"\n  {}\n  \
         tagged_addresses {{ virtual {{ {} }} }}\n}}\n",
        split(serves)?,
        split(frontend)?
    ))
}

/// Runs `body` while connections are held open, and wants that nothing has changed after it: the
/// revision, the weights, what is open, and where new connections go.
fn unharmed(scenario: &Scenario<'_>, body: impl FnOnce() -> Result<()>) -> Result<()> {
    let lab = scenario.lab;
    let before = lab.status()?;
    let held = hold(&scenario.client.namespace, HOLD.frontend(), HELD)?;

    body()?;

    let after = lab.status()?;
    ensure!(
        after.revision == before.revision,
        "the revision went from {} to {}",
        before.revision,
        after.revision
    );
    let weights = weights_of(&after);
    for service in weights_of(&before) {
        ensure!(weights.contains(&service), "{service:?} is not in {weights:?}");
    }
    all_blue(scenario)?;
    let rounds = held.rounds() + 2;
    canary_tests::lab::wait_for("long connections to exchange data", TIMEOUT, || {
        Ok(held.rounds() >= rounds)
    })?;
    let broken = held.end()?;
    ensure!(broken.is_empty(), "long connections broke: {broken:?}");
    Ok(())
}

/// Weights by service, in their order.
fn weights_of(status: &Status) -> Vec<(String, Vec<f64>)> {
    let weights = |service: &Service| service.splits.iter().map(|split| split.weight).collect();
    status.services.iter().map(|service| (service.service.clone(), weights(service))).collect()
}

/// Wants that new connections reach the first subset, every one.
fn all_blue(scenario: &Scenario<'_>) -> Result<()> {
    let client = &scenario.client.namespace;
    let answers = connect_many(client, TCP4.protocol, TCP4.frontend(), 100, TIMEOUT)?;
    ensure!(answers.of("blue") == 100, "{answers:?}");
    Ok(())
}

/// What the agent has logged so far.
fn log(lab: &Lab) -> Result<String> {
    fs::read_to_string(lab.agent_log()).context("read the agent's log")
}

/// `FILE:PLACE: ` as every refusal starts.
fn at(path: &Path, place: &str) -> String {
    format!("{}:{place}: ", path.display())
}
