//! Following a source that runs beside the agent: what it says is in force as soon as it is heard.
//!
//! Nobody is there to be refused. So what cannot be served of it leaves the rest alone: the service
//! stays as it was, and status says why. What was in force is kept for a start without the source.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use tokio::sync::{mpsc, watch};

use super::{Agent, RETRY, ledger};
use crate::catalog::Node;
use crate::compile::{self, Compiled, DesiredService, Refused, Warning, only_weights};
use crate::datapath::PublishError;
use crate::entry::Entry;
use crate::source::{Condition, EntryKey, Following, News, Row, Update};
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
    /// What is to be kept, by service and key.
    unkept: BTreeMap<(String, String), Option<Bytes>>,
    keep_at: Option<Instant>,
    /// Counts what was put in force, for those who wait for it.
    heard: watch::Sender<u64>,
}

impl Followed {
    pub(super) fn new(following: Following) -> Self {
        Self {
            following,
            condition: Condition::default(),
            warnings: Vec::new(),
            is_begun: false,
            unkept: BTreeMap::new(),
            keep_at: None,
            heard: watch::Sender::new(0),
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        self.following.kind
    }

    pub(super) fn condition(&self) -> &Condition {
        &self.condition
    }

    pub(super) fn warnings(&self) -> impl Iterator<Item = Warning> {
        let waits = (!self.is_begun).then(|| Warning {
            service: String::new(),
            text: format!("what is in force is from before: {} has not said all yet", self.kind()),
        });
        self.warnings.iter().cloned().chain(waits)
    }
}

/// The next news of a source; never if none is followed, or it has ended.
pub(super) async fn next_news(news: Option<&mut mpsc::Receiver<News>>) -> News {
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
        self.in_force = compile::compile(&self.state.snapshot, &self.datapath.claims());
    }

    /// Takes in what the source says.
    pub(super) fn hear(&mut self, news: News) {
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
        let instances = !update.instances.is_empty();
        let changed = self.apply_update(update);
        if is_first || is_news {
            self.put_followed(&changed, instances || is_first);
            self.frozen = None;
        }
        self.keep_rows(rows, is_first);
        if let Some(followed) = &self.followed {
            followed.heard.send_modify(|times| *times = times.wrapping_add(1));
        }
    }

    /// Puts `update` into the state; returns the entries that it replaced.
    fn apply_update(&mut self, update: Update) -> BTreeMap<EntryKey, Option<Entry>> {
        self.note_past(&update);
        let Update { entries, instances, index, datacenter, .. } = update;
        if let Some(datacenter) = datacenter {
            let node = &mut self.state.snapshot.node;
            if node.datacenter != datacenter {
                *node = Arc::new(Node { datacenter, ..Node::clone(node) });
            }
        }
        let mut before = BTreeMap::new();
        let is_news = !entries.is_empty() || !instances.is_empty();
        for (key, new) in entries {
            let entry = if let Some((entry, indices)) = new {
                self.indices.insert(key.clone(), indices);
                Some(entry)
            } else {
                self.indices.remove(&key);
                None
            };
            let old = self.state.follow_entry(&key, entry);
            before.insert(key, old);
        }
        let services: BTreeSet<String> = instances.keys().cloned().collect();
        for (service, instances) in instances {
            self.state.follow_instances(&service, instances);
        }
        if is_news {
            // The source's index may go backwards, where ours must not.
            self.move_index(index.max(self.index.saturating_add(1)));
            self.topics.touch_entries(before.keys().cloned(), self.index);
            self.announce_instances(Some(&services));
        }
        before
    }

    /// Publishes the state, or says why the tables are behind and tries again.
    fn put_followed(&mut self, before: &BTreeMap<EntryKey, Option<Entry>>, instances: bool) {
        let published = match self.reweighed_by(before).filter(|_| !instances) {
            Some(services) => self.publish_shares(services),
            None => self.publish_followed(),
        };
        if let Err(error) = published {
            tracing::error!(error = %format!("{error:#}"), "what the source says could not be published");
            self.late = Some((format!("{error:#}"), Instant::now() + RETRY));
        }
    }

    /// The services with other shares, where weights of one splitter are all that is new.
    fn reweighed_by(
        &self,
        before: &BTreeMap<EntryKey, Option<Entry>>,
    ) -> Option<Vec<DesiredService>> {
        if self.late.is_some() || before.len() != 1 {
            return None;
        }
        let (key, old) = before.first_key_value()?;
        let new = self.state.entry(key)?.value;
        match (old.as_ref()?, &new) {
            (Entry::Splitter(old), Entry::Splitter(new)) if only_weights(old, new) => {
                self.in_force.reweighed(&self.state.snapshot, &new.name)
            }
            _ => None,
        }
    }

    fn publish_shares(&mut self, services: Vec<DesiredService>) -> Result<(), PublishError> {
        let before = self.in_force.replace(services);
        if let Err(error) = self.datapath.publish(&self.in_force.desired) {
            self.in_force.replace(before);
            return Err(error);
        }
        Ok(())
    }

    /// Publishes all that can be served; what cannot stays as it is.
    pub(super) fn publish_followed(&mut self) -> Result<(), PublishError> {
        let mut compiled = compile::compile(&self.state.snapshot, &self.datapath.claims());
        loop {
            compiled.keep(&self.in_force.desired);
            match self.datapath.publish(&compiled.desired) {
                Ok(revision) => {
                    tracing::debug!(revision, "published");
                    break;
                }
                Err(PublishError::Full { ref service, .. })
                    if compiled.refused.iter().any(|refused| refused.service == *service) =>
                {
                    return Err(anyhow::anyhow!("{service} does not fit as it was before").into());
                }
                Err(error @ PublishError::Full { .. }) => refuse_full(&mut compiled, &error),
                Err(error) => return Err(error),
            }
        }
        let refused = std::mem::take(&mut compiled.refused);
        for Refused { service, text } in &refused {
            let text = format!("refused, what was in force before stays: {text}");
            compiled.warnings.push(Warning { service: service.clone(), text });
        }
        compiled.refused = refused;
        self.in_force = compiled;
        self.late = None;
        Ok(())
    }

    /// What undo goes back to: the entries that this update replaces.
    fn note_past(&mut self, update: &Update) {
        let is_begun = self.followed.as_ref().is_some_and(|followed| followed.is_begun);
        if !is_begun {
            return;
        }
        let is_other = |(key, new): &(&EntryKey, &Option<(Entry, super::Indices)>)| {
            let old = self.state.entry(key).map(|entry| entry.value);
            old.as_ref() != new.as_ref().map(|(entry, _)| entry)
        };
        let services: BTreeSet<String> =
            update.entries.iter().filter(is_other).map(|(key, _)| key.1.clone()).collect();
        let scope = Some(services);
        let before = self.entries_in(&scope);
        for service in scope.into_iter().flatten() {
            let past = ledger::past(&service, &before);
            self.past.insert(service, past);
        }
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
    pub(super) fn keep_followed_now(&mut self) {
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
        let refused: BTreeSet<&str> =
            self.in_force.refused.iter().map(|refused| refused.service.as_str()).collect();
        let (held, rows): (Vec<_>, Vec<_>) = std::mem::take(&mut followed.unkept)
            .into_iter()
            .partition(|((service, _), _)| refused.contains(service.as_str()));
        let values = rows
            .iter()
            .map(|((_, key), value)| (key.clone(), value.as_deref().map(<[u8]>::to_vec)));
        let mut writes = vec![Write::Followed(followed.kind(), values.collect())];
        let services: BTreeSet<&String> = rows.iter().map(|((service, _), _)| service).collect();
        writes.extend(services.into_iter().filter_map(|service| {
            let past = self.past.get(service)?;
            Some(Write::Past(service.clone(), Some(past.clone())))
        }));
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

/// Leaves out the service that a table has no room for.
fn refuse_full(compiled: &mut Compiled, error: &PublishError) {
    let PublishError::Full { service, .. } = error else { return };
    compiled.refused.push(Refused { service: service.clone(), text: error.to_string() });
    compiled.refused.sort_by(|a, b| a.service.cmp(&b.service));
    let refused: BTreeSet<&str> = compiled.refused.iter().map(|r| r.service.as_str()).collect();
    compiled.desired.services.retain(|service| !refused.contains(service.name.as_str()));
}
