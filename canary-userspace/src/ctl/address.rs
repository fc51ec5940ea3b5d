//! Where an agent listens.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where an agent listens when nothing else is said.
pub const DEFAULT_AGENT: &str = "unix:///run/canary/agent.sock";

/// The address of an agent's HTTP API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// A TCP port.
    Tcp {
        /// Name or address, an IPv6 address without its brackets.
        host: String,
        /// Port.
        port: u16,
        /// Over TLS.
        tls: bool,
    },
}

impl Address {
    /// Parses what Consul's command takes: the forms of [`FromStr`], and `host:port` alone.
    ///
    /// # Errors
    ///
    /// What is wrong with the address.
    pub fn parse_consul(text: &str) -> Result<Self, String> {
        if text.contains("://") { text.parse() } else { host_and_port(text, text) }
    }

    /// The network and the address in it, as Go's dialler names them.
    #[must_use]
    pub fn dial(&self) -> String {
        match self {
            Self::Unix(path) => format!("unix {}", path.display()),
            Self::Tcp { .. } => format!("tcp {}", self.authority()),
        }
    }

    /// The same port, over TLS; a socket stays what it is.
    #[must_use]
    pub fn over_tls(self) -> Self {
        match self {
            Self::Tcp { host, port, .. } => Self::Tcp { host, port, tls: true },
            socket @ Self::Unix(_) => socket,
        }
    }

    /// The URL of a path, as Consul's client writes it.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        let scheme = if matches!(self, Self::Tcp { tls: true, .. }) { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.authority())
    }

    /// The value of the `Host` header.
    #[must_use]
    pub fn authority(&self) -> String {
        match self {
            Self::Unix(_) => "localhost".to_owned(),
            Self::Tcp { host, port, .. } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port, .. } => format!("{host}:{port}"),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(PathBuf::from(path))),
            Some(("unix", _)) => Err(format!("{text:?} has no absolute path, as unix:///path has")),
            Some((scheme @ ("http" | "https"), rest)) => {
                let address = host_and_port(text, rest.strip_suffix('/').unwrap_or(rest))?;
                Ok(if scheme == "https" { address.over_tls() } else { address })
            }
            _ => Err(format!(
                "{text:?} is not an address: use unix:///path, http://host:port or https://host:port"
            )),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { tls, .. } => {
                write!(f, "{}://{}", if *tls { "https" } else { "http" }, self.authority())
            }
        }
    }
}

fn host_and_port(whole: &str, text: &str) -> Result<Address, String> {
    let wrong = || format!("{whole:?} has no host and port, as 127.0.0.1:8500 has");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().map_err(|_| wrong())?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match bare {
        Some(bare) => bare,
        None if host.contains([':', '/', '[', ']']) => return Err(wrong()),
        None => host,
    };
    if host.is_empty() {
        return Err(wrong());
    }
    Ok(Address::Tcp { host: host.to_owned(), port, tls: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_reads_back_as_it_was_written() {
        for text in
            [DEFAULT_AGENT, "http://127.0.0.1:8500", "https://[::1]:8500", "http://node-1:80"]
        {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_not_served_is_refused_with_the_forms_that_are() {
        for (text, says) in [
            ("ftp://node:8501", "is not an address"),
            ("unix://run/agent.sock", "no absolute path"),
            ("node:8500", "use unix:///path, http://host:port or https://host:port"),
            ("http://node", "no host and port"),
            ("http://node:99999", "no host and port"),
            ("http://:8500", "no host and port"),
            ("http://::1:8500", "no host and port"),
            ("http://node:80/path", "no host and port"),
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn consul_takes_a_bare_host_and_port_too() {
        let bare = Address::parse_consul("127.0.0.1:8500").unwrap();

        assert_eq!(bare, Address::parse_consul("http://127.0.0.1:8500").unwrap());
        assert_eq!(bare.dial(), "tcp 127.0.0.1:8500");
        assert_eq!(Address::parse_consul("unix:///a").unwrap().dial(), "unix /a");
    }
}
