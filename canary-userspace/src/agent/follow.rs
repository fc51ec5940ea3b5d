//! Following a source that runs beside the agent: what it says is in force as soon as it is heard.
//!
//! Nobody is there to be refused. So what cannot be served of it leaves the rest alone: the service
//! stays as it was, and status says why. What was in force is kept for a start without the source.

mod unserved;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use self::unserved::Unserved;
use super::change::{Entries, Scope};
use super::refusal::Refusal;
use super::through::Planned;
use super::{Agent, RETRY};
use crate::audit::{Action, Author, Intent};
use crate::catalog::Node;
use crate::compile::{Compiler, Desired, DesiredService, Names, Warning};
use crate::datapath::PublishError;
use crate::document::Applied;
use crate::source::consul::Writer;
use crate::source::{Condition, EntryKey, Following, News, PROXY, Row, Update};
use crate::store::Write;

/// What is heard in this time is kept at once: a commit waits for the disk.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// What the agent knows of the source that it follows.
#[derive(Debug)]
pub(super) struct Followed {
    following: Following,
    condition: Condition,
    warnings: Vec<Warning>,
    /// Its first news are in force.
    is_begun: bool,
    unserved: Unserved,
    /// What is to be kept, by service and key.
    unkept: BTreeMap<(String, String), Option<Bytes>>,
    keep_at: Option<Instant>,
    /// Counts what was put in force, for those who wait for it.
    heard: watch::Sender<u64>,
    /// What is to be written at the source, while a change is worked out.
    pub(super) planned: Option<Vec<Planned>>,
    /// What was written there from here: the entry, as what, and by whom.
    pub(super) expected: BTreeMap<EntryKey, (Value, Action, Author)>,
}

impl Followed {
    pub(super) fn new(following: Following) -> Self {
        Self {
            following,
            condition: Condition::default(),
            warnings: Vec::new(),
            is_begun: false,
            unserved: Unserved::default(),
            unkept: BTreeMap::new(),
            keep_at: None,
            heard: watch::Sender::new(0),
            planned: None,
            expected: BTreeMap::new(),
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        self.following.kind
    }

    /// Where writes go, and how to wait until they are in force.
    pub(super) fn writes(&self) -> (Arc<Writer>, watch::Receiver<u64>) {
        (Arc::clone(&self.following.writes), self.heard.subscribe())
    }

    pub(super) fn condition(&self) -> &Condition {
        &self.condition
    }

    pub(super) fn warnings(&self) -> impl Iterator<Item = Warning> {
        let waits = (!self.is_begun).then(|| Warning {
            service: String::new(),
            text: format!("what is in force is from before: {} has not said all yet", self.kind()),
        });
        self.warnings.iter().cloned().chain(self.unserved.warnings()).chain(waits)
    }

    /// Services that stay as they were, for they cannot be served as the source has them.
    pub(super) fn unserved(&self) -> impl Iterator<Item = &DesiredService> {
        self.unserved.services()
    }

    /// Whether `service` is in force as the source has it.
    pub(super) fn is_served(&self, service: &str) -> bool {
        !self.unserved.contains(service)
    }

    /// Whether `service` was compiled and does not fit.
    pub(super) fn is_left_out(&self, service: &str) -> bool {
        self.unserved.is_left_out(service)
    }
}

/// The next news of a source; never if none is followed, or it has ended.
pub(crate) async fn next_news(news: Option<&mut mpsc::Receiver<News>>) -> News {
    match news {
        Some(news) => match news.recv().await {
            Some(news) => news,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

impl Agent {
    /// Fills the state with what the source said before the agent was started anew.
    pub(super) fn remember_followed(&mut self) {
        let last = self.followed.as_mut().and_then(|followed| followed.following.last.take());
        let Some(last) = last else { return };
        self.apply_update(last);
        // Compiled and not published: services that cannot be served stay as they are in it.
        self.compile_followed(None);
    }

    /// Takes in what the source says.
    pub(crate) fn hear(&mut self, news: News) {
        match news {
            News::Condition(condition) => {
                if let Some(followed) = &mut self.followed {
                    followed.condition = condition;
                }
            }
            News::Changed(update) => self.hear_update(update),
        }
    }

    fn hear_update(&mut self, mut update: Update) {
        let Some(followed) = &mut self.followed else { return };
        let is_first = !std::mem::replace(&mut followed.is_begun, true);
        followed.warnings = std::mem::take(&mut update.warnings);
        let rows = std::mem::take(&mut update.rows);
        let is_news = !update.entries.is_empty() || !update.instances.is_empty();
        let scope: Scope = Some(update.entries.keys().map(|(_, name)| name.clone()).collect());
        let before = self.entries_in(&scope);
        let names = names_of(&update);
        self.apply_update(update);
        if is_first || is_news {
            // At the start nobody knows what the tables hold.
            let moved = self.compile_followed(names.as_ref()).filter(|_| !is_first);
            if let Err(error) = self.publish_followed(moved.as_ref()) {
                let error = Refusal::from(error);
                tracing::error!(%error, "what the source says could not be published");
                self.late = Some((error.text, Instant::now() + RETRY));
            }
        }
        if !is_first {
            // What is found at the start is no change to anything.
            self.note_change(&scope, &before);
        }
        self.keep_rows(rows, is_first);
        if let Some(followed) = &self.followed {
            followed.heard.send_modify(|times| *times = times.wrapping_add(1));
        }
    }

    /// Puts `update` into the state.
    fn apply_update(&mut self, update: Update) {
        let Update { entries, instances, index, datacenter, .. } = update;
        if let Some(datacenter) = datacenter {
            let node = &mut self.state.snapshot.node;
            if node.datacenter != datacenter {
                *node = Arc::new(Node { datacenter, ..Node::clone(node) });
            }
        }
        let keys: Vec<EntryKey> = entries.keys().cloned().collect();
        let is_news = !entries.is_empty() || !instances.is_empty();
        for (key, new) in entries {
            let entry = if let Some((entry, indices)) = new {
                self.indices.insert(key.clone(), indices);
                Some(entry)
            } else {
                self.indices.remove(&key);
                None
            };
            self.state.follow_entry(&key, entry);
        }
        let services: BTreeSet<String> = instances.keys().cloned().collect();
        for (service, instances) in instances {
            self.state.follow_instances(&service, instances);
        }
        if is_news {
            // The source's index may go backwards, where ours must not.
            self.move_index(index.max(self.index.saturating_add(1)));
            self.topics.touch_entries(keys, self.index);
            self.announce_instances(Some(&services));
        }
    }

    /// Compiles the state, which is another one in `names` only or, with `None`, may be anywhere.
    ///
    /// Returns the services that the tables must hold differently; `None` for any.
    fn compile_followed(&mut self, names: Option<&Names>) -> Option<Names> {
        let compiled = &self.compiler.compiled().desired;
        let before: Vec<DesiredService> = match names {
            Some(names) => {
                let readers = names.iter().flat_map(|name| self.compiler.readers(name));
                let affected: BTreeSet<&str> =
                    names.iter().map(String::as_str).chain(readers).collect();
                affected.into_iter().filter_map(|name| compiled.service(name)).cloned().collect()
            }
            None => compiled.services.clone(),
        };
        let snapshot = &self.state.snapshot;
        let moved = names.map(|names| self.compiler.update(snapshot, names));
        if moved.is_none() {
            self.compiler = Compiler::new(snapshot, &self.datapath.claims());
        }
        if let Some(followed) = &mut self.followed {
            followed.unserved.learn(before, &self.compiler.compiled().refused);
        }
        moved
    }

    /// Publishes all that can be served, which differs in `moved`; what cannot stays as it is.
    pub(super) fn publish_followed(&mut self, moved: Option<&Names>) -> Result<(), PublishError> {
        let Some(followed) = &mut self.followed else { return Ok(()) };
        // Tables that are behind lack more than this.
        let moved = moved.filter(|_| self.late.is_none());
        let compiled = self.compiler.compiled();
        loop {
            let published = match (followed.unserved.with(compiled), moved) {
                (None, Some(moved)) => self.datapath.publish_some(&compiled.desired, moved),
                (None, None) => self.datapath.publish(&compiled.desired),
                (Some(mixed), _) => self.datapath.publish(&mixed),
            };
            match published {
                Ok(revision) => {
                    tracing::debug!(revision, "published");
                    break;
                }
                Err(error) => {
                    // Without it there may be room for the others, and for what it was before.
                    let is_news = match &error {
                        PublishError::Full { service, .. } => {
                            followed.unserved.learn_full(service, error.to_string())
                        }
                        PublishError::Kernel(_) => false,
                    };
                    if !is_news {
                        return Err(error);
                    }
                }
            }
        }
        followed.unserved.in_force();
        self.compiler.in_force();
        self.late = None;
        Ok(())
    }

    /// Reads the token and the certificates anew: of the source all else is known already.
    pub(super) fn reload_followed(&self, intent: &Intent) -> Applied {
        if let Some(followed) = self.followed.as_ref().filter(|_| !intent.dry_run) {
            followed.following.writes.read_again();
        }
        let revision = self.datapath.revision();
        Applied {
            changes: Vec::new(),
            revision_before: revision,
            revision,
            dry_run: intent.dry_run,
            warnings: self.all_warnings().into_iter().map(super::report::warning).collect(),
        }
    }

    /// What would be in force with what is compiled now.
    pub(super) fn desired_followed(&self) -> Option<Desired> {
        self.followed.as_ref()?.unserved.with(self.compiler.compiled())
    }

    /// Keeps for history and undo what an update has changed.
    fn note_change(&mut self, scope: &Scope, before: &Entries) {
        let after = self.entries_in(scope);
        let mut ledger = self.ledger(before, &after, &[]);
        ledger.of_source();
        let Some(followed) = self.followed.as_mut().filter(|_| !ledger.altered.is_empty()) else {
            return;
        };
        let own = ledger.altered.first().and_then(|altered| {
            let key = (altered.kind.clone(), altered.name.clone());
            let (json, action, author) = followed.expected.remove(&key)?;
            (json == altered.after).then_some((action, author))
        });
        let of_source = || (Action::Follow, Author::Source { kind: followed.kind().to_owned() });
        let (action, author) = own.unwrap_or_else(of_source);
        ledger.sign(action, author, self.datapath.revision());
        if let Err(error) = self.store.commit(ledger.index, &ledger.writes) {
            tracing::warn!(%error, "a change of the source is not in the log");
        }
        self.record(ledger);
    }

    /// Keeps `rows` for a start without the source, but for services that cannot be served: those
    /// stay as they were, over a restart too.
    fn keep_rows(&mut self, rows: Vec<Row>, is_first: bool) {
        let Some(followed) = &mut self.followed else { return };
        for Row { service, key, value } in rows {
            followed.unkept.insert((service, key), value);
        }
        if followed.keep_at.is_none() && (is_first || !followed.unkept.is_empty()) {
            followed.keep_at = Some(Instant::now() + KEEP_EVERY);
        }
    }

    /// Writes down what is to be kept, before the agent goes.
    pub(crate) fn keep_followed_now(&mut self) {
        let waits = |followed: &Followed| followed.keep_at.is_some();
        if self.followed.as_ref().is_some_and(waits) {
            self.keep_followed(Instant::now() + KEEP_EVERY);
        }
    }

    /// Writes down what is to be kept, if that is due.
    pub(super) fn keep_followed(&mut self, now: Instant) {
        let Some(followed) = &mut self.followed else { return };
        if followed.keep_at.is_none_or(|due| now < due) || self.late.is_some() {
            return;
        }
        followed.keep_at = None;
        let unserved = &followed.unserved;
        let (held, rows): (Vec<_>, Vec<_>) = std::mem::take(&mut followed.unkept)
            .into_iter()
            .partition(|((service, _), _)| unserved.contains(service));
        let values = rows
            .iter()
            .map(|((_, key), value)| (key.clone(), value.as_deref().map(<[u8]>::to_vec)));
        let writes = [Write::Followed(followed.kind(), values.collect())];
        self.remarks.retain(|remark| !remark.starts_with(NOT_KEPT));
        if let Err(error) = self.store.commit(self.index, &writes) {
            tracing::error!(%error, "{NOT_KEPT}");
            self.remarks.push(format!("{NOT_KEPT}: {error}"));
            followed.unkept.extend(rows);
            followed.keep_at = Some(now + KEEP_EVERY);
        }
        followed.unkept.extend(held);
    }
}

/// What is said when the store does not take what the source says.
const NOT_KEPT: &str = "what the source says is not kept for a restart";

/// The services that an update is about; `None` for all.
fn names_of(update: &Update) -> Option<Names> {
    let entries = update.entries.keys();
    if entries.clone().any(|(kind, _)| kind == PROXY) {
        return None;
    }
    Some(entries.map(|(_, name)| name).chain(update.instances.keys()).cloned().collect())
}
