//! A client of the node itself: joins the lab's cgroup, asks, and prints who answered.

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use anyhow::Result;
use canary_tests::{
    lab::cgroup,
    workload::{Protocol, client::connect_here},
};
use clap::Parser;

/// Asks a server for its name, each time anew.
#[derive(Debug, Parser)]
struct Arguments {
    /// Cgroup to join first.
    #[arg(long)]
    cgroup: PathBuf,
    /// What it speaks.
    #[arg(long, value_enum)]
    protocol: Protocol,
    /// Whom it asks.
    #[arg(long)]
    target: SocketAddr,
    /// How often.
    #[arg(long)]
    count: u64,
    /// How long it waits for an answer.
    #[arg(long)]
    timeout_ms: u64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    cgroup::join(&arguments.cgroup, 0)?;
    let timeout = Duration::from_millis(arguments.timeout_ms);
    let answers = connect_here(arguments.protocol, arguments.target, arguments.count, timeout)?;
    Ok(writeln!(io::stdout(), "{}", serde_json::to_string(&answers)?)?)
}
