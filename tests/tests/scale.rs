//! A thousand services of ten instances: what the agent costs with them.

use std::{
    fmt::Write as _,
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use canary_tests::lab::{Agent, AgentOptions, Gate, Lab};

const SERVICES: u32 = 1000;
const INSTANCES: u32 = 10;

/// Services with a resolver and a splitter.
const SPLIT: u32 = 100;

/// From the start of the process until the first revision is in force. Processor time, for what
/// else runs on the machine is not the agent's doing. Half of it is the kernel's, which verifies the
/// programs. Machines differ by more than two, so this finds only what has become far too much.
const READY: Duration = Duration::from_secs(2);

/// Memory of its own that the agent may hold.
const MEMORY_KIB: u64 = 40 * 1024;

/// Processor time of one change of weights, on the agent's side.
const CHANGE: Duration = Duration::from_millis(10);

/// Reloads with another service each: memory must not creep up.
const RELOADS: u32 = 8;

/// Changes that are measured.
const CHANGES: u32 = 100;

#[test]
fn a_thousand_services_are_within_the_bars() -> Result<()> {
    let _alone = Gate::alone()?;
    let lab = Lab::new("scale")?;
    let options = (0..SERVICES).fold(AgentOptions::default(), |options, number| {
        let options = options.file(format!("s{number}.hcl"), services(number));
        if number >= SPLIT {
            return options;
        }
        options
            .file(format!("r{number}.hcl"), resolver(number))
            .file(format!("w{number}.hcl"), splitter(number))
    });

    let (agent, wall) = timed(|| lab.agent(options))?;
    println!("{}", within(&agent, "start", wall)?);
    ensure!(lab.status()?.services.len() == usize::try_from(SERVICES)?, "services are missing");

    lab.ctl(&["reload"])?;
    let mut most = memory(&agent)?;
    println!("after a reload: RssAnon {most} KiB");
    for number in 0..RELOADS {
        let file = lab.config_directory().join(format!("s{number}.hcl"));
        fs::write(file, services(SERVICES + number))?;
        lab.ctl(&["reload"])?;
        most = most.max(memory(&agent)?);
    }
    println!("most after {RELOADS} reloads with a change: RssAnon {most} KiB");

    let each = changes(&lab, &agent)?;
    println!("split set: {each:?} of processor time each");

    agent.kill9()?;
    let ((), wall) = timed(|| agent.restart())?;
    println!("{}", within(&agent, "restart", wall)?);
    ensure!(each <= CHANGE, "a change of weights takes {each:?}, more than {CHANGE:?}");
    ensure!(most <= MEMORY_KIB, "RssAnon is {most} KiB after a reload, more than {MEMORY_KIB}");
    lab.detach(&["--stop"]).map(drop)
}

/// Holds an agent that has just become ready against the bars.
fn within(agent: &Agent<'_>, what: &str, wall: Duration) -> Result<String> {
    let (ready, memory) = (processor_time(agent)?, memory(agent)?);
    ensure!(ready <= READY, "{what}: {ready:?} until it is ready, more than {READY:?}");
    ensure!(memory <= MEMORY_KIB, "{what}: RssAnon is {memory} KiB, more than {MEMORY_KIB}");
    Ok(format!(
        "{what}: ready after {ready:?} of processor time, {wall:?} in all; RssAnon {memory} KiB"
    ))
}

/// Processor time of a change of weights.
fn changes(lab: &Lab, agent: &Agent<'_>) -> Result<Duration> {
    let before = processor_time(agent)?;
    let revision = lab.status()?.revision;
    for number in 0..CHANGES {
        let green = format!("green={}", number % 50);
        let blue = format!("blue={}", 100 - number % 50);
        // The first ones have left with the reloads.
        lab.set_split(&name(RELOADS + number % (SPLIT - RELOADS)), &[&blue, &green])?;
    }
    let changed = lab.status()?.revision - revision;
    ensure!(changed == u64::from(CHANGES), "{changed} revisions of {CHANGES} changes");
    Ok(processor_time(agent)?.saturating_sub(before) / CHANGES)
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let start = Instant::now();
    Ok((work()?, start.elapsed()))
}

/// Processor time of all threads of the agent so far.
fn processor_time(agent: &Agent<'_>) -> Result<Duration> {
    let mut total = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{}/task", agent.process().id()))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let on_processor = text.split(' ').next().context("an empty schedstat")?;
        total += Duration::from_nanos(on_processor.parse()?);
    }
    Ok(total)
}

/// Anonymous memory of the agent, in KiB.
fn memory(agent: &Agent<'_>) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{}/status", agent.process().id()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
    line.trim().trim_end_matches(" kB").parse().context("RssAnon is no number")
}

fn name(number: u32) -> String {
    format!("service-{number}")
}

fn services(number: u32) -> String {
    let name = name(number);
    let [.., high, low] = number.to_be_bytes();
    let mut text = String::new();
    for instance in 0..INSTANCES {
        let version = if instance % 2 == 0 { 2 } else { 3 };
        let _ = write!(
            text,
            "service {{\n  name = \"{name}\"\n  id = \"{name}-{instance}\"\n  \
             address = \"10.{}.{high}.{low}\"\n  port = 8080\n  tags = [\"v{version}\"]\n  \
             meta {{ version = \"{version}\" }}\n  tagged_addresses {{ virtual {{ \
             address = \"10.96.{high}.{low}\" port = 80 }} }}\n}}\n",
            128 + instance,
        );
    }
    text
}

fn resolver(number: u32) -> String {
    format!(
        "kind = \"service-resolver\"\nname = \"{}\"\ndefault_subset = \"blue\"\nsubsets = {{\n  \
         blue = {{ filter = \"Service.Meta.version == 2\" }}\n  \
         green = {{ filter = \"Service.Meta.version == 3\" }}\n}}\n",
        name(number)
    )
}

fn splitter(number: u32) -> String {
    format!(
        "kind = \"service-splitter\"\nname = \"{}\"\nsplits = [\n  \
         {{ weight = 50, service_subset = \"blue\" }},\n  \
         {{ weight = 50, service_subset = \"green\" }},\n]\n",
        name(number)
    )
}
