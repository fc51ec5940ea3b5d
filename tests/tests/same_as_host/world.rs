//! What both datapaths serve: a few services for each family and protocol.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use canary_common::{
    addresses::{self, Place},
    backend::{Backend, State},
    directory::{Occupant, buckets},
    endpoint::{Endpoint, TCP, UDP},
    packets::endpoint,
    service::{FOLLOW_WEIGHTS, Record, bounds},
};
use canary_userspace::plan::Write;

use crate::twin::{ROWS, Twin};

/// Shares in ten-thousandths, each with its backends.
type Shares<'a> = &'a [(u16, &'a [u32])];

/// A family and a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    pub(crate) v6: bool,
    pub(crate) protocol: u8,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [
        Self { v6: false, protocol: TCP },
        Self { v6: false, protocol: UDP },
        Self { v6: true, protocol: TCP },
        Self { v6: true, protocol: UDP },
    ];

    pub(crate) fn is_tcp(self) -> bool {
        self.protocol == TCP
    }

    /// A host of a net, in this family.
    pub(crate) fn at(self, net: u8, host: u16, port: u16) -> Endpoint {
        let [high, low] = host.to_be_bytes();
        let address = if self.v6 {
            format!("[fd00:{net}::{host:x}]:{port}")
        } else {
            format!("10.{net}.{high}.{low}:{port}")
        };
        let at: SocketAddr = address.parse().expect("an address");
        endpoint(at, self.protocol)
    }
}

/// What is served in one family over one protocol; rows in this order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Served {
    pub(crate) kind: Kind,
    /// The first of its rows of frontends, backends, services and statistics.
    first: u32,
}

/// Its services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// Blue, with two backends, and green, with one; home of all three.
    Split = 0,
    /// The same backends by another name, whose datagrams follow the weights.
    Alias = 1,
    /// A split without a healthy backend.
    Nobody = 2,
    /// A record without a split.
    Empty = 3,
    /// One whose backend comes and goes.
    Fickle = 4,
    /// As the first, but for pods only.
    Inside = 5,
    /// The backend that comes and goes by another name.
    Other = 6,
}

/// Rows of each kind.
const EACH: u32 = 7;
/// The backend that comes and goes, and how many there are.
pub(crate) const FICKLE: u32 = 3;
const BACKENDS: u32 = 4;

impl Served {
    /// Puts everything in force.
    pub(crate) fn all(twin: &mut Twin) -> Result<Vec<Self>> {
        (0..).zip(Kind::ALL).map(|(nth, kind)| Self::put(twin, kind, nth * EACH)).collect()
    }

    pub(crate) fn frontend(self, service: Service) -> Endpoint {
        self.kind.at(96, 1 + service as u16, 80)
    }

    pub(crate) fn frontend_id(self, service: Service) -> u32 {
        self.first + service as u32
    }

    pub(crate) fn backend(self, nth: u32) -> Endpoint {
        let nth = u16::try_from(nth).expect("few backends");
        // The second serves on its frontend's own port.
        self.kind.at(244, 1 + nth, if nth == 1 { 80 } else { 8080 })
    }

    pub(crate) fn backend_id(self, nth: u32) -> u32 {
        self.first + nth
    }

    /// Gives a backend another state.
    pub(crate) fn set_state(self, twin: &mut Twin, nth: u32, state: State) -> Result<()> {
        twin.perform(&Write::BackendState {
            id: self.backend_id(nth),
            state: Backend::word_of(state),
        })
    }

    /// Gives the first split of a service with two another share, in ten-thousandths.
    pub(crate) fn set_share(self, twin: &mut Twin, service: Service, share: u16) -> Result<()> {
        let index = self.frontend_id(service);
        let mut record = twin.memory.records[index as usize];
        record.bounds = bounds(&[share, 10_000 - share]);
        twin.perform(&Write::Record { index, record: Box::new(record) })
    }

    fn put(twin: &mut Twin, kind: Kind, first: u32) -> Result<Self> {
        let served = Self { kind, first };
        for nth in 0..BACKENDS {
            let (id, endpoint) = (served.backend_id(nth), served.backend(nth));
            twin.perform(&Write::Backend { id, endpoint })?;
            served.set_state(twin, nth, State::Alive)?;
            let occupant = Occupant::Backend(served.backend_id(nth));
            put_endpoint(twin, served.backend(nth), occupant)?;
        }
        let both: &[(u16, &[u32])] = &[(6_000, &[0, 1]), (4_000, &[2])];
        let services: [(Service, Shares<'_>); 7] = [
            (Service::Split, both),
            (Service::Alias, both),
            (Service::Nobody, &[(10_000, &[])]),
            (Service::Empty, &[]),
            (Service::Fickle, &[(10_000, &[FICKLE])]),
            (Service::Inside, both),
            (Service::Other, &[(10_000, &[FICKLE])]),
        ];
        for (service, splits) in services {
            served.put_service(twin, service, splits)?;
        }
        Ok(served)
    }

    fn put_service(
        self,
        twin: &mut Twin,
        service: Service,
        splits: &[(u16, &[u32])],
    ) -> Result<()> {
        let id = self.frontend_id(service);
        let shares: Vec<u16> = splits.iter().map(|(share, _)| *share).collect();
        let count = u32::try_from(splits.len())?;
        let flags = if service == Service::Alias { FOLLOW_WEIGHTS } else { 0 };
        let mut record = Record { bounds: bounds(&shares), count, flags, ..Record::default() };
        for (split, (_, backends)) in splits.iter().enumerate() {
            let ids: Vec<u32> = backends.iter().map(|nth| self.backend_id(*nth)).collect();
            record.statistics[split] = u16::try_from(2 * id + u32::try_from(split)?)?;
            let own = usize::from(self.kind.v6);
            record.lengths[own][split] = u32::try_from(ids.len())?;
            record.slots[own][split] = match ids.as_slice() {
                [id] => *id,
                _ => 4 * id,
            };
            // One that no client of this family is ever given.
            (record.lengths[1 - own][split], record.slots[1 - own][split]) = (1, self.first);
            if matches!(service, Service::Split | Service::Fickle) {
                twin.time(record.statistics[split])?;
            }
            twin.perform(&Write::Slots { start: 4 * id, ids })?;
        }
        twin.perform(&Write::Record { index: id, record: Box::new(record) })?;
        twin.perform(&Write::Current { service: id, record: id })?;
        let endpoint = self.frontend(service);
        twin.perform(&Write::Frontend { id, endpoint, service: id })?;
        if service != Service::Inside {
            twin.serve_the_network(id)?;
        }
        put_endpoint(twin, endpoint, Occupant::Frontend(id))
    }
}

/// Puts a record of these shares, a backend each, in force for a service.
pub(crate) fn put_shares(twin: &mut Twin, service: u32, shares: &[u16]) -> Result<()> {
    let count = u32::try_from(shares.len())?;
    let mut record = Record { bounds: bounds(shares), count, ..Record::default() };
    for split in 0..shares.len() {
        record.statistics[split] = u16::try_from(split)?;
        record.lengths[0][split] = 1;
    }
    twin.perform(&Write::Record { index: service, record: Box::new(record) })
}

/// Makes an endpoint be found.
fn put_endpoint(twin: &mut Twin, endpoint: Endpoint, occupant: Occupant) -> Result<()> {
    let bit = match occupant {
        Occupant::Frontend(_) => addresses::FRONTEND,
        Occupant::Backend(_) => addresses::BACKEND,
    };
    let Place { row, shift } = addresses::place(endpoint.address);
    twin.perform(&Write::Addresses { row, set: bit << shift, clear: 0 })?;
    let (bucket, entry) = buckets(endpoint, ROWS - 1)
        .into_iter()
        .flat_map(|bucket| [(bucket, 0_u8), (bucket, 1)])
        .find(|(bucket, entry)| {
            let entries = &twin.memory.buckets[*bucket as usize].entries;
            entries[usize::from(*entry)].value.load() == 0
        })
        .context("no room in the small directory")?;
    twin.perform(&Write::EndpointKey { bucket, entry, endpoint })?;
    twin.perform(&Write::EndpointValue { bucket, entry, value: occupant.to_value() })
}
