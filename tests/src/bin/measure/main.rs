//! Measures the BPF programs: on the kernel at hand, and as they are built.

mod docs;
mod verify;

use std::process::ExitCode;

use anyhow::Result;
use canary_tests::bench;
use clap::{Parser, Subcommand};

/// Measures the BPF programs on the kernel at hand.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Instructions that the verifier walks to prove each program safe
    Verify(verify::Options),
    /// What a packet costs in each program, and a weight change in the tables
    Packet(bench::Options),
    /// What Consul's model costs at size: compiling, filtering, writing, waiting
    Model(bench::model::Options),
    /// What a pod's connection costs by packets, by a pick at connect time, and straight
    Ways(bench::ways::Options),
    /// Pages of the documentation that are drawn from the code
    Docs(docs::Options),
}

#[expect(clippy::print_stderr, reason = "an error is this program's last word")]
fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    match &cli.what {
        What::Verify(options) => verify::run(options),
        What::Packet(options) => bench::packet(options),
        What::Model(options) => bench::model::model(options),
        What::Ways(options) => bench::ways::ways(options),
        What::Docs(options) => docs::run(options),
    }
}
