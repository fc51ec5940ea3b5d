//! Rules that hold between checks.

use std::collections::HashMap;

use super::State;
use crate::catalog::Origin;
use crate::source::files::place;

impl State {
    /// Says which check id two things use, if any do: a node has each once.
    ///
    /// # Errors
    ///
    /// The sentence, naming both.
    pub(in crate::agent) fn check_checks(&self) -> Result<(), String> {
        let mut seen: HashMap<&str, (&str, &Origin)> = HashMap::new();
        for registered in &self.snapshot.instances {
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
    pub(in crate::agent) fn check_check_services(&self) -> Result<(), String> {
        for (id, lone) in &self.checks {
            let (of, origin) = (&*lone.value.service_id, &lone.origin);
            if !of.is_empty() && *origin != Origin::Store && self.instance(of).is_none() {
                let place = place(origin);
                return Err(format!("{place}: check {id:?}: ServiceID {of:?} does not exist"));
            }
        }
        Ok(())
    }

    /// What people should know of checks: those that wait for an instance, and maintenance.
    pub(in crate::agent) fn check_remarks(&self) -> impl Iterator<Item = (String, String)> {
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
