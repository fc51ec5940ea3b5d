//! Config entries: Consul's kinds that this agent serves, decoded and validated.

use std::collections::BTreeMap;

/// Share in units of a ten-thousandth: 100 % is 10000.
pub type Units = u16;

/// The whole, in [`Units`].
pub const WHOLE: Units = 10_000;

/// A subset of a service's instances.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subset {
    /// Filter expression as written; empty means every instance.
    pub filter: String,
}

/// A `service-resolver` entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolver {
    /// The service.
    pub name: String,
    /// What a plain reference to the service means; empty for all instances.
    pub default_subset: String,
    /// Subsets by name.
    pub subsets: BTreeMap<String, Subset>,
    /// Free pairs.
    pub meta: BTreeMap<String, String>,
}

/// One share of a splitter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Weight in ten-thousandths.
    pub weight: Units,
    /// Target service; empty for the entry's own.
    pub service: String,
    /// Target subset; empty for the target's default.
    pub service_subset: String,
}

/// A `service-splitter` entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Splitter {
    /// The service.
    pub name: String,
    /// Shares in the order written; they add to [`WHOLE`].
    pub splits: Vec<Split>,
    /// Free pairs.
    pub meta: BTreeMap<String, String>,
}

/// A `service-defaults` entry, as far as this agent uses it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceDefaults {
    /// The service.
    pub name: String,
    /// Protocol in lower case: `udp` makes the frontends UDP, anything else is TCP.
    pub protocol: String,
}

/// A config entry of any kind that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// `service-resolver`
    Resolver(Resolver),
    /// `service-splitter`
    Splitter(Splitter),
    /// `service-defaults`
    Defaults(ServiceDefaults),
}
