//! How packets from the network are hooked.

use clap::ValueEnum;
use serde::Deserialize;

/// How packets of an uplink are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum UplinkMode {
    /// Native XDP on drivers that allow it, tcx elsewhere.
    #[default]
    Auto,
    /// Native XDP, or an error.
    Xdp,
    /// tcx always.
    Tcx,
    /// Uplinks are not served.
    Off,
}
