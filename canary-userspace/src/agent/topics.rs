//! What queries watch: an index for each thing that can change on its own, and who waits for it.
//!
//! An index moves only when what it stands for has changed, so that a write wakes those who look
//! at what was written and nobody else.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use futures_util::future::select_all;
use tokio::sync::watch;

use crate::catalog::{Node, Registered};
use crate::source::EntryKey;

/// Topics with an index of their own at most. Past it all get the newest one: a query that comes
/// next is answered at once, which is always right.
const MAX_TOPICS: usize = 1 << 17;

/// Something that a query can watch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Any config entry.
    Entries,
    /// The config entries of a kind.
    Kind(String),
    /// One config entry.
    Entry(EntryKey),
    /// Names of services, and the tags of each.
    Services,
    /// The nodes that something is registered on.
    Nodes,
    /// Registrations of one service, whatever their health.
    Service(String),
    /// Registrations of one service with their health and checks.
    Health(String),
    /// Every registration with its health and checks.
    Instances,
}

impl Topic {
    /// All that a change of the entry `key` moves.
    fn of_entry(key: EntryKey) -> [Self; 3] {
        [Self::Entries, Self::Kind(key.0.clone()), Self::Entry(key)]
    }
}

/// Hashes of what the catalogue says of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    registrations: u64,
    health: u64,
    tags: u64,
    nodes: u64,
}

/// The indices, and whoever waits for one to move.
#[derive(Debug)]
pub struct Topics {
    /// Index of every topic that has not changed since.
    floor: u64,
    changed: HashMap<Topic, u64>,
    waiting: HashMap<Topic, watch::Sender<()>>,
    /// Topics with somebody waiting after the last time that the others were dropped.
    waiting_then: usize,
    /// What was there of each service last.
    seen: BTreeMap<String, Seen>,
    hashes: RandomState,
}

/// Ends when one of the topics changes.
#[derive(Debug)]
pub struct Watch(Vec<watch::Receiver<()>>);

impl Watch {
    /// Waits until one of the topics has changed since the watch began.
    pub async fn changed(&mut self) {
        let changes: Vec<_> =
            self.0.iter_mut().map(|receiver| Box::pin(receiver.changed())).collect();
        if changes.is_empty() {
            return std::future::pending().await;
        }
        // An error says that the agent is gone: asking again will tell.
        _ = select_all(changes).await;
    }
}

impl Topics {
    /// No topic has changed since `floor`.
    pub(super) fn new(floor: u64) -> Self {
        Self {
            floor,
            changed: HashMap::new(),
            waiting: HashMap::new(),
            waiting_then: 0,
            seen: BTreeMap::new(),
            hashes: RandomState::new(),
        }
    }

    /// Index of the last change of one of `topics`.
    #[must_use]
    pub fn index(&self, topics: &[Topic]) -> u64 {
        let changed = topics.iter().filter_map(|topic| self.changed.get(topic).copied());
        changed.fold(self.floor, u64::max)
    }

    /// A watch of `topics` from now on.
    pub fn watch(&mut self, topics: &[Topic]) -> Watch {
        if self.waiting.len() > self.waiting_then.saturating_mul(2) {
            self.waiting.retain(|_, sender| sender.receiver_count() > 0);
            self.waiting_then = self.waiting.len();
        }
        let receivers = topics.iter().map(|topic| match self.waiting.get(topic) {
            Some(sender) => sender.subscribe(),
            None => self.waiting.entry(topic.clone()).or_default().subscribe(),
        });
        Watch(receivers.collect())
    }

    /// How many watches there are; one of several topics counts for each.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.values().map(watch::Sender::receiver_count).sum()
    }

    /// Notes a change of `topics` at `index`, and wakes who watches one of them.
    pub(super) fn touch(&mut self, topics: impl IntoIterator<Item = Topic>, index: u64) {
        for topic in topics {
            if let Some(sender) = self.waiting.remove(&topic) {
                _ = sender.send(());
            }
            self.changed.insert(topic, index);
        }
        if self.changed.len() > MAX_TOPICS {
            self.changed.clear();
            self.floor = index;
        }
    }

    /// Notes a change of the config entries `keys` at `index`.
    pub(super) fn touch_entries(&mut self, keys: impl IntoIterator<Item = EntryKey>, index: u64) {
        self.touch(keys.into_iter().flat_map(Topic::of_entry), index);
    }

    /// What has changed in `instances`, which are sorted by service, since this was asked last:
    /// in some `services`, or in all.
    pub(super) fn compare(
        &mut self,
        services: Option<&BTreeSet<String>>,
        instances: &[Arc<Registered>],
    ) -> BTreeSet<Topic> {
        let mut topics = BTreeSet::new();
        let Some(services) = services else {
            let mut gone: BTreeSet<String> = self.seen.keys().cloned().collect();
            for of_service in instances.chunk_by(|a, b| a.instance.service == b.instance.service) {
                let Some(first) = of_service.first() else { continue };
                gone.remove(&first.instance.service);
                self.compare_one(&first.instance.service, of_service, &mut topics);
            }
            for service in gone {
                self.compare_one(&service, &[], &mut topics);
            }
            return topics;
        };
        for service in services {
            let start = instances.partition_point(|other| other.instance.service < *service);
            let end = instances.partition_point(|other| other.instance.service <= *service);
            let of_service = instances.get(start..end).unwrap_or_default();
            self.compare_one(service, of_service, &mut topics);
        }
        topics
    }

    fn compare_one(
        &mut self,
        service: &str,
        instances: &[Arc<Registered>],
        topics: &mut BTreeSet<Topic>,
    ) {
        let before = self.seen.get(service).copied();
        let now = (!instances.is_empty()).then(|| self.look_at(instances));
        if before == now {
            return;
        }
        let differs = |part: fn(&Seen) -> u64| before.as_ref().map(part) != now.as_ref().map(part);
        topics.insert(Topic::Instances);
        topics.insert(Topic::Health(service.to_owned()));
        if differs(|seen| seen.registrations) {
            topics.insert(Topic::Service(service.to_owned()));
        }
        if differs(|seen| seen.tags) {
            topics.insert(Topic::Services);
        }
        if differs(|seen| seen.nodes) {
            topics.insert(Topic::Nodes);
        }
        match now {
            Some(now) => self.seen.insert(service.to_owned(), now),
            None => self.seen.remove(service),
        };
    }

    fn look_at(&self, instances: &[Arc<Registered>]) -> Seen {
        let [mut registrations, mut health] = [(); 2].map(|()| self.hashes.build_hasher());
        for registered in instances {
            let Registered { node, checks, instance, health: state, .. } = &**registered;
            (node, instance).hash(&mut registrations);
            (node, instance, checks, state).hash(&mut health);
        }
        let tags: BTreeSet<&String> =
            instances.iter().flat_map(|registered| &registered.instance.tags).collect();
        let mut nodes: Vec<&Node> = instances.iter().map(|found| found.node.as_ref()).collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        nodes.dedup();
        Seen {
            registrations: registrations.finish(),
            health: health.finish(),
            tags: self.hashes.hash_one(tags),
            nodes: self.hashes.hash_one(nodes),
        }
    }
}

#[cfg(test)]
mod tests;
