//! Settings of the Consul source: flags over the file's `consul` block over Consul's environment.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use super::one_or_many;

/// Consul's own agent on this host, as its command line takes it where nothing is said.
const DEFAULT_ADDRESS: &str = "127.0.0.1:8500";
/// How long Consul may hold a question that has no news.
const DEFAULT_WAIT: Duration = Duration::from_secs(60);
/// The least and the most of it: Consul answers after ten minutes at the latest.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));
/// Questions open at once: Consul takes 200 connections of one client, and writes need some.
const DEFAULT_QUERIES: usize = 160;
/// Fewer would leave no room beside the questions for the kinds of config entries.
const MIN_QUERIES: usize = 8;

/// Where a Consul agent or server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// URL without a path, or the one to send through the socket.
    pub base: String,
    /// Path of the socket, if it is one.
    pub socket: Option<PathBuf>,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.socket {
            Some(path) => write!(f, "unix://{}", path.display()),
            None => f.write_str(&self.base),
        }
    }
}

impl Address {
    /// Reads `host:port`, a URL of http or https, or `unix://PATH`.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    fn parse(text: &str, tls: bool) -> Result<Self, String> {
        let wrong = || {
            format!(
                "Consul's address {text:?} is none of HOST:PORT, http://..., https://... and unix://PATH"
            )
        };
        if let Some(path) = text.strip_prefix("unix://") {
            let socket = Some(PathBuf::from(path)).filter(|path| path.is_absolute());
            return Ok(Self {
                base: "http://localhost".to_owned(),
                socket: Some(socket.ok_or_else(wrong)?),
            });
        }
        let with_scheme = match (text.contains("://"), tls) {
            (true, _) => text.to_owned(),
            (false, true) => format!("https://{text}"),
            (false, false) => format!("http://{text}"),
        };
        let url = reqwest::Url::parse(&with_scheme).map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
            return Err(wrong());
        }
        Ok(Self { base: with_scheme.trim_end_matches('/').to_owned(), socket: None })
    }

    /// Whether it is spoken to over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.base.starts_with("https://")
    }
}

/// What the agent proves and wants proved over https.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Certificates to trust instead of the machine's.
    pub ca_file: Option<PathBuf>,
    /// Directory of such certificates.
    pub ca_path: Option<PathBuf>,
    /// The agent's certificate.
    pub client_cert: Option<PathBuf>,
    /// Its key.
    pub client_key: Option<PathBuf>,
    /// Name in Consul's certificate, where it is not the address.
    pub server_name: Option<String>,
    /// Consul's certificate is checked.
    pub verify: bool,
}

/// How a Consul is followed.
#[derive(Clone, PartialEq, Eq)]
pub struct Consul {
    /// Where it answers; the next one is asked when one does not.
    pub addresses: Vec<Address>,
    /// The token, where it is given as it is.
    pub token: Option<String>,
    /// File with the token; read again when it changes.
    pub token_file: Option<PathBuf>,
    /// For addresses of https.
    pub tls: Tls,
    /// Services to follow whether they have entries or not.
    pub services: Vec<String>,
    /// How long Consul may hold a question that has no news.
    pub wait: Duration,
    /// Questions open at once.
    pub max_queries: usize,
}

impl fmt::Debug for Consul {
    /// Without the token: settings are logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consul")
            .field("addresses", &self.addresses)
            .field("token", &self.token.as_ref().map(|_| "..."))
            .field("token_file", &self.token_file)
            .field("tls", &self.tls)
            .field("services", &self.services)
            .field("wait", &self.wait)
            .field("max_queries", &self.max_queries)
            .finish()
    }
}

/// The flags.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Options of --source consul, each before its CONSUL_ variable")]
pub(super) struct Flags {
    /// Where Consul answers; may be repeated: the next is asked when one fails [default: 127.0.0.1:8500]
    #[arg(long = "consul-addr", value_name = "ADDR")]
    addresses: Vec<String>,
    /// Service to follow although it has no entries; may be repeated
    #[arg(long = "consul-service", value_name = "NAME")]
    services: Vec<String>,
    /// File with the ACL token, read again when it changes
    #[arg(long = "consul-token-file", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Certificates to trust over https [default: the machine's]
    #[arg(long = "consul-ca-file", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Directory of such certificates
    #[arg(long = "consul-ca-path", value_name = "DIR")]
    ca_path: Option<PathBuf>,
    /// The agent's own certificate
    #[arg(long = "consul-client-cert", value_name = "FILE")]
    client_cert: Option<PathBuf>,
    /// The key of it
    #[arg(long = "consul-client-key", value_name = "FILE")]
    client_key: Option<PathBuf>,
    /// Name in Consul's certificate, where it is not its address
    #[arg(long = "consul-tls-server-name", value_name = "NAME")]
    tls_server_name: Option<String>,
}

impl Flags {
    /// The first flag that was given, for a source that has no use for it.
    pub(super) fn first_given(&self) -> Option<&'static str> {
        let given = [
            (!self.addresses.is_empty(), "--consul-addr"),
            (!self.services.is_empty(), "--consul-service"),
            (self.token_file.is_some(), "--consul-token-file"),
            (self.ca_file.is_some(), "--consul-ca-file"),
            (self.ca_path.is_some(), "--consul-ca-path"),
            (self.client_cert.is_some(), "--consul-client-cert"),
            (self.client_key.is_some(), "--consul-client-key"),
            (self.tls_server_name.is_some(), "--consul-tls-server-name"),
        ];
        given.into_iter().find_map(|(given, name)| given.then_some(name))
    }
}

/// The `consul` block of the settings file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Block {
    #[serde(deserialize_with = "one_or_many")]
    addresses: Vec<String>,
    token: Option<String>,
    token_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    ca_path: Option<PathBuf>,
    client_cert: Option<PathBuf>,
    client_key: Option<PathBuf>,
    tls_server_name: Option<String>,
    verify: Option<bool>,
    #[serde(deserialize_with = "one_or_many")]
    services: Vec<String>,
    wait: Option<String>,
    max_queries: Option<usize>,
}

/// Puts together what is said in three places.
///
/// # Errors
///
/// What cannot be used, in a sentence.
pub(super) fn merge(
    flags: Flags,
    block: Block,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Consul, String> {
    let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
    let file = |name: &str| variable(name).map(PathBuf::from);
    if let Some(other) = variable("CONSUL_NAMESPACE").filter(|name| name != "default") {
        return Err(format!(
            "CONSUL_NAMESPACE is {other:?}: only the namespace \"default\" can be followed"
        ));
    }
    let ssl = truth("CONSUL_HTTP_SSL", &variable)?.unwrap_or(false);
    let verify = truth("CONSUL_HTTP_SSL_VERIFY", &variable)?;
    let given = [flags.addresses, block.addresses].into_iter().find(|given| !given.is_empty());
    let given = given.unwrap_or_else(|| {
        vec![variable("CONSUL_HTTP_ADDR").unwrap_or_else(|| DEFAULT_ADDRESS.to_owned())]
    });
    let addresses: Result<_, _> = given.iter().map(|text| Address::parse(text, ssl)).collect();
    let token_file = flags.token_file.or(block.token_file);
    // What the file or a flag says is not mixed with a token of the environment.
    let said = block.token.is_some() || token_file.is_some();
    let consul = Consul {
        addresses: addresses?,
        token: block.token.or_else(|| variable("CONSUL_HTTP_TOKEN").filter(|_| !said)),
        token_file: token_file.or_else(|| file("CONSUL_HTTP_TOKEN_FILE").filter(|_| !said)),
        tls: Tls {
            ca_file: flags.ca_file.or(block.ca_file).or_else(|| file("CONSUL_CACERT")),
            ca_path: flags.ca_path.or(block.ca_path).or_else(|| file("CONSUL_CAPATH")),
            client_cert: (flags.client_cert.or(block.client_cert))
                .or_else(|| file("CONSUL_CLIENT_CERT")),
            client_key: (flags.client_key.or(block.client_key))
                .or_else(|| file("CONSUL_CLIENT_KEY")),
            server_name: (flags.tls_server_name.or(block.tls_server_name))
                .or_else(|| variable("CONSUL_TLS_SERVER_NAME")),
            verify: block.verify.or(verify).unwrap_or(true),
        },
        services: if flags.services.is_empty() { block.services } else { flags.services },
        wait: block.wait.as_deref().map_or(Ok(DEFAULT_WAIT), read_wait)?,
        max_queries: block.max_queries.unwrap_or(DEFAULT_QUERIES),
    };
    check(&consul)?;
    Ok(consul)
}

fn check(consul: &Consul) -> Result<(), String> {
    if consul.token.is_some() && consul.token_file.is_some() {
        return Err("consul: token and token_file are both given".to_owned());
    }
    if consul.tls.client_cert.is_some() != consul.tls.client_key.is_some() {
        return Err("consul: a client certificate needs its key, and the key needs it".to_owned());
    }
    if consul.max_queries < MIN_QUERIES {
        return Err(format!("consul: max_queries must be at least {MIN_QUERIES}"));
    }
    match consul.services.iter().find(|name| name.is_empty()) {
        Some(_) => Err("consul: the name of a service is empty".to_owned()),
        None => Ok(()),
    }
}

fn read_wait(text: &str) -> Result<Duration, String> {
    let (least, most) = WAITS;
    let wait = humantime::parse_duration(text)
        .map_err(|error| format!("consul: wait {text:?}: {error}"))?;
    if (least..=most).contains(&wait) {
        return Ok(wait);
    }
    Err(format!("consul: wait must be between 1s and 10m, not {text:?}"))
}

/// A variable that is true or false, as Go reads it.
fn truth(name: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<bool>, String> {
    match variable(name).as_deref() {
        None => Ok(None),
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Some(true)),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Some(false)),
        Some(other) => Err(format!("{name} must be true or false, not {other:?}")),
    }
}

/// The files that a change of makes another client necessary.
#[must_use]
pub fn tls_files(tls: &Tls) -> Vec<&Path> {
    let files = [&tls.ca_file, &tls.ca_path, &tls.client_cert, &tls.client_key];
    files.into_iter().flatten().map(PathBuf::as_path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(block: &str, environment: &[(&str, &str)]) -> Result<Consul, String> {
        let block = hcl::from_str(block).unwrap();
        merge(Flags::default(), block, &|name| {
            environment.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned())
        })
    }

    #[test]
    fn nothing_said_is_consuls_own_agent_on_this_host() {
        let consul = merged("", &[]).unwrap();

        assert_eq!(consul.addresses[0].to_string(), "http://127.0.0.1:8500");
        assert!(consul.tls.verify && consul.token.is_none());
        assert_eq!(consul.wait, Duration::from_secs(60));
    }

    #[test]
    fn the_file_wins_over_consuls_environment() {
        let environment = [
            ("CONSUL_HTTP_ADDR", "other:1"),
            ("CONSUL_HTTP_TOKEN", "secret"),
            ("CONSUL_HTTP_SSL", "true"),
            ("CONSUL_HTTP_SSL_VERIFY", "0"),
            ("CONSUL_CACERT", "/ca.pem"),
            ("CONSUL_TLS_SERVER_NAME", "server.dc1.consul"),
            ("CONSUL_NAMESPACE", "default"),
        ];

        let of_environment = merged("", &environment).unwrap();
        let of_file = merged(
            "addresses = [\"a:8501\", \"http://b:8500/\", \"unix:///run/consul.sock\"]\n\
             token_file = \"/token\"\nverify = true\nca_file = \"/own.pem\"\nwait = \"5m\"\n",
            &environment,
        )
        .unwrap();

        assert_eq!(of_environment.addresses[0].base, "https://other:1");
        assert_eq!(of_environment.token.as_deref(), Some("secret"));
        assert!(!of_environment.tls.verify);
        let shown: Vec<_> = of_file.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["https://a:8501", "http://b:8500", "unix:///run/consul.sock"]);
        assert_eq!((of_file.token, of_file.token_file), (None, Some("/token".into())));
        assert_eq!(of_file.tls.ca_file, Some("/own.pem".into()));
        assert_eq!(of_file.tls.server_name.as_deref(), Some("server.dc1.consul"));
        assert!(of_file.tls.verify);
    }

    #[test]
    fn what_cannot_be_used_is_refused_in_a_sentence() {
        for (block, environment, text) in [
            ("addresses = \"ftp://x\"", ("", ""), "\"ftp://x\" is none of"),
            ("addresses = \"unix://x\"", ("", ""), "\"unix://x\" is none of"),
            ("wait = \"1h\"", ("", ""), "between 1s and 10m"),
            ("max_queries = 2", ("", ""), "at least 8"),
            ("client_cert = \"/a\"", ("", ""), "needs its key"),
            ("", ("CONSUL_NAMESPACE", "team"), "\"team\": only the namespace"),
            ("", ("CONSUL_HTTP_SSL", "yes"), "CONSUL_HTTP_SSL must be true or false"),
            ("token = \"a\"\ntoken_file = \"/b\"", ("", ""), "both given"),
        ] {
            let error = merged(block, &[environment]).unwrap_err();

            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn a_token_is_not_in_the_log() {
        let consul = merged("token = \"secret\"", &[]).unwrap();

        assert!(!format!("{consul:?}").contains("secret"));
    }
}
