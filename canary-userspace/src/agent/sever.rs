//! Ending live connections: which of a service, and who asked for it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::sync::oneshot;

use super::ledger::now_ms;
use super::{Agent, Handle};
use crate::audit::{Action, Intent, Record, Severed};
use crate::compile::{DesiredService, SplitKey, socket};
use crate::document::{self, Changed, Warning};
use crate::refusal::Refusal;
use crate::sever::{Order, Progress, Rate, Stage, Which};
use crate::store::Write;

use super::through::Report;

/// Which connections of a service somebody asks to end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only those of this subset.
    pub subset: Option<String>,
    /// Only those of this backend.
    pub backend: Option<SocketAddr>,
    /// How fast.
    pub rate: Rate,
}

/// A change of weights, and the connections that end because of it.
#[derive(Clone, Debug)]
pub struct Released {
    /// What moved.
    pub changed: Changed,
    /// What is to end, if that was asked for.
    pub order: Option<Order>,
}

impl Report for Released {
    fn finished(self, revision: u64, warnings: Vec<Warning>) -> Self {
        Self { changed: self.changed.finished(revision, warnings), ..self }
    }
}

impl Handle {
    /// Has the connections of an order end, and says what was found.
    ///
    /// # Errors
    ///
    /// The [`Refusal`]; nothing has ended then.
    pub async fn sever(&self, intent: Intent, order: Order) -> Result<document::Severing, Refusal> {
        let service = order.service.clone();
        let order = Order { dry_run: intent.dry_run, ..order };
        let answered = self.call(move |agent| agent.begin_to_sever(order)).await??;
        let progress = answered
            .await
            .map_err(|_| Refusal::failed("the flow table could not be read: see the log"))?;
        let severing = document(&service, &progress);
        if progress.stage != Stage::Counted && progress.total() > 0 {
            self.call(move |agent| agent.note_severed(&intent, &service, &progress)).await??;
        }
        Ok(severing)
    }
}

impl Agent {
    /// The connections of a service that end, or would.
    ///
    /// # Errors
    ///
    /// The [`Refusal`]: there is no such service or subset, or what is named takes new connections.
    pub fn order(&self, service: &str, wanted: &Wanted) -> Result<Order, Refusal> {
        let Some(found) = self.services().find(|found| found.name == service) else {
            return Err(self.unknown(service));
        };
        let which = match (&wanted.subset, wanted.backend) {
            (Some(_), Some(_)) => {
                return Err(Refusal::bad_request("say a subset or a backend, not both"));
            }
            (None, None) => Which::Unwanted,
            (Some(subset), None) => {
                self.check_subset(found, subset)?;
                Which::Subset(subset.clone())
            }
            (None, Some(backend)) => {
                check_backend(found, backend)?;
                Which::Backend(backend)
            }
        };
        Ok(Order::new(found, which, wanted.rate))
    }

    /// The same with the weights of a change that is made, or looked at as if it were; `None` for
    /// a service that nothing connects to.
    pub(super) fn order_after(&self, service: &str, which: Which, rate: Rate) -> Option<Order> {
        let found = self.services().find(|found| found.name == service)?;
        Some(Order::new(found, which, rate))
    }

    /// How far the last order for a service has come.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`](super::Kind::NotFound) if there was none.
    pub fn severing(&self, service: &str) -> Result<document::Severing, Refusal> {
        let progress = self.engine.datapath().severing(service).ok_or_else(|| {
            Refusal::not_found(format!("no connections of {service:?} were severed by this agent"))
        })?;
        Ok(document(service, &progress))
    }

    fn check_subset(&self, service: &DesiredService, subset: &str) -> Result<(), Refusal> {
        let mut shares = service.splits_with_share().into_iter();
        if let Some(split) = shares.find(|split| split.key.is_named(subset)) {
            let percent = f64::from(split.share) / 100.0;
            return Err(Refusal::invalid(format!(
                "subset {subset:?} gets {percent} % of new connections: what ends would come back; \
                 set its weight to 0 first, or use split set --rebalance"
            )));
        }
        let resolver = self.engine.state().snapshot.resolvers.get(&service.name);
        let known = resolver.is_some_and(|resolver| resolver.value.subsets.contains_key(subset))
            || service.splits.iter().any(|split| split.key.is_named(subset))
            // One that is no more may have connections still.
            || self.engine.datapath().counters().keys().any(|key| {
                key.service == service.name && key.is_named(subset)
            });
        if known {
            return Ok(());
        }
        let name = &service.name;
        Err(Refusal::invalid(format!("service {name:?} does not have a subset named {subset:?}")))
    }

    fn begin_to_sever(&mut self, order: Order) -> Result<oneshot::Receiver<Progress>, Refusal> {
        let backend = match order.which {
            Which::Backend(backend) => backend.to_string(),
            _ => String::new(),
        };
        self.engine
            .datapath_mut()
            .sever(order)
            .ok_or_else(|| Refusal::invalid(format!("no backend is known at {backend}")))
    }

    /// Puts it into the log.
    fn note_severed(
        &mut self,
        intent: &Intent,
        service: &str,
        progress: &Progress,
    ) -> Result<(), Refusal> {
        let mut connections: BTreeMap<String, u64> = BTreeMap::new();
        for (key, found) in &progress.found {
            let count = connections.entry(key.name().to_owned()).or_default();
            *count = count.saturating_add(found.total());
        }
        let severed =
            Severed { service: service.to_owned(), connections, rate: progress.rate.to_string() };
        let record = Record {
            number: self.books.last_change.saturating_add(1),
            time_ms: now_ms(),
            author: intent.author.clone(),
            action: Action::Sever,
            index: self.books.index,
            revision: self.engine.datapath().revision(),
            changes: Vec::new(),
            weights: BTreeMap::new(),
            severed: Some(severed),
        };
        let number = record.number;
        self.store.commit(self.books.index, &[Write::Record(Box::new(record))])?;
        self.books.last_change = number;
        Ok(())
    }
}

/// Refuses a backend that takes new connections.
fn check_backend(service: &DesiredService, at: SocketAddr) -> Result<(), Refusal> {
    for split in service.splits_with_share() {
        let mut taking = split.backends.iter().filter(|backend| backend.healthy);
        if taking.any(|backend| socket(&backend.endpoint) == at) {
            let whose = split.key.name();
            return Err(Refusal::invalid(format!(
                "backend {at} takes new connections of {whose:?}: what ends would come back; put \
                 it into maintenance or deregister it first"
            )));
        }
    }
    Ok(())
}

fn document(service: &str, progress: &Progress) -> document::Severing {
    let split = |(key, found): (&SplitKey, &crate::sever::Found)| document::SeveredSplit {
        service: key.target.clone(),
        subset: key.subset.clone(),
        tcp: found.tcp,
        udp: found.udp,
    };
    document::Severing {
        service: service.to_owned(),
        splits: progress.found.iter().map(split).collect(),
        found: progress.total(),
        rate: progress.rate.to_string(),
        per_second: progress.per_second,
        ended: progress.ended,
        gone: progress.gone,
        left: progress.left,
        state: progress.stage.to_string(),
    }
}
