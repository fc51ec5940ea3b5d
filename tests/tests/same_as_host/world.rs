//! What both datapaths serve: a few services for each family and protocol.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use canary_common::{
    backend::{Backend, State},
    directory::{Occupant, buckets},
    endpoint::{Endpoint, TCP, UDP},
    packets::endpoint,
    service::{Record, bounds},
};
use canary_userspace::plan::Write;

use crate::twin::{ROWS, Twin};

/// Shares in ten-thousandths, each with its backends.
type Shares<'a> = &'a [(u16, &'a [u32])];

/// Generations of every frontend and backend.
pub(crate) const FRONTEND_GENERATION: u16 = 7;
pub(crate) const BACKEND_GENERATION: u16 = 3;

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
    /// The same backends by another name.
    Alias = 1,
    /// A split without a healthy backend.
    Nobody = 2,
    /// A record without a split.
    Empty = 3,
    /// One whose backend comes and goes.
    Fickle = 4,
    /// As the first, but for pods only.
    Inside = 5,
}

/// Rows of each kind.
const EACH: u32 = 6;
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
        let flags = if nth == FICKLE { 0 } else { Backend::HAS_RETURNS };
        let status = Backend::status_of(state, flags, BACKEND_GENERATION);
        twin.perform(&Write::BackendStatus { id: self.backend_id(nth), status })
    }

    fn put(twin: &mut Twin, kind: Kind, first: u32) -> Result<Self> {
        let served = Self { kind, first };
        for nth in 0..BACKENDS {
            let home = if nth == FICKLE { Service::Fickle } else { Service::Split };
            twin.perform(&Write::Backend {
                id: served.backend_id(nth),
                endpoint: served.backend(nth),
                home: served.frontend_id(home),
                home_generation: FRONTEND_GENERATION,
            })?;
            served.set_state(twin, nth, State::Alive)?;
            let occupant = Occupant::Backend(served.backend_id(nth));
            put_endpoint(twin, served.backend(nth), occupant)?;
        }
        let both: &[(u16, &[u32])] = &[(6_000, &[0, 1]), (4_000, &[2])];
        let services: [(Service, Shares<'_>); 6] = [
            (Service::Split, both),
            (Service::Alias, both),
            (Service::Nobody, &[(10_000, &[])]),
            (Service::Empty, &[]),
            (Service::Fickle, &[(10_000, &[FICKLE])]),
            (Service::Inside, both),
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
        let mut record = Record { bounds: bounds(&shares), count, ..Record::default() };
        for (split, (_, backends)) in splits.iter().enumerate() {
            let ids: Vec<u32> = backends.iter().map(|nth| self.backend_id(*nth)).collect();
            record.statistics[split] = u16::try_from(2 * id + u32::try_from(split)?)?;
            record.lengths[split] = u32::try_from(ids.len())?;
            record.slots[split] = match ids.as_slice() {
                [id] => *id,
                _ => 4 * id,
            };
            twin.perform(&Write::Slots { start: 4 * id, ids })?;
        }
        twin.perform(&Write::Record { index: id, record: Box::new(record) })?;
        twin.perform(&Write::Current { service: id, record: id })?;
        let endpoint = self.frontend(service);
        let generation = FRONTEND_GENERATION;
        twin.perform(&Write::Frontend { id, endpoint, generation, service: id })?;
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
        record.lengths[split] = 1;
    }
    twin.perform(&Write::Record { index: service, record: Box::new(record) })
}

/// Makes an endpoint be found.
fn put_endpoint(twin: &mut Twin, endpoint: Endpoint, occupant: Occupant) -> Result<()> {
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
