//! How answers of backends elsewhere come back to clients outside.

use clap::ValueEnum;
use serde::Deserialize;

/// How answers of backends elsewhere come back to clients outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum OutsideReturn {
    /// By this node, which they see as their client.
    #[default]
    Masquerade,
    /// Straight from their node, to which packets go within others (IP in IP).
    Ipip,
}
