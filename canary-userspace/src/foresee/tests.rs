//! Flows over tables that are planned and never written to a kernel.

use std::collections::BTreeMap;

use canary_common::endpoint::{Address, TCP};

use super::*;
use crate::compile::{Desired, DesiredBackend, DesiredService, DesiredSplit};
use crate::plan::{Published, Sizes, Write, plan};

/// Rows as a plan writes them into empty tables.
#[derive(Default)]
pub(crate) struct Written {
    frontends: BTreeMap<Endpoint, Frontend>,
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
                Write::Frontend { id, endpoint, generation, service } => {
                    rows.frontends.insert(endpoint, Frontend { id, generation, service });
                }
                Write::Backend { id, endpoint, .. } => {
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

    fn frontend(&self, endpoint: &Endpoint) -> Result<Option<Frontend>> {
        Ok(self.frontends.get(endpoint).copied())
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
    fn flow(&self, client: &Endpoint, _: &Frontend) -> Result<Option<(Stage, Flow, u32)>> {
        let flow = Flow::start(*self.backends.keys().next().unwrap(), 0, 1, TCP, 1, 1);
        let known = client.port == 7_u16.to_be_bytes();
        Ok(known.then_some((Stage::Opening, flow, 3)))
    }
}

fn endpoint(host: u8, port: u16) -> Endpoint {
    Endpoint { address: Address::v4([10, 0, 0, host]), port: port.to_be_bytes(), protocol: TCP }
}

fn desired(splits: &[(&str, u16, &[u8])]) -> Desired {
    let split = |&(subset, share, hosts): &(&str, u16, &[u8])| DesiredSplit {
        key: SplitKey {
            service: "web".to_owned(),
            target: "web".to_owned(),
            subset: subset.to_owned(),
        },
        share,
        backends: hosts
            .iter()
            .map(|host| DesiredBackend {
                endpoint: endpoint(*host, 8080),
                weight: 1,
                healthy: true,
            })
            .collect(),
    };
    let service = DesiredService {
        name: "web".to_owned(),
        frontends: vec![endpoint(200, 80)],
        default_subset: String::new(),
        splits: splits.iter().map(split).collect(),
        histograms: false,
    };
    Desired { services: vec![service] }
}

#[test]
fn a_flow_gets_the_split_and_the_backend_that_its_hash_draws() {
    let rows = Written::of(&desired(&[("blue", 7_500, &[1, 2, 3]), ("green", 2_500, &[9])]));
    let mut green = 0;
    for port in 1_000..3_000 {
        let found = foresee(&rows, endpoint(100, port), endpoint(200, 80)).unwrap().unwrap();
        let high = u32::try_from(found.hash >> 32).unwrap();
        let (key, bound) = &found.splits[found.drawn];
        assert!(high <= *bound);
        assert!(found.drawn == 0 || high > found.splits[found.drawn - 1].1);
        if key.subset == "green" {
            green += 1;
            assert_eq!((found.slot, found.backend), (None, Some(endpoint(9, 8080))));
        } else {
            let (slot, of) = found.slot.unwrap();
            let id = rows.slots.values().nth(usize::try_from(slot).unwrap()).unwrap();
            assert_eq!(usize::try_from(of).unwrap(), rows.slots.len());
            assert_eq!(found.backend, Some(rows.backends[id]));
        }
    }
    assert!((400..600).contains(&green), "{green} of 2000");
}

#[test]
fn a_split_without_a_backend_refuses_and_an_address_of_nobody_is_none() {
    let rows = Written::of(&desired(&[("blue", 10_000, &[])]));

    let refused = foresee(&rows, endpoint(100, 1), endpoint(200, 80)).unwrap().unwrap();

    assert_eq!((refused.slot, refused.backend), (None, None));
    assert_eq!(foresee(&rows, endpoint(100, 1), endpoint(201, 80)).unwrap(), None);
}

#[test]
fn a_flow_that_is_known_has_its_backend_whatever_is_drawn() {
    let rows = Written::of(&desired(&[("blue", 10_000, &[1, 2])]));

    let found = foresee(&rows, endpoint(100, 7), endpoint(200, 80)).unwrap().unwrap();

    let known = found.known.unwrap();
    assert_eq!((known.state, known.idle), ("opening", 3));
    assert_eq!(known.split.subset, "blue");
    assert_eq!(known.backend, Some(*rows.backends.values().next().unwrap()));
}
