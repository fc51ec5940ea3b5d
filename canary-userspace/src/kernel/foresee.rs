//! The live rows that a draw reads.

use std::mem::offset_of;
use std::os::fd::AsFd;

use anyhow::{Context, Result, bail};
use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData, MapError};
use canary_common::backend::{Backend, State, Status};
use canary_common::endpoint::{Address, Endpoint};
use canary_common::flow::{Family, Flow, FlowKey, FlowWords, V4, V6};
use canary_common::limits::MAX_SPLITS;
use canary_common::service::Record;
use canary_common::settings::Settings;
use canary_common::tables::Stage;

use super::node;
use super::writer::Writer;
use crate::compile::SplitKey;
use crate::foresee::{Frontend, Rows};
use crate::plan::Published;

/// The flow tables of a family, to look into.
struct Tables<F: Family> {
    opening: HashMap<MapData, FlowKey<F::Bytes>, FlowWords>,
    established: HashMap<MapData, FlowKey<F::Bytes>, FlowWords>,
}

/// The flow tables, beside whoever sweeps them.
pub(super) struct Flows {
    v4: Tables<V4>,
    v6: Tables<V6>,
    hertz: u64,
}

impl Flows {
    /// Opens the tables of the object a second time.
    ///
    /// # Errors
    ///
    /// If a table is missing, of another shape, or the kernel refuses.
    pub(super) fn open(ebpf: &Ebpf, hertz: u64) -> Result<Self> {
        Ok(Self {
            v4: Tables { opening: again(ebpf, "OPENING4")?, established: again(ebpf, "FLOWS4")? },
            v6: Tables { opening: again(ebpf, "OPENING6")?, established: again(ebpf, "FLOWS6")? },
            hertz,
        })
    }
}

fn again<K: aya::Pod>(ebpf: &Ebpf, name: &str) -> Result<HashMap<MapData, K, FlowWords>> {
    let Some(Map::LruHashMap(map) | Map::HashMap(map)) = ebpf.map(name) else {
        bail!("the BPF object has no hash {name}")
    };
    // By its descriptor, not by its id: that would ask for the rights of an administrator.
    let descriptor = map.fd().as_fd().try_clone_to_owned()?;
    let map = MapData::from_fd(descriptor).with_context(|| format!("open {name}"))?;
    HashMap::try_from(Map::from_map_data(map)?).with_context(|| name.to_owned())
}

impl<F: Family> Tables<F>
where
    FlowKey<F::Bytes>: aya::Pod,
{
    fn find(&self, client: &Endpoint, frontend: &Frontend) -> Result<Option<(Stage, Flow)>> {
        let key = FlowKey {
            client: F::bytes(client.address),
            peer: frontend.id,
            port: client.port,
            generation: frontend.generation,
        };
        for (stage, table) in
            [(Stage::Established, &self.established), (Stage::Opening, &self.opening)]
        {
            match table.get(&key, 0) {
                Ok(words) => return Ok(Some((stage, Flow::from(words)))),
                Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(error).context("look into the flows"),
            }
        }
        Ok(None)
    }
}

/// The tables as they are now.
pub(super) struct Live<'a> {
    pub(super) writer: &'a Writer,
    pub(super) published: &'a Published,
    pub(super) flows: &'a Flows,
}

impl Rows for Live<'_> {
    fn seed(&self) -> Result<u64> {
        self.writer.settings.load_wide(0, offset_of!(Settings, seed))
    }

    fn frontend(&self, endpoint: &Endpoint) -> Result<Option<Frontend>> {
        use canary_common::backend::Frontend as Row;
        let Some(id) = self.published.frontend(endpoint) else { return Ok(None) };
        let rows = &self.writer.frontends;
        let generation = rows.load(id, offset_of!(Row, generation))?;
        let service = rows.load(id, offset_of!(Row, service))?;
        Ok(Some(Frontend { id, generation: u16::try_from(generation)?, service }))
    }

    fn record(&self, service: u32) -> Result<Record> {
        let index = self.writer.current.load(service, 0)?;
        let rows = &self.writer.services;
        Ok(Record {
            bounds: words(
                rows.read::<{ size_of::<[u32; MAX_SPLITS]>() }>(index, offset_of!(Record, bounds))?,
            ),
            slots: words(
                rows.read::<{ size_of::<[u32; MAX_SPLITS]>() }>(index, offset_of!(Record, slots))?,
            ),
            lengths: words(
                rows.read::<{ size_of::<[u32; MAX_SPLITS]>() }>(
                    index,
                    offset_of!(Record, lengths),
                )?,
            ),
            statistics: halves(rows.read::<{ size_of::<[u16; MAX_SPLITS]>() }>(
                index,
                offset_of!(Record, statistics),
            )?),
            count: rows.load(index, offset_of!(Record, count))?,
            flags: rows.load(index, offset_of!(Record, flags))?,
            ..Record::default()
        })
    }

    fn slots(&self, start: u32, length: u32) -> Result<Vec<u32>> {
        (start..start.saturating_add(length)).map(|row| self.writer.slots.load(row, 0)).collect()
    }

    fn backend(&self, id: u32) -> Result<Option<Endpoint>> {
        let rows = &self.writer.backends;
        let status = Status(rows.load(id, offset_of!(Backend, status))?);
        if status.state() == State::Gone {
            return Ok(None);
        }
        let [protocol] = rows.read(id, offset_of!(Backend, protocol))?;
        Ok(Some(Endpoint {
            address: Address(rows.read(id, offset_of!(Backend, address))?),
            port: rows.read(id, offset_of!(Backend, port))?,
            protocol,
        }))
    }

    fn split(&self, statistics: u16) -> Option<SplitKey> {
        let mut counted = self.published.counted();
        counted.find(|(_, id, _)| *id == statistics).map(|(key, _, _)| key.clone())
    }

    fn flow(&self, client: &Endpoint, frontend: &Frontend) -> Result<Option<(Stage, Flow, u32)>> {
        let found = if client.address.as_v4().is_some() {
            self.flows.v4.find(client, frontend)?
        } else {
            self.flows.v6.find(client, frontend)?
        };
        let now = node::now(self.flows.hertz)?;
        Ok(found.map(|(stage, flow)| {
            let idle = flow.idle(now);
            (stage, flow, idle)
        }))
    }
}

/// A row's words, as the agent wrote them.
fn words<const BYTES: usize, const N: usize>(bytes: [u8; BYTES]) -> [u32; N] {
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u32::from_ne_bytes(*bytes);
    }
    words
}

/// A row's half words, as the agent wrote them.
fn halves<const BYTES: usize, const N: usize>(bytes: [u8; BYTES]) -> [u16; N] {
    let mut halves = [0; N];
    for (half, bytes) in halves.iter_mut().zip(bytes.as_chunks().0) {
        *half = u16::from_ne_bytes(*bytes);
    }
    halves
}
