//! Two builds of this program in one run: a process each, which take turns.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::case::Case;
use super::probe::Speed;
use super::report::Comparison;
use super::rounds::{Rounds, Sample};
use super::{LOADS, Options, alone};

/// A build with one case loaded. It takes a turn for each line that it reads.
struct Build {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Build {
    /// Starts `program`; without `object` it takes the one that lies beside it.
    fn start(program: &Path, object: Option<&Path>, case: Case, options: &Options) -> Result<Self> {
        let mut command = Command::new(program);
        command.env_remove("CANARY_BENCH_OBJECT").args(["packet", "--case", &case.name()]);
        if let Some(object) = object {
            command.arg("--object").arg(object);
        }
        if let Some(runs) = options.runs {
            command.args(["--runs", &runs.to_string()]);
        }
        command.args(["--paced", "--json", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("start {}", program.display()))?;
        let input = child.stdin.take().context("a pipe to the build")?;
        let output = BufReader::new(child.stdout.take().context("a pipe from the build")?);
        Ok(Self { child, input, output })
    }

    /// A turn; `None` if the build has ended, as one that does not know the case.
    fn turn(&mut self) -> Result<Option<Vec<Sample>>> {
        if self.input.write_all(b"\n").is_err() {
            return Ok(None);
        }
        let mut line = String::new();
        self.output.read_line(&mut line).context("read a turn")?;
        if line.is_empty() {
            return Ok(None);
        }
        serde_json::from_str(&line).with_context(|| format!("understand {line:?}")).map(Some)
    }

    /// Ends it; `false` if it was not content with what it measured.
    fn finish(mut self) -> Result<bool> {
        drop(self.input);
        Ok(self.child.wait().context("wait for the build")?.success())
    }
}

/// A case of this build and the other one, by turns.
pub(super) fn compare(
    options: &Options,
    other: &Path,
    case: Case,
    best: &mut Speed,
) -> Result<Comparison> {
    let mut pairs = Vec::new();
    for _ in 0..LOADS {
        let Some(pair) = load_and_compare(options, other, case, best)? else {
            return alone(options, case, best);
        };
        pairs.push(pair);
    }
    let rounds = Rounds::join(pairs);
    Ok(Comparison {
        row: rounds.row(case, *best, 0),
        beside: Some(rounds.row(case, *best, 1)),
        ratio: Some(rounds.ratios(*best)),
    })
}

/// The turns of one load of both; `None` if the other build does not know the case.
fn load_and_compare(
    options: &Options,
    other: &Path,
    case: Case,
    best: &mut Speed,
) -> Result<Option<Rounds<2>>> {
    let own = env::current_exe().context("find this program")?;
    let mut ours = Build::start(&own, Some(&options.object()?), case, options)?;
    let mut theirs = Build::start(other, None, case, options)?;
    // Both are loaded and have filled their tables once they have answered.
    ensure!(ours.turn()?.is_some(), "{}: this build does not measure it", case.name());
    let rounds = if theirs.turn()?.is_some() {
        let ended = || format!("{}: a build ended early", case.name());
        Some(Rounds::measure(options.rounds_of_a_load(), best, || {
            let ours = ours.turn()?.with_context(ended)?;
            Ok([ours, theirs.turn()?.with_context(ended)?])
        })?)
    } else {
        None
    };
    ensure!(ours.finish()?, "{}: this build failed", case.name());
    let content = theirs.finish()?;
    ensure!(content || rounds.is_none(), "{}: {} failed", case.name(), other.display());
    Ok(rounds)
}
