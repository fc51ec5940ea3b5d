//! Who changed what, and when: the record that the store keeps of every change.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::document::Moved;

/// Who asked for a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "via", rename_all = "kebab-case")]
pub enum Author {
    /// A process of this node over the agent's socket, as the kernel names it.
    Socket {
        /// Its user.
        uid: u32,
        /// Its group.
        gid: u32,
        /// The process; none if it is of another pid namespace.
        pid: Option<i32>,
        /// The user that logged in: it stays over `sudo`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        login: Option<u32>,
        /// The user's name, if it has one here; looked up when it is shown.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        /// The process's name, if it still ran when it was looked up.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        process: Option<String>,
        /// Name of the token it showed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<String>,
    },
    /// Somebody over TCP.
    Tcp {
        /// Where the connection came from.
        peer: SocketAddr,
        /// Name of the token it showed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<String>,
    },
    /// SIGHUP.
    Signal,
    /// The agent itself: at its start the files were others than before.
    Agent,
    /// Whoever changed it at the source that is followed.
    Source {
        /// The kind of source.
        kind: String,
    },
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = match self {
            Self::Signal => return f.write_str("SIGHUP"),
            Self::Agent => return f.write_str("canary-agent"),
            Self::Source { kind } => return f.write_str(kind),
            Self::Tcp { peer, token } => {
                write!(f, "{peer}")?;
                token
            }
            Self::Socket { uid, login, user, process, pid, token, .. } => {
                match user {
                    Some(user) => f.write_str(user)?,
                    None => write!(f, "uid {uid}")?,
                }
                if let Some(login) = login.filter(|login| login != uid) {
                    write!(f, " logged in as uid {login}")?;
                }
                match (process, pid) {
                    (Some(process), Some(pid)) => write!(f, " ({process}, pid {pid})")?,
                    (None, Some(pid)) => write!(f, " (pid {pid})")?,
                    (Some(_) | None, None) => {}
                }
                token
            }
        };
        token.iter().try_for_each(|token| write!(f, " with token {token:?}"))
    }
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// A config entry was written.
    Write,
    /// A config entry was deleted.
    Delete,
    /// An instance was registered.
    Register,
    /// An instance was deregistered.
    Deregister,
    /// Weights were set.
    SplitSet,
    /// Everything went to the stable subset.
    Rollback,
    /// Live connections were ended.
    Sever,
    /// Earlier entries were put back.
    Undo,
    /// Files were taken into the store.
    Import,
    /// The configuration directory was read again.
    Reload,
    /// The configuration directory was read at the start.
    Start,
    /// What an input that was held takes away was accepted.
    Accept,
    /// Maintenance mode was turned on or off.
    Maintenance,
    /// The source that is followed says something else than before.
    Follow,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Write => "write",
            Self::Delete => "delete",
            Self::Register => "register",
            Self::Deregister => "deregister",
            Self::SplitSet => "split set",
            Self::Rollback => "rollback",
            Self::Sever => "sever",
            Self::Undo => "undo",
            Self::Import => "import",
            Self::Reload => "reload",
            Self::Start => "start",
            Self::Accept => "accept",
            Self::Maintenance => "maintenance",
            Self::Follow => "follow",
        })
    }
}

/// Who asks for a change, and whether it is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Who asks.
    pub author: Author,
    /// Only what would change is wanted; nothing may.
    pub dry_run: bool,
}

impl Intent {
    /// A change that is to be made.
    #[must_use]
    pub fn of(author: Author) -> Self {
        Self { author, dry_run: false }
    }
}

/// The kind under which an instance's registration stands among config entries.
pub const REGISTRATION: &str = "service";

/// The kind under which a check on its own stands, or a maintenance mode.
pub const CHECK: &str = "check";

/// One definition that a change made, changed or took away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Altered {
    /// The service it is about.
    pub service: String,
    /// The entry's kind, or [`REGISTRATION`], or [`CHECK`].
    pub kind: String,
    /// The entry's name, or the instance's id.
    pub name: String,
    /// What was in force before; `null` if nothing was.
    pub before: Value,
    /// What is in force since; `null` if nothing is.
    pub after: Value,
}

/// A change that was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Counts the changes, from 1.
    pub number: u64,
    /// When, in milliseconds since 1970 UTC.
    pub time_ms: u64,
    /// Who.
    pub author: Author,
    /// What was asked for.
    pub action: Action,
    /// Index of the write.
    pub index: u64,
    /// The revision that was in force after it.
    pub revision: u64,
    /// What is different since.
    pub changes: Vec<Altered>,
    /// Weights that moved, by service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<String, Vec<Moved>>,
    /// Live connections that began to be ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severed: Option<Severed>,
}

/// Live connections of a service that began to be ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Severed {
    /// The service.
    pub service: String,
    /// How many by subset, or by target where the split names no subset.
    pub connections: BTreeMap<String, u64>,
    /// The pace.
    pub rate: String,
}

impl Record {
    /// The services that it is about.
    #[must_use]
    pub fn services(&self) -> BTreeSet<&str> {
        let of_weights = self.weights.keys().map(String::as_str);
        let of_severed = self.severed.iter().map(|severed| severed.service.as_str());
        let of_changes = self.changes.iter().map(|altered| altered.service.as_str());
        of_changes.chain(of_weights).chain(of_severed).collect()
    }

    /// The part of it that is about `service`.
    #[must_use]
    pub fn of_service(mut self, service: &str) -> Self {
        self.changes.retain(|altered| altered.service == service);
        self.weights.retain(|of, _| of == service);
        self.severed = self.severed.filter(|severed| severed.service == service);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_names_where_there_are_some() {
        let process = |user: Option<&str>, process: Option<&str>, pid| Author::Socket {
            uid: 1000,
            gid: 1000,
            pid,
            login: None,
            user: user.map(str::to_owned),
            process: process.map(str::to_owned),
            token: None,
        };
        let peer = "10.0.0.7:5000".parse().unwrap();

        let shown = [
            process(Some("ann"), Some("canaryctl"), Some(7)),
            process(None, None, Some(7)),
            process(None, None, None),
            Author::Socket {
                uid: 0,
                gid: 0,
                pid: None,
                login: Some(1001),
                user: Some("root".to_owned()),
                process: None,
                token: None,
            },
            Author::Tcp { peer, token: None },
            Author::Tcp { peer, token: Some("ci".to_owned()) },
            Author::Signal,
            Author::Agent,
        ]
        .map(|author| author.to_string());

        assert_eq!(
            shown,
            [
                "ann (canaryctl, pid 7)",
                "uid 1000 (pid 7)",
                "uid 1000",
                "root logged in as uid 1001",
                "10.0.0.7:5000",
                "10.0.0.7:5000 with token \"ci\"",
                "SIGHUP",
                "canary-agent",
            ]
        );
    }
}
