//! The command line's shape.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::access::Access;
use super::address::{Address, DEFAULT_AGENT};
use super::paint::Color;
use crate::settings::{BPFFS, POD_INTERFACES};
use crate::store::MAX_RECORDS;

/// Steers canary releases on this node: who gets how much of a service's new connections.
#[derive(Debug, Parser)]
#[command(
    name = "canaryctl",
    version,
    after_help = "Exit codes: 0 done, 1 error, 2 usage, 3 not found, 4 refused as invalid, \
                  5 agent unreachable, 6 conflict."
)]
pub struct Options {
    /// Where the agent listens.
    #[arg(long, global = true, env = "CANARY_AGENT", default_value = DEFAULT_AGENT, value_name = "ADDR",
          help = "Where the agent listens: unix:///path, http://host:port or https://host:port")]
    pub agent: Address,
    /// What it may ask for.
    #[command(flatten)]
    pub access: Access,
    /// When to use colours.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "WHEN",
        help = "Use colours: auto, always or never; auto heeds NO_COLOR and TERM=dumb"
    )]
    pub color: Color,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Write, read, list, delete and check config entries
    #[command(subcommand)]
    Config(Config),
    /// Register, deregister and list instances of services
    #[command(subcommand)]
    Service(Service),
    /// Show and set the weights of a service's splits
    #[command(subcommand)]
    Split(Split),
    /// Send everything to one subset at once: the emergency brake
    Rollback(Rollback),
    /// Put back what was in force before a service's last change; twice is redo
    Undo(Undo),
    /// Show who changed a service, when, and what moved
    History(History),
    /// Write the entries and registrations of the agent's store as files
    Export(Export),
    /// Take files of entries and services into the agent's store, all or nothing
    Import(Import),
    /// Show services, splits and what the kernel counted
    Status(Status),
    /// Read the configuration directory again, all or nothing
    Reload(Reload),
    /// Show the tables: entries, capacity and memory
    Maps(Json),
    /// Check what this node needs to run the agent
    Doctor(Doctor),
    /// Remove programs, maps and pins from this node
    Detach(Detach),
    /// Show the versions of this command and of the agent
    Version(Json),
    /// Print a shell's completion script
    Completions(Completions),
}

/// Whether a change is made.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct DryRun {
    /// Say what would change, and change nothing
    #[arg(long = "dry-run")]
    pub wanted: bool,
}

impl DryRun {
    /// The query that carries it.
    #[must_use]
    pub fn query(self) -> &'static str {
        if self.wanted { "?dry-run" } else { "" }
    }

    /// What carries it in a query of several parameters.
    #[must_use]
    pub fn parameter(self) -> Option<String> {
        self.wanted.then(|| "dry-run".to_owned())
    }
}

/// `reload`
#[derive(Clone, Copy, Debug, Args)]
pub struct Reload {
    /// Only look.
    #[command(flatten)]
    pub dry_run: DryRun,
}

/// Whether a program reads.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Json {
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `config` verbs; their flags may also be written with one dash.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Write a config entry from a file of HCL or JSON
    Write(ConfigWrite),
    /// Print a config entry as JSON or HCL
    Read(ConfigRead),
    /// Print the names of a kind's config entries
    List(ConfigList),
    /// Delete a config entry
    Delete(ConfigDelete),
    /// Check files as one set, without an agent
    Validate(ConfigValidate),
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
    /// Kind, such as service-splitter
    #[arg(long)]
    pub kind: String,
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

/// `service` verbs.
#[derive(Debug, Subcommand)]
pub enum Service {
    /// Register the instances that a file of service definitions names
    Register {
        /// The file; - for standard input
        file: PathBuf,
        /// Only look.
        #[command(flatten)]
        dry_run: DryRun,
    },
    /// Deregister an instance
    Deregister {
        /// Its id
        id: String,
        /// Only look.
        #[command(flatten)]
        dry_run: DryRun,
    },
    /// List the registered instances
    List(ServiceList),
}

/// `service list`
#[derive(Debug, Args)]
pub struct ServiceList {
    /// Only instances that pass, such as 'Meta.version == 2 and "v2" in Tags'
    #[arg(long, value_name = "EXPR")]
    pub filter: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `split` verbs.
#[derive(Debug, Subcommand)]
pub enum Split {
    /// Show the weights in force
    Show(SplitShow),
    /// Set weights; splits that are not named keep theirs
    Set(SplitSet),
}

/// `split show`
#[derive(Debug, Args)]
pub struct SplitShow {
    /// Only this service
    pub service: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `split set`
#[derive(Debug, Args)]
pub struct SplitSet {
    /// The service
    pub service: String,
    /// New weights in percent, such as blue=90 green=10
    #[arg(required = true, value_name = "SUBSET=WEIGHT", value_parser = super::split::parse_weight)]
    pub weights: Vec<(String, f64)>,
    /// Only look.
    #[command(flatten)]
    pub dry_run: DryRun,
}

/// `rollback`
#[derive(Debug, Args)]
pub struct Rollback {
    /// The service
    pub service: String,
    /// Subset that gets everything, the resolver's default subset where absent
    #[arg(long, value_name = "SUBSET")]
    pub to: Option<String>,
    /// Only look.
    #[command(flatten)]
    pub dry_run: DryRun,
}

/// `undo`
#[derive(Debug, Args)]
pub struct Undo {
    /// The service
    pub service: String,
    /// Put back what was in force after this change, a number that `history` shows
    #[arg(long, value_name = "N")]
    pub to: Option<u64>,
    /// Only look.
    #[command(flatten)]
    pub dry_run: DryRun,
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

/// `status`
#[derive(Debug, Args)]
pub struct Status {
    /// Only this service
    pub service: Option<String>,
    /// Wait until the agent is ready
    #[arg(long)]
    pub wait: bool,
    /// How long to wait
    #[arg(long, requires = "wait", default_value = "30s", value_parser = parse_duration)]
    pub timeout: Duration,
    /// Show it again every second
    #[arg(long)]
    pub watch: bool,
    /// Print one JSON document; one a line with --watch
    #[arg(long)]
    pub json: bool,
}

/// `doctor`
#[derive(Debug, Args)]
pub struct Doctor {
    /// Interfaces of pods
    #[arg(long, value_name = "GLOB", action = ArgAction::Append, default_values = POD_INTERFACES)]
    pub pod_interface: Vec<String>,
    /// Interfaces towards the network; those of the default routes where absent
    #[arg(long, value_name = "GLOB", action = ArgAction::Append)]
    pub uplink_interface: Vec<String>,
    /// Where the agent keeps its pins
    #[arg(long, value_name = "DIR", default_value = BPFFS)]
    pub bpffs: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `detach`
#[derive(Debug, Args)]
pub struct Detach {
    /// Where the agent keeps its pins
    #[arg(long, value_name = "DIR", default_value = BPFFS)]
    pub bpffs: PathBuf,
    /// Stop a running agent first
    #[arg(long)]
    pub stop: bool,
}

/// `completions`
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    pub shell: Shell,
}

/// Parses a length of time: a number with `ms`, `s`, `m` or `h`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let wrong = || format!("{text:?} is not a length of time, as 30s or 500ms is");
    let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = |each: u64| number.checked_mul(each).map(Duration::from_secs);
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(3600),
        _ => None,
    }
    .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn lengths_of_time_need_a_unit() {
        assert_eq!(parse_duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["30", "s", "-1s", "1d", "", "99999999999999999h"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn verbs_that_are_not_built_are_refused() {
        for verb in ["explain", "flows", "observe", "top"] {
            let error = Options::try_parse_from(["canaryctl", verb]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidSubcommand, "{verb}");
        }
    }

    #[test]
    fn an_address_that_is_not_served_is_a_usage_error() {
        let error =
            Options::try_parse_from(["canaryctl", "--agent", "ftp://x:1", "reload"]).unwrap_err();

        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("is not an address"), "{error}");
    }
}
