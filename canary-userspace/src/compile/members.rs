//! Who is in a subset, and how each member is.

use std::collections::BTreeMap;

use canary_common::endpoint::Endpoint;

use super::address::{Shown, endpoint};
use super::chain::Target;
use super::{DesiredBackend, Warning};
use crate::catalog::{Health, Registered, Snapshot, VIRTUAL_PREFIX};
use crate::filter::Filter;

/// Most that an instance weighs, as in Consul.
const MAX_WEIGHT: u32 = 128;

/// The instances of a snapshot by service.
pub(super) struct Members<'a> {
    by_service: BTreeMap<&'a str, Vec<&'a Registered>>,
    filters: BTreeMap<(&'a str, &'a str), Result<Filter, String>>,
}

impl<'a> Members<'a> {
    /// Sorts the instances of `snapshot` by service and reads every subset's filter.
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        let mut by_service: BTreeMap<&str, Vec<&Registered>> = BTreeMap::new();
        for registered in &snapshot.instances {
            by_service.entry(&registered.instance.service).or_default().push(registered);
        }
        let mut filters = BTreeMap::new();
        for (service, entry) in &snapshot.resolvers {
            for (name, subset) in &entry.value.subsets {
                filters.insert((service.as_str(), name.as_str()), read(&subset.filter));
            }
        }
        Self { by_service, filters }
    }

    /// Names that instances are registered under.
    pub(super) fn services(&self) -> impl Iterator<Item = &'a str> {
        self.by_service.keys().copied()
    }

    /// Whether an instance is registered as `service`.
    pub(super) fn has(&self, service: &str) -> bool {
        self.by_service.contains_key(service)
    }

    /// Whether an instance of `service` has a virtual address.
    pub(super) fn has_frontend(&self, service: &str) -> bool {
        self.by_service.get(service).into_iter().flatten().any(|registered| {
            let mut names = registered.instance.tagged_addresses.keys();
            names.any(|name| name.starts_with(VIRTUAL_PREFIX))
        })
    }

    /// What is wrong with filters.
    pub(super) fn warnings(&self) -> impl Iterator<Item = Warning> {
        self.filters.iter().filter_map(|((service, subset), filter)| {
            let text = filter.as_ref().err()?;
            let text =
                format!("subset {subset:?} has no instances, its filter is unusable: {text}");
            Some(Warning { service: (*service).to_owned(), text })
        })
    }

    /// The backends of `target`, sorted, one an endpoint: of two instances at one, the better.
    pub(super) fn backends(
        &self,
        target: &Target,
        protocol: u8,
        warnings: &mut Vec<Warning>,
    ) -> Vec<DesiredBackend> {
        let mut found: BTreeMap<Endpoint, (DesiredBackend, &str)> = BTreeMap::new();
        for member in self.of(target) {
            let Some(backend) = backend(member, protocol) else { continue };
            let id = member.instance.id.as_str();
            match found.get_mut(&backend.endpoint) {
                None => {
                    found.insert(backend.endpoint, (backend, id));
                }
                Some((known, other)) => {
                    let text = format!(
                        "instances {other:?} and {id:?} both serve at {}; it counts once",
                        Shown(&backend.endpoint)
                    );
                    warnings.push(Warning { service: target.service.clone(), text });
                    if (backend.healthy, backend.weight) > (known.healthy, known.weight) {
                        *known = backend;
                    }
                }
            }
        }
        found.into_values().map(|(backend, _)| backend).collect()
    }

    /// The instances of `target`: none where its filter cannot be used.
    fn of(&self, target: &Target) -> Vec<&'a Registered> {
        let all = self.by_service.get(target.service.as_str()).into_iter().flatten().copied();
        let filter = self.filters.get(&(target.service.as_str(), target.subset.as_str()));
        let members = all.filter(|registered| match filter {
            _ if target.subset.is_empty() => true,
            Some(Ok(filter)) => filter.matches(registered),
            Some(Err(_)) | None => false,
        });
        members.collect()
    }
}

/// A filter that can be evaluated, or why it cannot.
fn read(text: &str) -> Result<Filter, String> {
    let filter = Filter::parse(text).map_err(|error| error.to_string())?;
    filter.check().map_err(|error| error.to_string())?;
    Ok(filter)
}

/// `registered` as a backend, with the weight that its health gives it.
fn backend(registered: &Registered, protocol: u8) -> Option<DesiredBackend> {
    let instance = &registered.instance;
    let weight = match registered.health {
        Health::Critical => 0,
        Health::Warning => instance.weights.warning,
        Health::Passing => instance.weights.passing,
    };
    let serves = registered.socket()?;
    Some(DesiredBackend {
        endpoint: endpoint(serves.ip(), serves.port(), protocol),
        weight: weight.clamp(1, MAX_WEIGHT),
        healthy: weight > 0,
    })
}
