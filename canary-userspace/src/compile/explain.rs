//! Where new connections of a service go, and why, for people.

use std::collections::BTreeSet;

use super::chain::{Chain, Chains, hashes};
use super::members::{Members, weigh};
use super::{Affinity, families, frontends, protocol_name, service};
use crate::catalog::{CheckState, Health, Registered};
use crate::document::explain::{
    Check, Explain, Instance, Leaf, Level, Next, Splitter, Target as TargetDocument, Written,
};
use crate::entry::reference::{self, Asked, Entries, Target};
use crate::entry::{LoadBalancer, Policy, Units};
use crate::filter::why;
use crate::snapshot::Snapshot;

/// Explains `service`, but for what only the agent knows: frontends, warnings, the revision.
#[must_use]
pub fn explain(snapshot: &Snapshot, service: &str) -> Explain {
    let (chain, _) = Chains::new(snapshot).chain(service);
    let protocol = frontends::protocol(snapshot, service);
    let on_empty = match snapshot.splitter(service) {
        Some(splitter) if splitter.redistributes() => "redistribute",
        _ => "reset",
    };
    let mut explain = Explain {
        service: service.to_owned(),
        protocol: protocol_name(protocol).to_owned(),
        frontends: Vec::new(),
        policy: "evenly".to_owned(),
        affinity: "connection".to_owned(),
        on_empty: on_empty.to_owned(),
        splitters: splitters(snapshot, service),
        leaves: Vec::new(),
        error: None,
        warnings: Vec::new(),
        revision: 0,
    };
    match chain.and_then(|chain| Ok((leaves(snapshot, service, &chain)?, chain))) {
        Err(text) => explain.error = Some(text),
        Ok((leaves, chain)) => {
            explain.leaves = leaves;
            policy(chain.balancer).clone_into(&mut explain.policy);
            if service::affinity(chain.balancer) == Affinity::Source {
                "source_ip".clone_into(&mut explain.affinity);
            }
        }
    }
    explain
}

fn policy(balancer: Option<&LoadBalancer>) -> &'static str {
    match balancer.filter(|balancer| hashes(balancer)).map(|balancer| balancer.policy) {
        Some(Policy::Maglev) => "maglev",
        Some(Policy::RingHash) => "ring_hash",
        _ => "evenly",
    }
}

/// The splitters that splits lead to, each once, the service's own first.
fn splitters(snapshot: &Snapshot, service: &str) -> Vec<Splitter> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut open: Vec<&str> = vec![service];
    while let Some(name) = open.pop() {
        let Some(splitter) = snapshot.splitter(name).filter(|_| seen.insert(name)) else {
            continue;
        };
        let nested = splitter.splits.iter().rev();
        open.extend(nested.filter_map(|split| reference::nested(&snapshot, splitter, split)));
        let splits = splitter.splits.iter().map(|split| {
            let named = reference::named(splitter, split);
            let target = || {
                let target = reference::resolve(&snapshot, named, &mut Asked::new());
                Next::Target(target_of(target.unwrap_or(named)))
            };
            let nested = reference::nested(&snapshot, splitter, split);
            let next = nested.map_or_else(target, |next| Next::Splitter(next.to_owned()));
            Written {
                weight: percent(split.weight),
                service: named.service.to_owned(),
                subset: split.service_subset.clone(),
                next,
            }
        });
        found.push(Splitter { service: name.to_owned(), splits: splits.collect() });
    }
    found
}

fn target_of(Target { service, subset }: Target<'_>) -> TargetDocument {
    TargetDocument { service: service.to_owned(), subset: subset.to_owned() }
}

fn leaves<'a>(
    snapshot: &'a Snapshot,
    service: &str,
    chain: &Chain<'a>,
) -> Result<Vec<Leaf>, String> {
    let mut members = Members::new(snapshot);
    let compiled =
        service::assemble(snapshot, &mut members, service, chain, false, &mut Vec::new())?;
    let parts = chain.leaves.iter().zip(&chain.failover).zip(&compiled.splits);
    let leaves = parts.map(|(((leaf, _), failover), split)| {
        let targets = std::iter::once(&leaf.target).chain(failover);
        let mut levels: Vec<Level> =
            (0..).zip(targets).map(|(n, target)| level(&mut members, n, *target)).collect();
        let takes = |level: &&mut Level| {
            level.instances.iter().any(|one| one.member && one.healthy && one.address.is_some())
        };
        let taken = levels.iter_mut().find(takes);
        let refused = taken.is_none() && split.share > 0;
        if let Some(level) = taken {
            level.in_use = true;
        }
        Leaf {
            service: split.key.target.clone(),
            subset: split.key.subset.clone(),
            weight: percent(split.weight),
            share: percent(split.share),
            refused,
            levels,
        }
    });
    Ok(leaves.collect())
}

fn level<'a>(members: &mut Members<'a>, priority: u32, target: Target<'a>) -> Level {
    let subset = members.subset(target);
    let (filter, only_passing) =
        subset.map_or(("", false), |subset| (subset.filter.as_str(), subset.only_passing));
    let usable = members.filter(target);
    let filter_error = usable.as_ref().as_ref().err().map(ToString::to_string);
    let all = members.snapshot().instances_of(target.service);
    let instances = all.iter().map(|registered| {
        let member = usable.as_ref().as_ref().is_ok_and(|filter| filter.matches(registered));
        instance(registered, filter, member, only_passing)
    });
    Level {
        priority,
        service: target.service.to_owned(),
        subset: target.subset.to_owned(),
        in_use: false,
        filter: filter.to_owned(),
        filter_error,
        only_passing,
        instances: instances.collect(),
    }
}

fn instance(registered: &Registered, filter: &str, member: bool, only_passing: bool) -> Instance {
    let (healthy, weight) = weigh(registered, only_passing);
    let failing = registered.checks.iter().filter(|check| check.status != Health::Passing);
    Instance {
        id: registered.instance.id.clone(),
        address: families::sockets(registered).next().map(|at| at.to_string()),
        node: registered.node.name.clone(),
        health: health(registered.health).to_owned(),
        checks: failing.map(|failing| check(failing)).collect(),
        healthy,
        weight,
        member,
        why: why(filter, registered),
    }
}

fn check(check: &CheckState) -> Check {
    Check {
        id: check.id.to_string(),
        name: check.name.to_string(),
        status: health(check.status).to_owned(),
        output: check.output.to_string(),
        of_node: check.of_node,
    }
}

const fn health(health: Health) -> &'static str {
    match health {
        Health::Critical => "critical",
        Health::Warning => "warning",
        Health::Passing => "passing",
    }
}

fn percent(units: Units) -> f64 {
    f64::from(units) / 100.0
}
