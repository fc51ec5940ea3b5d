//! Whose sockets get their backends when they connect.

use clap::ValueEnum;
use serde::Deserialize;

/// Whose sockets are balanced at connect time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SocketLb {
    /// Those of the agent's own network namespace.
    #[default]
    Host,
    /// Those of pods as well.
    All,
    /// Nobody's.
    Off,
}

impl SocketLb {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::All => "all",
            Self::Off => "off",
        }
    }
}
