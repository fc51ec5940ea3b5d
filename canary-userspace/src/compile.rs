//! The compiler: from a snapshot of what is wanted to what the tables must say.
//!
//! Pure: the same snapshot gives the same answer on every node, in whatever order files were
//! read and instances registered, and an entry of one service never makes another one fail.

mod address;
mod advice;
mod chain;
mod fraction;
mod frontends;
pub mod maglev;
mod members;
mod reweigh;

use std::collections::{BTreeMap, BTreeSet};

use canary_common::endpoint::Endpoint;
use canary_common::label::{ServiceLabel, SplitLabel};

pub(crate) use self::address::Shown;
pub use self::address::{endpoint, protocol_name, socket};
pub use self::chain::MAX_TARGETS;
use self::chain::{Chains, Target};
use self::members::Members;
pub use self::reweigh::only_weights;
use crate::catalog::Snapshot;
use crate::entry::Units;

/// The service that each frontend in force belongs to.
pub type Claims = BTreeMap<Endpoint, String>;

/// Identity of a split's counters: they follow it through every change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SplitKey {
    /// The service whose frontends clients connect to.
    pub service: String,
    /// The service the share goes to.
    pub target: String,
    /// The subset of it; empty for all its instances.
    pub subset: String,
}

/// A backend of a split.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DesiredBackend {
    /// Where it serves.
    pub endpoint: Endpoint,
    /// Weight within the split, 1 to 128.
    pub weight: u32,
    /// Takes new flows; otherwise it only keeps its live ones.
    pub healthy: bool,
}

/// A compiled share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredSplit {
    /// Whose counters it moves.
    pub key: SplitKey,
    /// Share in ten-thousandths.
    pub share: u16,
    /// Its backends, sorted.
    pub backends: Vec<DesiredBackend>,
}

/// A service as the tables shall hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredService {
    /// Name.
    pub name: String,
    /// Virtual addresses, sorted.
    pub frontends: Vec<Endpoint>,
    /// The subset that the resolver makes the default; empty without one. Its thresholds come first.
    pub default_subset: String,
    /// Shares in the order people wrote them; they add to 10000.
    pub splits: Vec<DesiredSplit>,
    /// Has a splitter: its splits get histograms.
    pub histograms: bool,
}

/// What the tables shall hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Services, sorted by name.
    pub services: Vec<DesiredService>,
}

/// Something a person should know that stops nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The service it is about; empty for the node as a whole.
    pub service: String,
    /// One sentence.
    pub text: String,
}

/// A service that cannot be compiled: what is in force for it should stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The service.
    pub service: String,
    /// Why, in Consul's words where it has some.
    pub text: String,
}

/// What a snapshot compiles to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compiled {
    /// What the tables shall hold: every service that has a frontend and was not refused.
    pub desired: Desired,
    /// What people should know, sorted.
    pub warnings: Vec<Warning>,
    /// Services that were left out, sorted by name.
    pub refused: Vec<Refused>,
    /// Services that have entries and no frontend: not for the tables, but people ask for them.
    pub idle: Vec<DesiredService>,
}

impl Desired {
    /// Who holds which frontend once this is in force.
    #[must_use]
    pub fn claims(&self) -> Claims {
        let pairs = self.services.iter().flat_map(|service| {
            service.frontends.iter().map(|frontend| (*frontend, service.name.clone()))
        });
        pairs.collect()
    }
}

impl Compiled {
    /// Puts refused services back as `previous` had them, so that publishing leaves them alone.
    ///
    /// A frontend that another service has taken since is not put back.
    pub fn keep(&mut self, previous: &Desired) {
        let taken = self.desired.claims();
        let refused: BTreeSet<&str> = self.refused.iter().map(|r| r.service.as_str()).collect();
        let kept = previous.services.iter().filter(|old| refused.contains(old.name.as_str()));
        self.desired.services.extend(kept.filter_map(|old| {
            let mut service = old.clone();
            service.frontends.retain(|frontend| !taken.contains_key(frontend));
            (!service.frontends.is_empty()).then_some(service)
        }));
        self.desired.services.sort_by(|a, b| a.name.cmp(&b.name));
    }
}

/// Compiles `snapshot`, where frontends stay with the services that hold them `in_force`.
#[must_use]
pub fn compile(snapshot: &Snapshot, in_force: &Claims) -> Compiled {
    let members = Members::new(snapshot);
    let mut chains = Chains::new(snapshot);
    let mut warnings: Vec<Warning> = members.warnings().collect();
    let mut owned = frontends::assign(snapshot, in_force, &mut warnings);
    warnings.extend(advice::unregistered(snapshot, &members));
    warnings.extend(advice::unreachable(snapshot, &members));

    let entries = snapshot.resolvers.keys().chain(snapshot.splitters.keys()).map(String::as_str);
    let names: BTreeSet<&str> = entries.chain(owned.keys().copied()).collect();
    let mut services = Vec::new();
    let mut idle = Vec::new();
    let mut refused = Vec::new();
    for name in names {
        match chains.shares(name) {
            Err(text) => refused.push(Refused { service: name.to_owned(), text }),
            Ok(shares) => {
                let frontends = owned.remove(name).unwrap_or_default();
                let among = if frontends.is_empty() { &mut idle } else { &mut services };
                let parts = Parts { name, frontends, shares };
                match parts.too_long() {
                    Some(text) => refused.push(Refused { service: name.to_owned(), text }),
                    None => among.push(parts.assemble(snapshot, &members, &mut warnings)),
                }
            }
        }
    }
    release_served(&mut services, &mut warnings);

    warnings.extend(services.iter().flat_map(advice::unserved));
    warnings.sort_by(|a, b| (&a.service, &a.text).cmp(&(&b.service, &b.text)));
    warnings.dedup();
    Compiled { desired: Desired { services }, warnings, refused, idle }
}

/// What a service is put together from.
struct Parts<'a> {
    name: &'a str,
    frontends: Vec<Endpoint>,
    shares: Vec<(Target, Units)>,
}

impl Parts<'_> {
    /// What is wrong if the tables have no room for the names.
    fn too_long(&self) -> Option<String> {
        let name = self.name;
        if ServiceLabel::new(&[name]).is_none() {
            return Some(format!("service name {name:?} is too long for the tables' labels"));
        }
        let fits =
            |target: &Target| SplitLabel::new(&[name, &target.service, &target.subset]).is_some();
        let (target, _) = self.shares.iter().find(|(target, _)| !fits(target))?;
        let Target { service, subset } = target;
        Some(format!(
            "service {name:?}, target {service:?} and subset {subset:?} are too long for the tables' labels"
        ))
    }

    fn assemble(
        self,
        snapshot: &Snapshot,
        members: &Members<'_>,
        warnings: &mut Vec<Warning>,
    ) -> DesiredService {
        let protocol = frontends::protocol(snapshot, self.name);
        let splits = self.shares.into_iter().map(|(target, share)| {
            let backends = members.backends(&target, protocol, warnings);
            let Target { service: target, subset } = target;
            let key = SplitKey { service: self.name.to_owned(), target, subset };
            DesiredSplit { key, share, backends }
        });
        let splits = splits.collect();
        let resolver = snapshot.resolvers.get(self.name);
        DesiredService {
            name: self.name.to_owned(),
            frontends: self.frontends,
            default_subset: resolver.map(|r| r.value.default_subset.clone()).unwrap_or_default(),
            splits,
            histograms: snapshot.splitters.contains_key(self.name),
        }
    }
}

/// Takes away frontends at which an instance serves: one endpoint cannot be both.
fn release_served(services: &mut Vec<DesiredService>, warnings: &mut Vec<Warning>) {
    let served: BTreeMap<Endpoint, String> = services
        .iter()
        .flat_map(|service| &service.splits)
        .flat_map(|split| split.backends.iter().map(|b| (b.endpoint, split.key.target.clone())))
        .collect();
    for service in services.iter_mut() {
        let name = &service.name;
        service.frontends.retain(|frontend| {
            let Some(target) = served.get(frontend) else { return true };
            let text = format!(
                "frontend {} is refused: an instance of {target:?} serves there",
                Shown(frontend)
            );
            warnings.push(Warning { service: name.clone(), text });
            false
        });
    }
    services.retain(|service| !service.frontends.is_empty());
}

#[cfg(test)]
mod tests;
