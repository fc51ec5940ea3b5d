//! A datapath of plain memory, for tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use canary_common::endpoint::Endpoint;
use tokio::sync::oneshot;

use super::Agent;
use crate::audit::Intent;
use crate::compile::{Claims, Desired, DesiredService, Names, SplitKey, Warning};
use crate::datapath::{Braked, Counters, Datapath, InterfaceStatus, Look, MapUsage, PublishError};
use crate::document::Applied;
use crate::document::flows::{Flow, Flows};
use crate::entry::Units;
use crate::foresee::Foreseen;
use crate::observe;
use crate::observe::Hub;
use crate::refusal::Refusal;
use crate::seen::Wanted;
use crate::sever::{Found, Order, Progress, Stage, Which};
use crate::source::directory::read_each;

/// Reads the files again, as they are.
pub(crate) fn reload(agent: &mut Agent, intent: &Intent) -> Result<Applied, Refusal> {
    let read = read_each(agent.source.directories().unwrap_or_default());
    agent.reload_with(intent, Ok(read.unwrap()))
}

/// Shared with the test, which looks at what was published and says what goes wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
pub(crate) struct Inner {
    pub(crate) published: Desired,
    pub(crate) revision: u64,
    pub(crate) counters: BTreeMap<SplitKey, Counters>,
    pub(crate) ticks: u64,
    /// What the flow table would hold, and what was asked of it last: a place and a limit.
    pub(crate) flows: Vec<Flow>,
    pub(crate) flows_asked: Option<(Wanted, u32, usize)>,
    /// Who observes.
    pub(crate) hub: Option<Arc<Hub>>,
    /// Services at most; more are refused.
    pub(crate) limit: Option<usize>,
    /// Live connections by split.
    pub(crate) live: BTreeMap<SplitKey, u64>,
    /// Orders to end connections that were begun, with what was found.
    pub(crate) orders: Vec<(Order, Progress)>,
    /// Why the kernel refuses everything.
    pub(crate) broken: Option<&'static str>,
    /// Why the kernel refuses the next change, when it has made it.
    pub(crate) torn: Option<&'static str>,
}

impl Memory {
    pub(crate) fn get(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// Shares in force by (service, subset), in their order.
    pub(crate) fn shares(&self, service: &str) -> Vec<(String, u16)> {
        let inner = self.get();
        let service = inner.published.services.iter().find(|found| found.name == service);
        let splits = service.map(|service| service.splits.clone()).unwrap_or_default();
        splits.into_iter().map(|split| (split.key.subset, split.share)).collect()
    }
}

impl Look for Memory {
    fn flows(&self, wanted: &Wanted, from: u32, limit: usize) -> anyhow::Result<Flows> {
        let mut inner = self.get();
        inner.flows_asked = Some((wanted.clone(), from, limit));
        Ok(Flows { flows: inner.flows.clone(), next: None })
    }

    fn observe(&self, wanted: observe::Wanted) -> anyhow::Result<observe::Subscription> {
        let hub = Arc::clone(self.get().hub.get_or_insert_with(|| Arc::new(Hub::new(|_| {}))));
        Ok(hub.join(wanted)?)
    }
}

impl Datapath for Memory {
    fn publish(&mut self, desired: &Desired) -> Result<u64, PublishError> {
        self.check(desired)?;
        let mut inner = self.get();
        if let Some(reason) = inner.broken {
            return Err(anyhow::anyhow!(reason).into());
        }
        if inner.published != *desired || inner.revision == 0 {
            inner.published = desired.clone();
            inner.revision += 1;
        }
        if let Some(reason) = inner.torn.take() {
            return Err(anyhow::anyhow!(reason).into());
        }
        Ok(inner.revision)
    }

    fn publish_some(&mut self, desired: &Desired, names: &Names) -> Result<u64, PublishError> {
        let others = |desired: &Desired| -> Vec<Arc<DesiredService>> {
            let all = desired.services.iter();
            all.filter(|service| !names.contains(&service.name)).cloned().collect()
        };
        assert_eq!(others(&self.get().published), others(desired), "but for {names:?}");
        self.publish(desired)
    }

    fn check(&self, desired: &Desired) -> Result<(), PublishError> {
        let limit = self.get().limit;
        match limit.and_then(|limit| Some((limit, desired.services.get(limit)?))) {
            None => Ok(()),
            Some((limit, service)) => Err(PublishError::Full {
                service: service.name.clone(),
                table: "SERVICES",
                limit: limit.try_into().unwrap(),
                setting: "limits.services",
            }),
        }
    }

    fn check_some(&mut self, desired: &Desired, _names: &Names) -> Result<(), PublishError> {
        self.check(desired)
    }

    fn brake(&mut self, service: &str, split: &SplitKey) -> Result<Option<Braked>, PublishError> {
        let Some(before) = self.found_shares(service) else { return Ok(None) };
        let mut inner = self.get();
        for found in inner.published.services.iter_mut().filter(|found| found.name == service) {
            let found = Arc::make_mut(found);
            found.braked = true;
            for own in &mut found.splits {
                own.share = if own.key == *split { 10_000 } else { 0 };
            }
        }
        inner.revision += 1;
        Ok(Some(Braked { before, revision: inner.revision }))
    }

    fn braked(&self) -> Vec<(String, SplitKey)> {
        let inner = self.get();
        let braked = inner.published.services.iter().filter(|service| service.braked);
        let stable = |service: &Arc<DesiredService>| {
            let split = service.splits.iter().find(|split| split.share == 10_000)?;
            Some((service.name.clone(), split.key.clone()))
        };
        braked.filter_map(stable).collect()
    }

    fn found_shares(&self, service: &str) -> Option<Vec<(SplitKey, Units)>> {
        let inner = self.get();
        let found = inner.published.service(service)?;
        Some(found.splits.iter().map(|split| (split.key.clone(), split.share)).collect())
    }

    fn revision(&self) -> u64 {
        self.get().revision
    }

    fn claims(&self) -> Claims {
        self.get().published.claims()
    }

    fn counters(&self) -> BTreeMap<SplitKey, Counters> {
        self.get().counters.clone()
    }

    fn foresee(&self, client: Endpoint, frontend: Endpoint) -> anyhow::Result<Option<Foreseen>> {
        let rows = crate::foresee::tests::Written::of(&self.get().published);
        crate::foresee::foresee(&rows, client, frontend)
    }

    fn draining(&self) -> BTreeMap<SplitKey, u64> {
        BTreeMap::new()
    }

    fn sever(&mut self, order: Order) -> Option<oneshot::Receiver<Progress>> {
        let mut inner = self.get();
        let has_share = |key: &SplitKey| order.shares.iter().any(|share| share.key == *key);
        let takes = |key: &SplitKey| match &order.which {
            Which::Shareless | Which::Unwanted => !has_share(key),
            Which::Subset(subset) => key.is_named(subset),
            Which::Backend(_) => true,
            Which::Surplus => has_share(key),
        };
        if matches!(&order.which, Which::Backend(at) if at.port() == 1) {
            return None;
        }
        let all = inner.live.iter().filter(|(key, _)| key.service == order.service);
        let found: BTreeMap<SplitKey, Found> = all
            .filter(|(key, _)| takes(key))
            .map(|(key, live)| (key.clone(), Found { tcp: *live, udp: 0 }))
            .collect();
        let total = found.values().map(|found| found.total()).sum();
        let progress = Progress {
            found,
            rate: order.rate,
            per_second: order.rate.per_second(total),
            left: total,
            stage: if order.dry_run { Stage::Counted } else { Stage::Running },
            ..Progress::default()
        };
        let (answer, answered) = oneshot::channel();
        answer.send(progress.clone()).unwrap();
        if !order.dry_run {
            inner.orders.push((order, progress));
        }
        Some(answered)
    }

    fn severing(&self, service: &str) -> Option<Progress> {
        let inner = self.get();
        let last = inner.orders.iter().rev().find(|(order, _)| order.service == service);
        last.map(|(_, progress)| progress.clone())
    }

    fn reasons(&self) -> Vec<(&'static str, u64)> {
        vec![("flow-lost", 3), ("malformed", 0)]
    }

    fn interfaces(&self) -> Vec<InterfaceStatus> {
        vec![InterfaceStatus { name: "veth1".into(), role: "pod", hook: "tcx" }]
    }

    fn maps(&self) -> Vec<MapUsage> {
        vec![MapUsage {
            name: "SERVICES".into(),
            kind: "array".into(),
            entries: Some(2),
            capacity: 32_768,
            bytes: 8_388_608,
            flows: None,
        }]
    }

    fn warnings(&self) -> Vec<Warning> {
        Vec::new()
    }

    fn look(&self) -> Option<Arc<dyn Look>> {
        Some(Arc::new(self.clone()))
    }

    fn tick(&mut self) {
        self.get().ticks += 1;
    }
}
