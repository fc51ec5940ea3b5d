//! Arguments of verbs that compare and explain.

use std::path::PathBuf;

use clap::Args;

/// `config diff`
#[derive(Debug, Args)]
pub struct ConfigDiff {
    /// Files, and directories whose *.hcl and *.json are read
    #[arg(required = true, value_name = "FILE|DIR")]
    pub paths: Vec<PathBuf>,
    /// Count entries that only the agent has as differences: the files are meant to be all
    #[arg(long)]
    pub prune: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

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
