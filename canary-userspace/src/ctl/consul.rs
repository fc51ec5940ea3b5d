//! The binary under the name `consul`: the tutorial's commands as they are printed.
//!
//! Flags, texts, environment and exit codes are Consul's, and so is the default address. Only
//! here are `CONSUL_HTTP_*` read: in most shells they point at a production Consul.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

use super::access::read_token;
use super::address::Address;
use super::args::{Cas, DryRun};
use super::client::{Answer, Client, reason};
use super::console::Console;
use super::failure::Failure;
use super::tls::TlsOptions;
use super::{argv, config, input};

/// Where Consul's command looks for an agent when nothing else is said.
const DEFAULT_ADDRESS: &str = "127.0.0.1:8500";

/// Consul's `config` commands, answered by this node's canary agent.
#[derive(Debug, Parser)]
#[command(name = "consul", version)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Interact with config entries
    #[command(subcommand)]
    Config(Config),
}

#[derive(Debug, Subcommand)]
enum Config {
    /// Write a config entry
    Write {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        cas: Index,
        /// The file; - for standard input
        files: Vec<PathBuf>,
    },
    /// Read a config entry
    Read {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        entry: Name,
    },
    /// List the names of a kind's config entries
    List {
        #[command(flatten)]
        common: Common,
        /// Kind of the entries
        #[arg(long)]
        kind: Option<String>,
        /// Only entries that pass this expression
        #[arg(long)]
        filter: Option<String>,
    },
    /// Delete a config entry
    Delete {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        entry: Name,
        #[command(flatten)]
        cas: Index,
    },
}

#[derive(Debug, Default, Args)]
struct Common {
    #[arg(
        long,
        help = "Address of the agent: host:port, http://, https:// or unix://; also CONSUL_HTTP_ADDR"
    )]
    http_addr: Option<String>,
    #[arg(long, help = "Token to show; also CONSUL_HTTP_TOKEN")]
    token: Option<String>,
    #[arg(long, help = "File with the token to show; also CONSUL_HTTP_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    #[arg(long, help = "Authorities to trust, PEM; also CONSUL_CACERT")]
    ca_file: Option<PathBuf>,
    #[arg(long, help = "Certificate to show, PEM; also CONSUL_CLIENT_CERT")]
    client_cert: Option<PathBuf>,
    #[arg(long, help = "Its private key, PEM; also CONSUL_CLIENT_KEY")]
    client_key: Option<PathBuf>,
    #[arg(long, help = "Name in the agent's certificate; also CONSUL_TLS_SERVER_NAME")]
    tls_server_name: Option<String>,
}

#[derive(Debug, Args)]
struct Name {
    /// Kind of the entry
    #[arg(long)]
    kind: Option<String>,
    /// Name of the entry
    #[arg(long)]
    name: Option<String>,
}

#[derive(Debug, Args)]
struct Index {
    /// Change the entry only if it is still at -modify-index
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value_t = false, default_missing_value = "true")]
    cas: bool,
    /// The entry's index
    #[arg(long, value_name = "N")]
    modify_index: Option<u64>,
}

impl Index {
    fn cas(&self) -> Cas {
        Cas { cas: self.cas, modify_index: self.modify_index.unwrap_or_default() }
    }
}

/// Runs a command; Consul's exit code is 1 for every failure.
///
/// `environment` looks up a variable.
///
/// # Errors
///
/// [`Failure`], in Consul's words.
pub async fn run(
    arguments: Vec<OsString>,
    environment: &dyn Fn(&str) -> Option<String>,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    match Options::try_parse_from(argv::normalise(arguments)) {
        Ok(Options { command: Command::Config(command) }) => {
            dispatch(command, environment, console).await
        }
        Err(error) if error.use_stderr() => Err(Failure::Usage(error.render().to_string())),
        Err(help) => console.raw(&help.render().to_string()),
    }
}

async fn dispatch(
    command: Config,
    environment: &dyn Fn(&str) -> Option<String>,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    match command {
        Config::Write { common, cas, files } => {
            write(&files, cas.cas(), &common.client(environment), console).await
        }
        Config::Read { common, entry } => {
            let (kind, name) = entry.both()?;
            let doing = format!("reading config entry {kind}/{name}");
            let path = config::path(&kind, &name);
            let answer =
                success(client_get(&common.client(environment)?, &path, &doing).await?, &doing)?;
            console.data(config::indented(&answer)?)
        }
        Config::List { common, kind, filter } => {
            let kind =
                kind.ok_or_else(|| Failure::Usage("Must specify the -kind parameter".to_owned()))?;
            let doing = format!("listing config entries for kind {kind:?}");
            let path = config::list_path(&kind, filter.as_deref());
            let answer =
                success(client_get(&common.client(environment)?, &path, &doing).await?, &doing)?;
            config::names(&answer)?.into_iter().try_for_each(|name| console.data(name))
        }
        Config::Delete { common, entry, cas } => {
            delete(entry.both()?, &cas, &common.client(environment)?, console).await
        }
    }
}

async fn write(
    files: &[PathBuf],
    cas: Cas,
    client: &Result<Client, Failure>,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let [file] = files else {
        let text =
            "Must provide exactly one positional argument to specify the config entry to write";
        return Err(Failure::Usage(text.to_owned()));
    };
    let unread = |error: io::Error| {
        let reason = reason(&error).to_lowercase();
        Failure::Error(format!(
            "Failed to load data: Failed to read file: open {}: {reason}",
            file.display()
        ))
    };
    let bytes = input::read(file).map_err(unread)?;
    // An entry that breaks a rule goes out as it is written: the refusal is the agent's, as with
    // Consul. One that is not understood goes nowhere.
    let document = match input::decode(file, &bytes) {
        Ok(document) => document,
        Err(error) => match input::undecoded(&bytes) {
            Some(document) if error.is_rule => document,
            _ => {
                return Err(Failure::Invalid(format!(
                    "Failed to decode config entry input: {error}"
                )));
            }
        },
    };
    let client = client.as_ref().map_err(|failure| Failure::Error(failure.to_string()))?;
    let which = format!("{}/{}", document.kind, document.name);
    let doing = format!("writing config entry {which}");
    let answer = config::put(&document.json, cas, DryRun::default(), client).await;
    let answer = success(
        answer.map_err(|failure| unreachable(failure, client, "Put", "/v1/config", &doing))?,
        &doing,
    )?;
    if config::missed(&answer, cas) {
        return Err(Failure::Conflict(format!("Config entry not updated: {which}")));
    }
    console.warn(&answer.warnings)?;
    console.data(format_args!("Config entry written: {which}"))
}

async fn delete(
    (kind, name): (String, String),
    index: &Index,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let usage = |text: &str| Err(Failure::Usage(text.to_owned()));
    match (index.cas, index.modify_index) {
        (true, None | Some(0)) => {
            return usage("Must specify a -modify-index greater than 0 with -cas");
        }
        (false, Some(_)) => return usage("Cannot specify -modify-index without -cas"),
        _ => {}
    }
    let which = format!("{kind}/{name}");
    let doing = format!("deleting config entry {which}");
    let answer = config::remove(&kind, &name, index.cas(), DryRun::default(), client).await;
    let path = config::path(&kind, &name);
    let answer = success(
        answer.map_err(|failure| unreachable(failure, client, "Delete", &path, &doing))?,
        &doing,
    )?;
    if config::missed(&answer, index.cas()) {
        return Err(Failure::Conflict(format!("Config entry not deleted: {which}")));
    }
    console.data(format_args!("Config entry deleted: {which}"))
}

impl Common {
    fn client(&self, environment: &dyn Fn(&str) -> Option<String>) -> Result<Client, Failure> {
        let variable = |name| environment(name).filter(|value| !value.is_empty());
        let cannot = |why: &str| Failure::Error(format!("Error connect to Consul agent: {why}"));
        let address = self.http_addr.clone().or_else(|| variable("CONSUL_HTTP_ADDR"));
        let address = Address::parse_consul(address.as_deref().unwrap_or(DEFAULT_ADDRESS));
        let address = address.map_err(|error| cannot(&error))?;
        let says_no = |value: String| matches!(value.as_str(), "0" | "f" | "F" | "false" | "FALSE");
        // A token must not go in plain text where its owner asked for TLS: not even `http://` does.
        let tls = variable("CONSUL_HTTP_SSL").is_some_and(|value| !says_no(value));
        let address = if tls { address.over_tls() } else { address };
        let file = |flag: &Option<PathBuf>, name| {
            flag.clone().or_else(|| variable(name).map(PathBuf::from))
        };
        let options = TlsOptions {
            ca_file: file(&self.ca_file, "CONSUL_CACERT"),
            client_cert: file(&self.client_cert, "CONSUL_CLIENT_CERT"),
            client_key: file(&self.client_key, "CONSUL_CLIENT_KEY"),
            server_name: self
                .tls_server_name
                .clone()
                .or_else(|| variable("CONSUL_TLS_SERVER_NAME")),
            unverified: variable("CONSUL_HTTP_SSL_VERIFY").is_some_and(says_no),
        };
        let token_file = file(&self.token_file, "CONSUL_HTTP_TOKEN_FILE");
        let token = match (&self.token, token_file) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(path)) => Some(read_token(&path)?),
            (None, None) => variable("CONSUL_HTTP_TOKEN"),
        };
        let client = Client::new(address).with_tls(&options);
        Ok(client.map_err(|failure| cannot(&failure.to_string()))?.with_token(token))
    }
}

impl Name {
    fn both(self) -> Result<(String, String), Failure> {
        let missing = |flag: &str| Failure::Usage(format!("Must specify the -{flag} parameter"));
        let kind = self.kind.filter(|kind| !kind.is_empty()).ok_or_else(|| missing("kind"))?;
        let name = self.name.filter(|name| !name.is_empty()).ok_or_else(|| missing("name"))?;
        Ok((kind, name))
    }
}

async fn client_get(client: &Client, path: &str, doing: &str) -> Result<Answer, Failure> {
    client.get(path).await.map_err(|failure| unreachable(failure, client, "Get", path, doing))
}

/// The answer if it is a success, else Consul's words for one that is not.
fn success(answer: Answer, doing: &str) -> Result<Answer, Failure> {
    match answer.status {
        200..=299 => Ok(answer),
        status => {
            let text = answer.body.trim();
            Err(Failure::Error(format!(
                "Error {doing}: Unexpected response code: {status} ({text})"
            )))
        }
    }
}

/// An agent that does not answer, in the words of Consul's client.
fn unreachable(
    failure: Failure,
    client: &Client,
    method: &str,
    path: &str,
    doing: &str,
) -> Failure {
    let Failure::Unreachable { cause, .. } = failure else { return failure };
    let address = client.address();
    let url = address.url(path);
    let dial = address.dial();
    Failure::Error(format!(
        "Error {doing}: {method} {url:?}: dial {dial}: connect: {}",
        cause.to_lowercase()
    ))
}

#[cfg(test)]
mod tests;
