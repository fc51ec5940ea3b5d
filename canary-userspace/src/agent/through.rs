//! Writes while a source is followed: they go to the source, and are done once they are back.
//!
//! A change is first made here, as if nothing were followed, and taken back: what cannot be put in
//! force is refused before anybody else hears of it. Then it is written to the source, and
//! acknowledged when the source has said it and it is in force.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderValue;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::{Agent, Handle};
use crate::audit::{Action, Author};
use crate::document::{Applied, Changed, Warning};
use crate::engine::Edit;
use crate::entry::{self, Entry};
use crate::refusal::Refusal;
use crate::source::consul::{Answered, Writer};
use crate::source::{DEFAULTS, EntryKey, Indices, PROXY, RESOLVER, SPLITTER};

/// Time for a write to come back from the source and be in force.
const BACK_WITHIN: Duration = Duration::from_secs(5);
/// How often a change is worked out anew since somebody else changed the same entry.
const RETRIES: u32 = 1;

/// What goes to a followed source with a change.
#[derive(Clone, Debug, Default)]
pub struct Ticket {
    /// The token of whoever asks, where it is one of the source's.
    pub token: Option<HeaderValue>,
    /// Consul's check-and-set, where whoever asks has said it.
    pub cas: Option<u64>,
}

/// A write that is to be made at the source.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    key: EntryKey,
    entry: Option<Entry>,
    /// As it is here before.
    indices: Indices,
    /// Whether it was worked out from the entry as it is here.
    is_derived: bool,
    action: Action,
    author: Author,
}

/// A change that was worked out, and what is to be written for it.
struct Plan<T> {
    done: T,
    writes: Vec<Planned>,
    source: Option<(Arc<Writer>, watch::Receiver<u64>)>,
}

/// What a change says of itself once it is done.
pub trait Report: Sized + Send + 'static {
    /// The same, with the revision in force and more to say.
    #[must_use]
    fn finished(self, revision: u64, warnings: Vec<Warning>) -> Self;

    /// What is said if the entry was at another index than whoever asks has said.
    #[must_use]
    fn missed() -> Option<Self> {
        None
    }
}

impl Report for Changed {
    fn finished(mut self, revision: u64, warnings: Vec<Warning>) -> Self {
        self.revision = revision;
        self.warnings.extend(warnings);
        self
    }
}

impl Report for Option<Changed> {
    fn finished(self, revision: u64, warnings: Vec<Warning>) -> Self {
        self.map(|changed| changed.finished(revision, warnings))
    }

    fn missed() -> Option<Self> {
        Some(None)
    }
}

impl Report for Applied {
    fn finished(mut self, revision: u64, warnings: Vec<Warning>) -> Self {
        self.revision = revision;
        self.warnings.extend(warnings);
        self
    }
}

/// How the source took the writes.
enum Taken {
    All,
    /// An entry was at another index.
    Conflict(EntryKey),
}

impl Handle {
    /// Makes a change: here, or where a source is followed at that source. It is in force then.
    ///
    /// # Errors
    ///
    /// The [`Refusal`] of the agent, or that of the source with its own status.
    pub async fn change<T: Report>(
        &self,
        ticket: Ticket,
        work: impl Fn(&mut Agent) -> Result<T, Refusal> + Clone + Send + 'static,
    ) -> Result<T, Refusal> {
        let mut retries = RETRIES;
        loop {
            let work = work.clone();
            let Plan { done, writes, source } = self.call(move |agent| agent.plan(work)).await??;
            let Some((writer, mut heard)) = source.filter(|_| !writes.is_empty()) else {
                return Ok(done);
            };
            match self.take(&writer, &ticket, &writes).await? {
                Taken::All => {
                    let late = self.until_back(&writes, &mut heard).await?;
                    let revision = self.call(|agent| agent.engine.datapath().revision()).await?;
                    return Ok(done.finished(revision, late));
                }
                Taken::Conflict(_) if ticket.cas.is_some() => {
                    let missed = || Refusal::conflict("the entry was changed since that index");
                    return T::missed().ok_or_else(missed);
                }
                Taken::Conflict(key) if retries == 0 => {
                    return Err(Refusal::conflict(format!(
                        "{}/{} is changed by somebody else at the same time: try again",
                        key.0, key.1
                    )));
                }
                Taken::Conflict(_) => {
                    retries = retries.saturating_sub(1);
                    // What the other one wrote is on its way here.
                    _ = timeout_at(Instant::now() + BACK_WITHIN, heard.changed()).await;
                }
            }
        }
    }

    /// Writes to the source, one by one: it has no way to take several as one.
    async fn take(
        &self,
        writer: &Writer,
        ticket: &Ticket,
        writes: &[Planned],
    ) -> Result<Taken, Refusal> {
        for (planned, done) in writes.iter().zip(0_usize..) {
            let cas = if planned.is_derived { Some(planned.indices.modify) } else { ticket.cas };
            let json = planned.entry.as_ref().map(entry::to_json);
            let token = ticket.token.clone();
            let expected = planned.clone();
            self.call(move |agent| agent.expect_back(expected)).await?;
            let answer = writer.write(&planned.key, json.as_ref(), cas, token).await;
            let fault = match answer {
                Ok(Answered { status: 200, text }) if cas.is_some() && text == "false" => {
                    if done == 0 {
                        return Ok(Taken::Conflict(planned.key.clone()));
                    }
                    Refusal::conflict("it is changed by somebody else at the same time")
                }
                Ok(Answered { status: 200, .. }) => continue,
                Ok(Answered { status, text }) => Refusal::of_source(status, text),
                Err(text) => Refusal::failed(format!("{text}; it may have been written")),
            };
            return Err(after(fault, writes.get(..done).unwrap_or_default(), planned));
        }
        Ok(Taken::All)
    }

    /// Waits until the source has said what was written, and it is in force; else says so.
    async fn until_back(
        &self,
        writes: &[Planned],
        heard: &mut watch::Receiver<u64>,
    ) -> Result<Vec<Warning>, Refusal> {
        let deadline = Instant::now() + BACK_WITHIN;
        loop {
            heard.borrow_and_update();
            let wanted = writes.to_vec();
            let missing =
                self.call(move |agent| wanted.into_iter().find(|w| !agent.is_back(w))).await?;
            let Some(Planned { key: (kind, name), .. }) = missing else { return Ok(Vec::new()) };
            if !matches!(timeout_at(deadline, heard.changed()).await, Ok(Ok(()))) {
                let text = format!(
                    "{kind}/{name} is written to consul, and not in force here after {BACK_WITHIN:?}: see \
                     canaryctl status"
                );
                return Ok(vec![Warning { service: name, text }]);
            }
        }
    }
}

/// The refusal of a write, with those that were made before it.
fn after(refusal: Refusal, done: &[Planned], failed: &Planned) -> Refusal {
    let name = |planned: &Planned| format!("{}/{}", planned.key.0, planned.key.1);
    if done.is_empty() {
        return refusal;
    }
    let done: Vec<String> = done.iter().map(name).collect();
    let text = format!("{} (for {}; {} is written)", refusal.text, name(failed), done.join(", "));
    Refusal { text, ..refusal }
}

impl Agent {
    /// Makes a change, or works out what is to be written for it where a source is followed.
    fn plan<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, Refusal>,
    ) -> Result<Plan<T>, Refusal> {
        let source = self.source.followed().map(|followed| followed.writes());
        self.planned = source.is_some().then(Vec::new);
        let done = work(self);
        let writes = self.planned.take().unwrap_or_default();
        Ok(Plan { done: done?, writes, source })
    }

    /// What is to be written at the source to make `edits`.
    pub(super) fn plan_writes(
        &self,
        action: Action,
        author: &Author,
        edits: &[Edit],
    ) -> Vec<Planned> {
        let planned = |edit: &Edit| match edit {
            Edit::Entry(key, entry) => Some(Planned {
                key: key.clone(),
                entry: entry.as_deref().cloned(),
                indices: self.books.of_entry(key),
                is_derived: !matches!(action, Action::Write | Action::Delete | Action::Import),
                action,
                author: author.clone(),
            }),
            _ => None,
        };
        let mut writes: Vec<Planned> = edits.iter().filter_map(planned).collect();
        // Subsets before the splits that name them, and after them where they go.
        writes.sort_by_key(rank);
        writes
    }

    /// Has `writes` made at the source, once the change is worked out.
    ///
    /// # Errors
    ///
    /// Nobody waits for them: the agent itself writes nothing at a source.
    pub(super) fn propose(&mut self, writes: Vec<Planned>) -> Result<(), Refusal> {
        let kind = self.source.kind();
        let Some(planned) = &mut self.planned else {
            return Err(Refusal::failed(format!("{kind} is followed: nothing is written here")));
        };
        planned.extend(writes);
        Ok(())
    }

    /// Whether the source has said what was written.
    fn is_back(&self, planned: &Planned) -> bool {
        let here = self.engine.state().entry(&planned.key).map(|entry| entry.value);
        // Somebody may have written it again since.
        let is_newer = || self.books.of_entry(&planned.key).modify != planned.indices.modify;
        let is_served = !self.engine.now().unserved().contains(&planned.key.1);
        let is_in_force = self.engine.late().is_none() && is_served;
        is_in_force && (here == planned.entry || is_newer())
    }

    /// What the source will say is somebody's doing here.
    fn expect_back(&mut self, planned: Planned) {
        if let Some(followed) = self.source.followed() {
            let Planned { key, entry, action, author, .. } = planned;
            let json = entry.as_ref().map_or(Value::Null, entry::to_json);
            followed.expected.insert(key, (json, action, author));
        }
    }
}

/// The order in which entries are written and deleted.
fn rank(planned: &Planned) -> usize {
    let kinds = [PROXY, DEFAULTS, RESOLVER, SPLITTER];
    let place = kinds.iter().position(|kind| *kind == planned.key.0).unwrap_or(kinds.len());
    // Deletions first, the other way round.
    if planned.entry.is_some() { place + kinds.len() } else { kinds.len() - place }
}
