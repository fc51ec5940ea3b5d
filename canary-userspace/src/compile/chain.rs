//! The discovery chain: from entries to the shares of (service, subset) targets.

use std::collections::BTreeMap;

use super::fraction::Fraction;
use crate::catalog::Snapshot;
use crate::entry::{Split, Units, WHOLE};

/// Targets that a service's record in the tables holds.
pub const MAX_TARGETS: usize = 16;

/// What a share goes to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    /// The service.
    pub(super) service: String,
    /// The subset of it; empty for all its instances.
    pub(super) subset: String,
}

/// The exact shares of a service, or why it has none.
type Leaves = Result<Vec<(Target, Fraction)>, String>;

/// Where a split leads.
enum Next<'a> {
    /// To the splitter of another service.
    Splitter(&'a str),
    /// To instances.
    Target(Target),
}

/// The chains of a snapshot, each worked out once.
pub(super) struct Chains<'a> {
    snapshot: &'a Snapshot,
    known: BTreeMap<&'a str, Leaves>,
}

impl<'a> Chains<'a> {
    /// The chains of `snapshot`, none worked out yet.
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        Self { snapshot, known: BTreeMap::new() }
    }

    /// The shares of `service` in the order they were written; they add to [`WHOLE`].
    ///
    /// # Errors
    ///
    /// Why the service cannot be served, in Consul's words where it has some.
    pub(super) fn shares(&mut self, service: &'a str) -> Result<Vec<(Target, Units)>, String> {
        self.work_out(service);
        match self.known.get(service) {
            Some(Ok(leaves)) if leaves.len() > MAX_TARGETS => Err(format!(
                "service {service:?} resolves to {} targets, this datapath holds {MAX_TARGETS}",
                leaves.len()
            )),
            Some(Ok(leaves)) => Ok(round(leaves)),
            Some(Err(text)) => Err(text.clone()),
            None => Ok(Vec::new()),
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
                    self.known.insert(current, Err(circular(&open, next)));
                    open.pop();
                }
                Some(next) => open.push(next),
                None => {
                    if !self.known.contains_key(current) {
                        let leaves = self.leaves(current);
                        self.known.insert(current, leaves);
                    }
                    open.pop();
                }
            }
        }
    }

    /// The shares of `service`, of which every nested splitter is known.
    fn leaves(&self, service: &'a str) -> Leaves {
        let splits = self.splits(service);
        if splits.is_empty() {
            return Ok(vec![(self.target(service, "")?, Fraction::one())]);
        }
        let total: u32 = splits.iter().map(|split| u32::from(split.weight)).sum();
        if total != u32::from(WHOLE) {
            // In single precision, as Consul computes it: 9999 units print as 99.989998.
            let percent = f32::from(u16::try_from(total).unwrap_or(u16::MAX)) / 100.0;
            return Err(format!("the sum of all split weights must be 100, not {percent:.6}"));
        }
        let mut merged = Merged::default();
        for split in splits {
            match self.next(service, split)? {
                Next::Target(target) => {
                    merged.add(target, &Fraction::one().times(split.weight));
                }
                Next::Splitter(nested) => match self.known.get(nested) {
                    Some(Ok(leaves)) => {
                        for (target, share) in leaves {
                            merged.add(target.clone(), &share.times(split.weight));
                        }
                    }
                    Some(Err(text)) => return Err(text.clone()),
                    None => return Err(circular(&[service], nested)),
                },
            }
        }
        Ok(merged.leaves)
    }

    fn splits(&self, service: &str) -> &'a [Split] {
        self.snapshot.splitters.get(service).map_or(&[], |entry| &entry.value.splits)
    }

    /// The service whose splitter `split` leads to: another one's, where no subset is named.
    pub(super) fn nested(&self, service: &str, split: &'a Split) -> Option<&'a str> {
        let next = split.service.as_str();
        let nests = !next.is_empty()
            && next != service
            && split.service_subset.is_empty()
            && !self.splits(next).is_empty();
        nests.then_some(next)
    }

    fn next(&self, service: &str, split: &'a Split) -> Result<Next<'a>, String> {
        if let Some(nested) = self.nested(service, split) {
            return Ok(Next::Splitter(nested));
        }
        let service = if split.service.is_empty() { service } else { &split.service };
        self.target(service, &split.service_subset).map(Next::Target)
    }

    /// What a reference to `subset` of `service` means; without one, the default subset.
    fn target(&self, service: &str, subset: &str) -> Result<Target, String> {
        let resolver = self.snapshot.resolvers.get(service).map(|entry| &entry.value);
        let subset = match (subset, resolver) {
            ("", Some(resolver)) => &resolver.default_subset,
            _ => subset,
        };
        if !subset.is_empty() && !resolver.is_some_and(|r| r.subsets.contains_key(subset)) {
            return Err(format!("service {service:?} does not have a subset named {subset:?}"));
        }
        Ok(Target { service: service.to_owned(), subset: subset.to_owned() })
    }
}

/// Leaves in the order they came, equal targets added up.
#[derive(Default)]
struct Merged {
    leaves: Vec<(Target, Fraction)>,
    places: BTreeMap<Target, usize>,
}

impl Merged {
    fn add(&mut self, target: Target, share: &Fraction) {
        let place = self.places.get(&target).and_then(|&place| self.leaves.get_mut(place));
        if let Some((_, sum)) = place {
            *sum = sum.plus(share);
            return;
        }
        self.places.insert(target.clone(), self.leaves.len());
        self.leaves.push((target, share.clone()));
    }
}

/// Consul's text for splitters that lead back to one another.
fn circular(open: &[&str], next: &str) -> String {
    let start = open.iter().position(|&service| service == next).unwrap_or(0);
    let steps: Vec<String> = open
        .iter()
        .skip(start)
        .chain([&next])
        .map(|service| format!("splitter:{service}.default.default"))
        .collect();
    format!("detected circular reference: [{}]", steps.join(" -> "))
}

/// Rounds exact shares that add to one, by largest remainder, so that they add to [`WHOLE`].
///
/// Among equal remainders the target's name decides, never the order in a file.
fn round(leaves: &[(Target, Fraction)]) -> Vec<(Target, Units)> {
    let floors: u32 = leaves.iter().map(|(_, share)| share.floor()).sum();
    let missing = u32::from(WHOLE).saturating_sub(floors);
    let mut by_rest: Vec<&(Target, Fraction)> = leaves.iter().collect();
    by_rest.sort_by(|(a, left), (b, right)| right.rest().cmp(left.rest()).then_with(|| a.cmp(b)));
    let raised: Vec<&Target> = (0..missing).zip(by_rest).map(|(_, (target, _))| target).collect();
    leaves
        .iter()
        .map(|(target, share)| {
            let units = share.floor() + u32::from(raised.contains(&target));
            (target.clone(), Units::try_from(units).unwrap_or(WHOLE))
        })
        .collect()
}
