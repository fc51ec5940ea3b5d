//! Brakes in statuses and warnings.

use crate::agent::Agent;
use crate::agent::ledger::now_ms;
use crate::agent::source::Destination;
use crate::audit::Author;
use crate::compile::Warning;
use crate::document;

impl Agent {
    /// The brake of a service, for its status.
    pub(in crate::agent) fn brake_report(&self, service: &str) -> Option<document::Brake> {
        let brake = self.engine.state().brake(service).filter(|brake| brake.owed)?;
        let debt = self.debts.get(service);
        Some(document::Brake {
            subset: brake.stable.clone(),
            seconds: brake.since_ms.map(|since| now_ms().saturating_sub(since) / 1000),
            by: brake.author.as_ref().map(Author::to_string),
            reason: debt.map(|debt| debt.why.clone()).unwrap_or_default(),
        })
    }

    /// Warnings, one for every service under the brake.
    pub(in crate::agent) fn brake_warnings(&self) -> impl Iterator<Item = Warning> {
        let services = self.engine.state().brakes().map(|(service, _)| service);
        services.filter_map(|service| self.brake_warning(service))
    }

    pub(super) fn brake_warning(&self, service: &str) -> Option<Warning> {
        let brake = self.engine.state().brake(service)?;
        let stable = &brake.stable;
        let debt = self.debts.get(service)?;
        let written = self.splits(service).unwrap_or_default();
        let weights: Vec<String> =
            written.iter().map(|split| format!("{}", split.weight)).collect();
        let back = weights.join("/");
        let why = &debt.why;
        let text = match self.source.destination() {
            Destination::Store => format!(
                "everything goes to {stable}, by the brake; not stored: {why}; a reboot before it \
                 is stored goes back to {back}"
            ),
            Destination::Source => {
                let kind = self.source.kind();
                let next = if debt.given_up {
                    format!("run `canaryctl rollback {service} --to {stable}` to write it")
                } else {
                    "it is tried again".to_owned()
                };
                format!(
                    "everything goes to {stable} on this node, by the brake; {kind} still says \
                     {back}: {why}; {next}"
                )
            }
        };
        Some(Warning { service: service.to_owned(), text })
    }
}
