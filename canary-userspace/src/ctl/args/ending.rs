//! Verbs and flags that end live connections.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use super::{DryRun, parse_duration};
use crate::sever::Rate;

/// What is taken for a pace.
const PACE: &str = "10%/s";

/// `sever`
#[derive(Debug, Args)]
pub struct Sever {
    /// The service; all of its connections that should not be, where nothing else is said: of
    /// splits without a share, and of backends that take no new ones
    pub service: String,
    /// Only connections of this subset, which must have no share
    #[arg(long, value_name = "SUBSET", conflicts_with = "backend")]
    pub subset: Option<String>,
    /// Only connections of this backend, which must take no new ones
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub backend: Option<SocketAddr>,
    /// How fast: 10%/s of those that are found, 50/s, or all
    #[arg(long, default_value = PACE)]
    pub rate: Rate,
    /// Only look.
    #[command(flatten)]
    pub dry_run: DryRun,
    /// Only show how far the last order for the service has come
    #[arg(long, conflicts_with_all = ["subset", "backend", "rate", "wanted", "wait"])]
    pub progress: bool,
    /// Wait until none is left
    #[arg(long, conflicts_with = "wanted")]
    pub wait: bool,
    /// How long to wait
    #[arg(long, requires = "wait", default_value = "60s", value_parser = parse_duration)]
    pub timeout: Duration,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `rollback`
#[derive(Debug, Args)]
pub struct Rollback {
    /// The service
    pub service: String,
    /// Subset that gets everything, the resolver's default subset where absent
    #[arg(long, value_name = "SUBSET")]
    pub to: Option<String>,
    /// End the live connections of all others, too
    #[arg(long)]
    pub sever: bool,
    /// How fast: 10%/s of those that are found, 50/s, or all
    #[arg(long, requires = "sever", default_value = PACE)]
    pub rate: Rate,
    /// Only look.
    #[command(flatten)]
    pub dry_run: DryRun,
}

/// `split set`
#[derive(Debug, Args)]
pub struct SplitSet {
    /// The service
    pub service: String,
    /// New weights in percent, such as blue=90 green=10
    #[arg(required = true, value_name = "SUBSET=WEIGHT", value_parser = crate::ctl::split::parse_weight)]
    pub weights: Vec<(String, f64)>,
    /// End as many live connections as the new weights ask for, and no more
    #[arg(long)]
    pub rebalance: bool,
    /// How fast: 10%/s of those that are found, 50/s, or all
    #[arg(long, requires = "rebalance", default_value = PACE)]
    pub rate: Rate,
    /// Only look.
    #[command(flatten)]
    pub dry_run: DryRun,
}
