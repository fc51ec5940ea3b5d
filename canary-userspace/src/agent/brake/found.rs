//! Brakes that the tables or the store tell of, and the brake on tables that nobody can read.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Rollback;
use crate::agent::{Agent, Released};
use crate::compile::SplitKey;
use crate::document::{Changed, Moved};
use crate::engine::{Brake, Edit, State};
use crate::entry::{self, Entry};
use crate::refusal::Refusal;
use crate::source::{RESOLVER, SPLITTER};
use crate::store::Contents;

impl Agent {
    /// Takes the brakes that the tables or the store tell of as what holds: after a restart, and
    /// when frozen tables are let go.
    pub(in crate::agent) fn found_brakes(
        &self,
        next: &State,
        contents: Option<&Contents>,
    ) -> Vec<Edit> {
        let mut found: BTreeMap<String, Brake> = BTreeMap::new();
        for (service, key) in self.engine.datapath().braked() {
            let brake = next.brake_of(&service, &key);
            found.insert(service, brake);
        }
        for (service, row) in contents.into_iter().flat_map(|contents| &contents.brakes) {
            if let Some(brake) = Self::kept_brake(next, service, row) {
                found.insert(service.clone(), brake);
            }
        }
        let has_subset = |service: &str, brake: &Brake| {
            let resolver = next.snapshot.resolvers.get(service);
            let known = |subset: &str| {
                subset.is_empty()
                    || resolver.is_some_and(|of| of.value.subsets.contains_key(subset))
            };
            let own = |split: &&entry::Split| split.service.is_empty() || split.service == service;
            brake.splitter.splits.iter().filter(own).all(|split| known(&split.service_subset))
        };
        let usable = found.into_iter().filter(|(service, brake)| has_subset(service, brake));
        usable.map(|(service, brake)| Edit::Brake(service, Some(Box::new(brake)))).collect()
    }

    /// The row of a brake in the store, with the entries that it was set over.
    pub(super) fn row_of(&self, service: &str, brake: &Brake) -> Value {
        json!({
            "stable": brake.stable,
            "splitter": entry::to_json(&Entry::Splitter(brake.splitter.clone())),
            "since_ms": brake.since_ms,
            "author": brake.author,
            "over": set_over(self.engine.state(), service),
        })
    }

    /// The brake of a row, unless the entries that it was set over have changed since.
    fn kept_brake(next: &State, service: &str, row: &Value) -> Option<Brake> {
        if row.get("over") != Some(&set_over(next, service)) {
            return None;
        }
        let splitter = entry::parse(row.get("splitter")?.to_string().as_bytes()).ok()?;
        let Entry::Splitter(splitter) = splitter.entry else { return None };
        Some(Brake {
            stable: row.get("stable")?.as_str()?.to_owned(),
            splitter,
            since_ms: row.get("since_ms").and_then(Value::as_u64),
            author: row.get("author").and_then(|by| serde_json::from_value(by.clone()).ok()),
            revision_before: 0,
            owed: true,
        })
    }

    /// Rolls back on tables that hold what the agent cannot read, by their own labels.
    pub(super) fn brake_found(&mut self, rollback: &Rollback) -> Result<Released, Refusal> {
        let Rollback { intent, service, to, .. } = rollback;
        let frozen = self.refusal_while_frozen();
        let Some(stable) = to else {
            let text = frozen.map(|refusal| refusal.text).unwrap_or_default();
            return Err(Refusal::failed(format!(
                "{text}; rollback works meanwhile, with --to and a subset that has a share"
            )));
        };
        let datapath = self.engine.datapath();
        let Some(before) = datapath.found_shares(service) else {
            return Err(Refusal::not_found(format!("the tables have no service {service:?}")));
        };
        let names = |key: &SplitKey| key.is_named(stable);
        let Some((split, _)) = before.iter().find(|(key, _)| names(key)).cloned() else {
            return Err(Refusal::invalid(format!(
                "service {service:?} does not have a subset named {stable:?} in the tables"
            )));
        };
        let revision_before = datapath.revision();
        let mut revision = revision_before;
        if !intent.dry_run {
            let braked = self.engine.datapath_mut().brake(service, &split)?;
            revision = braked.map_or(revision, |braked| braked.revision);
        }
        let moved = before.iter().map(|(key, share)| Moved {
            subset: key.name().to_owned(),
            before: Some(f64::from(*share) / 100.0),
            after: Some(if *key == split { 100.0 } else { 0.0 }),
        });
        let changed = Changed {
            service: service.clone(),
            weights: moved.filter(|moved| moved.before != moved.after).collect(),
            revision_before,
            revision,
            dry_run: intent.dry_run,
            warnings: Vec::new(),
            severing: None,
        };
        Ok(Released { changed, order: None })
    }
}

/// The splitter and the resolver of a service that a brake is set over, null where there is none.
fn set_over(state: &State, service: &str) -> Value {
    let entries = [SPLITTER, RESOLVER].map(|kind| {
        let entry = state.entry(&(kind.to_owned(), service.to_owned()));
        entry.map_or(Value::Null, |entry| entry::to_json(&entry.value))
    });
    json!(entries)
}
