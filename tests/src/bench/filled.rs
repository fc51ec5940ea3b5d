//! `FLOWS` as a case wants it.

use anyhow::{Context, Result, ensure};
use canary_common::endpoint::{Address, Endpoint, TCP};
use canary_common::flows::{self, Head, Key, Limit, NO_PARTNER, PLACES, Request, Stored, Values};
use canary_userspace::kernel::flows::FlowTable;

use super::case::{Case, Hook, Kind};
use super::tables::{ENDED, ID, LOOPBACK, NOW};

/// `FLOWS`, and what it is filled for.
pub(super) struct Filled {
    pub(super) table: FlowTable,
    pub(super) case: Case,
}

impl Filled {
    pub(super) fn places(&self) -> u32 {
        self.table.seed().buckets.saturating_mul(u32::try_from(PLACES).unwrap_or_default())
    }

    /// Flows of the client numbers given, answered and spoken in; how many found no place.
    pub(super) fn add_flows(&self, flows: impl Iterator<Item = u32>) -> Result<u32> {
        let mut lacking = 0_u32;
        for flow in flows {
            let added = self.add_flow(flow, Head::ANSWERED | Head::PAYLOAD, NOW)?;
            lacking = lacking.saturating_add(u32::from(!added));
        }
        Ok(lacking)
    }

    /// Flows that have ended, or single entries of such, until nothing finds a place.
    pub(super) fn add_until_full(&self, flows: impl Iterator<Item = u32>) -> Result<()> {
        // The last places of a bucket take their time, for they are drawn by lot.
        let tries = usize::try_from(self.places())?.saturating_mul(8);
        for flow in flows.take(tries) {
            let state = Head::ANSWERED | Head::PAYLOAD | Head::FIN | Head::OVER;
            let seen = NOW.wrapping_sub(ENDED);
            if self.case.kind == Kind::SynFull {
                self.add_flow(flow, state | Head::RESET, seen)?;
            } else {
                self.insert(Self::entry(tuple(flow), state | Head::RESET, seen));
            }
        }
        let buckets = 0..self.table.seed().buckets;
        let heads = buckets.filter_map(|bucket| flows::Flows::flows(&self.table, bucket));
        let free = heads
            .flat_map(|bucket| &bucket.heads)
            .filter(|head| Head(flows::Flows::load(&self.table, head)).kind() == flows::Kind::Free);
        let (free, places) = (free.count(), usize::try_from(self.places())?);
        ensure!(free < places / 500, "{free} of {places} places are free");
        Ok(())
    }

    /// Single entries of the numbers given, that nothing pushes out.
    pub(super) fn add_entries(&self, flows: impl Iterator<Item = u32>) -> Result<()> {
        for flow in flows {
            let request = Self::entry(tuple(flow), Head::ANSWERED, NOW);
            ensure!(self.insert(request).is_some(), "no room for entry {flow}");
        }
        Ok(())
    }

    /// Both entries of a flow, as the programs store them; whether there was room.
    pub(super) fn add_flow(&self, flow: u32, state: u64, seen: u32) -> Result<bool> {
        let transport = self.case.transport;
        let state = state | if transport.is_udp { Head::UDP } else { 0 };
        let (client, backend) = (transport.client(flow), transport.backend());
        // A tcx run is a pod's packet, an XDP run one of an uplink.
        let interface = if self.case.hook == Hook::Tcx { LOOPBACK } else { 0 };
        let back = Self::entry(Key::new(backend, client), state, seen);
        let values = Values {
            statistics: u16::try_from(ID)?,
            flags: Values::TIMED,
            frontend: ID,
            interface,
            port: client.port,
            ..back.values
        };
        let back = Request { values, ..back };
        let Some(place) = self.insert(back) else { return Ok(false) };
        let forth = Request {
            key: Key::new(client, transport.frontend()),
            values: Values { partner: place, ..values },
            kind: flows::Kind::Forward,
            spare: place,
            ..back
        };
        if let Some(forward) = self.insert(forth) {
            flows::link(&self.table, place, forward);
            return Ok(true);
        }
        let entry = flows::find_at(&self.table, place).context("it was just stored")?;
        flows::free(&self.table, &entry, self.table.seed());
        Ok(false)
    }

    fn entry(key: Key, state: u64, seen: u32) -> Request {
        Request {
            key,
            values: Values { backend: ID, partner: NO_PARTNER, ..Values::default() },
            kind: flows::Kind::Return,
            state,
            limit: Limit::Free,
            spare: NO_PARTNER,
            now: seen,
        }
    }

    fn insert(&self, request: Request) -> Option<u32> {
        match flows::insert(&self.table, &request, self.table.seed()) {
            Stored::At(place) => Some(place),
            Stored::Exists | Stored::Busy | Stored::Full => None,
        }
    }
}

/// The tuple that the programs make of a flow's number.
pub(super) fn tuple(flow: u32) -> Key {
    let [_, _, high, low] = ((flow & 0x7fff) ^ 0x8000).to_be_bytes();
    let end = |address, port| Endpoint { address: Address::v4(address), port, protocol: TCP };
    Key::new(end(7_u32.to_ne_bytes(), [0x1f, 0x90]), end((flow >> 15).to_be_bytes(), [high, low]))
}
