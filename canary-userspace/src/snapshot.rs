//! The whole picture that a source yields: entries and instances.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::catalog::{Node, Registered, Sourced};
use crate::entry::reference::Entries;
use crate::entry::{ProxyDefaults, Resolver, ServiceDefaults, Splitter};

/// Everything the compiler needs to know: one whole, consistent picture.
///
/// A copy shares all that neither has changed since.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// This node.
    pub node: Arc<Node>,
    /// Resolvers by service.
    pub resolvers: OrdMap<String, Arc<Sourced<Resolver>>>,
    /// Splitters by service.
    pub splitters: OrdMap<String, Arc<Sourced<Splitter>>>,
    /// Defaults by service.
    pub defaults: OrdMap<String, Arc<Sourced<ServiceDefaults>>>,
    /// Defaults of all services, under the name `global`.
    pub proxies: OrdMap<String, Arc<Sourced<ProxyDefaults>>>,
    /// Services whose splitter is that of a brake, which could not be written.
    pub brakes: OrdSet<String>,
    /// Instances, sorted by (service, id). A copy is made of all of them when one changes.
    pub instances: Arc<Vec<Arc<Registered>>>,
}

impl<'e> Entries<'e> for &'e Snapshot {
    fn resolver(&self, service: &str) -> Option<&'e Resolver> {
        self.resolvers.get(service).map(|entry| &entry.value)
    }

    fn splitter(&self, service: &str) -> Option<&'e Splitter> {
        self.splitters.get(service).map(|entry| &entry.value)
    }
}

impl Snapshot {
    /// The instances registered as `service`, by id.
    #[must_use]
    pub fn instances_of(&self, service: &str) -> &[Arc<Registered>] {
        let name = |registered: &Arc<Registered>| registered.instance.service.as_str().cmp(service);
        let from = self.instances.partition_point(|one| name(one).is_lt());
        let rest = self.instances.get(from..).unwrap_or_default();
        let count = rest.partition_point(|one| name(one).is_eq());
        rest.get(..count).unwrap_or_default()
    }

    /// The protocol of `service` in lower case: its own, else that of all, else `tcp`.
    #[must_use]
    pub fn protocol(&self, service: &str) -> &str {
        let own = self.defaults.get(service).map(|entry| entry.value.protocol.as_str());
        let of_all = || self.proxies.get("global").map(|entry| entry.value.protocol.as_str());
        let named = |protocol: &&str| !protocol.is_empty();
        own.filter(named).or_else(|| of_all().filter(named)).unwrap_or("tcp")
    }
}
