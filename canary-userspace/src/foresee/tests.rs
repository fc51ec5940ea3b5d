//! Tables that are planned and never written to a kernel; `ctl/tests` asks them.

use std::collections::BTreeMap;

use super::*;
use crate::compile::Desired;
use crate::plan::{Published, Sizes, Write, plan};

/// Rows as a plan writes them into empty tables.
#[derive(Default)]
pub(crate) struct Written {
    frontends: BTreeMap<Endpoint, u32>,
    backends: BTreeMap<u32, Endpoint>,
    records: BTreeMap<u32, Record>,
    current: BTreeMap<u32, u32>,
    slots: BTreeMap<u32, u32>,
    splits: BTreeMap<u16, SplitKey>,
}

impl Written {
    pub(crate) fn of(desired: &Desired) -> Self {
        let (mut published, _) = Published::new(Sizes::default());
        let mut rows = Self::default();
        for write in plan(&mut published, desired).unwrap() {
            match write {
                Write::Frontend { endpoint, service, .. } => {
                    rows.frontends.insert(endpoint, service);
                }
                Write::Backend { id, endpoint } => {
                    rows.backends.insert(id, endpoint);
                }
                Write::Record { index, record } => {
                    rows.records.insert(index, *record);
                }
                Write::Current { service, record } => {
                    rows.current.insert(service, record);
                }
                Write::Slots { start, ids } => rows.slots.extend((start..).zip(ids)),
                Write::SplitLabel { statistics, key, .. } => {
                    rows.splits.insert(statistics, key);
                }
                _ => {}
            }
        }
        rows
    }
}

impl Rows for Written {
    fn seed(&self) -> Result<u64> {
        Ok(0xcbf2_9ce4_8422_2325)
    }

    fn service(&self, frontend: &Endpoint) -> Result<Option<u32>> {
        Ok(self.frontends.get(frontend).copied())
    }

    fn record(&self, service: u32) -> Result<Record> {
        Ok(self.records[&self.current[&service]])
    }

    fn slots(&self, start: u32, length: u32) -> Result<Vec<u32>> {
        Ok((start..start + length).map(|slot| self.slots[&slot]).collect())
    }

    fn backend(&self, id: u32) -> Result<Option<Endpoint>> {
        Ok(self.backends.get(&id).copied())
    }

    fn split(&self, statistics: u16) -> Option<SplitKey> {
        self.splits.get(&statistics).cloned()
    }

    /// The client with port 7 has a flow, to the first backend there is.
    fn flow(&self, client: &Endpoint, _: &Endpoint) -> Result<Option<(Head, Values, u32)>> {
        let known = client.port == 7_u16.to_be_bytes();
        let first = self.backends.keys().next().filter(|_| known);
        let statistics = self.splits.keys().next().copied().unwrap_or_default();
        let values = |id: &u32| Values { backend: *id, statistics, ..Values::default() };
        Ok(first.map(|id| (Head::default(), values(id), 3)))
    }
}
