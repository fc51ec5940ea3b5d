//! The live rows that a draw reads.

use std::mem::offset_of;

use anyhow::Result;
use canary_common::backend::{Backend, State};
use canary_common::endpoint::{Address, Endpoint};
use canary_common::flows::{Client, Hash, Head, Key, Kind, Values, find, partner};
use canary_common::limits::MAX_SPLITS;
use canary_common::service::Record;
use canary_common::settings::Settings;

use super::flows::FlowTable;
use super::node;
use super::writer::{Writer, of_slot};
use crate::compile::SplitKey;
use crate::foresee::Rows;
use crate::plan::Published;

/// The tables as they are now.
pub(super) struct Live<'a> {
    pub(super) writer: &'a Writer,
    pub(super) published: &'a Published,
    pub(super) flows: &'a FlowTable,
    pub(super) hertz: u64,
    /// The client is not known as one of this node.
    pub(super) is_net: bool,
}

impl Rows for Live<'_> {
    fn seed(&self) -> Result<u64> {
        self.writer.settings.load_wide(0, offset_of!(Settings, seed))
    }

    fn service(&self, frontend: &Endpoint) -> Result<Option<u32>> {
        use canary_common::backend::Frontend as Row;
        let Some(id) = self.published.frontend(frontend) else { return Ok(None) };
        let rows = &self.writer.frontends;
        let flags = rows.load(id, offset_of!(Row, flags))?;
        let policy = if self.is_net { Row::EXTERNAL_LOCAL } else { Row::INTERNAL_LOCAL };
        let offset =
            if flags & policy == 0 { offset_of!(Row, service) } else { offset_of!(Row, local) };
        rows.load(id, offset).map(Some)
    }

    fn record(&self, service: u32) -> Result<Record> {
        let index = self.writer.current.load(service, 0)?;
        let rows = &self.writer.services;
        Ok(Record {
            bounds: words(
                rows.read::<{ size_of::<[u32; MAX_SPLITS]>() }>(index, offset_of!(Record, bounds))?,
            ),
            slots: families(rows.read(index, offset_of!(Record, slots))?),
            lengths: families(rows.read(index, offset_of!(Record, lengths))?),
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
        let load = |slot| {
            let (row, offset) = of_slot(slot);
            self.writer.slots.load(row, offset)
        };
        (start..start.saturating_add(length)).map(load).collect()
    }

    fn backend(&self, id: u32) -> Result<Option<Endpoint>> {
        let rows = &self.writer.backends;
        if rows.load(id, offset_of!(Backend, state))? == Backend::word_of(State::Gone) {
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

    fn flow(&self, client: &Endpoint, frontend: &Endpoint) -> Result<Option<(Head, Values, u32)>> {
        let key = Key::new(*client, *frontend);
        let hash = Hash::of(&key, Client::IsSource, self.flows.seed());
        let Some(entry) = find(self.flows, &key, hash, Client::IsSource) else { return Ok(None) };
        if entry.head.kind() != Kind::Forward {
            return Ok(None);
        }
        let now = node::now(self.hertz)?;
        let idle = entry.head.idle(now);
        let other = partner(self.flows, &entry);
        let idle = if other.is_there() { idle.min(other.head.idle(now)) } else { idle };
        Ok(Some((entry.head, entry.values, idle)))
    }
}

/// The words of both families.
fn families(bytes: [u8; FAMILIES]) -> [[u32; MAX_SPLITS]; 2] {
    let flat: [u32; MAX_SPLITS * 2] = words(bytes);
    match flat.as_chunks().0 {
        [v4, v6] => [*v4, *v6],
        _ => [[0; MAX_SPLITS]; 2],
    }
}

/// Bytes of the words of both families.
const FAMILIES: usize = size_of::<[[u32; MAX_SPLITS]; 2]>();

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
