//! What a person types: set up, build, test, measure.

#![expect(clippy::print_stderr, reason = "telling what it does is this program's job")]

mod build;
mod check;
mod elf;
mod packages;
mod step;
mod test;
mod toolchain;
mod tools;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// Builds, tests and shows the load balancer; each verb installs what it needs.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Find or install the BPF compiler, bpf-linker and the programs the tests call
    ///
    /// Preferred is Debian's packaged compiler, which ships `core` for BPF (rustc-web and
    /// libstd-rust-web-dev-bpf). Where apt has no such package, nightly with rust-src is
    /// used; that way is kept working by reading, it runs in no test of this project.
    Setup,
    /// Leave `canary-agent` and `canaryctl`, static and whole, in target/release
    Build,
    /// Run every check and test; needs root
    Test {
        /// Also run what takes long, such as tests at full size
        #[arg(long)]
        long: bool,
    },
    /// Format, lints, house rules; cargo-deny and cargo-machete where they are installed
    Check,
    /// Compare verified instructions per BPF program with canary-ebpf/budgets.txt; needs root
    Verify {
        /// Write the budgets instead
        #[arg(long)]
        bless: bool,
    },
    /// Measure on this machine; needs root
    Bench {
        /// What to measure and its options, for the measuring program
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Show a canary release from start to end in a lab of network namespaces; needs root
    Demo {
        /// Print one JSON document instead of the story
        #[arg(long)]
        json: bool,
        /// Leave the lab up and print a command that opens a shell in it
        #[arg(long)]
        keep: bool,
    },
    /// Write docs/tables.md and docs/reasons.md
    Docs {
        /// Fail if they differ from what would be written
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<()> {
    let workspace = Workspace::find()?;
    match verb {
        Verb::Setup => test::setup(&workspace).map(drop),
        Verb::Build => build::run(&workspace),
        Verb::Test { long } => test::run(&workspace, long),
        Verb::Check => check::run(&workspace),
        Verb::Verify { bless } => tools::verify(&workspace, bless),
        Verb::Bench { args } => tools::bench(&workspace, &args),
        Verb::Demo { json, keep } => tools::demo(&workspace, json, keep),
        Verb::Docs { check } => tools::docs(&workspace, check),
    }
}
