//! What one packet costs: the programs on packets made anew, alone or beside another build.

mod beside;
mod case;
mod filled;
mod first;
pub mod model;
mod probe;
mod report;
mod rig;
mod rounds;
mod sample;
mod tables;
pub mod ways;
mod weights;

use std::env;
use std::io::stdin;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare};
use nix::unistd::Pid;

use self::case::Case;
use self::probe::Speed;
use self::report::{Comparison, Lines, WeightChange};
use self::rig::Rig;
use self::rounds::Rounds;

/// The object's name where it lies beside a program that was copied away.
const OBJECT: &str = "canary-bench.o";

/// Loads of a case. Where its programs and tables lie in memory makes 5 % and more of its time, so
/// that one load says little of a build.
const LOADS: usize = 3;

/// How `measure packet` is asked.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// The BPF object with the benchmark's programs [default: canary-bench.o beside this program]
    #[arg(long, env = "CANARY_BENCH_OBJECT")]
    object: Option<PathBuf>,
    /// Write a JSON line a case into this file, or to the output alone for `-`
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Samples at the processor's whole speed that a figure is the median of
    #[arg(long, default_value_t = 101)]
    rounds: usize,
    /// Runs of a program in a sample [default: 4000]
    #[arg(long)]
    runs: Option<u32>,
    /// Only cases whose name contains one of these, and no weight change
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only the case of this name, and no weight change
    #[arg(long)]
    case: Option<String>,
    /// Print the names of the cases
    #[arg(long)]
    list: bool,
    /// Another build of this program, with its canary-bench.o beside it, that takes turns with
    /// this one; the report is of both, and no weight change
    #[arg(long, value_name = "BINARY")]
    beside: Option<PathBuf>,
    /// Take one turn for each line that is read, and write its samples as a JSON line
    #[arg(long, requires = "case")]
    paced: bool,
}

impl Options {
    fn object(&self) -> Result<PathBuf> {
        if let Some(object) = &self.object {
            return Ok(object.clone());
        }
        let own = env::current_exe().context("find this program")?;
        let object = own.with_file_name(OBJECT);
        ensure!(object.exists(), "no --object, and no {} either", object.display());
        Ok(object)
    }

    fn cases(&self) -> Result<Vec<Case>> {
        if let Some(name) = &self.case {
            let case = Case::named(name).with_context(|| format!("no case {name}; see --list"))?;
            return Ok(vec![case]);
        }
        let mut cases = Case::all();
        cases.retain(|case| {
            let name = case.name();
            self.only.is_empty() || self.only.iter().any(|part| name.contains(part))
        });
        ensure!(!cases.is_empty(), "no case has a name like that; see --list");
        Ok(cases)
    }

    fn rounds_of_a_load(&self) -> usize {
        self.rounds.div_ceil(LOADS)
    }

    /// Whether a weight change is measured too.
    fn is_whole(&self) -> bool {
        self.only.is_empty() && self.case.is_none() && self.beside.is_none()
    }
}

/// Measures, and prints what came out.
///
/// # Errors
///
/// If the kernel refuses something, or a program did not do to its packet what its case says.
#[expect(clippy::print_stdout, reason = "the report is this program's result")]
pub fn packet(options: &Options) -> Result<()> {
    let cases = options.cases()?;
    if options.list {
        for case in cases {
            println!("{}", case.name());
        }
        return Ok(());
    }
    let mut lines = Lines::open(options.json.as_deref())?;
    // Its programs run on all processors, in namespaces of the machine's.
    let first_connection = options.is_whole().then(first::measure).transpose()?;
    prepare_process()?;
    if options.paced {
        return cases.into_iter().try_for_each(|case| paced(options, case, &mut lines));
    }
    packets(options, &cases, &mut lines)?;
    if let Some(first_connection) = first_connection {
        let weights = weights::measure(Path::new(rig::BPFFS).join("weights"))?;
        if !lines.take_the_output() {
            report::print_change(&WeightChange { weights, first_connection });
        }
    }
    Ok(())
}

/// One processor, and namespaces of our own that go with the process: a bpffs that no other
/// process sees, and no interface that a packet comes to.
fn prepare_process() -> Result<()> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).context("ask for the processors")?;
    let first = (0..CpuSet::count()).find(|&cpu| allowed.is_set(cpu).unwrap_or(false));
    let mut only = CpuSet::new();
    only.set(first.context("no processor is allowed")?)?;
    sched_setaffinity(Pid::from_raw(0), &only).context("stay on one processor")?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
        .context("leave the namespaces (are you root?)")?;
    rig::make_interfaces()?;
    rig::mount_bpffs()
}

/// Every case, each of this build alone or beside the other one.
fn packets(options: &Options, cases: &[Case], lines: &mut Lines) -> Result<()> {
    let mut best = Speed::search();
    if !lines.take_the_output() {
        report::print_heading(best);
    }
    let mut comparisons = Vec::new();
    for &case in cases {
        let comparison = match &options.beside {
            Some(other) => beside::compare(options, other, case, &mut best)?,
            None => alone(options, case, &mut best)?,
        };
        comparison.write(lines)?;
        if !lines.take_the_output() {
            report::print(case, &comparison);
        }
        comparisons.push(comparison);
    }
    if !lines.take_the_output() {
        report::print_end(&comparisons, best);
    }
    Ok(())
}

fn alone(options: &Options, case: Case, best: &mut Speed) -> Result<Comparison> {
    let mut loads = Vec::new();
    for _ in 0..LOADS {
        let mut rig = Rig::load(&options.object()?, case, options.runs)?;
        rig.turn()?;
        let wanted = options.rounds_of_a_load();
        loads.push(Rounds::measure(wanted, best, || Ok([rig.turn()?]))?);
        rig.finish()?;
    }
    let row = Rounds::join(loads).row(case, *best, 0);
    Ok(Comparison { row, beside: None, ratio: None })
}

/// A turn for each line of the input, until it ends.
fn paced(options: &Options, case: Case, lines: &mut Lines) -> Result<()> {
    let mut rig = Rig::load(&options.object()?, case, options.runs)?;
    for line in stdin().lines() {
        line.context("read when to measure")?;
        lines.write(&rig.turn()?)?;
    }
    rig.finish()
}
