//! Orders to end connections, as rows of the tables.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::offset_of;
use std::net::SocketAddr;

use anyhow::Result;
use canary_common::endpoint::{TCP, UDP};
use canary_common::service::{AFFINITY_SOURCE, Record, bounds};
use canary_common::settings::Settings as Row;
use tokio::sync::oneshot;

use super::Kernel;
use super::sweep::{Choice, Chosen};
use crate::compile::{Affinity, SplitKey, endpoint};
use crate::sever::{Order, Progress, Share, Which, shares};

/// A row of statistics that no connection names: of a split that has none yet.
const NOBODY: u16 = u16::MAX;

impl Kernel {
    pub(super) fn begin_to_sever(&mut self, order: Order) -> Option<oneshot::Receiver<Progress>> {
        let splits: BTreeMap<u16, SplitKey> = self
            .published
            .counted()
            .filter(|(key, ..)| key.service == order.service)
            .map(|(key, id, _)| (id, key.clone()))
            .collect();
        let shares = order
            .shares
            .iter()
            .filter_map(|Share { key, units }| Some((self.published.statistics(key)?, *units)));
        let chosen = match self.chosen(&order, &splits) {
            Ok(chosen) => chosen?,
            Err(error) => {
                tracing::warn!("sever connections: {error:#}");
                // Whoever asks hears that there is no answer.
                return Some(oneshot::channel().1);
            }
        };
        let choice = Choice {
            shares: shares.collect(),
            chosen,
            splits,
            service: order.service.clone(),
            rate: order.rate,
            dry_run: order.dry_run,
        };
        if !order.dry_run {
            self.severed.insert(order.service, order.shares);
        }
        Some(self.sweep.sever(choice))
    }

    /// Which rows an order names; `None` if it names a backend that is not there.
    fn chosen(&self, order: &Order, splits: &BTreeMap<u16, SplitKey>) -> Result<Option<Chosen>> {
        Ok(Some(match &order.which {
            Which::Shareless => Chosen::Shareless { backends: false },
            Which::Unwanted => Chosen::Shareless { backends: true },
            Which::Subset(subset) => {
                let named = splits.iter().filter(|(_, key)| key.is_named(subset));
                Chosen::Splits(named.map(|(id, _)| *id).collect())
            }
            Which::Backend(at) => {
                let ids = self.backends_at(*at);
                if ids.is_empty() {
                    return Ok(None);
                }
                Chosen::Backends(ids)
            }
            Which::Surplus => Chosen::Surplus {
                record: Box::new(self.record_of(order)),
                seed: self.writer.settings.load_wide(0, offset_of!(Row, seed))?,
            },
        }))
    }

    fn backends_at(&self, at: SocketAddr) -> BTreeSet<u32> {
        let endpoints = [TCP, UDP].map(|protocol| endpoint(at.ip(), at.port(), protocol));
        endpoints.iter().filter_map(|endpoint| self.published.backend(endpoint)).collect()
    }

    /// As much of a service's record as says which split a draw falls to.
    fn record_of(&self, order: &Order) -> Record {
        let units: Vec<u16> = order.shares.iter().map(|share| share.units).collect();
        let mut record = Record {
            bounds: bounds(&units),
            count: u32::try_from(units.len()).unwrap_or(0),
            flags: match order.affinity {
                Affinity::Flow => 0,
                Affinity::Source => AFFINITY_SOURCE,
            },
            ..Record::default()
        };
        for (id, share) in record.statistics.iter_mut().zip(&order.shares) {
            *id = self.published.statistics(&share.key).unwrap_or(NOBODY);
        }
        record
    }

    /// Stops what was begun under other shares than those in force; what is done already takes no
    /// notice.
    pub(super) fn stop_severing(&mut self) {
        let (published, sweep) = (&self.published, &self.sweep);
        self.severed.retain(|service, then| {
            let now = published.desired().service(service).map(shares).unwrap_or_default();
            let stays = now == *then;
            if !stays {
                sweep.stop_severing(service);
            }
            stays
        });
    }
}
