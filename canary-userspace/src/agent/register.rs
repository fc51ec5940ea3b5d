//! Registrations: instances, checks on their own, maintenance.

use std::sync::Arc;

use super::Agent;
use super::transaction::Change;
use super::verbs::of_file;
use crate::audit::{Action, Author, Intent};
use crate::catalog::{
    Health, Instance, LoneCheck, NODE_MAINTENANCE, Registered, SERVICE_MAINTENANCE,
};
use crate::document::Changed;
use crate::engine::Edit;
use crate::health::NotSet;
use crate::refusal::Refusal;

impl Agent {
    /// Registers an instance. Checks that an earlier registration of it made and this one does
    /// not name stay, unless they are to be `replaced`: Consul's rule.
    ///
    /// # Errors
    ///
    /// The [`Refusal`]; nothing has changed then.
    pub fn register(
        &mut self,
        intent: &Intent,
        mut instance: Instance,
        replaced: bool,
    ) -> Result<Changed, Refusal> {
        let id = instance.id.clone();
        let mut edits = Vec::new();
        if replaced {
            edits.extend(self.without_checks(&id, |lone| !lone.is_maintenance()));
        } else if let Some(old) =
            self.engine.state().instance(&id).filter(|old| !old.origin.is_of_file())
        {
            let named = |id: &str| instance.checks.iter().any(|check| *check.id == *id);
            let kept = old.instance.checks.iter().filter(|old| !named(&old.id));
            let kept: Vec<_> = kept.cloned().collect();
            instance.checks.extend(kept);
        }
        let service = instance.service.clone();
        edits.push(Edit::Instance(id, Some(Box::new(instance))));
        self.change_of(&service, Change::new(Action::Register, intent, edits))
    }

    /// Takes a registration back, with the checks that were registered for it.
    ///
    /// # Errors
    ///
    /// The [`Refusal`]: nobody has registered it, or a file defines it.
    pub fn deregister(&mut self, intent: &Intent, id: &str) -> Result<Changed, Refusal> {
        let Registered { origin, instance, .. } = self.registered(id)?;
        if origin.is_of_file() {
            return Err(of_file(&format!("service id {id:?}"), origin));
        }
        let service = instance.service.clone();
        let mut edits = self.without_checks(id, |_| true);
        edits.push(Edit::Instance(id.to_owned(), None));
        self.change_of(&service, Change::new(Action::Deregister, intent, edits))
    }

    /// Takes an instance out of force that has been critical for too long: one of the files comes
    /// back when they are read again.
    pub(super) fn dismiss(&mut self, id: &str) -> Result<Changed, Refusal> {
        let intent = Intent::of(Author::Agent);
        let Registered { origin, instance, .. } = self.registered(id)?;
        if !origin.is_of_file() {
            return self.deregister(&intent, id);
        }
        let service = instance.service.clone();
        let edits = vec![Edit::Dismiss(id.to_owned())];
        self.change_of(&service, Change::new(Action::Deregister, &intent, edits))
    }

    /// Registers a check on its own.
    ///
    /// # Errors
    ///
    /// The [`Refusal`]; nothing has changed then.
    pub fn register_check(&mut self, intent: &Intent, lone: LoneCheck) -> Result<Changed, Refusal> {
        if !lone.of_node() && self.engine.state().instance(&lone.service_id).is_none() {
            let text = format!("ServiceID {:?} does not exist", &*lone.service_id);
            return Err(Refusal::not_found(text));
        }
        let service = self.engine.state().service_of_check(&lone);
        let edits = vec![Edit::Check(lone.check.id.to_string(), Some(lone))];
        self.change_of(&service, Change::new(Action::Register, intent, edits))
    }

    /// Takes a check back: one on its own, or one of a registered instance.
    ///
    /// # Errors
    ///
    /// The [`Refusal`]: there is none, or a file defines it.
    pub fn deregister_check(&mut self, intent: &Intent, id: &str) -> Result<Changed, Refusal> {
        let what = || format!("check id {id:?}");
        if let Some(lone) = self.engine.state().checks.get(id) {
            if lone.origin.is_of_file() {
                return Err(of_file(&what(), &lone.origin));
            }
            let service = self.engine.state().service_of_check(&lone.value);
            let edits = vec![Edit::Check(id.to_owned(), None)];
            return self.change_of(&service, Change::new(Action::Deregister, intent, edits));
        }
        let has = |registered: &&Arc<Registered>| {
            registered.instance.checks.iter().any(|check| *check.id == *id)
        };
        let found = self.instances().iter().find(has).ok_or_else(|| unknown_check(id))?;
        if found.origin.is_of_file() {
            return Err(of_file(&what(), &found.origin));
        }
        let mut instance = found.instance.clone();
        instance.checks.retain(|check| *check.id != *id);
        let service = instance.service.clone();
        let edits = vec![Edit::Instance(instance.id.clone(), Some(Box::new(instance)))];
        self.change_of(&service, Change::new(Action::Deregister, intent, edits))
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
    pub fn maintain(
        &mut self,
        intent: &Intent,
        id: &str,
        enable: bool,
        reason: &str,
    ) -> Result<Changed, Refusal> {
        let check = if id.is_empty() {
            NODE_MAINTENANCE.to_owned()
        } else {
            self.registered(id)?;
            format!("{SERVICE_MAINTENANCE}{id}")
        };
        let lone = LoneCheck::maintenance(id, reason);
        let service = self.engine.state().service_of_check(&lone);
        let there = self.engine.state().checks.get(&check).map(|there| &there.origin);
        if let Some(origin) = there.filter(|origin| !enable && origin.is_of_file()) {
            return Err(of_file("the maintenance mode", origin));
        }
        let edits = match (enable, there.is_some()) {
            (true, false) => vec![Edit::Check(check, Some(lone))],
            (false, true) => vec![Edit::Check(check, None)],
            // As it is already: the first reason stays, as in Consul.
            (true, true) | (false, false) => Vec::new(),
        };
        self.change_of(&service, Change::new(Action::Maintenance, intent, edits))
    }

    /// The instance in force.
    ///
    /// # Errors
    ///
    /// Consul's text if there is none.
    pub(super) fn registered(&self, id: &str) -> Result<&Registered, Refusal> {
        self.instance(id).ok_or_else(|| {
            Refusal::not_found(format!(
                "Unknown service ID {id:?}. Ensure that the service ID is passed, not the service name."
            ))
        })
    }

    /// The edits by which the store's checks of an instance go, as far as they are `wanted`.
    fn without_checks(&self, id: &str, wanted: fn(&LoneCheck) -> bool) -> Vec<Edit> {
        let of_it = self.engine.state().checks.iter().filter(|(_, lone)| {
            *lone.value.service_id == *id && !lone.origin.is_of_file() && wanted(&lone.value)
        });
        of_it.map(|(check, _)| Edit::Check(check.clone(), None)).collect()
    }
}

fn unknown_check(id: &str) -> Refusal {
    Refusal::not_found(format!(
        "Unknown check ID {id:?}. Ensure that the check ID is passed, not the check name."
    ))
}
