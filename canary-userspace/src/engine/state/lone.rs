//! Checks on their own: their two layers, and the rules that hold between checks.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::State;
use crate::catalog::{LoneCheck, Origin, Sourced};
use crate::source::files::place;

impl State {
    /// Puts a check into the store's layer.
    pub(super) fn put_check(&mut self, id: String, check: LoneCheck) {
        let new = Arc::new(Sourced { value: check, origin: self.layer.clone() });
        let covered = self.checks.insert(id.clone(), new);
        if let Some(covered) = covered.filter(|covered| covered.origin.is_of_file()) {
            let covered = Arc::unwrap_or_clone(covered);
            Arc::make_mut(&mut self.hidden).checks.insert(id, covered);
        }
    }

    /// Takes a check out of the store's layer.
    pub(super) fn take_check(&mut self, id: &str) {
        if self.stored_check(id).is_none() {
            return;
        }
        self.checks.remove(id);
        if let Some(below) = Arc::make_mut(&mut self.hidden).checks.remove(id) {
            self.checks.insert(id.to_owned(), Arc::new(below));
        }
    }

    /// Puts `new` in the place of the checks that files define.
    pub(super) fn replace_checks(&mut self, new: BTreeMap<String, Sourced<LoneCheck>>) {
        let of_files = self.checks.iter().filter(|(_, check)| check.origin.is_of_file());
        for id in of_files.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.checks.remove(&id);
        }
        for (id, check) in new {
            if self.checks.contains_key(&id) {
                Arc::make_mut(&mut self.hidden).checks.insert(id, check);
            } else {
                self.checks.insert(id, Arc::new(check));
            }
        }
    }

    /// Checks that files define and the store hides: service, what it is called, and where.
    pub(super) fn hidden_checks(&self) -> impl Iterator<Item = (String, String, &Origin)> {
        self.hidden.checks.iter().map(|(id, check)| {
            let service = self.services.get(&*check.value.service_id).cloned();
            (service.unwrap_or_default(), format!("check id {id:?}"), &check.origin)
        })
    }

    /// The service that a check is about; empty for the node and for a check that waits.
    pub(crate) fn service_of_check(&self, lone: &LoneCheck) -> String {
        self.service_of(&lone.service_id).unwrap_or_default().to_owned()
    }

    /// The check `id` as the store has it.
    pub(crate) fn stored_check(&self, id: &str) -> Option<&LoneCheck> {
        let found = self.checks.get(id).filter(|check| !check.origin.is_of_file());
        found.map(|check| &check.value)
    }

    /// Says which check id two things use, if any do: a node has each once.
    ///
    /// # Errors
    ///
    /// The sentence, naming both.
    pub(crate) fn check_checks(&self) -> Result<(), String> {
        let mut seen: HashMap<&str, (&str, &Origin)> = HashMap::new();
        for registered in self.snapshot.instances.iter() {
            for check in &registered.instance.checks {
                let user = (registered.instance.id.as_str(), &registered.origin);
                if let Some((id, origin)) = seen.insert(&check.id, user) {
                    return Err(format!(
                        "check id {:?} is given twice: by service id {id:?} ({}) and by {:?} ({})",
                        check.id,
                        place(origin),
                        registered.instance.id,
                        place(&registered.origin),
                    ));
                }
            }
        }
        for (id, lone) in &self.checks {
            if let Some((service, origin)) = seen.get(id.as_str()) {
                return Err(format!(
                    "check id {id:?} ({}) belongs to service id {service:?} ({}): \
                     choose another, or change it there",
                    place(&lone.origin),
                    place(origin),
                ));
            }
        }
        Ok(())
    }

    /// Says which check of a file is about an instance that there is not.
    ///
    /// # Errors
    ///
    /// Consul's text, with the place.
    pub(crate) fn check_check_services(&self) -> Result<(), String> {
        for (id, lone) in &self.checks {
            let (of, origin) = (&*lone.value.service_id, &lone.origin);
            if !of.is_empty() && origin.is_of_file() && self.instance(of).is_none() {
                let place = place(origin);
                return Err(format!("{place}: check {id:?}: ServiceID {of:?} does not exist"));
            }
        }
        Ok(())
    }

    /// What people should know of checks: those that wait for an instance, and maintenance.
    pub(crate) fn check_remarks(&self) -> impl Iterator<Item = (String, String)> {
        self.checks.iter().filter_map(|(id, lone)| {
            let of = &*lone.value.service_id;
            let service = self.services.get(of).cloned();
            let notes = &lone.value.check.notes;
            if of.is_empty() {
                let maintenance = lone.value.is_maintenance();
                return maintenance
                    .then(|| (String::new(), format!("the node is in maintenance mode: {notes}")));
            }
            let Some(service) = service else {
                let text = format!("check {id:?} waits: no instance has the service id {of:?}");
                return Some((String::new(), text));
            };
            let maintenance = lone.value.is_maintenance();
            maintenance
                .then(|| (service, format!("instance {of:?} is in maintenance mode: {notes}")))
        })
    }
}
