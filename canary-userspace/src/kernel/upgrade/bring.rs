//! Brings connections and counters along, in the midst of the first publication.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;

use anyhow::Result;
use canary_common::endpoint::{Address, Endpoint, Version};
use canary_common::flows::{NO_PARTNER, Stored, find_at, free, link};

use super::super::Kernel;
use super::super::attach::Attachments;
use super::super::flows::FlowTable;
use super::super::insert::Insert;
use super::convert::{Pair, Row, Rows, Split, foreign};
use super::v1::{Flow, Key, Named, Tables};
use super::{Brought, Upgrade};
use crate::plan::{Published, Write};

/// Which flows a walk is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Walk {
    /// The old programs still forward: those that were answered.
    First,
    /// They do not any more: what is new since, and those that were not answered.
    Last,
}

/// What is known of a way from old tables to ours.
struct Move {
    tables: Tables,
    rows: Rows,
    /// Interfaces of clients that were asked for.
    interfaces: HashMap<Address, u32>,
    /// Hashes of the keys that were dealt with.
    seen: HashSet<u64>,
    state: RandomState,
    brought: Brought,
}

/// A walk through the old flows.
struct Walker<'k> {
    way: &'k mut Move,
    flows: &'k FlowTable,
    inserter: &'k (dyn Insert + Send),
    attachments: &'k mut Attachments,
}

impl Kernel {
    /// Performs the stores of the first publication that make our tables serve; what tables of
    /// other layouts hold comes along, and their programs go.
    ///
    /// # Errors
    ///
    /// If a store fails or the old programs cannot be detached. Tables that cannot be read are a
    /// warning: their connections are picked again.
    pub(in super::super) fn take_over(
        &mut self,
        upgrade: &Upgrade,
        writes: &[Write],
    ) -> Result<()> {
        // A flow that is found must find its backend, though nothing leads to either yet.
        let backends =
            |write: &&Write| matches!(write, Write::Backend { .. } | Write::BackendState { .. });
        writes.iter().filter(backends).try_for_each(|write| self.writer.perform(write))?;
        let mut way = upgrade.readable().and_then(|maps| match self.way(maps) {
            Ok(way) => Some(way),
            Err(error) => {
                tracing::warn!("the old tables cannot be read: {error:#}");
                None
            }
        });
        self.walk(way.as_mut(), Walk::First);
        self.perform(writes)?;
        upgrade.take_over()?;
        self.attachments.begin_forwarding()?;
        upgrade.stop_forwarding()?;
        self.walk(way.as_mut(), Walk::Last);
        if let Some(way) = &way
            && let Err(error) = self.bring_sockets(&way.tables, &way.rows)
        {
            tracing::warn!("picks of sockets cannot be brought along: {error:#}");
        }
        upgrade.stop()?;
        if self.brought.is_none()
            && let Some(way) = &way
            && let Err(error) = self.bring_counters(&way.tables)
        {
            tracing::warn!("the old counters cannot be brought along: {error:#}");
        }
        let brought = way.map(|way| way.brought).unwrap_or_default();
        let brought = Brought { unknown: upgrade.unknown(), ..brought };
        tracing::info!("{brought}");
        self.brought = Some(brought);
        upgrade.remove()
    }

    fn way(&self, maps: PathBuf) -> Result<Move> {
        let tables = Tables::new(maps);
        Ok(Move {
            rows: rows(&tables, &self.published)?,
            tables,
            interfaces: HashMap::new(),
            seen: HashSet::new(),
            state: RandomState::new(),
            brought: Brought::default(),
        })
    }

    /// Goes through the old flows; what fails is left.
    fn walk(&mut self, way: Option<&mut Move>, walk: Walk) {
        let Some(way) = way else { return };
        let walker = Walker {
            way,
            flows: &self.flows,
            inserter: self.foreign.inserter(),
            attachments: &mut self.attachments,
        };
        if let Err(error) = walker.walk(walk) {
            tracing::warn!("connections cannot be brought along: {error:#}");
        }
    }

    /// Goes on with what sockets believe they are connected to.
    fn bring_sockets(&mut self, tables: &Tables, rows: &Rows) -> Result<()> {
        tables.sockets(|cookie, old| match rows.pick(old) {
            Some(pick) => Ok(self.brought_sockets.insert(cookie, pick, 0)?),
            None => Ok(()),
        })
    }

    /// Goes on with what was counted.
    fn bring_counters(&mut self, tables: &Tables) -> Result<()> {
        let ours: HashMap<_, _> =
            self.published.counted().map(|(key, id, histogram)| (key, (id, histogram))).collect();
        for counted in tables.counted()? {
            if let Some((id, histogram)) = ours.get(&counted.key).copied() {
                let times = histogram.zip(counted.histograms);
                self.per_cpu.add(id, &counted.counts, times)?;
                self.writer.add(id, counted.timed_out, counted.expired)?;
            }
        }
        Ok(())
    }
}

/// What our tables have of the rows of the old ones.
fn rows(tables: &Tables, published: &Published) -> Result<Rows> {
    let row = |named: HashMap<u32, Named>, ours: &dyn Fn(&Endpoint) -> Option<u32>| {
        let known = named.into_iter().filter_map(|(id, old)| {
            let ours = ours(&old.endpoint)?;
            Some((id, Row { old, id: ours }))
        });
        known.collect()
    };
    let timed: HashMap<_, _> = published
        .counted()
        .map(|(key, id, histogram)| (key, Split { id, timed: histogram.is_some() }))
        .collect();
    let splits = tables.splits()?;
    Ok(Rows {
        frontends: row(tables.frontends()?, &|endpoint| published.frontend(endpoint)),
        backends: row(tables.backends()?, &|endpoint| published.backend(endpoint)),
        splits: splits.into_iter().filter_map(|(id, key)| Some((id, *timed.get(&key)?))).collect(),
    })
}

impl Walker<'_> {
    fn walk(mut self, walk: Walk) -> Result<()> {
        let tables = self.way.tables.clone();
        if walk == Walk::Last {
            // First: what is answered meanwhile is among the answered then.
            tables.opening(|key, flow| self.flow(key, flow))?;
        }
        tables.established(|key, flow| self.flow(key, flow))?;
        if walk == Walk::Last {
            tables.foreign(|key, seen| self.foreign(key, seen))?;
        }
        Ok(())
    }

    fn flow(&mut self, key: Key, flow: Flow) -> Result<()> {
        if flow.ended() || !self.way.seen.insert(self.way.state.hash_one(key)) {
            return Ok(());
        }
        let stored = match self.way.rows.known(&key, flow) {
            Some(known) => {
                let interface = self.interface(known.client());
                self.store(&known.pair(flow, interface))?
            }
            None => false,
        };
        let Brought { flows, left, .. } = &mut self.way.brought;
        let count = if stored { flows } else { left };
        *count = count.saturating_add(1);
        Ok(())
    }

    fn foreign(&mut self, key: Key, seen: u32) -> Result<()> {
        if let Some((frontend, client)) = self.way.rows.frontend(&key)
            && let Stored::At(_) = self.inserter.insert(&foreign(client, frontend, seen))?
        {
            self.way.brought.foreign = self.way.brought.foreign.saturating_add(1);
        }
        Ok(())
    }

    /// Stores both entries; whether they are there.
    fn store(&self, pair: &Pair) -> Result<bool> {
        let Pair { back, mut forth } = *pair;
        let Stored::At(place) = self.inserter.insert(&back)? else { return Ok(false) };
        forth.values.partner = place;
        if let Stored::At(forward) = self.inserter.insert(&forth)? {
            link(self.flows, place, forward);
            return Ok(true);
        }
        if let Some(entry) = find_at(self.flows, place)
            && entry.values.partner == NO_PARTNER
        {
            free(self.flows, &entry, self.flows.seed());
        }
        Ok(false)
    }

    /// The pod's interface that a client's packets come by; 0 for all others.
    fn interface(&mut self, client: Endpoint) -> u32 {
        match self.way.interfaces.entry(client.address) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                let address = match client.address.version() {
                    Version::V4 => client.address.last_four().into(),
                    Version::V6 => client.address.0.into(),
                };
                let index = self.attachments.pod_interface(address).unwrap_or_else(|error| {
                    tracing::debug!("ask for the way to {address}: {error:#}");
                    0
                });
                *entry.insert(index)
            }
        }
    }
}
