//! Following a source that runs beside the agent: what it says is in force as soon as it is heard.
//!
//! Nobody is there to be refused. So what cannot be served of it leaves the rest alone: the service
//! stays as it was, and status says why. What was in force is kept for a start without the source.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use super::Agent;
use super::notice::Notice;
use super::source::{Destination, Fault, Source};
use crate::audit::{Action, Author};
use crate::compile::{Names, Warning};
use crate::engine::{Edit, Entries, Scope};
use crate::refusal::Refusal;
use crate::source::consul::Writer;
use crate::source::{Condition, EntryKey, Following, News, Row, SplitPlaces, Update};
use crate::store::{Contents, Write};

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
            unkept: BTreeMap::new(),
            keep_at: None,
            heard: watch::Sender::new(0),
            expected: BTreeMap::new(),
        }
    }

    /// Where writes go, and how to wait until they are in force.
    pub(super) fn writes(&self) -> (Arc<Writer>, watch::Receiver<u64>) {
        (Arc::clone(&self.following.writes), self.heard.subscribe())
    }

    /// What people should know of it, as it said last.
    pub(super) fn said(&self) -> Vec<Warning> {
        self.warnings.clone()
    }

    /// Reads the token and the certificates anew: of the source all else is known already.
    pub(super) fn read_again(&self) {
        self.following.writes.read_again();
    }
}

impl Source for Followed {
    fn kind(&self) -> &'static str {
        self.following.kind
    }

    fn address(&self) -> Option<String> {
        Some(self.condition.address.clone())
    }

    fn fault(&self) -> Option<Fault> {
        let (text, since) = self.condition.error.clone()?;
        Some(Fault { text, since })
    }

    fn warnings(&self) -> Vec<Warning> {
        let waits = (!self.is_begun).then(|| Warning {
            service: String::new(),
            text: format!("what is in force is from before: {} has not said all yet", self.kind()),
        });
        self.warnings.iter().cloned().chain(waits).collect()
    }

    fn destination(&self) -> Destination {
        Destination::Source
    }

    fn permit(&self, edits: &[Edit]) -> Result<(), Refusal> {
        if edits.iter().all(|edit| matches!(edit, Edit::Entry(..))) {
            return Ok(());
        }
        let kind = self.kind();
        let text = format!("instances and their health are read from {kind}: register them there");
        Err(Refusal::not_allowed(text))
    }

    fn note_condition(&mut self, condition: Condition) {
        self.condition = condition;
    }

    fn followed(&mut self) -> Option<&mut Followed> {
        Some(self)
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
    /// Wants what the source said before the agent was started anew: services that cannot be
    /// served stay as they are in it.
    pub(super) fn remember_followed(&mut self, contents: &Contents) -> Result<(), Refusal> {
        let last = self.source.followed().and_then(|followed| followed.following.last.take());
        let Some(last) = last else { return Ok(()) };
        let index = last.index;
        let edits = self.edits_of(last);
        let prepared = self.prepare(edits, SplitPlaces::default())?.prepared;
        self.engine.want(prepared);
        let brakes = self.found_brakes(self.engine.state(), Some(contents));
        let prepared = self.prepare(brakes, SplitPlaces::default())?.prepared;
        self.engine.want(prepared);
        self.move_index(index.max(self.books.index.saturating_add(1)));
        Ok(())
    }

    /// Takes in what the source says.
    pub(crate) fn hear(&mut self, news: News) {
        match news {
            News::Condition(condition) => self.source.note_condition(condition),
            News::Changed(update) => {
                let update = self.keep_back(update);
                self.take_update(update);
            }
        }
    }

    /// Puts what the source says in force.
    pub(super) fn take_update(&mut self, update: Update) {
        if let Err(error) = self.hear_update(update) {
            tracing::error!(%error, "what the source says could not be taken in");
        }
    }

    fn hear_update(&mut self, mut update: Update) -> Result<(), Refusal> {
        let Some(followed) = self.source.followed() else { return Ok(()) };
        let is_first = !std::mem::replace(&mut followed.is_begun, true);
        followed.warnings = std::mem::take(&mut update.warnings);
        let rows = std::mem::take(&mut update.rows);
        let index = update.index;
        let keys: Vec<EntryKey> = update.entries.keys().cloned().collect();
        let services: Names = update.instances.keys().cloned().collect();
        let is_news = !keys.is_empty() || !services.is_empty();
        let scope: Scope = Some(keys.iter().map(|(_, name)| name.clone()).collect());
        let before = self.engine.state().entries_in(&scope);
        let edits = self.edits_of(update);
        let prepared = self.prepare(edits, SplitPlaces::default())?.prepared;
        if is_first {
            // At the start nobody knows what the tables hold.
            self.engine.want(prepared);
            self.engine.publish_all();
        } else {
            self.engine.publish(prepared);
        }
        self.settle_brakes();
        if is_news {
            // The source's index may go backwards, where ours must not.
            self.move_index(index.max(self.books.index.saturating_add(1)));
            self.books.topics.touch_entries(keys, self.books.index);
            self.announce_instances(Some(&services));
        }
        if !is_first {
            // What is found at the start is no change to anything.
            self.note_change(&scope, before);
        }
        self.keep_rows(rows, is_first);
        if let Some(followed) = self.source.followed() {
            followed.heard.send_modify(|times| *times = times.wrapping_add(1));
        }
        Ok(())
    }

    /// The edits that `update` asks for; its indices are remembered.
    fn edits_of(&mut self, update: Update) -> Vec<Edit> {
        let Update { entries, instances, datacenter, .. } = update;
        let mut edits: Vec<Edit> = datacenter.map(Edit::Datacenter).into_iter().collect();
        for (key, new) in entries {
            let entry = if let Some((entry, indices)) = new {
                self.books.indices.insert(key.clone(), indices);
                Some(Box::new(entry))
            } else {
                self.books.indices.remove(&key);
                None
            };
            edits.push(Edit::Entry(key, entry));
        }
        let instances = instances.into_iter();
        edits.extend(instances.map(|(service, instances)| Edit::Instances(service, instances)));
        edits
    }

    /// Keeps for history and undo what an update has changed.
    fn note_change(&mut self, scope: &Scope, before: Entries) {
        let entries = [before, self.engine.state().entries_in(scope)];
        let mut ledger = self.books.compare_entries(&entries);
        ledger.of_source();
        let kind = self.source.kind();
        let Some(followed) = self.source.followed().filter(|_| !ledger.altered.is_empty()) else {
            return;
        };
        let own = ledger.altered.first().and_then(|altered| {
            let key = (altered.kind.clone(), altered.name.clone());
            let (json, action, author) = followed.expected.remove(&key)?;
            (json == altered.after).then_some((action, author))
        });
        let of_source = || (Action::Follow, Author::Source { kind: kind.to_owned() });
        let (action, author) = own.unwrap_or_else(of_source);
        ledger.sign(action, author, self.engine.datapath().revision());
        if let Err(error) = self.store.commit(ledger.index, &ledger.writes) {
            tracing::warn!(%error, "a change of the source is not in the log");
        }
        self.record(ledger);
    }

    /// Keeps `rows` for a start without the source, but for services that cannot be served: those
    /// stay as they were, over a restart too.
    fn keep_rows(&mut self, rows: Vec<Row>, is_first: bool) {
        let Some(followed) = self.source.followed() else { return };
        for Row { service, key, value } in rows {
            followed.unkept.insert((service, key), value);
        }
        if followed.keep_at.is_none() && (is_first || !followed.unkept.is_empty()) {
            followed.keep_at = Some(Instant::now() + KEEP_EVERY);
        }
    }

    /// Writes down what is to be kept, before the agent goes.
    pub(crate) fn keep_followed_now(&mut self) {
        let waits = |followed: &mut Followed| followed.keep_at.is_some();
        if self.source.followed().is_some_and(waits) {
            self.keep_followed(Instant::now() + KEEP_EVERY);
        }
    }

    /// Writes down what is to be kept, if that is due.
    pub(super) fn keep_followed(&mut self, now: Instant) {
        let Some(followed) = self.source.followed() else { return };
        if followed.keep_at.is_none_or(|due| now < due) || self.engine.late().is_some() {
            return;
        }
        followed.keep_at = None;
        let unserved = self.engine.now().unserved();
        let (held, rows): (Vec<_>, Vec<_>) = std::mem::take(&mut followed.unkept)
            .into_iter()
            .partition(|((service, _), _)| unserved.contains(service));
        let values = rows
            .iter()
            .map(|((_, key), value)| (key.clone(), value.as_deref().map(<[u8]>::to_vec)));
        let writes = [Write::Followed(followed.kind(), values.collect())];
        self.notices.retain(|notice| !matches!(notice, Notice::SourceNotKept(_)));
        if let Err(error) = self.store.commit(self.books.index, &writes) {
            let notice = Notice::SourceNotKept(error.to_string());
            tracing::error!("{notice}");
            self.notices.push(notice);
            followed.unkept.extend(rows);
            followed.keep_at = Some(now + KEEP_EVERY);
        }
        followed.unkept.extend(held);
    }
}
