//! Removals of a followed source: many at once are not believed at once.
//!
//! A Consul that was wiped, that is another cluster, or whose token lost its rights says what a
//! Consul says whose services all went. So removals wait a second for others, and where most
//! services would go within ten, they are held until they have been said for ten minutes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Held;
use crate::agent::Agent;
use crate::source::{EntryKey, Row, Update};

/// Time for which a removal waits for others.
const WAIT: Duration = Duration::from_secs(1);
/// Time within which removals count together.
const TOGETHER: Duration = Duration::from_secs(10);
/// Time after which what is said all along is believed.
const BELIEVED_AFTER: Duration = Duration::from_secs(600);
/// Of fewer services, all may go at once.
const FEWEST: usize = 4;

/// Removals that are not in force, and those of lately.
#[derive(Debug, Default)]
pub(in crate::agent) struct Removals {
    /// Entries that are gone.
    entries: BTreeSet<EntryKey>,
    /// Services all of whose instances are gone.
    services: BTreeSet<String>,
    /// What is to be kept of it.
    rows: Vec<Row>,
    /// When it is judged.
    due: Option<Instant>,
    /// Services that lost something, and when.
    lately: Vec<(Instant, String)>,
}

impl Removals {
    fn names(&self) -> BTreeSet<String> {
        let entries = self.entries.iter().map(|(_, name)| name);
        entries.chain(&self.services).cloned().collect()
    }

    /// What they are called, as `status` lists them.
    fn list(&self) -> Vec<String> {
        let entries = self.entries.iter().map(|(kind, name)| format!("{kind}/{name}"));
        entries.chain(self.services.iter().map(|name| format!("service/{name}"))).collect()
    }
}

impl Agent {
    /// Leaves out of `update` what it removes, to be judged a little later.
    pub(in crate::agent) fn keep_back(&mut self, mut update: Update) -> Update {
        let state = self.engine.state();
        let many = self.followed_services().len() >= FEWEST;
        let removals = &mut self.holds.removals;
        update.entries.retain(|key, new| {
            let goes = many && new.is_none() && state.entry(key).is_some();
            if goes {
                removals.entries.insert(key.clone());
            } else {
                removals.entries.remove(key);
            }
            !goes
        });
        update.instances.retain(|service, new| {
            let had = !state.snapshot.instances_of(service).is_empty();
            let goes = many && new.is_empty() && had;
            if goes {
                removals.services.insert(service.clone());
            } else {
                removals.services.remove(service);
            }
            !goes
        });
        let names = removals.names();
        let (waiting, rows): (Vec<_>, Vec<_>) =
            std::mem::take(&mut update.rows).into_iter().partition(|row| {
                let of_instances = removals.services.contains(&row.service);
                names.contains(&row.service) && (row.value.is_none() || of_instances)
            });
        update.rows = rows;
        // What is said again replaces what was said of it before.
        removals.rows.retain(|row| {
            names.contains(&row.service) && waiting.iter().all(|new| new.key != row.key)
        });
        removals.rows.extend(waiting);
        if names.is_empty() {
            removals.due = None;
        } else if removals.due.is_none() {
            removals.due = Some(Instant::now() + WAIT);
        }
        update
    }

    /// Judges the removals that wait, where that is due: a few go, most of all are held.
    pub(in crate::agent) fn judge_removals(&mut self, now: Instant) {
        let kind = self.source.kind();
        let names = self.holds.removals.names();
        if names.is_empty() {
            if self.holds.held.remove(kind).is_some() {
                tracing::info!(input = kind, "the input is believed again");
            }
            return;
        }
        let list = self.holds.removals.list();
        if let Some(held) = self.holds.held.get_mut(kind) {
            held.removals = list;
            if now >= held.since + BELIEVED_AFTER {
                tracing::warn!(input = kind, "what it says all along is believed");
                self.believe_removals(now);
            }
            return;
        }
        if self.holds.removals.due.is_none_or(|due| now < due) {
            return;
        }
        let total = self.followed_services().len();
        let lately = &mut self.holds.removals.lately;
        lately.retain(|(when, _)| now < *when + TOGETHER);
        let together: BTreeSet<&String> =
            lately.iter().map(|(_, name)| name).chain(&names).collect();
        // Those that went lately are not among the others any more.
        let gone = together.len();
        let all = total + lately.iter().filter(|(_, name)| !names.contains(name)).count();
        if all < FEWEST || gone * 2 <= all {
            self.believe_removals(now);
            return;
        }
        let reason = format!("it says that {gone} of {all} services lost all they had at once");
        tracing::error!(input = kind, %reason, "the input is held: its last content stays in force");
        let held = Held { reason, since: now, removals: list };
        self.holds.held.insert(kind.to_owned(), held);
    }

    /// Puts the removals that wait in force.
    pub(in crate::agent) fn believe_removals(&mut self, now: Instant) {
        let removals = std::mem::take(&mut self.holds.removals);
        let names = removals.names();
        self.holds.held.remove(self.source.kind());
        let update = Update {
            entries: removals.entries.into_iter().map(|key| (key, None)).collect(),
            instances: removals.services.into_iter().map(|name| (name, Vec::new())).collect(),
            rows: removals.rows,
            warnings: self.source.followed().map(|of| of.said()).unwrap_or_default(),
            ..Update::default()
        };
        let mut lately = removals.lately;
        lately.extend(names.into_iter().map(|name| (now, name)));
        self.holds.removals.lately = lately;
        self.take_update(update);
    }

    /// The services that the source has entries or instances of, as they are in force.
    fn followed_services(&self) -> BTreeSet<String> {
        let snapshot = &self.engine.state().snapshot;
        let instances = snapshot.instances.iter().map(|found| &found.instance.service);
        let entries = snapshot.resolvers.keys().chain(snapshot.splitters.keys());
        instances.chain(entries).cloned().collect()
    }
}
