//! The debts of brakes: rollbacks that hold and are not written.

use std::time::Instant;

use super::{PAY_EVERY, Rollback};
use crate::agent::source::Destination;
use crate::agent::split::{moves, whole_of};
use crate::agent::{Agent, Released, report};
use crate::audit::{Author, Intent};
use crate::document::{self, Changed};
use crate::engine::Brake;
use crate::refusal::{Kind, Refusal};
use crate::sever::Which;
use crate::store::Write;

/// A rollback that holds by the brake and is not written.
#[derive(Debug)]
pub(in crate::agent) struct Debt {
    rollback: Rollback,
    /// The reason why it is not written.
    pub(super) why: String,
    /// When the store is tried again.
    due: Instant,
    /// Nobody tries any more.
    pub(super) given_up: bool,
}

impl Agent {
    /// Takes note that a rollback which holds by the brake is not written, and says what it did;
    /// `None` if it does not hold, or if that is no reason to hold it.
    pub(super) fn owe(&mut self, rollback: &Rollback, refusal: &Refusal) -> Option<Released> {
        let Rollback { service, sever, .. } = rollback;
        let is_reason = matches!(refusal.kind, Kind::Failed | Kind::OfSource(_));
        let mut brake = self.engine.state().brake(service).filter(|_| is_reason)?.clone();
        if !std::mem::replace(&mut brake.owed, true)
            && let Err(error) = self.set_brake(service, Some(brake.clone()))
        {
            tracing::error!(%error, %service, "the brake is not kept for a restart");
        }
        let after = whole_of(service, Some(&brake.splitter), None);
        let before = self.splits(service).unwrap_or_default();
        let why = refusal.text.clone();
        let row = self.source.destination() == Destination::Source;
        if row && !self.debts.contains_key(service) {
            let write = Write::Brake(service.clone(), Some(self.row_of(service, &brake)));
            if let Err(error) = self.store.commit(self.books.index, &[write]) {
                tracing::error!(%error, %service, "the brake is not kept for a reboot");
            }
        }
        let due = Instant::now() + PAY_EVERY;
        let debt = Debt { rollback: rollback.clone(), why, due, given_up: false };
        if self.debts.insert(service.clone(), debt).is_none() {
            tracing::error!(%service, error = %refusal, "rolled back by the brake, and not written");
        }
        let warnings = self.brake_warning(service).into_iter();
        let warnings = warnings.chain(self.late_warning(service)).chain(self.warnings_of(service));
        let mut said: Vec<document::Warning> = warnings.map(report::warning).collect();
        said.dedup();
        let revision = self.engine.datapath().revision();
        let changed = Changed {
            service: service.clone(),
            weights: moves(service, &before, &after),
            revision_before: brake.revision_before,
            revision,
            dry_run: false,
            warnings: said,
            severing: None,
        };
        let order = sever.and_then(|rate| self.order_after(service, Which::Shareless, rate));
        Some(Released { changed, order })
    }

    /// Nobody tries any more to write at the source what a brake owes.
    pub(super) fn give_up(&mut self, service: &str) {
        if let Some(debt) = self.debts.get_mut(service) {
            debt.given_up = true;
        }
    }

    /// Tries again to store what brakes owe, where that is due.
    pub(in crate::agent) fn pay_debts(&mut self, now: Instant) {
        if self.source.destination() == Destination::Source {
            return;
        }
        let due = self.debts.iter().filter(|(_, debt)| now >= debt.due);
        let due: Vec<Rollback> = due.map(|(_, debt)| debt.rollback.clone()).collect();
        for rollback in due {
            // What ends then has ended already.
            let rollback = Rollback { sever: None, ..rollback };
            match self.write_rollback(&rollback) {
                Ok(_) => tracing::info!(service = %rollback.service, "the rollback is stored now"),
                Err(refusal) => {
                    if let Some(debt) = self.debts.get_mut(&rollback.service) {
                        (debt.why, debt.due) = (refusal.text, now + PAY_EVERY);
                    }
                }
            }
        }
    }

    /// Forgets the debts of brakes that have ended. To be called after every change.
    pub(in crate::agent) fn settle_brakes(&mut self) {
        let state = self.engine.state();
        let ended: Vec<String> =
            self.debts.keys().filter(|service| state.brake(service).is_none()).cloned().collect();
        for service in ended {
            self.debts.remove(&service);
            tracing::info!(%service, "the brake has ended: what was written of the service changed");
            if self.source.destination() == Destination::Source {
                let write = Write::Brake(service.clone(), None);
                if let Err(error) = self.store.commit(self.books.index, &[write]) {
                    tracing::warn!(%error, %service, "the brake that has ended is still kept");
                }
            }
        }
    }

    /// Has a debt for each brake that came with a start.
    pub(in crate::agent) fn remember_debts(&mut self) {
        let brakes: Vec<(String, Brake)> = (self.engine.state().brakes())
            .map(|(service, brake)| (service.clone(), brake.clone()))
            .collect();
        for (service, brake) in brakes {
            tracing::warn!(%service, stable = %brake.stable, "the service stands by its brake");
            let intent = Intent::of(brake.author.unwrap_or(Author::Agent));
            let to = Some(brake.stable);
            let rollback = Rollback { intent, service: service.clone(), to, sever: None };
            let why = "it was not when the agent ran last".to_owned();
            let given_up = self.source.destination() == Destination::Source;
            let due = Instant::now();
            self.debts.entry(service).or_insert(Debt { rollback, why, due, given_up });
        }
    }
}
