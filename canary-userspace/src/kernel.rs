//! The only room that talks to the kernel: BPF objects, tables and interfaces.

pub mod adopt;
pub mod attach;
pub mod attached;
mod brake;
pub mod conntrack;
pub mod counters;
pub mod doctor;
mod events;
pub mod flows;
pub mod foreign;
mod foresee;
pub mod grace;
pub mod insert;
pub mod interfaces;
mod leave;
pub mod links;
pub mod listing;
pub mod load;
pub mod locality;
mod locals;
mod look;
pub mod mapped;
mod names;
pub mod namespaces;
pub mod netlink;
pub mod node;
mod numa;
pub mod object;
mod open;
mod pinned;
pub mod pins;
pub mod program;
mod publish;
mod relocate;
mod resent;
mod rounds;
mod seed;
mod sever;
pub mod sizes;
pub mod sock_diag;
mod sockets;
pub mod sweep;
mod tell;
pub mod upgrade;
pub mod usage;
pub mod virtuals;
mod warnings;
mod worker;
pub mod writer;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use aya::maps::{HashMap, MapData};
use canary_common::endpoint::Endpoint;
use canary_common::socket::SocketPick;
use tokio::sync::oneshot;

use self::attach::Attachments;
use self::counters::PerCpu;
use self::flows::FlowTable;
use self::foreign::Foreign;
use self::grace::Grace;
use self::locality::{Locality, policy};
use self::locals::Locals;
use self::look::Looker;
use self::namespaces::Namespaces;
use self::pins::Lock;
use self::sockets::Sockets;
use self::sweep::{Alive, Sweep};
use self::upgrade::{Brought, Upgrade};
use self::usage::Usage;
use self::writer::Writer;
use crate::compile::{Claims, Desired, DesiredService, Names, SplitKey, Warning};
use crate::datapath::{
    Braked, Counters, Datapath, FlowUsage, InterfaceStatus, Look, MapUsage, Outside, PublishError,
    SocketsStatus,
};
use crate::entry::Units;
use crate::foresee::Foreseen;
use crate::plan::{Published, Write, fits, fits_some, plan, plan_some};
use crate::sever::{Order, Progress, Share};

/// A leaving backend or frontend with live flows is kept for so long at most.
const LEAVING_AT_MOST: Duration = Duration::from_secs(3600);
/// Time between two walks through the flows while something is leaving.
const LEAVING_EVERY: Duration = Duration::from_secs(2);

/// How long a publication took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Took {
    /// Finding out which stores it needs.
    pub planning: Duration,
    /// The stores, and waiting for a grace period where nothing was free.
    pub tables: Duration,
}

/// The datapath in the kernel.
pub struct Kernel {
    writer: Writer,
    published: Published,
    grace: Grace,
    sweep: Sweep,
    flows: Arc<FlowTable>,
    looker: Arc<Looker>,
    attachments: Attachments,
    per_cpu: PerCpu,
    usage: Usage,
    locality: Locality,
    foreign: Foreign,
    alive: Alive,
    revision: u64,
    /// Planned stores that failed or were not come to: no plan has them again.
    owed: Vec<Write>,
    took: Took,
    /// Takes over what programs have said that must never happen.
    hear_programs: Box<dyn FnMut() + Send>,
    /// Since when each leaving row (backend or not, id) is known to leave.
    leaving: BTreeMap<(bool, u32), Instant>,
    walked: Instant,
    /// Shares under which connections of services are being ended.
    severed: BTreeMap<String, Vec<Share>>,
    /// When the last pass for rows began.
    passed: Instant,
    hertz: u64,
    /// Sockets that were sent somewhere when they connected.
    sockets: Sockets,
    /// Namespaces of the pods whose sockets are.
    namespaces: Namespaces,
    /// Services at loopback addresses.
    locals: Locals,
    /// Interfaces of the pods whose backends leave, by row.
    pods: BTreeMap<u32, u32>,
    /// `BROUGHT`, which only an upgrade writes.
    brought_sockets: HashMap<MapData, u64, SocketPick>,
    /// What is pinned of other layouts, until the first publication.
    upgrade: Option<Upgrade>,
    /// What came along from there.
    brought: Option<Brought>,
    _lock: Lock,
}

impl Kernel {
    /// How long the last publication took that changed something.
    #[must_use]
    pub fn took(&self) -> Took {
        self.took
    }
}

impl Datapath for Kernel {
    fn publish(&mut self, desired: &Desired) -> Result<u64, PublishError> {
        let start = Instant::now();
        let desired = &*self.locality.with_local(desired, &mut self.attachments)?;
        let has_policies = desired.services.iter().any(|service| service.has_local());
        self.settle_returning(desired, None)?;
        self.locals.withdraw(desired, &self.published)?;
        let planned = self.planned(|published| plan(published, desired))?;
        let revision = self.carry_out(desired, planned, start)?;
        if has_policies {
            self.settle()?;
        }
        Ok(revision)
    }

    fn publish_some(&mut self, desired: &Desired, names: &Names) -> Result<u64, PublishError> {
        let start = Instant::now();
        let desired = &*self.locality.with_local(desired, &mut self.attachments)?;
        let names = &policy::with_local_names(names);
        let has_policies =
            names.iter().any(|name| desired.service(name).is_some_and(DesiredService::has_local));
        self.settle_returning(desired, Some(names))?;
        self.locals.withdraw(desired, &self.published)?;
        let planned = self.planned(|published| plan_some(published, desired, names))?;
        let revision = self.carry_out(desired, planned, start)?;
        if has_policies {
            // A policy may be all that changed, which no table but the frontends' says.
            self.settle()?;
        }
        Ok(revision)
    }

    fn check(&self, desired: &Desired) -> Result<(), PublishError> {
        fits(&self.published, desired)
    }

    fn check_some(&mut self, desired: &Desired, names: &Names) -> Result<(), PublishError> {
        fits_some(&mut self.published, desired, names)
    }

    fn brake(&mut self, service: &str, split: &SplitKey) -> Result<Option<Braked>, PublishError> {
        self.brake_found(service, split)
    }

    fn braked(&self) -> Vec<(String, SplitKey)> {
        self.published.braked()
    }

    fn found_shares(&self, service: &str) -> Option<Vec<(SplitKey, Units)>> {
        self.published.found_shares(service)
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn claims(&self) -> Claims {
        self.published.claims()
    }

    fn counters(&self) -> BTreeMap<SplitKey, Counters> {
        self.per_cpu.counters(&self.published, &self.writer.splits)
    }

    fn foresee(&self, client: Endpoint, frontend: Endpoint) -> Result<Option<Foreseen>> {
        let (writer, published, flows) = (&self.writer, &self.published, &*self.flows);
        let is_net = !self.locality.is_of_node(crate::compile::socket(&client).ip());
        let live = foresee::Live { writer, published, flows, hertz: self.hertz, is_net };
        crate::foresee::foresee(&live, client, frontend)
    }

    fn draining(&self) -> BTreeMap<SplitKey, u64> {
        let keys: BTreeMap<u16, &SplitKey> =
            self.published.counted().map(|(key, id, _)| (id, key)).collect();
        let mut draining = BTreeMap::new();
        for leaving in self.published.leaving_backends() {
            let of_backend = self.alive.splits.range((leaving.id, 0)..=(leaving.id, u16::MAX));
            for ((_, statistics), flows) in of_backend {
                if let Some(key) = keys.get(statistics) {
                    let count: &mut u64 = draining.entry((*key).clone()).or_default();
                    *count = count.saturating_add(*flows);
                }
            }
        }
        draining
    }

    fn sever(&mut self, order: Order) -> Option<oneshot::Receiver<Progress>> {
        self.begin_to_sever(order)
    }

    fn severing(&self, service: &str) -> Option<Progress> {
        self.sweep.severing(service)
    }

    fn reasons(&self) -> Vec<(&'static str, u64)> {
        self.per_cpu.reasons()
    }

    fn interfaces(&self) -> Vec<InterfaceStatus> {
        self.attachments.interfaces()
    }

    fn sockets(&self) -> SocketsStatus {
        self.namespaces.status()
    }

    fn outside_of(&self, frontend: &Endpoint) -> Option<Outside> {
        self.locality.outside_of(frontend)
    }

    fn maps(&self) -> Vec<MapUsage> {
        let mut in_use = self.published.rows_in_use();
        let fill = self.sweep.fill();
        in_use.insert("FLOWS", usize::try_from(fill.places).unwrap_or(usize::MAX));
        let mut maps = self.usage.read(&in_use);
        for map in maps.iter_mut().filter(|map| map.name == "FLOWS") {
            // A row is a bucket of seven places.
            map.capacity = flows::places(self.flows.seed().buckets);
            let (evicted, refused) = self.per_cpu.evictions();
            map.flows = Some(FlowUsage {
                percent: fill.percent(),
                connections: fill.connections,
                kinds: fill.kinds().to_vec(),
                spilled: fill.spilled,
                evicted,
                refused,
                crowded: self.attachments.crowded_now(),
            });
        }
        maps
    }

    fn warnings(&self) -> Vec<Warning> {
        self.all_warnings()
    }

    fn tick(&mut self) {
        (self.hear_programs)();
        let mut followed = Ok(());
        let has_changed = self.attachments.follow();
        let moved = self.attachments.take_moved();
        if has_changed {
            self.namespaces.look(self.attachments.pods());
            self.locality.forget();
            self.locals.forget();
        }
        if has_changed || self.locality.forget_moved(&moved) {
            followed = self.settle().and_then(|()| self.relocate());
        }
        let located = if self.namespaces.have_changed() || has_changed {
            self.settle_locals()
        } else {
            Ok(())
        };
        let gone = self.attachments.take_gone();
        for interface in &gone {
            self.sweep.forget(*interface);
        }
        self.stop_severing();
        let unplugged = self.forget_pods(&gone);
        let aged = self.attachments.table().tick();
        let heeded = self.heed_conntrack(false);
        let rest = [followed, located, unplugged, aged, heeded, self.go_round(), self.let_go()];
        for error in rest.into_iter().filter_map(Result::err) {
            tracing::error!("{error:#}");
        }
    }

    fn look(&self) -> Option<Arc<dyn Look>> {
        let looker: Arc<dyn Look> = Arc::<Looker>::clone(&self.looker);
        Some(looker)
    }

    fn events(&self) -> Option<OwnedFd> {
        self.attachments.as_fd().try_clone_to_owned().ok()
    }
}
