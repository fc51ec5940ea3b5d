//! The emergency brake: the tables first, whatever the store, the source or the files do.
//!
//! A rollback is the ordinary entry, and nothing is left of the brake, if the store and the source
//! take the write at once. Else the brake holds over what is wanted, and the write is owed.

mod debts;
mod found;
mod report;

use std::time::{Duration, Instant};

pub(super) use self::debts::Debt;
use super::ledger::now_ms;
use super::source::Destination;
use super::split::{moves, whole_of};
use super::transaction::Change;
use super::{Agent, Handle, Released, Ticket};
use crate::audit::{Action, Intent};
use crate::document::{Changed, Weight};
use crate::engine::{Brake, Edit};
use crate::entry::{Entry, Splitter};
use crate::refusal::{Kind, Refusal};
use crate::sever::{Rate, Which};
use crate::source::SplitPlaces;

/// Time between two attempts to write what a brake owes.
const PAY_EVERY: Duration = Duration::from_secs(2);
/// Time for which the token of a rollback is kept for that.
const TOKEN_KEPT: Duration = Duration::from_secs(600);

/// A request for a rollback.
#[derive(Clone, Debug)]
pub struct Rollback {
    /// The author, and a flag for a dry run.
    pub intent: Intent,
    /// The service.
    pub service: String,
    /// The subset that gets everything; the default one without.
    pub to: Option<String>,
    /// The connections of all others end.
    pub sever: Option<Rate>,
}

impl Handle {
    /// Rolls a service back: in the tables at once, then where entries are kept. What cannot be
    /// written is said, and owed.
    ///
    /// # Errors
    ///
    /// The [`Refusal`]: there is no such service or subset; nothing has changed then.
    pub async fn roll_back(&self, ticket: Ticket, rollback: Rollback) -> Result<Released, Refusal> {
        let asked = rollback.clone();
        let work = move |agent: &mut Agent| agent.roll_back(&asked);
        let refusal = match self.change(ticket.clone(), work).await {
            Ok(released) => return Ok(released),
            Err(refusal) => refusal,
        };
        let asked = rollback.clone();
        let told = refusal.clone();
        let owed = self.call(move |agent| agent.owe(&asked, &told)).await?;
        let Some(released) = owed else { return Err(refusal) };
        let handle = self.clone();
        tokio::spawn(async move { handle.pay(ticket, rollback, refusal).await });
        Ok(released)
    }

    /// Tries to write at the source what a brake owes, for as long as the token may be kept.
    async fn pay(self, ticket: Ticket, rollback: Rollback, mut refusal: Refusal) {
        let until = Instant::now() + TOKEN_KEPT;
        let mut ticks = tokio::time::interval(PAY_EVERY);
        ticks.tick().await;
        while may_pass(&refusal) && Instant::now() < until {
            ticks.tick().await;
            let service = rollback.service.clone();
            let asked = rollback.clone();
            match self.call(move |agent| agent.engine.state().brake(&service).is_some()).await {
                Ok(true) => {}
                Ok(false) | Err(_) => return,
            }
            let work = move |agent: &mut Agent| agent.write_rollback(&asked);
            match self.change(ticket.clone(), work).await {
                Ok(_) => return,
                Err(error) => refusal = error,
            }
            let (asked, told) = (rollback.clone(), refusal.clone());
            _ = self.call(move |agent| agent.owe(&asked, &told)).await;
        }
        _ = self.call(move |agent| agent.give_up(&rollback.service)).await;
    }
}

/// True if a later attempt may succeed: the source was away, or could not do it.
fn may_pass(refusal: &Refusal) -> bool {
    match refusal.kind {
        Kind::Failed => true,
        Kind::OfSource(status) => status >= 500,
        _ => false,
    }
}

impl Agent {
    /// Sends everything to one subset: the tables first, then the entry that says so.
    ///
    /// # Errors
    ///
    /// The [`Refusal`]; nothing has changed then, but where the source is to be written next.
    pub fn roll_back(&mut self, rollback: &Rollback) -> Result<Released, Refusal> {
        let Rollback { intent, service, to, .. } = rollback;
        if self.engine.frozen().is_some() {
            return self.brake_found(rollback);
        }
        let trial = Intent { dry_run: true, ..intent.clone() };
        let foreseen = self.write_rollback(&Rollback { intent: trial, ..rollback.clone() })?;
        let (stable, change) = self.rollback_of(intent, service, to.as_deref())?;
        let Some(splitter) = splitter_in(&change).filter(|_| !intent.dry_run) else {
            return Ok(foreseen);
        };
        let before = self.engine.datapath().revision();
        let there = self.engine.state().brake(service);
        if there.is_none_or(|brake| brake.splitter != splitter) {
            let (since_ms, author) = (Some(now_ms()), Some(intent.author.clone()));
            let (revision_before, owed) = (before, false);
            let brake = Brake { stable, splitter, since_ms, author, revision_before, owed };
            self.set_brake(service, Some(brake))?;
        }
        match self.write_rollback(rollback) {
            Ok(mut released) => {
                released.changed.revision_before = before;
                Ok(released)
            }
            Err(refusal) if self.source.destination() == Destination::Store => {
                let owed = self.owe(rollback, &refusal);
                if owed.is_none() {
                    self.set_brake(service, None)?;
                }
                owed.ok_or(refusal)
            }
            Err(refusal) => {
                self.set_brake(service, None)?;
                Err(refusal)
            }
        }
    }

    /// Makes a rollback the ordinary way: the entry, then the tables.
    fn write_rollback(&mut self, rollback: &Rollback) -> Result<Released, Refusal> {
        let Rollback { intent, service, to, sever } = rollback;
        let (_, change) = self.rollback_of(intent, service, to.as_deref())?;
        self.release(service, change, sever.map(|rate| (Which::Shareless, rate)))
    }

    /// The subset that is to get everything, and the change that says so.
    fn rollback_of(
        &self,
        intent: &Intent,
        service: &str,
        to: Option<&str>,
    ) -> Result<(String, Change), Refusal> {
        let mut splits = self.splits(service)?;
        let state = self.engine.state();
        let resolver = state.snapshot.resolvers.get(service).map(|resolver| &resolver.value);
        let default = resolver.map(|resolver| resolver.default_subset.clone()).unwrap_or_default();
        let stable = to.map_or_else(|| default.clone(), str::to_owned);
        if stable.is_empty() {
            return Err(Refusal::bad_request(format!(
                "service {service:?} has no default subset: say which subset is to get everything"
            )));
        }
        for split in &mut splits {
            split.weight = 0.0;
        }
        // A split without a subset means the default one.
        let implied = |split: &&mut Weight| {
            split.service == service && split.subset.is_empty() && stable == default
        };
        let named = splits.iter().any(|split| split.service == service && split.subset == stable);
        match splits.iter_mut().find(implied).filter(|_| !named) {
            Some(split) => split.weight = 100.0,
            None => self.set_weight(service, &mut splits, &stable, 100.0)?,
        }
        let no_splitter = state.written_splitter(service).is_none();
        let change = if no_splitter && stable == default {
            // Everything goes there already, and a splitter would only have to be deleted again.
            Change::new(Action::Rollback, intent, Vec::new())
        } else {
            self.splitter_of((Action::Rollback, intent), service, &splits)?
        };
        Ok((stable, change))
    }

    /// Undoes a rollback that holds by the brake: what is written is in force again.
    ///
    /// # Errors
    ///
    /// The [`Refusal`]: what is written cannot be served any more.
    pub(super) fn undo_brake(
        &mut self,
        intent: &Intent,
        service: &str,
    ) -> Result<Changed, Refusal> {
        let brake = self.engine.state().brake(service);
        let before = whole_of(service, brake.map(|brake| &brake.splitter), None);
        let revision_before = self.engine.datapath().revision();
        if !intent.dry_run {
            self.set_brake(service, None)?;
        }
        let after = self.splits(service)?;
        let warnings = self.warnings_of(service).into_iter().chain(self.late_warning(service));
        Ok(Changed {
            service: service.to_owned(),
            weights: moves(service, &before, &after),
            revision_before,
            revision: self.engine.datapath().revision(),
            dry_run: intent.dry_run,
            warnings: warnings.map(super::report::warning).collect(),
            severing: None,
        })
    }

    /// Puts a service under the brake or ends that: in the tables, and nowhere else.
    fn set_brake(&mut self, service: &str, brake: Option<Brake>) -> Result<(), Refusal> {
        let edits = vec![Edit::Brake(service.to_owned(), brake.map(Box::new))];
        let prepared = self.prepare(edits, SplitPlaces::default())?.prepared;
        self.engine.publish(prepared);
        self.settle_brakes();
        Ok(())
    }
}

/// The splitter that a change writes.
fn splitter_in(change: &Change) -> Option<Splitter> {
    change.edits.iter().find_map(|edit| match edit {
        Edit::Entry(_, Some(entry)) => match &**entry {
            Entry::Splitter(splitter) => Some(splitter.clone()),
            _ => None,
        },
        _ => None,
    })
}
