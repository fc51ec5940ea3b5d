//! The tables of layout 1, as the release that had them left them.
//!
//! Flows were four hash tables a family: `OPENING` and `FLOWS`, keyed by client, frontend's row and
//! that row's generation; `RETURNS`, which our own entries make again; `FOREIGN`. All types of that
//! layout are here, as words, so that ours may change.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use aya::Pod;
use aya::maps::{HashMap as BpfMap, Map, MapData, PerCpuArray};
use canary_common::endpoint::{Address, Endpoint};
use canary_common::label::SplitLabel;
use canary_common::stats::{Counts, Histograms};

use super::super::counters::add;
use super::super::mapped::Mapped;
use crate::compile::SplitKey;

/// Bits of a flow's marks.
pub(super) mod marks {
    /// The client sent payload.
    pub(in super::super) const CLIENT_PAYLOAD: u32 = 1;
    /// The client sent FIN.
    pub(in super::super) const CLIENT_FIN: u32 = 1 << 1;
    /// The client sent RST.
    pub(in super::super) const CLIENT_RST: u32 = 1 << 2;
    /// The backend answered.
    pub(in super::super) const ANSWERED: u32 = 1 << 8;
    /// The backend sent payload.
    pub(in super::super) const SERVER_PAYLOAD: u32 = 1 << 9;
    /// The backend sent FIN.
    pub(in super::super) const SERVER_FIN: u32 = 1 << 10;
    /// The backend sent RST.
    pub(in super::super) const SERVER_RST: u32 = 1 << 11;
    /// The backend's first payload came after the client's FIN.
    pub(in super::super) const LATE: u32 = 1 << 12;
    /// It was counted as unanswered.
    pub(in super::super) const JUDGED: u32 = 1 << 17;
}

/// Bytes of a key of IPv4: client's address, row, client's port, generation.
const KEY4: usize = 12;
/// Bytes of a key of IPv6.
const KEY6: usize = 24;

/// A row of a frontend or of a backend: address, port and protocol, then three words more.
type Row = [u32; 8];
/// A row of `SPLITS`: histogram, nothing, timed out, expired.
type SplitRow = [u64; 3];

/// Whose flow it is: a key of the flow tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The client's address.
    pub(super) client: Address,
    /// The client's port, network order.
    pub(super) port: [u8; 2],
    /// The frontend's row.
    pub(super) frontend: u32,
    /// Which owner of that row.
    pub(super) generation: u16,
}

/// What is known of a flow: backend, owner, marks, when the client and when the backend was seen,
/// and the open question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flow(pub(super) [u32; 6]);

impl Flow {
    /// The backend's row.
    pub(super) const fn backend(self) -> u32 {
        let [backend, ..] = self.0;
        backend
    }

    /// Which owner of that row.
    pub(super) const fn generation(self) -> u16 {
        let [_, owner, ..] = self.0;
        let [high, low, ..] = owner.to_be_bytes();
        u16::from_be_bytes([high, low])
    }

    /// The row of its split.
    pub(super) const fn statistics(self) -> u16 {
        let [_, owner, ..] = self.0;
        low_half(owner)
    }

    /// Whether something happened in it.
    pub(super) const fn has(self, mark: u32) -> bool {
        let [_, _, marks, ..] = self.0;
        marks & mark != 0
    }

    /// Whether both ends are done with it, or one gave it up.
    pub(super) const fn ended(self) -> bool {
        self.has(marks::CLIENT_RST | marks::SERVER_RST)
            || self.has(marks::CLIENT_FIN) && self.has(marks::SERVER_FIN)
    }

    /// The seconds of the last packet of the client, and of the backend; 0 for none.
    pub(super) const fn seen(self) -> [u32; 2] {
        let [_, _, _, client, server, _] = self.0;
        [client, server]
    }
}

/// What a row of `FRONTENDS` or `BACKENDS` stands for, and which owner of it that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// Where it is.
    pub(super) endpoint: Endpoint,
    /// Flows of earlier owners have another.
    pub(super) generation: u16,
}

/// What was counted of a split.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    /// Whose it is.
    pub(super) key: SplitKey,
    /// Counters, over all CPUs.
    pub(super) counts: Counts,
    /// Times, over all CPUs.
    pub(super) histograms: Option<Histograms>,
    /// Connections that no backend answered.
    pub(super) timed_out: u64,
    /// Established flows that went idle.
    pub(super) expired: u64,
}

/// The tables that are pinned in a directory.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    directory: PathBuf,
}

impl Tables {
    /// Over the pins in `directory`.
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Frontends by row.
    pub(super) fn frontends(&self) -> Result<HashMap<u32, Named>> {
        self.named("FRONTENDS", |[.., generation]| low_half(*generation))
    }

    /// Backends by row.
    pub(super) fn backends(&self) -> Result<HashMap<u32, Named>> {
        let generation = |row: &Row| {
            let [_, _, _, _, _, status, ..] = row;
            let [high, low, ..] = status.to_be_bytes();
            u16::from_be_bytes([high, low])
        };
        self.named("BACKENDS", generation)
    }

    fn named(&self, table: &str, generation: fn(&Row) -> u16) -> Result<HashMap<u32, Named>> {
        let rows: Mapped<Row> = Mapped::new(table, &open(&self.directory, table)?)?;
        let used = (0..).zip(rows.rows_as_they_are()?).filter_map(|(id, row)| {
            let endpoint = endpoint_of(row)?;
            Some((id, Named { endpoint, generation: generation(row) }))
        });
        Ok(used.collect())
    }

    /// Splits by row.
    pub(super) fn splits(&self) -> Result<HashMap<u16, SplitKey>> {
        let rows: Mapped<SplitLabel> = Mapped::new("LABELS", &open(&self.directory, "LABELS")?)?;
        let used = (0..).zip(rows.rows_as_they_are()?).filter_map(|(id, row)| {
            let [service, target, subset] = [0, 1, 2].map(|index| row.name(index));
            let key = SplitKey {
                service: service.filter(|service| !service.is_empty())?.to_owned(),
                target: target?.to_owned(),
                subset: subset?.to_owned(),
            };
            Some((id, key))
        });
        Ok(used.collect())
    }

    /// What was counted of each split.
    pub(super) fn counted(&self) -> Result<Vec<Counted>> {
        let rows: Mapped<SplitRow> = Mapped::new("SPLITS", &open(&self.directory, "SPLITS")?)?;
        let stats: PerCpuArray<MapData, Counts> = self.per_cpu("STATS")?;
        let histograms: PerCpuArray<MapData, Histograms> = self.per_cpu("HISTOGRAMS")?;
        let mut counted = Vec::new();
        for (id, key) in self.splits()? {
            let id = u32::from(id);
            let mut counts = Counts::default();
            for cpu in stats.get(&id, 0).context("read STATS")?.iter() {
                add(&mut counts.values, &cpu.values);
            }
            let histogram = rows.load(id, 0)?.checked_sub(1);
            let histograms = histogram.and_then(|row| histograms.get(&row, 0).ok()).map(|cpus| {
                let zero = [0; canary_common::stats::STEPS];
                let mut sum = Histograms { connect: zero, response: zero };
                for cpu in cpus.iter() {
                    add(&mut sum.connect, &cpu.connect);
                    add(&mut sum.response, &cpu.response);
                }
                sum
            });
            let (timed_out, expired) = (rows.load_wide(id, 8)?, rows.load_wide(id, 16)?);
            counted.push(Counted { key, counts, histograms, timed_out, expired });
        }
        Ok(counted)
    }

    fn per_cpu<V: Pod>(&self, table: &str) -> Result<PerCpuArray<MapData, V>> {
        let map = Map::PerCpuArray(open(&self.directory, table)?);
        PerCpuArray::try_from(map).with_context(|| table.to_owned())
    }

    /// Every flow that was answered, perhaps more than once.
    pub(super) fn established(&self, mut each: impl FnMut(Key, Flow) -> Result<()>) -> Result<()> {
        let mut each = |key, words| each(key, Flow(words));
        entries::<KEY4, _>(&self.directory, "FLOWS4", &mut each)?;
        entries::<KEY6, _>(&self.directory, "FLOWS6", &mut each)
    }

    /// Every flow that was not answered, perhaps more than once.
    pub(super) fn opening(&self, mut each: impl FnMut(Key, Flow) -> Result<()>) -> Result<()> {
        let mut each = |key, words| each(key, Flow(words));
        entries::<KEY4, _>(&self.directory, "OPENING4", &mut each)?;
        entries::<KEY6, _>(&self.directory, "OPENING6", &mut each)
    }

    /// Every flow that somebody else translates, with the second when it was noted.
    pub(super) fn foreign(&self, mut each: impl FnMut(Key, u32) -> Result<()>) -> Result<()> {
        entries::<KEY4, _>(&self.directory, "FOREIGN4", &mut each)?;
        entries::<KEY6, _>(&self.directory, "FOREIGN6", &mut each)
    }

    /// Every pick at connect time, by socket cookie: frontend's row and generation, backend's row,
    /// split's row.
    pub(super) fn sockets(&self, mut each: impl FnMut(u64, [u32; 4]) -> Result<()>) -> Result<()> {
        let data = open(&self.directory, "SOCKETS")?;
        let map: BpfMap<MapData, u64, [u32; 4]> =
            BpfMap::try_from(Map::LruHashMap(data)).context("SOCKETS")?;
        // The programs that pick are detached; those that read change nothing.
        for entry in &map {
            let (cookie, pick) = entry.context("read SOCKETS")?;
            each(cookie, pick)?;
        }
        Ok(())
    }
}

fn open(directory: &Path, table: &str) -> Result<MapData> {
    MapData::from_pin(directory.join(table)).with_context(|| format!("open the pin of {table}"))
}

/// Goes through a hash table that may change meanwhile.
fn entries<const K: usize, V: Pod>(
    directory: &Path,
    table: &str,
    each: &mut impl FnMut(Key, V) -> Result<()>,
) -> Result<()> {
    let data = open(directory, table)?;
    // An entry that goes while it is the last one read begins the walk anew.
    let limit = usize::try_from(data.info()?.max_entries())?.saturating_mul(2);
    let map: BpfMap<MapData, [u8; K], V> =
        BpfMap::try_from(Map::LruHashMap(data)).with_context(|| table.to_owned())?;
    for entry in map.iter().take(limit) {
        let (key, value) = entry.with_context(|| format!("read {table}"))?;
        if let Some(key) = key_of(&key) {
            each(key, value)?;
        }
    }
    Ok(())
}

/// Reads a key of either family.
fn key_of<const K: usize>(bytes: &[u8; K]) -> Option<Key> {
    let (address, &[a, b, c, d, e, f, g, h]) = bytes.split_last_chunk::<8>()?;
    let client = match (<[u8; 4]>::try_from(address), <[u8; 16]>::try_from(address)) {
        (Ok(v4), _) => Address::v4(v4),
        (_, Ok(v6)) => Address(v6),
        _ => return None,
    };
    Some(Key {
        client,
        port: [e, f],
        frontend: u32::from_ne_bytes([a, b, c, d]),
        generation: u16::from_ne_bytes([g, h]),
    })
}

/// Where a row's owner is; `None` for a row that never had one.
fn endpoint_of(row: &Row) -> Option<Endpoint> {
    let [a, b, c, d, tail, ..] = row;
    let bytes = [*a, *b, *c, *d].map(u32::to_ne_bytes);
    let [port_high, port_low, protocol, _] = tail.to_ne_bytes();
    (protocol != 0).then_some(Endpoint {
        address: Address(*bytes.as_flattened().first_chunk()?),
        port: [port_high, port_low],
        protocol,
    })
}

const fn low_half(word: u32) -> u16 {
    let [_, _, high, low] = word.to_be_bytes();
    u16::from_be_bytes([high, low])
}

#[cfg(test)]
mod tests {
    use canary_common::endpoint::TCP;

    use super::*;

    #[test]
    fn keys_of_both_families_are_read() {
        let mut v4 = [0; KEY4];
        v4[..4].copy_from_slice(&[10, 0, 0, 1]);
        v4[4..8].copy_from_slice(&7_u32.to_ne_bytes());
        v4[8..10].copy_from_slice(&4000_u16.to_be_bytes());
        v4[10..].copy_from_slice(&3_u16.to_ne_bytes());
        let mut v6 = [0; KEY6];
        v6[0] = 0xfd;
        v6[16..].copy_from_slice(&v4[4..]);

        let key = key_of(&v4).unwrap();

        let port = 4000_u16.to_be_bytes();
        let client = Address::v4([10, 0, 0, 1]);
        assert_eq!(key, Key { client, port, frontend: 7, generation: 3 });
        assert_eq!(key_of(&v6).unwrap().client.0[0], 0xfd);
        assert_eq!(key_of(&[0; 13]), None);
    }

    #[test]
    fn a_flow_names_backend_owner_and_split() {
        let flow = Flow([9, 0x0003_0011, marks::ANSWERED | marks::CLIENT_FIN, 50, 40, 0]);

        assert_eq!((flow.backend(), flow.generation(), flow.statistics()), (9, 3, 0x11));
        assert!(!flow.ended() && flow.has(marks::ANSWERED));
        assert!(Flow([0, 0, marks::CLIENT_FIN | marks::SERVER_FIN, 0, 0, 0]).ended());
        assert!(Flow([0, 0, marks::SERVER_RST, 0, 0, 0]).ended());
        assert_eq!(flow.seen(), [50, 40]);
    }

    #[test]
    fn a_row_without_an_owner_is_none() {
        let mut row = [0; 8];
        assert_eq!(endpoint_of(&row), None);
        row[2] = u32::from_ne_bytes([0, 0, 0xff, 0xff]);
        row[3] = u32::from_ne_bytes([10, 0, 0, 9]);
        row[4] = u32::from_ne_bytes([0, 80, TCP, 0]);

        let endpoint = endpoint_of(&row).unwrap();

        assert_eq!(endpoint.address, Address::v4([10, 0, 0, 9]));
        assert_eq!((endpoint.port, endpoint.protocol), ([0, 80], TCP));
    }
}
