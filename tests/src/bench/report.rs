//! The figures, for people and for programs, and the bars.

use anyhow::Result;
use serde::Serialize;

use super::Costs;
use super::case::{Case, Hook, Kind};
use super::sample::Samples;
use super::weights::Weights;

/// What a weight change may cost in the tables, at p99.
const WEIGHT_CHANGE_US: f64 = 20.0;
/// What it may take until a new connection follows it, at p99.
const FIRST_CONNECTION_MS: f64 = 20.0;

/// What was measured with some number of flows.
#[derive(Debug)]
pub(crate) struct Report {
    flows: u32,
    pub(super) costs: Costs,
    pub(crate) cases: Vec<(Case, Samples)>,
}

/// What a weight change costs.
#[derive(Debug)]
pub(super) struct WeightChange {
    /// In the agent, with a thousand other services.
    pub(super) weights: Weights,
    /// Milliseconds from the command to a connection by the new split.
    pub(super) first_connection: Samples,
}

#[derive(Serialize)]
struct Document {
    floor_ns: f64,
    h_ns: f64,
    lru_insert_ns: f64,
    cases: Vec<Entry>,
    weight_change: WeightEntry,
}

#[derive(Serialize)]
struct Entry {
    name: String,
    net_ns: f64,
    in_h: f64,
}

#[derive(Serialize)]
struct WeightEntry {
    tables_us_p99: f64,
    first_connection_ms_p99: f64,
}

impl Report {
    pub(crate) fn new(flows: u32, cases: &[Case]) -> Self {
        let cases = cases.iter().map(|case| (*case, Samples::default())).collect();
        Self { flows, costs: Costs::default(), cases }
    }

    fn h(&self) -> f64 {
        self.costs.hash_lookup.median()
    }

    fn document(&self, change: &WeightChange) -> Document {
        let entry = |(case, samples): &(Case, Samples)| Entry {
            name: case.name(),
            net_ns: round(samples.median()),
            in_h: round(samples.median() / self.h()),
        };
        Document {
            floor_ns: round(self.costs.xdp_floor.median()),
            h_ns: round(self.h()),
            lru_insert_ns: round(self.costs.lru_insert.median()),
            cases: self.cases.iter().map(entry).collect(),
            weight_change: WeightEntry {
                tables_us_p99: round(change.weights.tables.quantile(0.99)),
                first_connection_ms_p99: round(change.first_connection.quantile(0.99)),
            },
        }
    }

    /// What a case may cost at one flow, in nanoseconds of this run.
    fn bar(&self, case: Case) -> Option<f64> {
        let h = self.h();
        match (case.hook, case.kind) {
            // Its lookups are of keys that nobody has used before, and so is the H of its bar.
            (_, Kind::Syn) => {
                let h = self.costs.hash_miss.median();
                Some(2.5_f64.mul_add(h, self.costs.lru_insert.median()))
            }
            (Hook::Xdp, Kind::Established) => Some(2.0 * h),
            (Hook::Xdp, Kind::NotOurs) => Some(0.4 * h),
            (Hook::Tcx, Kind::Established) if case.transport.is_v6 => Some(5.5 * h),
            (Hook::Tcx, Kind::Established) => Some(4.5 * h),
            _ => None,
        }
    }
}

fn round(ns: f64) -> f64 {
    (ns * 100.0).round() / 100.0
}

/// Prints all; bars of packets are judged at one flow.
#[expect(clippy::print_stdout, reason = "the report is this program's result")]
pub(crate) fn print(one: &Report, many: &Report, change: &WeightChange, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(&one.document(change))?);
        return Ok(());
    }
    for report in [one, many] {
        print_packets(report);
    }
    println!("a weight change with {} other services, us", super::weights::OTHERS);
    println!("  {}", spread("in the tables", &change.weights.tables, Some(WEIGHT_CHANGE_US)));
    println!("  {}", spread("planning before", &change.weights.planning, None));
    println!("from `split set` to the first connection by the new split, ms");
    println!(
        "  {}",
        spread("command and all", &change.first_connection, Some(FIRST_CONNECTION_MS))
    );
    println!("Not measured: native XDP restores nothing, so there is no xdp-restore.");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the report is this program's result")]
fn print_packets(report: &Report) {
    let plural = if report.flows == 1 { "" } else { "s" };
    println!("{} flow{plural}, ns (quartiles)", report.flows);
    let costs = &report.costs;
    for (name, samples) in [
        ("floor, XDP", &costs.xdp_floor),
        ("floor, tcx", &costs.tc_floor),
        ("H: one 12-byte hash lookup", &costs.hash_lookup),
        ("H of new keys", &costs.hash_miss),
        ("LRU lookup", &costs.lru_lookup),
        ("LRU insert, new keys", &costs.lru_insert),
    ] {
        println!("  {name:<28}{}", figures(samples));
    }
    println!("  {:<28}{:>8}{:>16}{:>8}{:>10}", "net of the floor", "ns", "quartiles", "H", "bar");
    for (case, samples) in &report.cases {
        let in_h = samples.median() / report.h();
        let bar = report.bar(*case).filter(|_| report.flows == 1);
        let verdict = bar.map_or_else(String::new, |bar| {
            format!("{bar:>9.0}  {}", verdict(samples.median(), bar))
        });
        println!("  {:<28}{}{in_h:>8.2}{verdict}", case.name(), figures(samples));
    }
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

fn figures(samples: &Samples) -> String {
    let [low, high] = samples.quartiles();
    let quartiles = format!("{low:.1} to {high:.1}");
    format!("{:>8.1}{quartiles:>16}", samples.median())
}
