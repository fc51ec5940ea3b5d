//! The compiler: from a snapshot of what is wanted to what the tables must say.

use canary_common::endpoint::Endpoint;

/// Identity of a split's counters: they follow it through every change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SplitKey {
    /// The service whose frontends clients connect to.
    pub service: String,
    /// The service the share goes to.
    pub target: String,
    /// The subset of it; empty for all its instances.
    pub subset: String,
}

/// A backend of a split.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DesiredBackend {
    /// Where it serves.
    pub endpoint: Endpoint,
    /// Weight within the split, 1 to 128.
    pub weight: u32,
    /// Takes new flows; otherwise it only keeps its live ones.
    pub healthy: bool,
}

/// A compiled share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredSplit {
    /// Whose counters it moves.
    pub key: SplitKey,
    /// Share in ten-thousandths.
    pub share: u16,
    /// Its backends, sorted.
    pub backends: Vec<DesiredBackend>,
}

/// A service as the tables shall hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredService {
    /// Name.
    pub name: String,
    /// Virtual addresses, sorted.
    pub frontends: Vec<Endpoint>,
    /// Shares in the order people wrote them; they add to 10000.
    pub splits: Vec<DesiredSplit>,
    /// Has a splitter: its splits get histograms.
    pub histograms: bool,
}

/// What the tables shall hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Services, sorted by name.
    pub services: Vec<DesiredService>,
}

/// Something a person should know that stops nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The service it is about; empty for the node as a whole.
    pub service: String,
    /// One sentence.
    pub text: String,
}
