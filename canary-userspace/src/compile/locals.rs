//! Services at loopback addresses: what Consul calls upstreams, without a sidecar.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use canary_common::endpoint::Endpoint;

use super::address::endpoint;
use super::facts::Facts;
use super::{Compiler, DesiredLocal, Names, Shown, Warning, frontends};
use crate::snapshot::Snapshot;

/// An instance's wish to reach a service at a loopback address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Want {
    /// The instance's own address.
    pub(super) owner: IpAddr,
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) destination: String,
}

/// What the instances of `name` wish.
pub(super) fn wants(snapshot: &Snapshot, name: &str) -> BTreeSet<Want> {
    let mut wants = BTreeSet::new();
    for registered in snapshot.instances_of(name) {
        let Some(own) = registered.socket() else { continue };
        for upstream in &registered.instance.upstreams {
            wants.extend(upstream.addresses().map(|address| Want {
                owner: own.ip(),
                address,
                port: upstream.port,
                destination: upstream.destination.clone(),
            }));
        }
    }
    wants
}

impl Compiler {
    /// The services that instances of `name` reach at loopback addresses.
    pub(super) fn wanted_by(&self, name: &str) -> Vec<String> {
        self.facts
            .get(name)
            .into_iter()
            .flat_map(|facts| facts.wanted())
            .map(str::to_owned)
            .collect()
    }

    /// Finds out again what is reached at loopback addresses; returns the services that this moves.
    pub(super) fn relocate(&mut self, snapshot: &Snapshot) -> Names {
        let before = &self.compiled.desired.locals;
        if self.wanted.is_empty() && before.is_empty() {
            return Names::new();
        }
        let owners: Names = self.wanted.values().flatten().cloned().collect();
        let facts = self.facts.iter().filter(|(name, _)| owners.contains(*name));
        let (locals, warnings) = assign(snapshot, facts);
        let (old, new): (BTreeSet<_>, BTreeSet<_>) =
            (before.iter().collect(), locals.iter().collect());
        let moved = old.symmetric_difference(&new).map(|local| local.service.clone()).collect();
        self.compiled.warnings.exchange(&self.of_locals, &warnings);
        self.of_locals = warnings;
        self.compiled.desired.locals = locals;
        moved
    }
}

/// What is reached where, and what is to be said of it: of two services at one place the first by
/// name is.
fn assign<'f>(
    snapshot: &Snapshot,
    facts: impl Iterator<Item = (&'f String, &'f Arc<Facts>)>,
) -> (Vec<DesiredLocal>, Vec<Warning>) {
    let mut places: BTreeMap<(IpAddr, Endpoint), BTreeMap<&str, &str>> = BTreeMap::new();
    for (name, facts) in facts {
        for Want { owner, address, port, destination } in &facts.wants {
            let protocol = frontends::protocol(snapshot, destination);
            let at = endpoint(*address, *port, protocol);
            places.entry((*owner, at)).or_default().entry(destination).or_insert(name);
        }
    }
    let (mut locals, mut warnings) = (Vec::new(), Vec::new());
    for ((owner, at), destinations) in places {
        let mut destinations = destinations.into_iter();
        let Some((first, _)) = destinations.next() else { continue };
        warnings.extend(destinations.map(|(other, name)| Warning {
            service: name.to_owned(),
            text: format!(
                "upstream {} of {owner} leads to {first:?} and {other:?}: it stays with {first:?}",
                Shown(&at)
            ),
        }));
        locals.push(DesiredLocal { owner, at, service: first.to_owned() });
    }
    locals.sort();
    (locals, warnings)
}
