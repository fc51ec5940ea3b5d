//! Shows a canary release from start to end in a lab of network namespaces.

use std::{
    io::{self, Write},
    panic,
    path::PathBuf,
    process::ExitCode,
};

use canary_tests::{
    demo,
    lab::{binaries, undo},
};
use clap::Parser;

/// Plays the tutorial's story with the real agent; needs root.
#[derive(Debug, Parser)]
struct Arguments {
    /// Print one JSON document; the story goes to standard error
    #[arg(long)]
    json: bool,
    /// Leave the lab up and print a command that opens a shell in it
    #[arg(long)]
    keep: bool,
    /// Directory of canary-agent and canaryctl
    #[arg(long, value_name = "DIR", env = "CANARY_BIN_DIR")]
    bin_dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    let Arguments { json, keep, bin_dir } = Arguments::parse();
    if let Some(directory) = bin_dir {
        binaries::set_directory(directory);
    }
    // A release build does not unwind, and a lab must not outlive its process.
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        report(info);
        undo::run_all();
    }));
    match demo::run(demo::Options { json, keep }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
