//! What the agent asks of a datapath, whatever it is made of.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use canary_common::endpoint::Endpoint;
use tokio::sync::oneshot;

use crate::compile::{Claims, Desired, Names, SplitKey, Warning};
use crate::document::flows::Flows;
use crate::entry::Units;
use crate::foresee::Foreseen;
use crate::observe;
use crate::seen::Wanted;
use crate::settings::OutsideReturn;
use crate::sever::{Order, Progress};

/// Counters of one split since the tables were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Flows started.
    pub opened: u64,
    /// Connections that a backend accepted.
    pub established: u64,
    /// Connections that a backend refused.
    pub refused: u64,
    /// Connections that no backend answered.
    pub timed_out: u64,
    /// Ended after the client's payload and before any of the server's.
    pub unanswered: u64,
    /// Established, then reset by the server.
    pub reset_by_server: u64,
    /// Established, then reset by the client.
    pub reset_by_client: u64,
    /// Ended in any way after they were established.
    pub closed: u64,
    /// Payload bytes from clients.
    pub bytes_to_backend: u64,
    /// Payload bytes to clients.
    pub bytes_to_client: u64,
    /// Time from SYN to SYN-ACK; `None` where the split has no histogram.
    pub connect_us: Option<Histogram>,
    /// Time from a question's last payload to its answer's first.
    pub response_us: Option<Histogram>,
    /// SYNs that came once more, for a backend had not answered; picks at connect time have none.
    pub syn_retransmits: u64,
    /// Segments that an end on this node sent once more, where the kernel tells.
    pub segment_retransmits: Option<u64>,
    /// HTTP/1 answers by class, `1xx` to `5xx`; `None` where the split has no histogram.
    pub http: Option<[u64; 5]>,
}

/// A histogram's summary and its buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Upper bound of each bucket in microseconds, with the count of values in it.
    pub buckets: Vec<(u64, u64)>,
    /// Sum of all values, in microseconds, as far as the buckets tell.
    pub sum_us: u64,
}

impl Histogram {
    /// Number of values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// The value below which `share` (0 to 1) of the values lie; `None` if there is none.
    #[must_use]
    pub fn quantile(&self, per_mille: u64) -> Option<u64> {
        let wanted = self.count().saturating_mul(per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        self.buckets.iter().find_map(|&(bound, count)| {
            seen += count;
            (seen >= wanted).then_some(bound)
        })
    }
}

/// An interface the programs are attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceStatus {
    /// Name.
    pub name: String,
    /// `pod`, `uplink` or `other` (only answers are restored there).
    pub role: &'static str,
    /// `tcx` or `xdp`.
    pub hook: &'static str,
}

/// Whose sockets are served when they connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketsStatus {
    /// `host`, `all` or `off`.
    pub whose: &'static str,
    /// Network namespaces of pods that are served, where pods' sockets are.
    pub namespaces: Option<usize>,
    /// Cgroups that are left out.
    pub excepted: usize,
}

/// How backends elsewhere are asked for clients outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outside {
    /// The node's own address from which they are.
    pub source: IpAddr,
    /// How their answers come back.
    pub returns: OutsideReturn,
}

/// A table's size as the kernel accounts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapUsage {
    /// Name of the map.
    pub name: String,
    /// Kind, such as `lru_hash`.
    pub kind: String,
    /// Entries in use, where that can be told.
    pub entries: Option<u64>,
    /// Entries at most.
    pub capacity: u64,
    /// Memory in bytes.
    pub bytes: u64,
    /// What else is known of it, if it is the flow table.
    pub flows: Option<FlowUsage>,
}

/// What fills the flow table, and what became of inserts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowUsage {
    /// Share of the places that are in use, in percent.
    pub percent: u64,
    /// Connections that go through us.
    pub connections: u64,
    /// Entries by what they are: connections by how far they got, and what is none of ours.
    pub kinds: Vec<(&'static str, u64)>,
    /// Entries in their second choice.
    pub spilled: u64,
    /// Entries that others pushed out, by what they were.
    pub evicted: Vec<(&'static str, u64)>,
    /// Inserts that found no room.
    pub refused: u64,
    /// Interfaces that hold half of the places and get no more.
    pub crowded: Vec<String>,
}

/// What the brake did to a service of an earlier agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Braked {
    /// Its shares before.
    pub before: Vec<(SplitKey, Units)>,
    /// The revision in force.
    pub revision: u64,
}

/// Why a publication was refused; what was in force stays in force.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A table cannot take the change.
    #[error(
        "service {service}: {table} is full, this node holds {limit}; raise `{setting}`, stop the agent, run `canaryctl detach` and start it anew"
    )]
    Full {
        /// The service that does not fit.
        service: String,
        /// What is full.
        table: &'static str,
        /// Its capacity.
        limit: u64,
        /// The setting that raises it.
        setting: &'static str,
    },
    /// The kernel refused an operation.
    #[error(transparent)]
    Kernel(#[from] anyhow::Error),
}

/// What can be looked at beside the loop, by whoever has a thread for it.
pub trait Look: Send + Sync {
    /// Entries of the flow table that are wanted, from a place on, `limit` at most.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    fn flows(&self, wanted: &Wanted, from: u32, limit: usize) -> anyhow::Result<Flows>;

    /// Tells what becomes of packets, to somebody who wants to know.
    ///
    /// # Errors
    ///
    /// If too many observe already, or the machine refuses.
    fn observe(&self, wanted: observe::Wanted) -> anyhow::Result<observe::Subscription>;
}

/// A datapath: tables to publish into and counters to read.
pub trait Datapath: Send {
    /// Puts `desired` in force and returns the new revision; the same content keeps the revision.
    ///
    /// # Errors
    ///
    /// [`PublishError`]; the revision before stays in force then.
    fn publish(&mut self, desired: &Desired) -> Result<u64, PublishError>;

    /// As [`Datapath::publish`], where no service but those of `names` is another one than in what
    /// was published last.
    ///
    /// # Errors
    ///
    /// [`PublishError`]; the revision before stays in force then.
    fn publish_some(&mut self, desired: &Desired, names: &Names) -> Result<u64, PublishError>;

    /// Says whether `desired` could be put in force, and changes nothing.
    ///
    /// # Errors
    ///
    /// [`PublishError::Full`]; what only the kernel refuses is not known beforehand.
    fn check(&self, desired: &Desired) -> Result<(), PublishError>;

    /// As [`Datapath::check`], where no service but those of `names` differs from what was published
    /// last.
    ///
    /// # Errors
    ///
    /// [`PublishError::Full`].
    fn check_some(&mut self, desired: &Desired, names: &Names) -> Result<(), PublishError>;

    /// Sends all new flows of a service of an earlier agent to one of the splits in its record,
    /// by one record and one store, and marks it; `None` if the tables have no such service.
    /// Nothing changes where the record has no such split.
    ///
    /// # Errors
    ///
    /// [`PublishError`]
    fn brake(&mut self, service: &str, split: &SplitKey) -> Result<Option<Braked>, PublishError>;

    /// Services of an earlier agent whose records say that they stand by the brake, and by what.
    fn braked(&self) -> Vec<(String, SplitKey)>;

    /// The shares in force of a service of an earlier agent; `None` if the tables do not have it.
    fn found_shares(&self, service: &str) -> Option<Vec<(SplitKey, Units)>>;

    /// The revision in force; 0 before the first.
    fn revision(&self) -> u64;

    /// Who holds which frontend, also where an earlier agent said so.
    fn claims(&self) -> Claims;

    /// Counters of every split that has some.
    fn counters(&self) -> BTreeMap<SplitKey, Counters>;

    /// Live flows of backends that take no new ones, by split: what still drains.
    fn draining(&self) -> BTreeMap<SplitKey, u64>;

    /// Looks for the connections of an order, and begins to end them unless they are only to be
    /// counted; whoever waits for the answer hears what was found. `None` if the order names a
    /// backend that is not known.
    ///
    /// An order for a service replaces the one before.
    fn sever(&mut self, order: Order) -> Option<oneshot::Receiver<Progress>>;

    /// How far the last order for a service has come.
    fn severing(&self, service: &str) -> Option<Progress>;

    /// What a flow from `client` to `frontend` gets and has; `None` if no frontend is there.
    ///
    /// # Errors
    ///
    /// If the tables cannot be read.
    fn foresee(&self, client: Endpoint, frontend: Endpoint) -> anyhow::Result<Option<Foreseen>>;

    /// Packets that were not forwarded, by reason.
    fn reasons(&self) -> Vec<(&'static str, u64)>;

    /// The interfaces served.
    fn interfaces(&self) -> Vec<InterfaceStatus>;

    /// Whose sockets are served when they connect.
    fn sockets(&self) -> SocketsStatus {
        SocketsStatus::default()
    }

    /// How backends elsewhere are asked for clients outside that come to a frontend; `None` if it
    /// has no such backend or is left to others.
    fn outside_of(&self, _frontend: &Endpoint) -> Option<Outside> {
        None
    }

    /// The tables' sizes.
    fn maps(&self) -> Vec<MapUsage>;

    /// What people should know of the datapath itself.
    fn warnings(&self) -> Vec<Warning>;

    /// Time-driven work: interfaces that came and went, idle flows, grace. Called about every
    /// 100 ms, and when [`Datapath::events`] is readable.
    fn tick(&mut self);

    /// What can be looked at beside the loop; `None` where there is nothing.
    fn look(&self) -> Option<Arc<dyn Look>> {
        None
    }

    /// A file that is readable when [`Datapath::tick`] should not wait.
    fn events(&self) -> Option<OwnedFd> {
        None
    }
}
