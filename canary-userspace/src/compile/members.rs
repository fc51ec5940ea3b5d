//! Who is in a subset, and how each member is.

use std::collections::BTreeMap;
use std::rc::Rc;

use canary_common::endpoint::Endpoint;

use super::address::{Shown, endpoint};
use super::{DesiredBackend, Warning, families};
use crate::catalog::{Health, Registered};
use crate::entry::Subset;
use crate::entry::reference::{Entries, Target};
use crate::filter::Filter;
use crate::snapshot::Snapshot;

/// Most that an instance weighs, as in Consul.
const MAX_WEIGHT: u32 = 128;

/// A filter that can be evaluated, or why it cannot.
pub(super) type Usable = Result<Filter, String>;

/// The members of the targets of a snapshot.
pub(super) struct Members<'a> {
    snapshot: &'a Snapshot,
    /// Filters that were read already: many services may lead to one subset.
    filters: BTreeMap<Target<'a>, Rc<Usable>>,
}

impl<'a> Members<'a> {
    /// The members of the targets of `snapshot`.
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        Self { snapshot, filters: BTreeMap::new() }
    }

    /// The backends of `target`, sorted, one an endpoint: of two instances at one, the better.
    pub(super) fn backends(
        &mut self,
        target: Target<'a>,
        protocol: u8,
        warnings: &mut Vec<Warning>,
    ) -> Vec<DesiredBackend> {
        let only_passing = self.subset(target).is_some_and(|subset| subset.only_passing);
        let filter = self.filter(target);
        let mut found: BTreeMap<Endpoint, (DesiredBackend, &str)> = BTreeMap::new();
        for member in self.snapshot.instances_of(target.service) {
            if !filter.as_ref().as_ref().is_ok_and(|filter| filter.matches(member)) {
                continue;
            }
            let id = member.instance.id.as_str();
            for backend in backends(member, protocol, only_passing) {
                let Some((known, other)) = found.get_mut(&backend.endpoint) else {
                    found.insert(backend.endpoint, (backend, id));
                    continue;
                };
                let text = format!(
                    "instances {other:?} and {id:?} both serve at {}; it counts once",
                    Shown(&backend.endpoint)
                );
                warnings.push(Warning { service: target.service.to_owned(), text });
                if (backend.healthy, backend.weight) > (known.healthy, known.weight) {
                    *known = backend;
                }
            }
        }
        found.into_values().map(|(backend, _)| backend).collect()
    }

    /// The filter of `target`: that of all instances where it names no subset.
    pub(super) fn filter(&mut self, target: Target<'a>) -> Rc<Usable> {
        if let Some(known) = self.filters.get(&target) {
            return Rc::clone(known);
        }
        let filter = Rc::new(read(self.subset(target).map_or("", |subset| &subset.filter)));
        self.filters.insert(target, Rc::clone(&filter));
        filter
    }

    /// What they are members of.
    pub(super) fn snapshot(&self) -> &'a Snapshot {
        self.snapshot
    }

    /// The subset that `target` names, as it is written.
    pub(super) fn subset(&self, target: Target<'_>) -> Option<&'a Subset> {
        self.snapshot.resolver(target.service)?.subsets.get(target.subset)
    }
}

/// Reads a filter.
pub(super) fn read(text: &str) -> Usable {
    let filter = Filter::parse(text).map_err(|error| error.to_string())?;
    filter.check().map_err(|error| error.to_string())?;
    Ok(filter)
}

/// Whether `registered` takes new connections, and its weight, 1 to 128, by its health.
pub(super) fn weigh(registered: &Registered, only_passing: bool) -> (bool, u32) {
    let weights = registered.instance.weights;
    let weight = match registered.health {
        Health::Critical => 0,
        Health::Warning if only_passing => 0,
        Health::Warning => weights.warning,
        Health::Passing => weights.passing,
    };
    (weight > 0, weight.clamp(1, MAX_WEIGHT))
}

/// The backends of an instance: one in each family that it serves.
fn backends(
    registered: &Registered,
    protocol: u8,
    only_passing: bool,
) -> impl Iterator<Item = DesiredBackend> + use<> {
    let (healthy, weight) = weigh(registered, only_passing);
    families::sockets(registered).enumerate().map(move |(place, serves)| DesiredBackend {
        endpoint: endpoint(serves.ip(), serves.port(), protocol),
        weight,
        healthy,
        second: place > 0,
    })
}
