//! The compiler with what it remembers, so that a change costs what depends on it.
//!
//! It remembers who asked for what: a service is compiled again if an entry or an instance of a
//! name that it asked for has changed, or if it gets or loses a virtual address. All else stays.
//! Compiling everything is the change of every name, so there is one way through this code.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;

use canary_common::endpoint::Endpoint;
use imbl::OrdMap;

use super::advice::{self, Missing};
use super::chain::Chains;
use super::facts::{Facts, Kinds};
use super::members::Members;
use super::sets::{Sets, set};
use super::{
    Claims, Compiled, DesiredService, Refused, Shown, Warning, families, frontends, service,
};
use crate::snapshot::Snapshot;

/// Names of services.
pub type Names = BTreeSet<String>;

/// Compiles a snapshot, and after it others that differ from it in some names.
///
/// A copy shares all that neither has changed since: a change is compiled on a copy, and dropped
/// with it.
#[derive(Clone, Debug, Default)]
pub struct Compiler {
    pub(super) compiled: Compiled,
    pub(super) facts: OrdMap<String, Arc<Facts>>,
    units: OrdMap<String, Arc<Unit>>,
    /// Services that asked for a name.
    readers: Sets<String>,
    /// Names whose entries refer to a name.
    referrers: Sets<String>,
    /// Names whose instances reach a service at a loopback address.
    pub(super) wanted: Sets<String>,
    /// What is said of these.
    pub(super) of_locals: Vec<Warning>,
    /// Who wants a virtual address, and who gets it.
    claimants: Sets<Endpoint>,
    assigned: OrdMap<Endpoint, String>,
    contested: OrdMap<Endpoint, Vec<Warning>>,
    /// Uses of an endpoint as a backend by services that have a virtual address.
    served: OrdMap<Endpoint, u32>,
    missing: Missing,
    unreachable: OrdMap<String, Warning>,
    /// Who holds which virtual address in force.
    held: OrdMap<Endpoint, String>,
    /// Virtual addresses that may have another holder once this is in force.
    moved: BTreeSet<Endpoint>,
    /// Those that have another holder since they were assigned.
    stale: BTreeSet<Endpoint>,
}

/// What is remembered of a compiled service.
#[derive(Clone, Debug, Default)]
struct Unit {
    asked: Vec<String>,
    warnings: Vec<Warning>,
    /// What is said of its virtual addresses.
    of_frontends: Vec<Warning>,
    /// Its backends count as served.
    backends: Vec<Endpoint>,
}

impl Compiler {
    /// Compiles `snapshot`, where frontends stay with the services that hold them `in_force`.
    #[must_use]
    pub fn new(snapshot: &Snapshot, in_force: &Claims) -> Self {
        let held = in_force.iter().map(|(at, service)| (*at, service.clone())).collect();
        let mut compiler = Self { held, ..Self::default() };
        let Snapshot { resolvers, splitters, defaults, instances, .. } = snapshot;
        let of_service = instances.chunk_by(|a, b| a.instance.service == b.instance.service);
        let registered = of_service.filter_map(|of_service| of_service.first());
        let registered = registered.map(|first| &first.instance.service);
        let entries = resolvers.keys().chain(splitters.keys()).chain(defaults.keys());
        let names: Names = entries.chain(registered).cloned().collect();
        compiler.update(snapshot, &names);
        compiler
    }

    /// What the last snapshot compiled to.
    #[must_use]
    pub fn compiled(&self) -> &Compiled {
        &self.compiled
    }

    /// What the last snapshot compiled to.
    #[must_use]
    pub fn into_compiled(self) -> Compiled {
        self.compiled
    }

    /// The services that must be looked at again if an entry or an instance of `name` changes.
    pub fn readers<'c>(&'c self, name: &str) -> impl Iterator<Item = &'c str> + use<'c> {
        self.readers.get(name).into_iter().flatten().map(String::as_str)
    }

    /// What was compiled last is in force.
    pub fn in_force(&mut self) {
        for frontend in mem::take(&mut self.moved) {
            let owner = self.assigned.get(&frontend).filter(|owner| {
                let service = self.compiled.desired.service(owner);
                service.is_some_and(|service| service.frontends.contains(&frontend))
            });
            let before = match owner {
                Some(owner) => self.held.insert(frontend, owner.clone()),
                None => self.held.remove(&frontend),
            };
            if before.as_ref() != self.held.get(&frontend) {
                self.stale.insert(frontend);
            }
        }
    }

    /// Compiles what depends on `names`: nothing else of `snapshot` differs from the one before.
    ///
    /// Returns the services that the tables must hold differently.
    pub fn update(&mut self, snapshot: &Snapshot, names: &Names) -> Names {
        let mut affected = names.clone();
        let mut frontends = mem::take(&mut self.stale);
        let mut noted = names.clone();
        let mut renamed = false;
        for name in names {
            affected.extend(self.readers.get(name).into_iter().flatten().cloned());
            affected.extend(self.wanted_by(name));
            renamed |= self.refresh(snapshot, name, &mut frontends, &mut noted);
            affected.extend(self.wanted_by(name));
        }
        let relocated = self.relocate(snapshot);
        for frontend in &frontends {
            affected.extend(self.assign(frontend));
        }
        self.moved.append(&mut frontends);
        self.advise(&noted, renamed);

        let mut chains = Chains::new(snapshot);
        let mut members = Members::new(snapshot);
        let mut compiled = BTreeMap::new();
        let mut flipped = BTreeSet::new();
        for name in &affected {
            self.forget(name, &mut flipped);
            // Keys of the snapshot live as long as it does; a name that is none has no chain.
            let Some(name) = name_in(snapshot, name) else { continue };
            if let Some(service) =
                self.compile(snapshot, &mut chains, &mut members, name, &mut flipped)
            {
                compiled.insert(name.to_owned(), service);
            }
        }
        let owners = flipped.iter().filter_map(|at| self.assigned.get(at)).cloned();
        affected.extend(owners.collect::<Names>());
        let mut moved: Names =
            affected.into_iter().filter(|name| self.place(name, compiled.remove(name))).collect();
        moved.extend(relocated);
        moved
    }

    /// Learns what `snapshot` says of `name`; notes which frontends and names that concerns.
    ///
    /// Returns whether other names are registered or referred to.
    fn refresh(
        &mut self,
        snapshot: &Snapshot,
        name: &str,
        frontends: &mut BTreeSet<Endpoint>,
        noted: &mut Names,
    ) -> bool {
        let new = Facts::of(snapshot, name);
        let old = self.facts.remove(name).unwrap_or_default();
        for frontend in old.claims.symmetric_difference(&new.claims) {
            frontends.insert(*frontend);
            set(&mut self.claimants, *frontend, name, new.claims.contains(frontend));
        }
        for other in old.refers.symmetric_difference(&new.refers) {
            noted.insert(other.clone());
            set(&mut self.referrers, other.clone(), name, new.refers.contains(other));
        }
        for (facts, within) in [(&*old, false), (&new, true)] {
            for destination in facts.wanted() {
                set(&mut self.wanted, destination.to_owned(), name, within);
            }
        }
        self.compiled.warnings.exchange(&old.warnings, &new.warnings);
        let names = |facts: &Facts| (facts.registered, facts.entries);
        let renamed = names(&old) != names(&new) || old.refers != new.refers;
        if !new.is_empty() {
            self.facts.insert(name.to_owned(), Arc::new(new));
        }
        renamed
    }

    /// Gives `frontend` to one of its claimants; returns those that this concerns.
    fn assign(&mut self, frontend: &Endpoint) -> Names {
        let claimants = self.claimants.get(frontend).cloned().unwrap_or_default();
        let claimants = &claimants;
        let winner = frontends::winner(self.held.get(frontend), claimants);
        let told: Vec<Warning> = winner
            .into_iter()
            .flat_map(|winner| frontends::lost(frontend, winner, claimants))
            .collect();
        let mut concerned: Names = claimants.iter().cloned().collect();
        concerned.extend(match winner {
            Some(winner) => self.assigned.insert(*frontend, winner.clone()),
            None => self.assigned.remove(frontend),
        });
        let before = self.contested.remove(frontend).unwrap_or_default();
        self.compiled.warnings.exchange(&before, &told);
        if !told.is_empty() {
            self.contested.insert(*frontend, told);
        }
        concerned
    }

    /// Says what is to be said of names, whatever they are compiled to.
    fn advise(&mut self, noted: &Names, renamed: bool) {
        let mut new = false;
        for name in noted {
            let facts = self.facts.get(name).map(|facts| &**facts);
            let referred = self.referrers.contains_key(name);
            new |= self.missing.note(name, facts, referred);
            let said = facts.and_then(|facts| advice::unreachable(name, facts, referred));
            let before = match said.clone() {
                Some(said) => self.unreachable.insert(name.clone(), said),
                None => self.unreachable.remove(name),
            };
            self.compiled.warnings.exchange(before.as_slice(), said.as_slice());
        }
        // A name that comes or goes may be what another one meant.
        if new || (renamed && !self.missing.is_empty()) {
            let sentences = self.missing.sentences(&self.facts, &self.referrers);
            let before = mem::replace(&mut self.missing.said, sentences);
            self.compiled.warnings.exchange(&before, &self.missing.said);
        }
    }

    /// Forgets how `name` was compiled, but for its place in what was.
    fn forget(&mut self, name: &str, flipped: &mut BTreeSet<Endpoint>) {
        let Some(unit) = self.units.remove(name) else { return };
        for asked in &unit.asked {
            set(&mut self.readers, asked.clone(), name, false);
        }
        for endpoint in &unit.backends {
            let uses = self.served.get(endpoint).map_or(0, |uses| uses.saturating_sub(1));
            if uses > 0 {
                self.served.insert(*endpoint, uses);
            } else {
                self.served.remove(endpoint);
                flipped.insert(*endpoint);
            }
        }
        self.compiled.warnings.exchange(&unit.warnings, &[]);
        self.compiled.warnings.exchange(&unit.of_frontends, &[]);
    }

    /// Compiles one service, without its frontends; `None` if there is none to be compiled.
    fn compile<'a>(
        &mut self,
        snapshot: &'a Snapshot,
        chains: &mut Chains<'a>,
        members: &mut Members<'a>,
        name: &'a str,
        flipped: &mut BTreeSet<Endpoint>,
    ) -> Option<Result<DesiredService, String>> {
        let reachable = self.wanted.contains_key(name) || !self.assigned_to(name).is_empty();
        let has_chain = self.facts.get(name).is_some_and(|facts| facts.entries == Kinds::Chain);
        if !has_chain && !reachable {
            return None;
        }
        let (chain, asked) = chains.chain(name);
        let mut unit = Unit::default();
        for other in asked {
            unit.asked.push(other.to_owned());
            set(&mut self.readers, other.to_owned(), name, true);
        }
        let result = chain.and_then(|chain| {
            service::assemble(snapshot, members, name, &chain, reachable, &mut unit.warnings)
        });
        if let Ok(service) = result.as_ref().map_err(|_| unit.warnings.clear())
            && reachable
        {
            unit.backends = service.endpoints().into_iter().collect();
            for endpoint in &unit.backends {
                let uses = self.served.entry(*endpoint).or_default();
                *uses = uses.saturating_add(1);
                if *uses == 1 {
                    flipped.insert(*endpoint);
                }
            }
        }
        self.compiled.warnings.exchange(&[], &unit.warnings);
        self.units.insert(name.to_owned(), Arc::new(unit));
        Some(result)
    }

    /// Puts a service where it belongs; whether the tables must hold it differently.
    ///
    /// Without a new result, what is there gets the frontends that are its own now.
    fn place(&mut self, name: &str, result: Option<Result<DesiredService, String>>) -> bool {
        let served = take(&mut self.compiled.desired.services, name);
        let idle = take(&mut self.compiled.idle, name);
        let result = match result {
            None if self.units.contains_key(name) => {
                served.clone().or(idle).map(|service| Ok(Arc::unwrap_or_clone(service)))
            }
            other => {
                self.compiled.refused.retain(|refused| refused.service != name);
                other
            }
        };
        let new = match result {
            None => None,
            Some(Err(text)) => {
                let refused = &mut self.compiled.refused;
                let at = refused.partition_point(|other| other.service.as_str() < name);
                refused.insert(at, Refused { service: name.to_owned(), text });
                None
            }
            Some(Ok(mut service)) => {
                let mut warnings;
                (service.frontends, warnings) = self.frontends(name);
                service.upstream = self.wanted.contains_key(name);
                warnings.extend(families::unserved(&service));
                self.say(name, warnings);
                Some(Arc::new(service))
            }
        };
        let moved = [&served, &new].into_iter().flatten().flat_map(|service| &service.frontends);
        self.moved.extend(moved);
        let differs = match &new {
            Some(new) if new.is_served() => served.as_ref() != Some(new),
            _ => served.is_some(),
        };
        if let Some(service) = new {
            let among = if service.is_served() {
                &mut self.compiled.desired.services
            } else {
                &mut self.compiled.idle
            };
            let at = among.partition_point(|other| other.name < service.name);
            among.insert(at, service);
        }
        differs
    }

    /// The frontends of `name`, but for those at which an instance serves: one endpoint cannot be
    /// both, which is said.
    fn frontends(&self, name: &str) -> (Vec<Endpoint>, Vec<Warning>) {
        let (clashing, own): (Vec<_>, Vec<_>) =
            self.assigned_to(name).into_iter().partition(|at| self.served.contains_key(at));
        let clashes = clashing.iter().map(|at| Warning {
            service: name.to_owned(),
            text: format!("frontend {} is refused: an instance serves there", Shown(at)),
        });
        (own, clashes.collect())
    }

    /// Says this of the virtual addresses of `name`, and no more what was said of them before.
    fn say(&mut self, name: &str, warnings: Vec<Warning>) {
        if let Some(unit) = self.units.get_mut(name) {
            let unit = Arc::make_mut(unit);
            self.compiled.warnings.exchange(&unit.of_frontends, &warnings);
            unit.of_frontends = warnings;
        }
    }

    fn assigned_to(&self, name: &str) -> Vec<Endpoint> {
        let claims = self.facts.get(name).into_iter().flat_map(|facts| &facts.claims);
        let own = |at: &&Endpoint| self.assigned.get(*at).is_some_and(|owner| owner == name);
        claims.filter(own).copied().collect()
    }
}

/// `name` as it stands in `snapshot`; `None` if nothing there has it.
fn name_in<'a>(snapshot: &'a Snapshot, name: &str) -> Option<&'a str> {
    let Snapshot { resolvers, splitters, .. } = snapshot;
    let resolver = resolvers.get_key_value(name).map(|(name, _)| name.as_str());
    let splitter = || splitters.get_key_value(name).map(|(name, _)| name.as_str());
    let registered =
        || snapshot.instances_of(name).first().map(|first| first.instance.service.as_str());
    resolver.or_else(splitter).or_else(registered)
}

fn take(services: &mut Vec<Arc<DesiredService>>, name: &str) -> Option<Arc<DesiredService>> {
    let place = services.binary_search_by(|service| service.name.as_str().cmp(name)).ok()?;
    Some(services.remove(place))
}
