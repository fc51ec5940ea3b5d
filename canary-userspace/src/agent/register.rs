//! Registrations: instances, checks on their own, maintenance.

use super::Agent;
use super::change::Change;
use super::checks::to_stored;
use super::refusal::Refusal;
use super::state::Edit;
use super::verbs::of_file;
use crate::catalog::{
    Health, Instance, LoneCheck, NODE_MAINTENANCE, Origin, Registered, SERVICE_MAINTENANCE,
    to_definition,
};
use crate::health::NotSet;

impl Agent {
    /// Registers an instance. Checks that an earlier registration of it made and this one does
    /// not name stay, unless they are to be `replaced`: Consul's rule.
    ///
    /// # Errors
    ///
    /// The [`Refusal`]; nothing has changed then.
    pub fn register(&mut self, mut instance: Instance, replaced: bool) -> Result<(), Refusal> {
        let id = instance.id.clone();
        let mut change = Change::default();
        if replaced {
            self.forget_checks(&id, |lone| !lone.is_maintenance(), &mut change);
        } else if let Some(old) = self.state.instance(&id).filter(|old| old.origin == Origin::Store)
        {
            let new = &mut instance.checks;
            let kept =
                old.instance.checks.iter().filter(|old| new.iter().all(|new| new.id != old.id));
            let kept: Vec<_> = kept.cloned().collect();
            new.extend(kept);
        }
        let json = to_definition(&instance);
        change.edits.push(Edit::Instance(id.clone(), Some(Box::new(instance))));
        change.registrations.push((id, Some(json)));
        self.change(change)
    }

    /// Takes a registration back, with the checks that were registered for it.
    ///
    /// # Errors
    ///
    /// The [`Refusal`]: nobody has registered it, or a file defines it.
    pub fn deregister(&mut self, id: &str) -> Result<(), Refusal> {
        let Registered { origin, .. } = self.registered(id)?;
        if *origin != Origin::Store {
            return Err(of_file(&format!("service id {id:?}"), origin));
        }
        let edits = vec![Edit::Instance(id.to_owned(), None)];
        let registrations = vec![(id.to_owned(), None)];
        let mut change = Change { edits, registrations, ..Change::default() };
        self.forget_checks(id, |_| true, &mut change);
        self.change(change)
    }

    /// Takes an instance out of force that has been critical for too long: one of the files comes
    /// back when they are read again.
    pub(super) fn dismiss(&mut self, id: &str) -> Result<(), Refusal> {
        let Registered { origin, .. } = self.registered(id)?;
        if *origin == Origin::Store {
            return self.deregister(id);
        }
        self.change(Change { edits: vec![Edit::Dismiss(id.to_owned())], ..Change::default() })
    }

    /// Registers a check on its own.
    ///
    /// # Errors
    ///
    /// The [`Refusal`]; nothing has changed then.
    pub fn register_check(&mut self, lone: LoneCheck) -> Result<(), Refusal> {
        if !lone.of_node() && self.state.instance(&lone.service_id).is_none() {
            let text = format!("ServiceID {:?} does not exist", &*lone.service_id);
            return Err(Refusal::not_found(text));
        }
        self.put_check(lone)
    }

    fn put_check(&mut self, lone: LoneCheck) -> Result<(), Refusal> {
        let id = lone.check.id.to_string();
        let checks = vec![(id.clone(), Some(to_stored(&lone)))];
        let edits = vec![Edit::Check(id, Some(lone))];
        self.change(Change { edits, checks, ..Change::default() })
    }

    /// Takes a check back: one on its own, or one of a registered instance.
    ///
    /// # Errors
    ///
    /// The [`Refusal`]: there is none, or a file defines it.
    pub fn deregister_check(&mut self, id: &str) -> Result<(), Refusal> {
        let what = || format!("check id {id:?}");
        if let Some(lone) = self.state.checks.get(id) {
            if lone.origin != Origin::Store {
                return Err(of_file(&what(), &lone.origin));
            }
            let edits = vec![Edit::Check(id.to_owned(), None)];
            let checks = vec![(id.to_owned(), None)];
            return self.change(Change { edits, checks, ..Change::default() });
        }
        let has = |registered: &&Registered| {
            registered.instance.checks.iter().any(|check| *check.id == *id)
        };
        let Some(registered) = self.instances().iter().find(has) else {
            return Err(unknown_check(id));
        };
        if registered.origin != Origin::Store {
            return Err(of_file(&what(), &registered.origin));
        }
        let mut instance = registered.instance.clone();
        instance.checks.retain(|check| *check.id != *id);
        self.register(instance, true)
    }

    /// Sets the state of a `ttl` check.
    ///
    /// # Errors
    ///
    /// The [`Refusal`], in Consul's words: there is no such check, or it is of another kind.
    pub fn set_check(&mut self, id: &str, status: Health, output: &str) -> Result<(), Refusal> {
        match self.checks.set(id, status, output.into()) {
            Ok(noted) => {
                self.note(vec![noted]);
                Ok(())
            }
            Err(NotSet::Unknown) => Err(unknown_check(id)),
            Err(NotSet::NoTtl) => {
                Err(Refusal::invalid(format!("CheckID {id:?} does not have associated TTL")))
            }
        }
    }

    /// Begins or ends the maintenance mode of an instance or, with no id, of the node.
    ///
    /// # Errors
    ///
    /// The [`Refusal`]: nobody has registered the instance, or the change cannot be made.
    pub fn maintain(&mut self, id: &str, enable: bool, reason: &str) -> Result<(), Refusal> {
        let check = if id.is_empty() {
            NODE_MAINTENANCE.to_owned()
        } else {
            self.registered(id)?;
            format!("{SERVICE_MAINTENANCE}{id}")
        };
        match (enable, self.state.checks.contains_key(&check)) {
            (true, false) => self.put_check(LoneCheck::maintenance(id, reason)),
            (false, true) => self.deregister_check(&check),
            // As it is already: the first reason stays, as in Consul.
            (true, true) | (false, false) => Ok(()),
        }
    }

    /// The instance in force.
    ///
    /// # Errors
    ///
    /// Consul's text if there is none.
    pub(super) fn registered(&self, id: &str) -> Result<&Registered, Refusal> {
        self.state.instance(id).ok_or_else(|| {
            Refusal::not_found(format!(
                "Unknown service ID {id:?}. Ensure that the service ID is passed, not the service name."
            ))
        })
    }

    /// Adds to `change` that the store's checks of an instance go, if they are `wanted`.
    fn forget_checks(&self, id: &str, wanted: fn(&LoneCheck) -> bool, change: &mut Change) {
        for (check, lone) in &self.state.checks {
            let of_it = *lone.value.service_id == *id && lone.origin == Origin::Store;
            if of_it && wanted(&lone.value) {
                change.edits.push(Edit::Check(check.clone(), None));
                change.checks.push((check.clone(), None));
            }
        }
    }
}

fn unknown_check(id: &str) -> Refusal {
    Refusal::not_found(format!(
        "Unknown check ID {id:?}. Ensure that the check ID is passed, not the check name."
    ))
}
