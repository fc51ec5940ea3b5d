//! One question that is asked again and again: Consul holds it until there is news.
//!
//! The rules are those that Consul gives its clients: an answer is no change until its content is
//! another one; an index that goes backwards starts anew; none is 0; and a server that answers at
//! once is not asked without end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep};

use super::answers::{self, Entries, Instances};
use super::client::{ANSWER_TIMEOUT, Answer, Client, Fault, escape};
use super::pace::{BackOff, Bucket};

/// The longest pause of a question about a kind, which notices that Consul is back.
const KIND_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause of one about a service: it is woken once Consul is back.
const SERVICE_PAUSE: Duration = Duration::from_secs(60);

/// The least that Consul may hold a question, however many there are.
const SHORTEST_TURN: Duration = Duration::from_secs(1);

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic {
    /// The config entries of a kind.
    Kind(&'static str),
    /// The instances of a service and their health.
    Service(String),
}

impl Topic {
    /// The path, ready for more parameters.
    fn path(&self) -> String {
        match self {
            Self::Kind(kind) => format!("/v1/config/{kind}?"),
            Self::Service(name) => format!("/v1/health/service/{}?", escape(name)),
        }
    }

    /// What people call it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Kind(kind) => format!("config entries of kind {kind}"),
            Self::Service(name) => format!("instances of {name:?}"),
        }
    }
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    /// Of a kind.
    Entries(Arc<Entries>),
    /// Of a service.
    Instances(Arc<Instances>),
}

/// What a question has to report.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) topic: Topic,
    pub(super) found: Result<Found, Fault>,
}

/// A good answer.
#[derive(Debug)]
pub(super) struct Found {
    /// What it says; `None` if that is what the one before said.
    pub(super) content: Option<(Content, Bytes)>,
    /// Its index.
    pub(super) index: u64,
    /// The token's rights leave something out.
    pub(super) is_filtered: bool,
}

/// What all questions share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) client: Arc<Client>,
    pub(super) wait: Duration,
    /// Questions about services that are open at once.
    pub(super) permits: Semaphore,
    /// How many that may be.
    pub(super) max_queries: usize,
    /// How many there are.
    pub(super) services: AtomicUsize,
    pub(super) reports: mpsc::Sender<Report>,
    /// Counts how often Consul came back.
    pub(super) back: watch::Sender<u64>,
}

impl Shared {
    /// How long a question about a service may be held: where there are more than may be open at
    /// once, each has its turn within the whole wait.
    fn turn(&self) -> Duration {
        let services = self.services.load(Ordering::Relaxed);
        let turns = services.div_ceil(self.max_queries.max(1)).max(1);
        let turns = u32::try_from(turns).unwrap_or(u32::MAX);
        (self.wait / turns).max(SHORTEST_TURN)
    }
}

/// Asks about `topic` until the task is aborted.
pub(super) async fn ask(topic: Topic, shared: Arc<Shared>) {
    let longest = if matches!(topic, Topic::Kind(_)) { KIND_PAUSE } else { SERVICE_PAUSE };
    let mut question = Question {
        topic,
        state: State::default(),
        bucket: Bucket::full(Instant::now()),
        back_off: BackOff::up_to(longest),
        was_away: false,
        shared,
    };
    while question.once().await {}
}

struct Question {
    topic: Topic,
    state: State,
    bucket: Bucket,
    back_off: BackOff,
    /// Consul did not answer the last time.
    was_away: bool,
    shared: Arc<Shared>,
}

/// What is known from the answers before.
#[derive(Debug, Default)]
struct State {
    /// Where the next question starts from; 0 for an answer at once.
    index: u64,
    content: Option<Content>,
    /// Rights have left something out of it.
    is_filtered: bool,
    /// Which address it came from.
    from: usize,
}

impl Question {
    /// Asks once and pauses as that asks for; `false` once nobody listens.
    async fn once(&mut self) -> bool {
        let mut back = self.shared.back.subscribe();
        let found = self.find().await;
        let pause = match &found {
            Ok(found) => {
                if std::mem::take(&mut self.was_away) {
                    self.shared.back.send_modify(|times| *times = times.wrapping_add(1));
                }
                self.back_off.reset();
                self.bucket.pay(found.content.is_some(), Instant::now())
            }
            Err(fault) => {
                self.was_away = !fault.is_refusal;
                // Whoever answers next may be another one, or the same one after a restart.
                self.state.index = 0;
                self.back_off.pause()
            }
        };
        let is_fault = found.is_err();
        let report = Report { topic: self.topic.clone(), found };
        if self.shared.reports.send(report).await.is_err() {
            return false;
        }
        tokio::select! {
            () = sleep(pause) => {}
            // Only a failure is cut short: the bucket's pause is a limit.
            Ok(()) = back.changed(), if is_fault => self.back_off.reset(),
        }
        true
    }

    async fn find(&mut self) -> Result<Found, Fault> {
        let answer = self.answer().await?.success()?;
        let from = answer.from;
        let found = self.state.learn(&self.topic, answer);
        if found.as_ref().is_err_and(|fault| !fault.is_refusal) {
            self.shared.client.move_on(from);
        }
        found
    }

    async fn answer(&self) -> Result<Answer, Fault> {
        let closed = |_| Fault::garbage("the agent is stopping");
        let (_permit, wait) = match self.topic {
            // They are few, and must not stand in line.
            Topic::Kind(_) => (None, self.shared.wait),
            Topic::Service(_) => {
                let permit = self.shared.permits.acquire().await.map_err(closed)?;
                (Some(permit), self.shared.turn())
            }
        };
        let path = self.topic.path();
        let (path, limit) = match self.state.index {
            0 => (path, ANSWER_TIMEOUT),
            index => {
                let path = format!("{path}index={index}&wait={}ms", wait.as_millis());
                // Consul adds up to a sixteenth to the wait.
                (path, wait + wait / 16 + ANSWER_TIMEOUT)
            }
        };
        self.shared.client.get(&path, limit).await
    }
}

impl State {
    /// Takes in an answer.
    fn learn(&mut self, topic: &Topic, answer: Answer) -> Result<Found, Fault> {
        let Answer { index, is_filtered, body, from, .. } = answer;
        let index = index.ok_or_else(|| Fault::garbage("the answer has no X-Consul-Index"))?;
        let content = match topic {
            Topic::Kind(kind) => Content::Entries(Arc::new(answers::entries(kind, &body)?)),
            Topic::Service(name) => Content::Instances(Arc::new(answers::instances(name, &body)?)),
        };
        if is_filtered && !self.is_filtered && self.content.is_some() {
            let text =
                "the token may not read all of it any more: what is left out stays as it was";
            return Err(Fault { is_refusal: true, text: text.to_owned() });
        }
        self.is_filtered = is_filtered;
        // Backwards: a server that was set up anew, or another one.
        let is_back = index < self.index || from != self.from;
        self.index = if is_back && self.index != 0 { 0 } else { index };
        self.from = from;
        let is_news = self.content.as_ref() != Some(&content);
        if is_news {
            self.content = Some(content.clone());
        }
        Ok(Found { content: is_news.then_some((content, body)), index, is_filtered })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(index: Option<u64>, body: &str) -> Answer {
        let body = Bytes::copy_from_slice(body.as_bytes());
        Answer { status: 200, index, is_filtered: false, body, from: 0 }
    }

    fn web(weight: u32) -> String {
        format!(
            r#"[{{"Kind":"service-splitter","Name":"web","Splits":[{{"Weight":{weight}}},
                {{"Weight":{},"ServiceSubset":"b"}}],"CreateIndex":3,"ModifyIndex":{weight}}}]"#,
            100 - weight
        )
    }

    const TOPIC: Topic = Topic::Kind("service-splitter");

    #[test]
    fn an_answer_is_news_only_if_it_says_something_else() {
        let mut state = State::default();

        let first = state.learn(&TOPIC, answer(Some(7), &web(10))).unwrap();
        let same = state.learn(&TOPIC, answer(Some(9), &web(10))).unwrap();
        let stuck = state.learn(&TOPIC, answer(Some(9), &web(20))).unwrap();

        assert!(first.content.is_some() && same.content.is_none() && stuck.content.is_some());
        assert_eq!(state.index, 9);
    }

    #[test]
    fn an_index_that_goes_backwards_starts_anew_and_what_it_says_counts() {
        let mut state = State::default();
        state.learn(&TOPIC, answer(Some(70), &web(10))).unwrap();

        let found = state.learn(&TOPIC, answer(Some(3), &web(20))).unwrap();

        assert!(found.content.is_some());
        assert_eq!(state.index, 0);
        state.learn(&TOPIC, answer(Some(3), &web(20))).unwrap();
        assert_eq!(state.index, 3);
    }

    #[test]
    fn another_server_is_asked_at_once_first() {
        let mut state = State::default();
        state.learn(&TOPIC, answer(Some(7), "[]")).unwrap();

        state.learn(&TOPIC, Answer { from: 1, ..answer(Some(900), "[]") }).unwrap();

        assert_eq!(state.index, 0);
    }

    #[test]
    fn what_is_no_answer_changes_nothing() {
        let mut state = State::default();
        state.learn(&TOPIC, answer(Some(7), &web(10))).unwrap();

        for (index, body) in [
            (None, web(20)),
            (Some(8), String::new()),
            (Some(8), "<html>".to_owned()),
            (Some(8), "{}".to_owned()),
            (Some(8), "null".to_owned()),
            (Some(8), web(20).replace("splitter", "resolver")),
            (Some(8), web(20)[..40].to_owned()),
            (Some(8), r#"[{"Node":{"Node":"n"}}]"#.to_owned()),
        ] {
            let fault = state.learn(&TOPIC, answer(index, &body)).unwrap_err();
            assert!(!fault.is_refusal, "{fault:?}");
        }
        assert_eq!(state.index, 7);
        let same = state.learn(&TOPIC, answer(Some(8), &web(10))).unwrap();
        assert!(same.content.is_none());
    }

    #[test]
    fn a_token_that_loses_rights_takes_nothing_away() {
        let mut state = State::default();
        state.learn(&TOPIC, answer(Some(7), &web(10))).unwrap();

        let filtered = Answer { is_filtered: true, ..answer(Some(8), "[]") };
        let fault = state.learn(&TOPIC, filtered).unwrap_err();

        assert!(fault.is_refusal && fault.text.contains("may not read"), "{fault:?}");
        assert_eq!(state.content.map(|content| matches!(content, Content::Entries(_))), Some(true));
    }
}
