//! Arguments of `config`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::DryRun;

/// `config` verbs; their flags may also be written with one dash.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Write a config entry from a file of HCL or JSON
    Write(ConfigWrite),
    /// Print a config entry as JSON or HCL
    Read(ConfigRead),
    /// Print the names of config entries, of one kind or of all
    List(ConfigList),
    /// Delete a config entry
    Delete(ConfigDelete),
    /// Check files as one set, without an agent
    Validate(ConfigValidate),
    /// Show what files would change at the running agent
    #[command(after_long_help = "Exit codes: 0 the same, 1 different, 2 error.")]
    Diff(ConfigDiff),
}

/// A check of the index before a change.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Cas {
    /// Change the entry only if it is still at --modify-index
    #[arg(long)]
    pub cas: bool,
    /// The entry's index; 0 if it must not exist yet
    #[arg(long, requires = "cas", value_name = "N", default_value_t = 0)]
    pub modify_index: u64,
}

impl Cas {
    /// What carries it in a query.
    #[must_use]
    pub fn parameter(self) -> Option<String> {
        self.cas.then(|| format!("cas={}", self.modify_index))
    }
}

/// `config write`
#[derive(Debug, Args)]
pub struct ConfigWrite {
    /// The file; - for standard input
    pub file: PathBuf,
    /// Only if unchanged.
    #[command(flatten)]
    pub cas: Cas,
    /// Only look.
    #[command(flatten)]
    pub dry_run: DryRun,
}

/// Which config entry.
#[derive(Debug, Args)]
pub struct EntryName {
    /// Kind, such as service-splitter
    #[arg(long)]
    pub kind: String,
    /// Name of the service
    #[arg(long)]
    pub name: String,
}

/// `config read`
#[derive(Debug, Args)]
pub struct ConfigRead {
    /// Which.
    #[command(flatten)]
    pub entry: EntryName,
    /// Print JSON, as without it
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// The language to print in
    #[arg(long, value_enum, default_value_t)]
    pub format: EntryFormat,
}

/// A language that entries are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum EntryFormat {
    /// JSON as Consul shows it, with the indices
    #[default]
    Json,
    /// HCL as people write it, ready to be written back
    Hcl,
}

/// `config list`
#[derive(Debug, Args)]
pub struct ConfigList {
    /// Kind, such as service-splitter; every kind where absent
    #[arg(long)]
    pub kind: Option<String>,
    /// Only entries that pass, such as 'Name matches "^pay"'
    #[arg(long, value_name = "EXPR")]
    pub filter: Option<String>,
    /// Print the entries as one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `config delete`
#[derive(Debug, Args)]
pub struct ConfigDelete {
    /// Which.
    #[command(flatten)]
    pub entry: EntryName,
    /// Only if unchanged.
    #[command(flatten)]
    pub cas: Cas,
    /// Only look.
    #[command(flatten)]
    pub dry_run: DryRun,
}

/// `config validate`
#[derive(Debug, Args)]
pub struct ConfigValidate {
    /// Files, and directories whose *.hcl and *.json are read
    #[arg(required = true, value_name = "FILE|DIR")]
    pub paths: Vec<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

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
