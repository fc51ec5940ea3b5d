//! The figures, for people and for programs, and the bars.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Write, stdout};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::case::{Case, Hook, Kind};
use super::probe::Speed;
use super::rounds::{Pace, Row};
use super::sample::Samples;
use super::weights::Weights;

/// What a weight change may cost in the tables, at p99.
const WEIGHT_CHANGE_US: f64 = 20.0;
/// What it may take until a new connection follows it, at p99.
const FIRST_CONNECTION_MS: f64 = 20.0;

/// A case of this build, and of another one if there was one and it knows the case.
#[derive(Debug)]
pub(super) struct Comparison {
    pub(super) row: Row,
    pub(super) beside: Option<Row>,
    /// The first's time in terms of the second's, turn by turn.
    pub(super) ratio: Option<Samples>,
}

/// What a weight change costs.
#[derive(Debug)]
pub(super) struct WeightChange {
    /// In the agent, with a thousand other services.
    pub(super) weights: Weights,
    /// Milliseconds from the command to a connection by the new split.
    pub(super) first_connection: Samples,
}

/// A line of `--json`.
#[derive(Serialize)]
struct Line<'r> {
    #[serde(flatten)]
    row: &'r Row,
    #[serde(skip_serializing_if = "Option::is_none")]
    beside: Option<&'r Row>,
    /// Lower quartile, median and upper quartile.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<[f64; 3]>,
}

/// Where the lines of `--json` go.
pub(super) enum Lines {
    Nowhere,
    Output,
    File(File),
}

impl Lines {
    /// `-` is the standard output.
    pub(super) fn open(path: Option<&Path>) -> Result<Self> {
        match path {
            None => Ok(Self::Nowhere),
            Some(path) if path.as_os_str() == "-" => Ok(Self::Output),
            Some(path) => File::create(path)
                .with_context(|| format!("create {}", path.display()))
                .map(Self::File),
        }
    }

    /// Whether the output is for programs.
    pub(super) fn take_the_output(&self) -> bool {
        matches!(self, Self::Output)
    }

    pub(super) fn write(&mut self, value: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_string(value)?;
        line.push('\n');
        match self {
            Self::Nowhere => return Ok(()),
            Self::Output => {
                stdout().write_all(line.as_bytes())?;
                stdout().flush()
            }
            Self::File(file) => file.write_all(line.as_bytes()),
        }
        .context("write a row")
    }
}

impl Comparison {
    pub(super) fn write(&self, lines: &mut Lines) -> Result<()> {
        let ratio = self.ratio.as_ref().map(|ratio| {
            let [low, high] = ratio.quartiles();
            [low, ratio.median(), high]
        });
        lines.write(&Line { row: &self.row, beside: self.beside.as_ref(), ratio })
    }
}

/// The part of the other build's time that a case may take, where that is the release before the
/// flow table of issue 8.
fn bar(case: Case) -> Option<f64> {
    match (case.hook, case.kind, case.count) {
        (Hook::Xdp, Kind::Established | Kind::Push, 1) => Some(0.65),
        (Hook::Xdp, Kind::Established | Kind::Push, 65_536) => Some(0.70),
        (Hook::Xdp, Kind::Established | Kind::Push, _) => Some(0.85),
        (_, Kind::SynRoom, _) => Some(1.0),
        (_, Kind::SynFull, _) => Some(0.7),
        (_, Kind::NotOurs, 1) => Some(0.40),
        (_, Kind::NotOurs, _) => Some(0.10),
        (Hook::Tcx, Kind::Established | Kind::Push | Kind::Restore, _) => Some(0.65),
        _ => None,
    }
}

/// Prints the heading of the cases.
#[expect(clippy::print_stdout, reason = "the report is this program's result")]
pub(super) fn print_heading(best: Speed) {
    println!(
        "ns of one packet, net of making it; `shared` where the core never was whole for long"
    );
    println!("the best probe so far: {}", probe(best));
    println!("{:<28}{:>8}{:>16}{:>6}{:>6}  {:<8}", "", "ns", "quartiles", "kept", "of", "speed");
}

/// Prints a case as soon as it is known.
#[expect(clippy::print_stdout, reason = "the report is this program's result")]
pub(super) fn print(case: Case, comparison: &Comparison) {
    let Comparison { row, beside, ratio } = comparison;
    let beside = match (beside, ratio) {
        (Some(beside), Some(ratio)) => {
            let [low, high] = beside.quartiles_ns;
            let quartiles = format!("{low:.1} to {high:.1}");
            let [low, high] = ratio.quartiles();
            let median = ratio.median();
            let bar = bar(case)
                .map(|bar| format!(", bar {bar:.2} {}", verdict(median, bar)))
                .unwrap_or_default();
            let ratio = if ratio.is_empty() {
                "no turn in which both were undisturbed".to_owned()
            } else {
                format!("x {median:.2} ({low:.2} to {high:.2}){bar}")
            };
            format!("  beside {:>7.1}{quartiles:>16}  {ratio}", beside.median_ns)
        }
        _ => String::new(),
    };
    let [low, high] = row.quartiles_ns;
    let quartiles = format!("{low:.1} to {high:.1}");
    let speed = match row.speed {
        Pace::Whole => "whole",
        Pace::Shared => "shared",
        Pace::None => "none",
    };
    println!(
        "{:<28}{:>8.1}{quartiles:>16}{:>6}{:>6}  {speed:<8}{beside}",
        row.case,
        row.median_ns,
        row.kept,
        row.kept.saturating_add(row.dropped),
    );
}

/// Prints what all cases together say.
#[expect(clippy::print_stdout, reason = "the report is this program's result")]
pub(super) fn print_end(comparisons: &[Comparison], best: Speed) {
    let mut speeds = BTreeMap::new();
    let (mut kept, mut dropped) = (0, 0);
    for Comparison { row, .. } in comparisons {
        let count: &mut u32 = speeds.entry(format!("{:?}", row.speed).to_lowercase()).or_default();
        *count = count.saturating_add(1);
        kept += row.kept;
        dropped += row.dropped;
    }
    println!("the best probe: {}", probe(best));
    println!("cases by speed: {speeds:?}; {kept} samples kept, {dropped} dropped");
    println!("Not measured: native XDP restores nothing, so there is no xdp-restore.");
}

fn probe(speed: Speed) -> String {
    format!(
        "{:.3} ns a dependent addition, {:.3} ns an independent one",
        speed.dependent, speed.independent
    )
}

/// Prints what a weight change costs.
#[expect(clippy::print_stdout, reason = "the report is this program's result")]
pub(super) fn print_change(change: &WeightChange) {
    println!("a weight change with {} other services, us", super::weights::OTHERS);
    println!("  {}", spread("in the tables", &change.weights.tables, Some(WEIGHT_CHANGE_US)));
    println!("  {}", spread("planning before", &change.weights.planning, None));
    println!("from `split set` to the first connection by the new split, ms");
    println!(
        "  {}",
        spread("command and all", &change.first_connection, Some(FIRST_CONNECTION_MS))
    );
}

fn verdict(measured: f64, bar: f64) -> &'static str {
    if measured <= bar { "met" } else { "NOT MET" }
}

/// The middle and the worst, for what is judged at p99.
fn spread(name: &str, samples: &Samples, bar: Option<f64>) -> String {
    let p99 = samples.quantile(0.99);
    let [low, high] = samples.quartiles();
    let bar = bar.map_or_else(String::new, |bar| format!(", bar {bar}  {}", verdict(p99, bar)));
    format!(
        "{name:<28}{:>8.1} ({low:.1} to {high:.1}), p99 {p99:.1}, most {:.1}{bar}",
        samples.median(),
        samples.quantile(1.0),
    )
}
