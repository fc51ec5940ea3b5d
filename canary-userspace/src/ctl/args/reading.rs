//! Arguments of verbs that explain, look back and carry away.

use std::path::PathBuf;

use clap::Args;

use super::DryRun;
use crate::store::MAX_RECORDS;

/// `explain`
#[derive(Debug, Args)]
pub struct Explain {
    /// The service; or a client's ADDRESS:PORT, with the frontend it connects to
    #[arg(value_name = "SERVICE|CLIENT:PORT")]
    pub what: String,
    /// Where the client connects to
    #[arg(value_name = "FRONTEND:PORT")]
    pub frontend: Option<String>,
    /// The flow is one of UDP
    #[arg(long, requires = "frontend")]
    pub udp: bool,
    /// Show every instance, however many there are
    #[arg(long)]
    pub all: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `history`
#[derive(Debug, Args)]
pub struct History {
    /// Only this service
    pub service: Option<String>,
    /// How many changes, the newest ones
    #[arg(long, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u64).range(1..=MAX_RECORDS))]
    pub limit: u64,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `export`
#[derive(Debug, Args)]
pub struct Export {
    /// The directory, made where it is missing
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// What files of the agent define, too
    #[arg(long)]
    pub all: bool,
    /// Overwrite files that are there
    #[arg(long)]
    pub force: bool,
}

/// `import`
#[derive(Debug, Args)]
pub struct Import {
    /// Files, and directories whose *.hcl and *.json are read
    #[arg(required = true, value_name = "FILE|DIR")]
    pub paths: Vec<PathBuf>,
    /// Delete what the store has and the files do not
    #[arg(long)]
    pub replace: bool,
    /// Only look.
    #[command(flatten)]
    pub dry_run: DryRun,
}
