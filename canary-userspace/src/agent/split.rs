//! The verbs of a release: weights and rollback.

use serde_json::{Value, json};

use super::transaction::Change;
use super::{Agent, Released};
use crate::audit::{Action, Intent};
use crate::document::{Changed, Moved, SplitChange, Weight, Weights};
use crate::engine::{Edit, Entries};
use crate::entry::{self, Entry, Resolver, Splitter};
use crate::refusal::Refusal;
use crate::sever::{Rate, Which};
use crate::source::{RESOLVER, SPLITTER, key_of};

impl Agent {
    /// The weights of a service, as written.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`](super::Kind::NotFound) if nobody knows the service.
    pub fn weights(&self, service: &str) -> Result<Weights, Refusal> {
        let splits = self.splits(service)?;
        Ok(Weights {
            service: service.to_owned(),
            splits,
            revision: self.engine.datapath().revision(),
            brake: self.brake_report(service),
        })
    }

    /// Sets the weights that `change` names by subset; the others stay. With `rebalance` as many
    /// live connections end as the new shares ask for.
    ///
    /// # Errors
    ///
    /// The [`Refusal`], in Consul's words for sums and subsets; nothing has changed then.
    pub fn set_split(
        &mut self,
        intent: &Intent,
        service: &str,
        change: &SplitChange,
        rebalance: Option<Rate>,
    ) -> Result<Released, Refusal> {
        let mut splits = self.splits(service)?;
        if self.engine.state().written_splitter(service).is_none() {
            splits.clear();
        }
        for (subset, &weight) in change {
            self.set_weight(service, &mut splits, subset, weight)?;
        }
        let ends = rebalance.map(|rate| (Which::Surplus, rate));
        let change = self.splitter_of((Action::SplitSet, intent), service, &splits)?;
        self.release(service, change, ends)
    }

    /// The splits of a service as written; without a splitter, what that means.
    pub(super) fn splits(&self, service: &str) -> Result<Vec<Weight>, Refusal> {
        let snapshot = &self.engine.state().snapshot;
        let splitter = self.engine.state().written_splitter(service);
        let splitter = splitter.map(|splitter| &splitter.value);
        let resolver = snapshot.resolvers.get(service).map(|resolver| &resolver.value);
        let known = splitter.is_some()
            || resolver.is_some()
            || snapshot.defaults.contains_key(service)
            || snapshot.instances.iter().any(|other| other.instance.service == service);
        if known { Ok(whole_of(service, splitter, resolver)) } else { Err(self.unknown(service)) }
    }

    /// Sets one weight, of a split that is there or of a subset that the resolver has.
    pub(super) fn set_weight(
        &self,
        service: &str,
        splits: &mut Vec<Weight>,
        subset: &str,
        weight: f64,
    ) -> Result<(), Refusal> {
        let own = |split: &Weight| split.service == service && split.subset == subset;
        let of_another = |split: &Weight| split.service != service && split.subset == subset;
        let whole = |split: &Weight| split.service == subset && split.subset.is_empty();
        let place = (splits.iter().position(own))
            .or_else(|| splits.iter().position(of_another))
            .or_else(|| splits.iter().position(whole));
        if let Some(split) = place.and_then(|place| splits.get_mut(place)) {
            split.weight = weight;
            return Ok(());
        }
        let resolver = self.engine.state().snapshot.resolvers.get(service);
        if !resolver.is_some_and(|resolver| resolver.value.subsets.contains_key(subset)) {
            return Err(Refusal::invalid(format!(
                "service {service:?} does not have a subset named {subset:?}"
            )));
        }
        splits.push(Weight { service: service.to_owned(), subset: subset.to_owned(), weight });
        Ok(())
    }

    /// The change that writes `splits` as the service's splitter.
    pub(super) fn splitter_of(
        &self,
        (action, intent): (Action, &Intent),
        service: &str,
        splits: &[Weight],
    ) -> Result<Change, Refusal> {
        let old = self.engine.state().snapshot.splitters.get(service);
        let meta = old.map(|splitter| splitter.value.meta.clone()).unwrap_or_default();
        let split = |split: &Weight| {
            let target = if split.service == service { "" } else { &split.service };
            json!({"Weight": split.weight, "Service": target, "ServiceSubset": split.subset})
        };
        let splits: Vec<Value> = splits.iter().map(split).collect();
        // By way of Consul's JSON, so that rounding and validation are those of any other write.
        let json = json!({"Kind": SPLITTER, "Name": service, "Splits": splits, "Meta": meta});
        let decoded = entry::parse(json.to_string().as_bytes())
            .map_err(|error| Refusal::invalid(error.text))?;
        let edits = vec![Edit::Entry(key_of(&decoded.entry), Some(Box::new(decoded.entry)))];
        Ok(Change::new(action, intent, edits))
    }

    /// Makes a change that is about one service, and says what moved.
    ///
    /// # Errors
    ///
    /// The [`Refusal`]; nothing has changed then.
    pub(super) fn change_of(&mut self, service: &str, change: Change) -> Result<Changed, Refusal> {
        self.release(service, change, None).map(|released| released.changed)
    }

    /// The same, and which connections are to end under the shares after it.
    pub(super) fn release(
        &mut self,
        service: &str,
        change: Change,
        ends: Option<(Which, Rate)>,
    ) -> Result<Released, Refusal> {
        let before = self.splits(service).unwrap_or_default();
        let revision_before = self.engine.datapath().revision();
        let dry_run = change.intent.dry_run;
        self.change(change, |agent, _| {
            let after = agent.splits(service).unwrap_or_default();
            let late = agent.late_warning(service).filter(|_| !dry_run);
            let warnings = agent.warnings_of(service).into_iter().chain(late);
            let warnings = warnings.map(super::report::warning);
            let changed = Changed {
                service: service.to_owned(),
                weights: moves(service, &before, &after),
                revision_before,
                revision: agent.engine.datapath().revision(),
                dry_run,
                warnings: warnings.collect(),
                severing: None,
            };
            let order = ends.and_then(|(which, rate)| agent.order_after(service, which, rate));
            Released { changed, order }
        })
    }

    pub(super) fn unknown(&self, service: &str) -> Refusal {
        // The tables may have it: who reaches for the brake must not hear that there is none.
        if let Some(refusal) = self.refusal_while_frozen() {
            return refusal;
        }
        let snapshot = &self.engine.state().snapshot;
        let names = (snapshot.instances.iter().map(|other| &other.instance.service))
            .chain(snapshot.resolvers.keys())
            .chain(snapshot.splitters.keys());
        let near = names
            .map(|name| (strsim::damerau_levenshtein(service, name), name))
            .filter(|(distance, _)| *distance <= service.len().div_ceil(3))
            .min();
        let hint = near.map(|(_, name)| format!(" (did you mean {name:?}?)")).unwrap_or_default();
        Refusal::not_found(format!("no service is known as {service:?}{hint}"))
    }
}

/// The splits of a service as its entries say them.
pub(super) fn weights_of(service: &str, entries: &Entries) -> Vec<Weight> {
    let entry =
        |kind: &str| entries.get(&(kind.to_owned(), service.to_owned())).map(|entry| &entry.value);
    let splitter = match entry(SPLITTER) {
        Some(Entry::Splitter(splitter)) => Some(splitter),
        _ => None,
    };
    let resolver = match entry(RESOLVER) {
        Some(Entry::Resolver(resolver)) => Some(resolver),
        _ => None,
    };
    whole_of(service, splitter, resolver)
}

/// The splits as written; without a splitter everything is one split.
pub(super) fn whole_of(
    service: &str,
    splitter: Option<&Splitter>,
    resolver: Option<&Resolver>,
) -> Vec<Weight> {
    if let Some(splitter) = splitter {
        let weight = |split: &entry::Split| Weight {
            service: if split.service.is_empty() { service } else { &split.service }.to_owned(),
            subset: split.service_subset.clone(),
            weight: f64::from(split.weight) / 100.0,
        };
        return splitter.splits.iter().map(weight).collect();
    }
    let subset = resolver.map(|resolver| resolver.default_subset.clone()).unwrap_or_default();
    vec![Weight { service: service.to_owned(), subset, weight: 100.0 }]
}

/// Weights that differ, in the order they are written: those that are gone come last.
pub(super) fn moves(service: &str, before: &[Weight], after: &[Weight]) -> Vec<Moved> {
    let same = |a: &Weight, b: &Weight| a.service == b.service && a.subset == b.subset;
    let name = |split: &Weight| match split.subset.as_str() {
        "" => split.service.clone(),
        subset if split.service == service => subset.to_owned(),
        subset => format!("{}/{subset}", split.service),
    };
    let kept = after.iter().map(|new| {
        let old = before.iter().find(|old| same(old, new));
        Moved { subset: name(new), before: old.map(|old| old.weight), after: Some(new.weight) }
    });
    let gone = before.iter().filter(|old| !after.iter().any(|new| same(old, new)));
    let gone = gone.map(|old| Moved { subset: name(old), before: Some(old.weight), after: None });
    kept.chain(gone).filter(|moved| moved.before != moved.after).collect()
}
