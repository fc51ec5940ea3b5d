//! The command line's shape.

mod config;
mod ending;
mod reading;
mod watching;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};
use clap_complete::Shell;

pub use self::config::{
    Cas, Config, ConfigDelete, ConfigDiff, ConfigList, ConfigRead, ConfigValidate, ConfigWrite,
    EntryFormat, EntryName,
};
pub use self::ending::{Rollback, Sever, SplitSet};
pub use self::reading::{Explain, Export, History, Import};
pub use self::watching::{Flows, Observe, Top, Whose, parameter};
use super::access::Access;
use super::address::{Address, DEFAULT_AGENT};
use super::paint::Color;
use crate::settings::NETNS_DIRS;
use crate::settings::{BPFFS, POD_INTERFACES};

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
    /// End live connections that a service should not have, at a pace
    Sever(Sever),
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
    /// Explain where new connections of a service go and why, or where one flow goes
    Explain(Explain),
    /// Show the connections that the flow table holds
    Flows(Flows),
    /// Show what becomes of packets, as it happens
    Observe(Observe),
    /// Show services as they go: shares, rates, failures, latencies
    Top(Top),
    /// Read the configuration directory again, all or nothing
    Reload(Reload),
    /// Believe an input that is held, once: what it takes away goes
    Accept(Accept),
    /// Show the tables: entries, capacity and memory
    Maps(Json),
    /// Check what this node needs to run the agent
    Doctor(Doctor),
    /// Remove programs, maps and pins from this node
    Detach(Detach),
    /// Show the versions of this command and of the agent
    Version(Json),
    /// Print the script that makes a shell ask this program, which asks the running agent
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

/// `accept`
#[derive(Clone, Debug, Args)]
pub struct Accept {
    /// The input as `status` names it; all that are held where absent
    pub input: Option<String>,
    /// Ask nobody: the digest of the list that `status --json` shows
    #[arg(long, value_name = "DIGEST")]
    pub yes: Option<String>,
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
    /// Show what health checks say
    Checks(super::checks::Checks),
    /// Take an instance, or this node, out of service, or put it back
    Maintenance(super::maintenance::Maintenance),
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
    /// Show it again whenever it is another
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
    /// Directory of files that stand for network namespaces of pods
    #[arg(long, value_name = "DIR", action = ArgAction::Append, default_values = NETNS_DIRS)]
    pub netns_dir: Vec<PathBuf>,
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
    fn a_pace_of_nothing_is_a_usage_error() {
        for wrong in [
            &["sever", "web", "--rate", "0/s"][..],
            &["sever", "web", "--rate", "fast"],
            &["sever", "web", "--subset", "blue", "--backend", "10.0.0.1:80"],
            &["sever", "web", "--backend", "10.0.0.1"],
            &["sever", "web", "--timeout", "3s"],
            &["sever", "web", "--wait", "--dry-run"],
            &["sever", "web", "--progress", "--rate", "all"],
            &["sever"],
            &["rollback", "web", "--rate", "all"],
            &["rollback", "web", "--rebalance"],
            &["split", "set", "web", "blue=100", "--rate", "all"],
            &["split", "set", "web", "blue=100", "--sever"],
        ] {
            let words = ["canaryctl"].iter().chain(wrong);
            let error = Options::try_parse_from(words).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{wrong:?}");
        }
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
        for verb in ["dashboard", "rollout"] {
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
