//! The brake: a service stands by one subset, whatever its splitter says.
//!
//! It lies over what is wanted: the splitter in force is the brake's, the one that was written is
//! kept behind it. It ends when the service's splitter or resolver itself changes; health,
//! instances and the same entry read again leave it.

use std::sync::Arc;

use super::state::State;
use crate::audit::Author;
use crate::catalog::Sourced;
use crate::compile::SplitKey;
use crate::entry::{Entry, Split, Splitter, WHOLE};
use crate::source::{EntryKey, RESOLVER, SPLITTER};

/// A rollback that holds before it is written, or though it cannot be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Brake {
    /// The subset or the service that gets everything.
    pub(crate) stable: String,
    /// The splitter in force.
    pub(crate) splitter: Splitter,
    /// Since when, in milliseconds since 1970 UTC; `None` where only the tables tell of it.
    pub(crate) since_ms: Option<u64>,
    /// Who set it; `None` where only the tables tell of it.
    pub(crate) author: Option<Author>,
    /// The revision that was in force before; 0 where only the tables tell of it.
    pub(crate) revision_before: u64,
    /// It could not be written: the tables are marked, so that a restart finds it.
    pub(crate) owed: bool,
}

/// A service under the brake.
#[derive(Clone, Debug)]
pub(super) struct Braked {
    pub(super) brake: Brake,
    /// The splitter that was written; `None` if there is none.
    pub(super) written: Option<Arc<Sourced<Splitter>>>,
}

impl State {
    /// The brake that `service` stands by.
    pub(crate) fn brake(&self, service: &str) -> Option<&Brake> {
        self.brakes.get(service).map(|braked| &braked.brake)
    }

    /// All brakes, by service.
    pub(crate) fn brakes(&self) -> impl Iterator<Item = (&String, &Brake)> {
        self.brakes.iter().map(|(service, braked)| (service, &braked.brake))
    }

    /// The splitter of `service` as it was written.
    pub(crate) fn written_splitter(&self, service: &str) -> Option<&Arc<Sourced<Splitter>>> {
        match self.brakes.get(service) {
            Some(braked) => braked.written.as_ref(),
            None => self.snapshot.splitters.get(service),
        }
    }

    /// Puts a service under the brake, unless what is written says the same.
    pub(super) fn put_brake(&mut self, service: &str, brake: Brake) {
        let written = self.written_splitter(service).cloned();
        self.end_brake(service);
        if written.as_ref().is_some_and(|written| written.value.splits == brake.splitter.splits) {
            return;
        }
        let origin = written.as_ref().map_or_else(|| self.layer.clone(), |old| old.origin.clone());
        let splitter = Arc::new(Sourced { value: brake.splitter.clone(), origin });
        self.snapshot.splitters.insert(service.to_owned(), splitter);
        if brake.owed {
            self.snapshot.brakes.insert(service.to_owned());
        }
        self.brakes.insert(service.to_owned(), Arc::new(Braked { brake, written }));
    }

    /// Puts what is written in force again.
    pub(super) fn end_brake(&mut self, service: &str) {
        let Some(braked) = self.brakes.remove(service) else { return };
        self.snapshot.brakes.remove(service);
        match &braked.written {
            Some(written) => {
                self.snapshot.splitters.insert(service.to_owned(), Arc::clone(written));
            }
            None => _ = self.snapshot.splitters.remove(service),
        }
    }

    /// Ends the brake of a service whose entry `key` is to be `new`, if that changes the entry.
    pub(super) fn heed_brake(&mut self, key: &EntryKey, new: Option<&Entry>) {
        let (kind, service) = key;
        let decides = [SPLITTER, RESOLVER].contains(&kind.as_str());
        if decides && self.brakes.contains_key(service) {
            let old = self.entry(key).map(|entry| entry.value);
            if old.as_ref() != new {
                self.end_brake(service);
            }
        }
    }

    /// The brake that tables tell of which send everything of `service` to `key`.
    pub(crate) fn brake_of(&self, service: &str, key: &SplitKey) -> Brake {
        let written = self.written_splitter(service).map(|splitter| &splitter.value);
        let mut splits: Vec<Split> = written.map_or_else(Vec::new, |old| old.splits.clone());
        let is_stable = |split: &Split| {
            let target = if split.service.is_empty() { service } else { &split.service };
            target == key.target && split.service_subset == key.subset
        };
        for split in &mut splits {
            split.weight = if is_stable(split) { WHOLE } else { 0 };
        }
        if !splits.iter().any(is_stable) {
            let target = if key.target == service { String::new() } else { key.target.clone() };
            let subset = key.subset.clone();
            splits.push(Split { weight: WHOLE, service: target, service_subset: subset });
        }
        let meta = written.map(|old| old.meta.clone()).unwrap_or_default();
        let splitter = Splitter { name: service.to_owned(), splits, meta };
        Brake {
            stable: key.name().to_owned(),
            splitter,
            since_ms: None,
            author: None,
            revision_before: 0,
            owed: true,
        }
    }
}
