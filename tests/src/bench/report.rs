//! The figures, for people and for programs, and the bars.

use anyhow::Result;
use serde::Serialize;

use super::Costs;
use super::case::{Case, Hook, Kind};
use super::sample::Samples;

/// What a weight change may cost in the tables, at p99.
const WEIGHT_CHANGE_US: f64 = 20.0;

/// What was measured with some number of flows.
#[derive(Debug)]
pub(crate) struct Report {
    flows: u32,
    pub(super) costs: Costs,
    pub(crate) cases: Vec<(Case, Samples)>,
}

#[derive(Serialize)]
struct Document {
    floor_ns: f64,
    h_ns: f64,
    lru_insert_ns: f64,
    cases: Vec<Entry>,
    weight_change: WeightChange,
}

#[derive(Serialize)]
struct Entry {
    name: String,
    net_ns: f64,
    in_h: f64,
}

#[derive(Serialize)]
struct WeightChange {
    tables_us_p99: f64,
    /// Not measured yet: `null`.
    first_connection_ms_p99: Option<f64>,
}

impl Report {
    pub(crate) fn new(flows: u32, cases: &[Case]) -> Self {
        let cases = cases.iter().map(|case| (*case, Samples::default())).collect();
        Self { flows, costs: Costs::default(), cases }
    }

    fn h(&self) -> f64 {
        self.costs.hash_lookup.median()
    }

    fn document(&self, weights: &Samples) -> Document {
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
            weight_change: WeightChange {
                tables_us_p99: round(weights.quantile(0.99)),
                first_connection_ms_p99: None,
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

/// Prints both; bars are judged at one flow.
#[expect(clippy::print_stdout, reason = "the report is this program's result")]
pub(crate) fn print(one: &Report, many: &Report, weights: &Samples, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(&one.document(weights))?);
        return Ok(());
    }
    for report in [one, many] {
        println!(
            "{} flow{}, ns (quartiles)",
            report.flows,
            if report.flows == 1 { "" } else { "s" }
        );
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
        println!(
            "  {:<28}{:>8}{:>16}{:>8}{:>10}",
            "net of the floor", "ns", "quartiles", "H", "bar"
        );
        for (case, samples) in &report.cases {
            let in_h = samples.median() / report.h();
            let verdict = match report.bar(*case).filter(|_| report.flows == 1) {
                None => String::new(),
                Some(bar) => {
                    let met = if samples.median() <= bar { "met" } else { "NOT MET" };
                    format!("{bar:>9.0}  {met}")
                }
            };
            println!("  {:<28}{}{in_h:>8.2}{verdict}", case.name(), figures(samples));
        }
    }
    let p99 = weights.quantile(0.99);
    let met = if p99 <= WEIGHT_CHANGE_US { "met" } else { "NOT MET" };
    println!(
        "a weight change in the tables: median {:.1} us, p99 {p99:.1} us, bar {WEIGHT_CHANGE_US}  {met}",
        weights.median()
    );
    println!("Not measured: native XDP restores nothing, so there is no xdp-restore; the time to");
    println!("the first connection by a new split.");
    Ok(())
}

fn figures(samples: &Samples) -> String {
    let [low, high] = samples.quartiles();
    let quartiles = format!("{low:.1} to {high:.1}");
    format!("{:>8.1}{quartiles:>16}", samples.median())
}
