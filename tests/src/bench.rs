//! What one packet costs: the programs on packets made anew, against one hash lookup.

mod case;
mod first;
pub mod model;
mod report;
mod rig;
mod sample;
mod tables;
mod weights;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare};
use nix::unistd::Pid;

use self::case::Case;
use self::report::{Report, WeightChange};
use self::rig::Rig;
use self::sample::Samples;

/// How `measure packet` is asked.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// The BPF object with the benchmark's programs
    #[arg(long, env = "CANARY_BENCH_OBJECT")]
    object: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// Interleaved rounds: a figure is the median of so many
    #[arg(long, default_value_t = 101)]
    rounds: u32,
    /// Runs of a program in a round
    #[arg(long, default_value_t = 20_000)]
    runs: u32,
    /// Only cases whose name contains this
    #[arg(long, default_value = "")]
    only: String,
}

/// Measures, and prints what came out.
///
/// # Errors
///
/// If the kernel refuses something, or a program did not do to its packet what its case says.
pub fn packet(options: &Options) -> Result<()> {
    // Its programs run on all processors, in namespaces of the machine's.
    let first_connection = first::measure()?;
    prepare_process()?;
    let one = measure(options, 1)?;
    let many = measure(options, 65_536)?;
    let weights = weights::measure(Path::new(rig::BPFFS).join("weights"))?;
    report::print(&one, &many, &WeightChange { weights, first_connection }, options.json)
}

/// One processor, and namespaces of our own that go with the process: a bpffs that nobody else
/// sees, and no interface but a loopback that is down.
fn prepare_process() -> Result<()> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).context("ask for the processors")?;
    let first = (0..CpuSet::count()).find(|&cpu| allowed.is_set(cpu).unwrap_or(false));
    let mut only = CpuSet::new();
    only.set(first.context("no processor is allowed")?)?;
    sched_setaffinity(Pid::from_raw(0), &only).context("stay on one processor")?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
        .context("leave the namespaces (are you root?)")?;
    rig::mount_bpffs()
}

/// Every figure with so many flows.
fn measure(options: &Options, flows: u32) -> Result<Report> {
    let mut rig = Rig::load(&options.object, flows)?;
    let cases: Vec<Case> =
        Case::all().into_iter().filter(|case| case.name().contains(&options.only)).collect();
    for case in &cases {
        rig.check(*case)?;
    }
    let mut report = Report::new(flows, &cases);
    for round in 0..options.rounds {
        let first = u64::from(round).wrapping_mul(u64::from(options.runs));
        rig.costs(&mut report.costs, first, options.runs)?;
        for (case, samples) in &mut report.cases {
            samples.add(rig.net(*case, first, options.runs)?);
        }
    }
    Ok(report)
}

/// What everything is compared with.
#[derive(Debug, Default)]
struct Costs {
    xdp_floor: Samples,
    tc_floor: Samples,
    hash_lookup: Samples,
    hash_miss: Samples,
    lru_lookup: Samples,
    lru_insert: Samples,
}
