//! The agent's settings: flags over the settings file over defaults.

pub mod consul;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, Parser, ValueEnum};
use serde::Deserialize;

use crate::error::ConfigError;

mod http;
mod log_format;
mod outside_return;
mod ports;
mod sizes;
mod socket_lb;
mod source_address;
mod uplink_mode;

pub use http::{Api, MAX_CONNECTIONS, Policy, Tls, Token};
pub use log_format::LogFormat;
pub use outside_return::OutsideReturn;
pub use ports::SourcePorts;
pub use sizes::{Idle, Limits};
pub use socket_lb::SocketLb;
pub use source_address::SourceAddress;
pub use uplink_mode::UplinkMode;

/// Directory of entries and services where none is given.
pub const CONFIG_DIR: &str = "/etc/canary";
/// Directory of the store where none is given.
pub const DATA_DIR: &str = "/var/lib/canary";
/// The API's socket where none is given.
pub const SOCKET: &str = "/run/canary/agent.sock";
/// Where pins are kept where nothing else is given.
pub const BPFFS: &str = "/sys/fs/bpf/canary";
/// Names of pod interfaces with the usual network plugins.
pub const POD_INTERFACES: [&str; 5] = ["veth*", "cali*", "lxc*", "eni*", "gke*"];

/// Directories in which files stand for network namespaces, where no setting says otherwise.
pub const NETNS_DIRS: [&str; 2] = ["/run/netns", "/var/run/docker/netns"];

/// Where configuration comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// Directories of files, and the agent's own store.
    #[default]
    Files,
    /// Consul's config entries, catalogue and health.
    Consul,
}

/// Where configuration comes from, with what that source needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Directories of files, and the agent's own store.
    Files,
    /// A Consul to follow.
    Consul(Box<consul::Consul>),
}

/// What the agent runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where configuration comes from.
    pub source: Source,
    /// Directories of `*.hcl` and `*.json`, in this order.
    pub config_dirs: Vec<PathBuf>,
    /// Directory of the store.
    pub data_dir: PathBuf,
    /// The API's socket.
    pub socket: PathBuf,
    /// The API over TCP, where wanted.
    pub http: Option<SocketAddr>,
    /// How the API is offered.
    pub api: Api,
    /// Globs of pod interfaces.
    pub pod_interfaces: Vec<String>,
    /// Globs of uplinks; empty for the interfaces of the default routes.
    pub uplink_interfaces: Vec<String>,
    /// How uplinks are taken.
    pub uplink_mode: UplinkMode,
    /// Whose sockets are balanced at connect time.
    pub socket_lb: SocketLb,
    /// Cgroups whose sockets are left out.
    pub socket_lb_except: Vec<PathBuf>,
    /// Directories in which files stand for network namespaces of pods.
    pub netns_dirs: Vec<PathBuf>,
    /// The cgroup whose sockets are balanced; `None` for the root of the cgroup v2 mount.
    pub cgroup: Option<PathBuf>,
    /// Where pins are kept.
    pub bpffs: PathBuf,
    /// Name of the node; `None` for the host's.
    pub node_name: Option<String>,
    /// Free pairs of the node.
    pub node_meta: BTreeMap<String, String>,
    /// The hash seed comes from it.
    pub cluster_name: String,
    /// Form of the log.
    pub log_format: LogFormat,
    /// Sizes of the tables.
    pub limits: Limits,
    /// Idle limits of flows.
    pub idle: Idle,
    /// Source ports for connections whose own is taken.
    pub source_ports: SourcePorts,
    /// The node's own addresses from which backends elsewhere are asked for clients outside.
    pub source_address: SourceAddress,
    /// How answers of backends elsewhere come back to clients outside.
    pub outside_return: OutsideReturn,
}

/// What `--help` ends with.
const AFTER_HELP: &str = "The environment variable RUST_LOG says what is logged: warn, debug, \
                          canary_userspace::health=trace.";

/// Node load balancer for canary releases: the agent.
#[derive(Debug, Default, Parser)]
#[command(name = "canary-agent", version, after_help = AFTER_HELP, args_override_self = true)]
struct Arguments {
    /// Agent settings (HCL2); a flag wins over the same key
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
    /// Free pair of the node for `Node.Meta` filters; may be repeated
    #[arg(long = "node-meta", value_name = "K=V", value_parser = pair)]
    node_meta: Vec<(String, String)>,
    // Last, for what follows would be under its heading.
    #[command(flatten)]
    consul: consul::Flags,
}

/// The settings that are flags and keys alike.
#[derive(Debug, Default, Args)]
struct Options {
    /// Where configuration comes from [default: files]
    #[arg(long)]
    source: Option<SourceKind>,
    /// Directory of *.hcl and *.json, read in name order; may be repeated [default: /etc/canary]
    #[arg(long, value_name = "DIR")]
    config_dir: Vec<PathBuf>,
    /// Directory of the store [default: /var/lib/canary]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Socket of the API, mode 0660 [default: /run/canary/agent.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The API over TCP too
    #[arg(long, value_name = "ADDR:PORT")]
    http: Option<SocketAddr>,
    /// Certificate of the API over TCP, PEM: makes it HTTPS
    #[arg(long, value_name = "FILE", requires = "http_key_file")]
    http_cert_file: Option<PathBuf>,
    /// Private key of that certificate, PEM
    #[arg(long, value_name = "FILE", requires = "http_cert_file")]
    http_key_file: Option<PathBuf>,
    /// Authorities, PEM: a client over TCP must show a certificate of one of them
    #[arg(long, value_name = "FILE", requires = "http_cert_file")]
    http_client_ca_file: Option<PathBuf>,
    /// Connections to the API at once, over each of socket and TCP [default: 16384]
    #[arg(long, value_name = "N")]
    http_max_connections: Option<usize>,
    /// Pod interfaces; may be repeated [default: veth*, cali*, lxc*, eni*, gke*]
    #[arg(long, value_name = "GLOB")]
    pod_interface: Vec<String>,
    /// Uplinks; may be repeated [default: the interfaces of the default routes]
    #[arg(long, value_name = "GLOB")]
    uplink_interface: Vec<String>,
    /// How packets of an uplink are taken [default: auto]
    #[arg(long, value_name = "MODE")]
    uplink_mode: Option<UplinkMode>,
    /// Whose sockets are balanced at connect time [default: host]
    #[arg(long, value_name = "WHOSE")]
    socket_lb: Option<SocketLb>,
    /// Cgroup, below the cgroup v2 mount, whose sockets are left to packets; may be repeated
    #[arg(long, value_name = "CGROUP")]
    socket_lb_except: Vec<PathBuf>,
    /// Directory of files that stand for network namespaces of pods; may be repeated [default:
    /// /run/netns, /var/run/docker/netns]
    #[arg(long, value_name = "DIR")]
    netns_dir: Vec<PathBuf>,
    /// Source ports for connections whose own is taken [default: 61000-65535]
    #[arg(long, value_name = "FIRST-LAST")]
    source_ports: Option<SourcePorts>,
    /// Own addresses that backends elsewhere see for clients outside: auto, none, ADDR[,ADDR]
    /// [default: auto]
    #[arg(long, value_name = "WHICH")]
    source_address: Option<SourceAddress>,
    /// How answers of backends elsewhere come back to clients outside; the same on every node
    /// [default: masquerade]
    #[arg(long, value_name = "HOW")]
    outside_return: Option<OutsideReturn>,
    /// Cgroup of those sockets [default: the root of the cgroup v2 mount]
    #[arg(long, value_name = "DIR")]
    cgroup: Option<PathBuf>,
    /// Where pins are kept [default: /sys/fs/bpf/canary]
    #[arg(long, value_name = "DIR")]
    bpffs: Option<PathBuf>,
    /// Name of this node for filters [default: the host's]
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// Name that the hash seed comes from: the same on every node [default: canary]
    #[arg(long, value_name = "NAME")]
    cluster_name: Option<String>,
    /// Form of the log on stderr [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

/// The settings file: the flags' keys, and what has no flag.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct FileSettings {
    source: Option<SourceKind>,
    #[serde(deserialize_with = "one_or_many")]
    config_dir: Vec<PathBuf>,
    data_dir: Option<PathBuf>,
    socket: Option<PathBuf>,
    http: Option<SocketAddr>,
    http_tls: Option<Tls>,
    http_max_connections: Option<usize>,
    token: BTreeMap<String, Token>,
    socket_tokens: bool,
    #[serde(deserialize_with = "one_or_many")]
    pod_interface: Vec<String>,
    #[serde(deserialize_with = "one_or_many")]
    uplink_interface: Vec<String>,
    uplink_mode: Option<UplinkMode>,
    socket_lb: Option<SocketLb>,
    #[serde(deserialize_with = "one_or_many")]
    socket_lb_except: Vec<PathBuf>,
    #[serde(deserialize_with = "one_or_many")]
    netns_dir: Vec<PathBuf>,
    source_ports: Option<SourcePorts>,
    source_address: Option<SourceAddress>,
    outside_return: Option<OutsideReturn>,
    cgroup: Option<PathBuf>,
    bpffs: Option<PathBuf>,
    node_name: Option<String>,
    node_meta: BTreeMap<String, String>,
    cluster_name: Option<String>,
    log_format: Option<LogFormat>,
    limits: Limits,
    idle: Idle,
    consul: consul::Block,
}

/// Why there are no settings to run with.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The command line cannot be used, or only asked for help: clap says what to print.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// The settings file cannot be used.
    #[error(transparent)]
    File(#[from] ConfigError),
}

impl Settings {
    /// Reads the command line, and the settings file it names.
    ///
    /// # Errors
    ///
    /// [`SettingsError`].
    pub fn from_args<A: Into<OsString> + Clone>(
        args: impl IntoIterator<Item = A>,
    ) -> Result<Self, SettingsError> {
        let arguments = Arguments::try_parse_from(args)?;
        let file = arguments.config.as_deref().map(read).transpose()?.unwrap_or_default();
        merge(arguments, file, &|name| std::env::var(name).ok())
    }
}

fn merge(
    arguments: Arguments,
    file: FileSettings,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Settings, SettingsError> {
    let kind = arguments.options.source.or(file.source).unwrap_or_default();
    let source = source(kind, arguments.consul, file.consul, environment)?;
    let flags = arguments.options;
    let mut node_meta = file.node_meta;
    node_meta.extend(arguments.node_meta);
    let tls = flags.http_cert_file.zip(flags.http_key_file).map(|(cert_file, key_file)| Tls {
        cert_file,
        key_file,
        client_ca_file: flags.http_client_ca_file,
    });
    let source_address = flags.source_address.or(file.source_address).unwrap_or_default();
    let outside_return = flags.outside_return.or(file.outside_return).unwrap_or_default();
    if outside_return == OutsideReturn::Ipip && source_address == SourceAddress::None {
        let text = "--outside-return ipip needs an own address: not --source-address none";
        let kind = clap::error::ErrorKind::ArgumentConflict;
        return Err(Arguments::command().error(kind, text).into());
    }
    Ok(Settings {
        source,
        config_dirs: many(flags.config_dir, file.config_dir, &[CONFIG_DIR]),
        data_dir: flags.data_dir.or(file.data_dir).unwrap_or_else(|| DATA_DIR.into()),
        socket: flags.socket.or(file.socket).unwrap_or_else(|| SOCKET.into()),
        http: flags.http.or(file.http),
        api: Api {
            max_connections: flags
                .http_max_connections
                .or(file.http_max_connections)
                .unwrap_or(MAX_CONNECTIONS),
            tls: tls.or(file.http_tls),
            tokens: file.token,
            socket_tokens: file.socket_tokens,
        },
        pod_interfaces: many(flags.pod_interface, file.pod_interface, &POD_INTERFACES),
        uplink_interfaces: many(flags.uplink_interface, file.uplink_interface, &[]),
        uplink_mode: flags.uplink_mode.or(file.uplink_mode).unwrap_or_default(),
        socket_lb: flags.socket_lb.or(file.socket_lb).unwrap_or_default(),
        socket_lb_except: many(flags.socket_lb_except, file.socket_lb_except, &[]),
        netns_dirs: many(flags.netns_dir, file.netns_dir, &NETNS_DIRS),
        cgroup: flags.cgroup.or(file.cgroup),
        bpffs: flags.bpffs.or(file.bpffs).unwrap_or_else(|| BPFFS.into()),
        node_name: flags.node_name.or(file.node_name),
        node_meta,
        cluster_name: flags
            .cluster_name
            .or(file.cluster_name)
            .unwrap_or_else(|| "canary".to_owned()),
        log_format: flags.log_format.or(file.log_format).unwrap_or_default(),
        limits: file.limits,
        idle: file.idle,
        source_ports: flags.source_ports.or(file.source_ports).unwrap_or_default(),
        source_address,
        outside_return,
    })
}

/// What the source needs to know; flags of another source are refused, for they have no effect.
fn source(
    kind: SourceKind,
    flags: consul::Flags,
    block: consul::Block,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Source, SettingsError> {
    let usage =
        |text: String| Arguments::command().error(clap::error::ErrorKind::ArgumentConflict, text);
    match kind {
        SourceKind::Files => match flags.first_given() {
            Some(flag) => Err(usage(format!("{flag} needs --source consul")).into()),
            None => Ok(Source::Files),
        },
        SourceKind::Consul => consul::merge(flags, block, environment)
            .map(|consul| Source::Consul(Box::new(consul)))
            .map_err(|text| usage(text).into()),
    }
}

/// The flag's values, else the file's, else the defaults.
fn many<T: for<'a> From<&'a str>>(flag: Vec<T>, file: Vec<T>, default: &[&str]) -> Vec<T> {
    let given = if flag.is_empty() { file } else { flag };
    if given.is_empty() { default.iter().map(|&text| text.into()).collect() } else { given }
}

fn read(path: &Path) -> Result<FileSettings, ConfigError> {
    let file = path.display().to_string();
    let text = fs::read_to_string(path)
        .map_err(|error| ConfigError::new(format!("read: {error}")).in_file(file.clone()))?;
    hcl::from_str(&text)
        .map_err(|error| ConfigError::new(error.to_string().trim().to_owned()).in_file(file))
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err("must be KEY=VALUE".to_owned()),
    }
}

/// Accepts `x = "a"` where `x = ["a"]` is meant.
fn one_or_many<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a string or a list of strings")]
    enum OneOrMany<T> {
        One(T),
        Many(Vec<T>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(args: &[&str]) -> Result<Settings, SettingsError> {
        Settings::from_args([&["canary-agent"], args].concat())
    }

    fn file(text: &str) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.hcl");
        fs::write(&path, text).unwrap();
        (dir, path.display().to_string())
    }

    #[test]
    fn no_flag_gives_the_documented_defaults() {
        let settings = from(&[]).unwrap();

        assert_eq!(settings.config_dirs, [PathBuf::from("/etc/canary")]);
        assert_eq!(settings.pod_interfaces, POD_INTERFACES);
        assert_eq!(settings.uplink_mode, UplinkMode::Auto);
        assert_eq!(settings.outside_return, OutsideReturn::Masquerade);
        assert_eq!(settings.socket_lb, SocketLb::Host);
        assert_eq!(settings.limits.frontends, 65_536);
        assert_eq!(settings.http, None);
    }

    #[test]
    fn direct_return_needs_an_own_address() {
        let (_dir, path) = file("outside_return = \"ipip\"\n");
        let settings = from(&["--config", &path]).unwrap();
        assert_eq!(settings.outside_return, OutsideReturn::Ipip);

        let error = from(&["--config", &path, "--source-address", "none"]).unwrap_err();

        assert!(error.to_string().contains("needs an own address"), "{error}");
        from(&["--outside-return", "gre"]).unwrap_err();
    }

    #[test]
    fn flags_win_over_the_file() {
        let (_dir, path) = file(
            "config_dir = \"/a\"\nsocket = \"/file.sock\"\nuplink_mode = \"tcx\"\n\
             node_meta = { zone = \"a\", rack = \"1\" }\nlimits {\n  flows = 1024\n}\n",
        );

        let settings = from(&[
            "--config",
            &path,
            "--socket",
            "/flag.sock",
            "--config-dir",
            "/b",
            "--config-dir",
            "/c",
            "--node-meta",
            "zone=b",
        ])
        .unwrap();

        assert_eq!(settings.socket, PathBuf::from("/flag.sock"));
        assert_eq!(settings.config_dirs, [PathBuf::from("/b"), PathBuf::from("/c")]);
        assert_eq!(settings.uplink_mode, UplinkMode::Tcx);
        assert_eq!(settings.limits.flows, Some(1024));
        assert_eq!(settings.limits.services, 16_384);
        assert_eq!(settings.node_meta["zone"], "b");
        assert_eq!(settings.node_meta["rack"], "1");
    }

    #[test]
    fn of_a_flag_that_comes_twice_the_last_one_counts() {
        let settings = from(&["--socket", "/a", "--config-dir", "/c", "--socket", "/b"]).unwrap();
        let many = from(&["--config-dir", "/c", "--config-dir", "/d"]).unwrap();

        assert_eq!(settings.socket, PathBuf::from("/b"));
        assert_eq!(many.config_dirs, [PathBuf::from("/c"), PathBuf::from("/d")]);
    }

    #[test]
    fn an_unknown_key_is_refused_by_name_and_file() {
        for text in ["sokcet = \"/x\"\n", "limits {\n  sokcet = 1\n}\n"] {
            let (_dir, path) = file(text);

            let error = from(&["--config", &path]).unwrap_err().to_string();

            assert!(error.contains(&path) && error.contains("sokcet"), "{error}");
        }
    }

    #[test]
    fn source_ports_are_a_flag_and_a_key_and_never_an_empty_range() {
        let (_dir, path) = file("source_ports = \"62000-62999\"\n");

        let of_file = from(&["--config", &path]).unwrap().source_ports;
        let of_flag =
            from(&["--config", &path, "--source-ports", "63000-63999"]).unwrap().source_ports;

        assert_eq!(of_file.to_string(), "62000-62999");
        assert_eq!(of_flag.to_string(), "63000-63999");
        assert!(from(&["--source-ports", "63999-63000"]).is_err());
        let (_dir, path) = file("source_ports = \"62999-62000\"\n");
        let error = from(&["--config", &path]).unwrap_err().to_string();
        assert!(error.contains("62999-62000"), "{error}");
    }

    #[test]
    fn the_names_of_idle_limits_of_the_first_release_are_still_read() {
        let (_dir, path) = file("idle {\n  closing = 7\n  answered_udp = 9\n  reset = 3\n}\n");

        let idle = from(&["--config", &path]).unwrap().idle;

        assert_eq!((idle.closed, idle.udp_stream, idle.reset), (7, 9, 3));
    }

    #[test]
    fn what_is_not_built_is_refused() {
        assert!(from(&["--source", "kubernetes"]).is_err());
        assert!(from(&["--socket-lb", "some"]).is_err());
        assert!(from(&["--node-meta", "zone"]).is_err());
        let (_dir, path) = file("source = \"kubernetes\"\n");
        assert!(from(&["--config", &path]).is_err());
    }
}
