//! One task that asks, puts the answers together and passes on what is new, as one unit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::client::{ANSWER_TIMEOUT, Client, Fault};
use super::picture::Picture;
use super::question::{Content, Found, Report, Shared, Topic, ask};
use super::{Kept, answers};
use crate::compile::Warning;
use crate::source::{Condition, KINDS, News, Update};

/// Time without another answer after which news are passed on.
const QUIET: Duration = Duration::from_millis(2);
/// News wait this long at most for others.
const STORM: Duration = Duration::from_millis(100);
/// At the start, time for the first answers; then what is known is passed on.
const SETTLE: Duration = Duration::from_secs(2);
/// Between two questions for the datacenter.
const DATACENTER_RETRY: Duration = Duration::from_secs(5);

/// Puts answers together.
pub(super) struct Follower {
    shared: Arc<Shared>,
    /// Services to follow without entries.
    named: Vec<String>,
    news: mpsc::Sender<News>,
    questions: BTreeMap<Topic, Asking>,
    picture: Picture,
    /// What has been answered since the start.
    answered: BTreeSet<Topic>,
    faults: BTreeMap<Topic, (Fault, std::time::Instant)>,
    filtered: BTreeSet<Topic>,
    /// The agent may have a picture: all kinds are known, from Consul or from before.
    is_known: bool,
    is_settled: bool,
    index: u64,
    datacenter: Option<String>,
    condition: Condition,
    /// When news are due, and when the first of them came.
    due: Option<(Instant, Instant)>,
    entries_are_new: bool,
}

/// A question that ends with this.
struct Asking(AbortHandle);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Follower {
    pub(super) fn new(shared: Arc<Shared>, named: Vec<String>, news: mpsc::Sender<News>) -> Self {
        Self {
            shared,
            named,
            news,
            questions: BTreeMap::new(),
            picture: Picture::default(),
            answered: BTreeSet::new(),
            faults: BTreeMap::new(),
            filtered: BTreeSet::new(),
            is_known: false,
            is_settled: false,
            index: 0,
            datacenter: None,
            condition: Condition::default(),
            due: None,
            entries_are_new: false,
        }
    }

    /// Takes what was kept as what Consul said last, and gives it for the agent.
    pub(super) fn restore(&mut self, kept: &Kept) -> Update {
        self.is_known = true;
        self.picture.restore(kept)
    }

    /// Follows until the agent is gone.
    pub(super) async fn run(mut self, mut reports: mpsc::Receiver<Report>) {
        let (tell, mut told) = mpsc::channel(1);
        let datacenter = find_datacenter(Arc::clone(&self.shared.client), tell);
        let _datacenter = Asking(tokio::spawn(datacenter).abort_handle());
        self.condition.address = self.shared.client.address();
        if self.news.send(News::Condition(self.condition.clone())).await.is_err() {
            return;
        }
        for kind in KINDS {
            self.start(Topic::Kind(kind));
        }
        self.entries_are_new = true;
        self.follow_wanted();
        let settle = sleep_until(Instant::now() + SETTLE);
        tokio::pin!(settle);
        loop {
            let due = self.due.map(|(due, _)| due);
            let wait = async move {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let went = tokio::select! {
                // Answers that are there are taken first: what they say goes on as one.
                biased;
                Some(report) = reports.recv() => self.note(report).await,
                Some(name) = told.recv() => {
                    self.datacenter = Some(name);
                    self.is_due();
                    true
                }
                () = wait => self.pass_on().await,
                () = &mut settle, if !self.is_settled => {
                    self.is_settled = true;
                    self.pass_on().await
                }
            };
            if !went {
                return;
            }
        }
    }

    fn start(&mut self, topic: Topic) {
        if !self.questions.contains_key(&topic) {
            let task = tokio::spawn(ask(topic.clone(), Arc::clone(&self.shared)));
            self.questions.insert(topic, Asking(task.abort_handle()));
        }
    }

    /// Takes note of an answer; `false` once the agent is gone.
    async fn note(&mut self, Report { topic, found }: Report) -> bool {
        // It may have been sent just before its question ended.
        if !self.questions.contains_key(&topic) {
            return true;
        }
        match found {
            Err(fault) => {
                tracing::debug!(topic = topic.name(), error = fault.text, "no answer");
                let since = self.faults.get(&topic).map(|(_, since)| *since);
                let since = since.unwrap_or_else(std::time::Instant::now);
                self.faults.insert(topic, (fault, since));
            }
            Ok(found) => {
                self.faults.remove(&topic);
                self.learn(topic, found);
            }
        }
        self.tell_condition().await
    }

    fn learn(&mut self, topic: Topic, found: Found) {
        let Found { content, index, is_filtered } = found;
        self.index = self.index.max(index);
        let marked = if is_filtered {
            self.filtered.insert(topic.clone())
        } else {
            self.filtered.remove(&topic)
        };
        let is_first = self.answered.insert(topic.clone());
        // Rights that were lost while no agent ran: what the list leaves out stays as it was.
        let content = content.filter(|(content, _)| {
            !(is_first && is_filtered && self.picture.loses(&topic, content))
        });
        match (topic, content) {
            (Topic::Kind(kind), Some((Content::Entries(entries), _))) => {
                self.is_known |= self.picture.learn_entries(kind, entries);
                self.entries_are_new = true;
                self.follow_wanted();
            }
            (Topic::Service(name), Some((Content::Instances(instances), text))) => {
                // Its first answer may be what entries have waited for.
                self.entries_are_new |= is_first;
                if self.datacenter.is_none() {
                    self.datacenter.clone_from(&instances.datacenter);
                }
                self.picture.learn_instances(name, instances, text);
            }
            // The answer is what the one before was.
            _ if !marked => return,
            _ => {}
        }
        self.is_due();
    }

    /// News are there: they go on soon, and sooner if no others come.
    fn is_due(&mut self) {
        let now = Instant::now();
        let first = self.due.map_or(now, |(_, first)| first);
        self.due = Some(((now + QUIET).min(first + STORM), first));
        if !self.is_settled && !self.is_complete() {
            // At the start everything waits for the first answers.
            self.due = None;
        }
    }

    /// Whether every question has had its first answer.
    fn is_complete(&self) -> bool {
        self.questions.keys().all(|topic| self.answered.contains(topic))
    }

    /// Asks about the services that entries need, and about no others.
    fn follow_wanted(&mut self) {
        let wanted = self.picture.wanted(&self.named);
        for service in &wanted {
            self.start(Topic::Service(service.clone()));
        }
        let is_over = |topic: &Topic| match topic {
            Topic::Kind(_) => false,
            Topic::Service(name) => !wanted.contains(name),
        };
        self.questions.retain(|topic, _| !is_over(topic));
        self.answered.retain(|topic| !is_over(topic));
        self.filtered.retain(|topic| !is_over(topic));
        self.faults.retain(|topic, _| !is_over(topic));
        self.picture.keep_only(&wanted);
        self.shared.services.store(wanted.len(), Ordering::Relaxed);
    }

    /// Sends what is new to the agent; `false` once it is gone.
    async fn pass_on(&mut self) -> bool {
        if !self.is_known || !(self.is_settled || self.is_complete()) {
            return true;
        }
        self.is_settled = true;
        self.due = None;
        let mut update = Update { index: self.index, ..Update::default() };
        if self.entries_are_new {
            self.entries_are_new = false;
            self.picture.pass_entries(&mut update);
            // What nothing leads to any more is not followed any more.
            self.follow_wanted();
        }
        self.picture.pass_instances(&mut update);
        update.warnings = self.picture.warnings();
        update.warnings.extend(self.filtered.iter().map(|topic| Warning {
            service: String::new(),
            text: format!("the token may not read all of the {}", topic.name()),
        }));
        update.datacenter.clone_from(&self.datacenter);
        self.news.send(News::Changed(update)).await.is_ok()
    }

    /// Says how Consul is, if that is news; `false` once the agent is gone.
    async fn tell_condition(&mut self) -> bool {
        let oldest = self.faults.iter().min_by_key(|(_, (_, since))| *since);
        let condition = Condition {
            address: self.shared.client.address(),
            error: oldest.map(|(topic, (fault, since))| {
                (format!("{}: {}", topic.name(), fault.text), *since)
            }),
        };
        if condition == self.condition {
            return true;
        }
        if condition.error.is_some() != self.condition.error.is_some() {
            if let Some((error, _)) = &condition.error {
                tracing::warn!(%error, "consul: what it said last stays in force");
            } else {
                tracing::info!("consul answers again");
            }
        }
        self.condition = condition.clone();
        self.news.send(News::Condition(condition)).await.is_ok()
    }
}

/// Asks which datacenter this is, until that is answered or refused.
async fn find_datacenter(client: Arc<Client>, tell: mpsc::Sender<String>) {
    loop {
        let answer = client.get("/v1/agent/self", ANSWER_TIMEOUT).await;
        match answer.and_then(super::client::Answer::success) {
            Ok(answer) => {
                if let Some(name) = answers::datacenter(&answer.body) {
                    _ = tell.send(name).await;
                }
                return;
            }
            // Without that right, instances say it.
            Err(fault) if fault.is_refusal => return,
            Err(_) => tokio::time::sleep(DATACENTER_RETRY).await,
        }
    }
}
