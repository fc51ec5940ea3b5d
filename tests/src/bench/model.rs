//! What Consul's model costs at size: compiling, filtering, writing, waiting.

mod agent;
mod texts;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use canary_userspace::catalog::Registered;
use canary_userspace::compile::compile;
use canary_userspace::entry::Entry;
use canary_userspace::filter::Filter;
use canary_userspace::snapshot::Snapshot;
use canary_userspace::source::{Definitions, files};

use super::sample::Samples;

/// Services that everything is measured with.
pub(super) const SERVICES: u32 = 5_000;
/// Instances of each.
pub(super) const INSTANCES: u32 = 20;
/// Instances that a filter is tried on.
const FILTERED: usize = 10_000;
/// Ten terms that are all asked of every instance.
const FILTER: &str = "Service.Meta.version != 1 and Service.Meta.zone == a and v4 not in Service.Tags \
                      and Service.Port == 8080 and Service.Meta.absent != x and Node.Meta.rack != 7 \
                      and Service.Meta.version matches `^[0-9]+$` and Service.Service contains service \
                      and Service.Tags is not empty and Service.ID != none";

/// How `measure model` is asked.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Times that each thing is done
    #[arg(long, default_value_t = 11)]
    rounds: u32,
    /// Leave out what needs a lab and a running agent
    #[arg(long)]
    offline: bool,
}

/// One line of the report.
struct Figure {
    name: &'static str,
    unit: &'static str,
    samples: Samples,
    /// Which of them is judged: 0.5 is the median.
    quantile: f64,
    bar: f64,
}

/// Measures, and prints what came out.
///
/// # Errors
///
/// If something refuses what it should take.
#[expect(clippy::print_stdout, reason = "the report is this program's result")]
pub fn model(options: &Options) -> Result<()> {
    println!("{SERVICES} services of {INSTANCES} instances, each with a resolver and a splitter");
    let snapshot = snapshot()?;
    for figure in [cold(&snapshot, options.rounds)?, filter(&snapshot, options.rounds)?] {
        figure.print();
    }
    drop(snapshot);
    if options.offline {
        return Ok(());
    }
    agent::measure()
}

impl Figure {
    #[expect(clippy::print_stdout, reason = "the report is this program's result")]
    fn print(&self) {
        let judged = self.samples.quantile(self.quantile);
        let [low, high] = self.samples.quartiles();
        let verdict = if judged <= self.bar { "met" } else { "NOT MET" };
        println!(
            "  {:<52}{:>9.2} {:<4}({low:.2} to {high:.2}), p99 {:.2}, bar {} at p{}: {verdict}",
            self.name,
            self.samples.median(),
            self.unit,
            self.samples.quantile(0.99),
            self.bar,
            self.quantile * 100.0,
        );
    }
}

/// Everything as the files source would read it.
fn snapshot() -> Result<Snapshot> {
    let read: Vec<_> = texts::all()
        .map(|(path, text)| canary_userspace::store::SourceFile { path, content: text.into() })
        .collect();
    let set = files::decode(&read).map_err(|errors| anyhow!("{errors:?}"))?;
    Ok(in_force(set))
}

fn in_force(set: Definitions) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for ((_, name), sourced) in set.entries {
        match sourced.value.clone() {
            Entry::Resolver(value) => {
                snapshot.resolvers.insert(name, Arc::new(sourced.map(|_| value)));
            }
            Entry::Splitter(value) => {
                snapshot.splitters.insert(name, Arc::new(sourced.map(|_| value)));
            }
            Entry::Defaults(_) | Entry::Proxy(_) => {}
        }
    }
    let registered = |sourced: canary_userspace::catalog::Sourced<_>| {
        Arc::new(Registered {
            node: snapshot.node.clone(),
            checks: Box::default(),
            instance: sourced.value,
            origin: sourced.origin,
            health: canary_userspace::catalog::Health::Passing,
        })
    };
    let mut instances: Vec<_> = set.instances.into_values().map(registered).collect();
    let key = |r: &Arc<Registered>| (r.instance.service.clone(), r.instance.id.clone());
    instances.sort_by_key(key);
    snapshot.instances = Arc::new(instances);
    snapshot
}

/// From a snapshot to what the tables shall hold, with nothing known before.
fn cold(snapshot: &Snapshot, rounds: u32) -> Result<Figure> {
    let claims = BTreeMap::new();
    let mut samples = Samples::default();
    for _ in 0..rounds {
        let start = Instant::now();
        let compiled = compile(black_box(snapshot), &claims);
        samples.add(milliseconds(start.elapsed()));
        ensure!(compiled.refused.is_empty(), "{:?}", compiled.refused.first());
        let services = u32::try_from(compiled.desired.services.len())?;
        ensure!(services == SERVICES, "{services} services of {SERVICES}");
    }
    let name = "compile all from cold";
    Ok(Figure { name, unit: "ms", samples, quantile: 0.5, bar: 1_000.0 })
}

/// One filter on many instances.
fn filter(snapshot: &Snapshot, rounds: u32) -> Result<Figure> {
    let filter = Filter::parse(FILTER)?;
    filter.check().map_err(|text| anyhow!(text))?;
    let mut samples = Samples::default();
    for _ in 0..rounds {
        let start = Instant::now();
        let chosen = snapshot.instances.iter().take(FILTERED).filter(|one| filter.matches(one));
        let chosen = black_box(chosen.count());
        samples.add(milliseconds(start.elapsed()));
        // Else the first terms would answer for all.
        ensure!(chosen == FILTERED, "{chosen} of {FILTERED} pass");
    }
    let name = "a filter of ten terms on 10,000 instances";
    Ok(Figure { name, unit: "ms", samples, quantile: 0.5, bar: 20.0 })
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
