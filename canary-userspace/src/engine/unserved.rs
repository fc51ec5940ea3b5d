//! Services that cannot be served as the source has them: they stay in force as they were.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::compile::{Compiled, Desired, DesiredService, Refused, Warning};

/// What cannot be served, and what stands for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unserved {
    services: BTreeMap<String, Kept>,
    /// Services as they were before the last compilation, of those that it was about.
    before: BTreeMap<String, Arc<DesiredService>>,
    /// What is in force is not just what was compiled.
    is_in_force: bool,
}

/// A service that stays as it was.
#[derive(Clone, Debug)]
struct Kept {
    /// Why.
    text: String,
    /// How it was; `None` if it is new.
    service: Option<Arc<DesiredService>>,
    /// It was compiled, and a table has no room for it.
    is_full: bool,
}

impl Unserved {
    /// Takes note of a compilation that was about the services `before`.
    pub(crate) fn learn(&mut self, before: Vec<Arc<DesiredService>>, refused: &[Refused]) {
        self.before = before.into_iter().map(|service| (service.name.clone(), service)).collect();
        for (name, kept) in std::mem::take(&mut self.services) {
            self.before.extend(kept.service.map(|service| (name, service)));
        }
        for Refused { service, text } in refused {
            self.keep(service, text.clone(), false);
        }
    }

    /// Takes note that a table has no room for `service`; `false` if that is known.
    pub(crate) fn learn_full(&mut self, service: &str, text: String) -> bool {
        if self.services.contains_key(service) {
            return false;
        }
        self.keep(service, text, true);
        true
    }

    fn keep(&mut self, name: &str, text: String, is_full: bool) {
        let kept = Kept { text, service: self.before.get(name).cloned(), is_full };
        self.services.insert(name.to_owned(), kept);
    }

    /// Whether `service` cannot be served.
    pub(crate) fn contains(&self, service: &str) -> bool {
        self.services.contains_key(service)
    }

    /// What is to be in force instead of what was compiled; `None` if that is all there is.
    pub(crate) fn with(&self, compiled: &Compiled) -> Option<Desired> {
        if self.services.is_empty() && !self.is_in_force {
            return None;
        }
        let served = |service: &&Arc<DesiredService>| !self.services.contains_key(&service.name);
        let services = compiled.desired.services.iter().filter(served).cloned().collect();
        let mut desired = Desired { services, locals: compiled.desired.locals.clone() };
        // A frontend that somebody else has by now is not given back.
        let taken = desired.claims();
        desired.services.extend(self.services().filter_map(|old| {
            let mut service = DesiredService::clone(old);
            service.frontends.retain(|frontend| !taken.contains_key(frontend));
            service.is_served().then(|| Arc::new(service))
        }));
        desired.services.sort_by(|a, b| a.name.cmp(&b.name));
        Some(desired)
    }

    /// What [`Unserved::with`] gave is in force.
    pub(crate) fn in_force(&mut self) {
        self.is_in_force = !self.services.is_empty();
    }

    /// The services that stay as they were.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Arc<DesiredService>> {
        self.services.values().filter_map(|kept| kept.service.as_ref())
    }

    /// Services that are compiled and not in force.
    pub(crate) fn is_left_out(&self, service: &str) -> bool {
        self.services.get(service).is_some_and(|kept| kept.is_full)
    }

    /// What people should know of it.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = Warning> {
        self.services.iter().map(|(name, kept)| {
            let rest = match &kept.service {
                Some(_) => "what was in force before stays",
                None => "it is left out",
            };
            Warning { service: name.clone(), text: format!("refused, {rest}: {}", kept.text) }
        })
    }
}
