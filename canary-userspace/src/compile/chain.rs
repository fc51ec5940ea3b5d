//! The discovery chain: from entries to the shares of (service, subset) targets.

use std::collections::{BTreeMap, BTreeSet};

use super::fraction::Fraction;
use super::shares;
use crate::entry::reference::{self, Asked, Entries, Target};
use crate::entry::{LoadBalancer, Policy, Split, Units, WHOLE, circular};
use crate::snapshot::Snapshot;

/// Targets that a service's record in the tables holds.
pub const MAX_TARGETS: usize = 16;

/// Where a part of a service's connections goes in the end.
#[derive(Clone, Debug)]
pub(super) struct Leaf<'a> {
    /// The instances.
    pub(super) target: Target<'a>,
    /// What the weights on the way multiply to, exactly.
    share: Fraction,
    /// The first split that leads here, where a splitter does.
    pub(super) split: Option<&'a Split>,
}

/// The chain of a service.
#[derive(Clone, Debug)]
pub(super) struct Chain<'a> {
    /// Where connections go, with the rounded weights: they add to [`WHOLE`].
    pub(super) leaves: Vec<(Leaf<'a>, Units)>,
    /// For each leaf the targets that take over, in order.
    pub(super) failover: Vec<Vec<Target<'a>>>,
    /// How instances are chosen; `None` where no resolver says it.
    pub(super) balancer: Option<&'a LoadBalancer>,
}

/// The exact shares of a service, or why it has none, and the services this depends on.
#[derive(Clone, Debug)]
struct Known<'a> {
    leaves: Result<Vec<Leaf<'a>>, String>,
    asked: Asked<'a>,
}

/// The chains of a snapshot, each worked out once.
pub(super) struct Chains<'a> {
    snapshot: &'a Snapshot,
    known: BTreeMap<&'a str, Known<'a>>,
}

impl<'a> Chains<'a> {
    /// The chains of `snapshot`, none worked out yet.
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        Self { snapshot, known: BTreeMap::new() }
    }

    /// The chain of `service`, or why it cannot be served, in Consul's words where it has some;
    /// and the services whose entries or instances decide it.
    pub(super) fn chain(&mut self, service: &'a str) -> (Result<Chain<'a>, String>, Asked<'a>) {
        self.work_out(service);
        let known = self.known.get(service).cloned();
        let Some(Known { leaves, mut asked }) = known else {
            return (Err(circular(&[service, service])), Asked::from([service]));
        };
        (leaves.and_then(|leaves| self.finish(service, leaves, &mut asked)), asked)
    }

    fn finish(
        &self,
        service: &str,
        leaves: Vec<Leaf<'a>>,
        asked: &mut Asked<'a>,
    ) -> Result<Chain<'a>, String> {
        let mut failover = Vec::new();
        for Leaf { target, .. } in &leaves {
            let mut levels = reference::failover(&self.snapshot, *target, asked)?;
            // One that is there already has nothing to add.
            let mut seen = BTreeSet::from([*target]);
            levels.retain(|level| seen.insert(*level));
            failover.push(levels);
        }
        let exact: Vec<(Target<'_>, &Fraction)> =
            leaves.iter().map(|leaf| (leaf.target, &leaf.share)).collect();
        let weights = shares::round(&exact);
        let balancer = self.balancer(service, &leaves);
        Ok(Chain { leaves: leaves.into_iter().zip(weights).collect(), failover, balancer })
    }

    /// How instances are chosen: one record holds one way, so the first that hashes wins.
    fn balancer(&self, service: &str, leaves: &[Leaf<'a>]) -> Option<&'a LoadBalancer> {
        let said =
            |leaf: &Leaf<'_>| self.snapshot.resolver(leaf.target.service)?.load_balancer.as_ref();
        let mut hashing = leaves.iter().filter_map(said).filter(|balancer| hashes(balancer));
        match leaves {
            [only] if self.splits(service).is_empty() => said(only),
            _ => hashing.next(),
        }
    }

    /// Fills in `service` and everything it leads to.
    ///
    /// A loop over a stack of its own: a chain may be as long as there are entries.
    fn work_out(&mut self, service: &'a str) {
        let mut open = vec![service];
        while let Some(&current) = open.last() {
            let missing = self
                .splits(current)
                .iter()
                .filter_map(|split| self.nested(current, split))
                .find(|next| !self.known.contains_key(next));
            match missing {
                Some(next) if open.contains(&next) => {
                    let start = open.iter().position(|&service| service == next).unwrap_or(0);
                    let way: Vec<&str> = open.iter().skip(start).copied().chain([next]).collect();
                    let leaves = Err(circular(&way));
                    self.known
                        .insert(current, Known { leaves, asked: open.iter().copied().collect() });
                    open.pop();
                }
                Some(next) => open.push(next),
                None => {
                    if !self.known.contains_key(current) {
                        let mut asked = Asked::from([current]);
                        let leaves = self.leaves(current, &mut asked);
                        self.known.insert(current, Known { leaves, asked });
                    }
                    open.pop();
                }
            }
        }
    }

    /// The shares of `service`, of which every nested splitter is known.
    fn leaves(&self, service: &'a str, asked: &mut Asked<'a>) -> Result<Vec<Leaf<'a>>, String> {
        let own = Target { service, subset: "" };
        let Some(splitter) = self.snapshot.splitter(service) else {
            let target = reference::resolve(&self.snapshot, own, asked)?;
            return Ok(vec![Leaf { target, share: Fraction::one(), split: None }]);
        };
        let total: u32 = splitter.splits.iter().map(|split| u32::from(split.weight)).sum();
        if total != u32::from(WHOLE) {
            // In single precision, as Consul computes it: 9999 units print as 99.989998.
            let percent = f32::from(u16::try_from(total).unwrap_or(u16::MAX)) / 100.0;
            return Err(format!("the sum of all split weights must be 100, not {percent:.6}"));
        }
        let mut merged = Merged::default();
        for split in &splitter.splits {
            let Some(nested) = reference::nested(&self.snapshot, splitter, split) else {
                // Also where it leads to no splitter: there may be one some day.
                let named = reference::named(splitter, split);
                asked.insert(named.service);
                let target = reference::resolve(&self.snapshot, named, asked)?;
                let share = Fraction::one().times(split.weight);
                merged.add(Leaf { target, share, split: Some(split) });
                continue;
            };
            let Some(Known { leaves, asked: of_nested }) = self.known.get(nested) else {
                return Err(circular(&[service, nested]));
            };
            asked.extend(of_nested);
            for leaf in leaves.as_ref().map_err(String::clone)? {
                merged.add(Leaf { share: leaf.share.times(split.weight), ..leaf.clone() });
            }
        }
        let leaves = merged.leaves;
        // Refused here: splitters that nest would hand on more at each step.
        if leaves.len() > MAX_TARGETS {
            return Err(format!(
                "service {service:?} resolves to {} targets, this datapath holds {MAX_TARGETS}",
                leaves.len()
            ));
        }
        Ok(leaves)
    }

    fn splits(&self, service: &str) -> &'a [Split] {
        self.snapshot.splitter(service).map_or(&[], |splitter| &splitter.splits)
    }

    fn nested(&self, service: &str, split: &'a Split) -> Option<&'a str> {
        reference::nested(&self.snapshot, self.snapshot.splitter(service)?, split)
    }
}

/// Whether a load balancer gives the same hash the same instance.
pub(super) fn hashes(balancer: &LoadBalancer) -> bool {
    matches!(balancer.policy, Policy::Maglev | Policy::RingHash)
}

/// Leaves in the order they came, equal targets added up.
#[derive(Default)]
struct Merged<'a> {
    leaves: Vec<Leaf<'a>>,
    places: BTreeMap<Target<'a>, usize>,
}

impl<'a> Merged<'a> {
    fn add(&mut self, leaf: Leaf<'a>) {
        let place = self.places.get(&leaf.target).and_then(|&place| self.leaves.get_mut(place));
        if let Some(known) = place {
            known.share = known.share.plus(&leaf.share);
            return;
        }
        self.places.insert(leaf.target, self.leaves.len());
        self.leaves.push(leaf);
    }
}
