//! One service put together: its chain, the backends of each leaf, and what is to be said of it.

use std::collections::BTreeSet;

use canary_common::endpoint::{Endpoint, UDP};
use canary_common::label::{ServiceLabel, SplitLabel};

use super::chain::{Chain, hashes};
use super::members::Members;
use super::{
    Affinity, DesiredBackend, DesiredService, DesiredSplit, SplitKey, Warning, frontends, shares,
};
use crate::entry::reference::{Entries, Target};
use crate::entry::{
    EXTERNAL_POLICY, FOLLOW_WEIGHTS, INTERNAL_POLICY, LoadBalancer, Splitter, Units,
};
use crate::snapshot::Snapshot;

/// A leaf with its backends.
struct Served<'a> {
    target: Target<'a>,
    weight: Units,
    /// The level that takes new connections; the leaf's own where none can.
    level: Target<'a>,
    backends: Vec<DesiredBackend>,
    standby: Vec<Endpoint>,
}

impl Served<'_> {
    fn is_taken(&self) -> bool {
        self.backends.iter().any(|backend| backend.healthy)
    }
}

/// Puts the service `name` together.
///
/// # Errors
///
/// What is wrong if the tables have no room for the names.
pub(super) fn assemble<'a>(
    snapshot: &'a Snapshot,
    members: &mut Members<'a>,
    name: &str,
    chain: &Chain<'a>,
    reachable: bool,
    warnings: &mut Vec<Warning>,
) -> Result<DesiredService, String> {
    check_length(name, chain)?;
    let protocol = frontends::protocol(snapshot, name);
    let wants = snapshot.defaults.get(name).is_some_and(|entry| entry.value.datagrams_follow());
    let follows = wants && protocol == UDP;
    if wants && !follows {
        let text =
            format!("meta {FOLLOW_WEIGHTS} has no effect: the service is not reached by UDP");
        warnings.push(Warning { service: name.to_owned(), text });
    }
    let mut leaves = Vec::new();
    for ((leaf, weight), failover) in chain.leaves.iter().zip(&chain.failover) {
        let mut levels = Vec::new();
        for level in std::iter::once(&leaf.target).chain(failover) {
            levels.push((*level, members.backends(*level, protocol, warnings)));
        }
        leaves.push(serve(leaf.target, *weight, levels));
    }
    let policy = |key: &str| {
        snapshot.defaults.get(name).map(|entry| entry.value.policy(key)).unwrap_or_default()
    };
    let splitter = snapshot.splitter(name);
    let redistributes = splitter.is_some_and(Splitter::redistributes);
    let weights: Vec<Units> = leaves.iter().map(|leaf| leaf.weight).collect();
    let shares = if redistributes {
        let taken: Vec<bool> = leaves.iter().map(Served::is_taken).collect();
        let names: Vec<Target<'_>> = leaves.iter().map(|leaf| leaf.target).collect();
        shares::redistribute(&weights, &taken, &names)
    } else {
        weights
    };
    let mut splits = Vec::new();
    for (leaf, share) in leaves.into_iter().zip(shares) {
        // Where nobody can connect, nobody is refused.
        let text = remark(name, &leaf, share).filter(|_| reachable);
        warnings.extend(text.map(|text| Warning { service: name.to_owned(), text }));
        let Target { service, subset } = leaf.target;
        let key = SplitKey {
            service: name.to_owned(),
            target: service.to_owned(),
            subset: subset.to_owned(),
        };
        let Served { weight, backends, standby, .. } = leaf;
        splits.push(DesiredSplit { key, weight, share, backends, standby });
    }
    let service = DesiredService {
        name: name.to_owned(),
        frontends: Vec::new(),
        default_subset: snapshot
            .resolver(name)
            .map(|r| r.default_subset.clone())
            .unwrap_or_default(),
        splits,
        histograms: splitter.is_some(),
        affinity: affinity(chain.balancer),
        follows,
        internal: policy(INTERNAL_POLICY),
        external: policy(EXTERNAL_POLICY),
        upstream: false,
        braked: snapshot.brakes.contains(name),
    };
    check_local(&service).map(|()| service)
}

/// The second service of a policy has a label of its own.
fn check_local(service: &DesiredService) -> Result<(), String> {
    let has_room = ServiceLabel::new(&[&service.local_name()]).is_some();
    if has_room || !service.has_local() {
        return Ok(());
    }
    let name = &service.name;
    Err(format!(
        "service name {name:?} is too long for the tables' labels with a traffic policy Local"
    ))
}

/// What a client keeps its backend by.
pub(super) fn affinity(balancer: Option<&LoadBalancer>) -> Affinity {
    let by_source = balancer
        .filter(|balancer| hashes(balancer))
        .is_some_and(|balancer| balancer.hash_policies.iter().any(|policy| policy.source_ip));
    if by_source { Affinity::Source } else { Affinity::Flow }
}

/// Chooses the first level that has a healthy instance; what the others have keeps what it has.
fn serve<'a>(
    target: Target<'a>,
    weight: Units,
    levels: Vec<(Target<'a>, Vec<DesiredBackend>)>,
) -> Served<'a> {
    let healthy = |(_, backends): &(_, Vec<DesiredBackend>)| backends.iter().any(|b| b.healthy);
    let chosen = levels.iter().position(healthy).unwrap_or(0);
    let mut served = Served { target, weight, level: target, backends: vec![], standby: vec![] };
    let mut standby = BTreeSet::new();
    for (place, (level, backends)) in levels.into_iter().enumerate() {
        if place == chosen {
            (served.level, served.backends) = (level, backends);
        } else {
            standby.extend(backends.into_iter().map(|backend| backend.endpoint));
        }
    }
    for backend in &served.backends {
        standby.remove(&backend.endpoint);
    }
    served.standby = standby.into_iter().collect();
    served
}

/// What a person should know of a leaf that its own instances do not serve.
fn remark(service: &str, leaf: &Served<'_>, share: Units) -> Option<String> {
    if leaf.weight == 0 {
        return None;
    }
    let percent = f64::from(leaf.weight) / 100.0;
    let whose = place(service, leaf.target);
    if leaf.is_taken() {
        let next = place(service, leaf.level);
        let of = match leaf.target {
            Target { service: own, subset: "" } if own == service => String::new(),
            _ => format!(" of {whose}"),
        };
        return (leaf.level != leaf.target).then(|| {
            format!(
                "{percent} % of new connections fail over to {next}: no instance{of} is healthy"
            )
        });
    }
    let instances = leaf.backends.iter().filter(|backend| !backend.second);
    let state = match instances.count() {
        0 => "which has no backend".to_owned(),
        1 => "whose one backend is unhealthy".to_owned(),
        count => format!("whose {count} backends are all unhealthy"),
    };
    Some(if share == 0 {
        format!("{percent} % of new connections go to the other splits instead of {whose}, {state}")
    } else {
        format!("{percent} % of new connections are refused: they go to {whose}, {state}")
    })
}

/// The instances of `target` in a sentence about `service`.
pub(super) fn place(service: &str, target: Target<'_>) -> String {
    let whose =
        if target.service == service { String::new() } else { format!(" of {:?}", target.service) };
    match target.subset {
        "" => format!("all instances{whose}"),
        subset => format!("subset {subset:?}{whose}"),
    }
}

fn check_length(name: &str, chain: &Chain<'_>) -> Result<(), String> {
    if ServiceLabel::new(&[name]).is_none() {
        return Err(format!("service name {name:?} is too long for the tables' labels"));
    }
    let mut targets = chain.leaves.iter().map(|(leaf, _)| leaf.target);
    let long = targets.find(|at| SplitLabel::new(&[name, at.service, at.subset]).is_none());
    let Some(Target { service, subset }) = long else { return Ok(()) };
    Err(format!(
        "service {name:?}, target {service:?} and subset {subset:?} are too long for the tables' labels"
    ))
}
