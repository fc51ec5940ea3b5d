//! The short way: only the weights of one splitter are others.
//!
//! Weights decide shares and nothing else: who is a backend, who holds which frontend and every
//! other warning stay as they are. So only the services whose chains pass that splitter are worked
//! out again, however many others there are.

use std::collections::{BTreeMap, BTreeSet};

use super::chain::{Chains, Target};
use super::{Compiled, DesiredService, SplitKey, Warning, advice};
use crate::catalog::Snapshot;
use crate::entry::{Splitter, Units};

/// Whether `new` differs from `old` in nothing that is compiled but weights.
#[must_use]
pub fn only_weights(old: &Splitter, new: &Splitter) -> bool {
    let mut pairs = old.splits.iter().zip(&new.splits);
    old.name == new.name
        && old.splits.len() == new.splits.len()
        && pairs.all(|(old, new)| {
            (&old.service, &old.service_subset) == (&new.service, &new.service_subset)
        })
}

impl Compiled {
    /// The services that get other shares since the weights of the splitter `changed` are those
    /// of `snapshot`, and nothing else of it differs from what this was compiled from.
    ///
    /// With [`Compiled::replace`] the result is what [`compile`](super::compile) gives. `None` if
    /// the whole is to be compiled: something else has changed, or is refused.
    #[must_use]
    pub fn reweighed(&self, snapshot: &Snapshot, changed: &str) -> Option<Vec<DesiredService>> {
        let mut chains = Chains::new(snapshot);
        let mut services = Vec::new();
        for name in followers(snapshot, &chains, changed) {
            let shares = chains.shares(name).ok()?;
            services.push(with_shares(self.service(name)?, shares)?);
        }
        Some(services)
    }

    /// Puts `services` in the place of those with their names; returns what was there.
    pub fn replace(&mut self, services: Vec<DesiredService>) -> Vec<DesiredService> {
        let mut replaced = Vec::new();
        for mut service in services {
            let said: Vec<Warning> = self.unserved(&service.name);
            let Some(place) = self.service_mut(&service.name) else { continue };
            std::mem::swap(place, &mut service);
            let name = service.name.clone();
            replaced.push(service);
            self.warnings.retain(|warning| !said.contains(warning));
            let news = self.unserved(&name);
            self.warnings.extend(news);
        }
        self.warnings.sort_by(|a, b| (&a.service, &a.text).cmp(&(&b.service, &b.text)));
        self.warnings.dedup();
        replaced
    }

    /// What is said of the shares of a service that is served.
    fn unserved(&self, name: &str) -> Vec<Warning> {
        let found =
            self.desired.services.binary_search_by(|service| service.name.as_str().cmp(name));
        let service = found.ok().and_then(|place| self.desired.services.get(place));
        service.into_iter().flat_map(advice::unserved).collect()
    }

    fn service(&self, name: &str) -> Option<&DesiredService> {
        [&self.desired.services, &self.idle].into_iter().find_map(|services| {
            let place = services.binary_search_by(|service| service.name.as_str().cmp(name));
            place.ok().and_then(|place| services.get(place))
        })
    }

    fn service_mut(&mut self, name: &str) -> Option<&mut DesiredService> {
        [&mut self.desired.services, &mut self.idle].into_iter().find_map(|services| {
            let place = services.binary_search_by(|service| service.name.as_str().cmp(name));
            place.ok().and_then(|place| services.get_mut(place))
        })
    }
}

/// `changed` and every service from which splits lead to its splitter, over others or not.
fn followers<'a>(snapshot: &'a Snapshot, chains: &Chains<'a>, changed: &str) -> BTreeSet<&'a str> {
    let mut leading: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, entry) in &snapshot.splitters {
        for next in entry.value.splits.iter().filter_map(|split| chains.nested(name, split)) {
            leading.entry(next).or_default().push(name);
        }
    }
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = snapshot
        .splitters
        .get_key_value(changed)
        .map(|(name, _)| name.as_str())
        .into_iter()
        .collect();
    while let Some(name) = open.pop() {
        if found.insert(name) {
            open.extend(leading.get(name).into_iter().flatten());
        }
    }
    found
}

/// `service` with other shares; `None` if they are not of the same targets in the same order.
fn with_shares(service: &DesiredService, shares: Vec<(Target, Units)>) -> Option<DesiredService> {
    let mut service = service.clone();
    if service.splits.len() != shares.len() {
        return None;
    }
    for (split, (target, share)) in service.splits.iter_mut().zip(shares) {
        let SplitKey { target: whose, subset, .. } = &split.key;
        if (whose, subset) != (&target.service, &target.subset) {
            return None;
        }
        split.share = share;
    }
    Some(service)
}
