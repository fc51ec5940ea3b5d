//! A small node in plain memory, for tests: services, backends, and packets through the hooks.

use core::net::SocketAddr;

use crate::backend::{Backend, Frontend, State};
use crate::directory::{Bucket, Occupant, buckets};
use crate::endpoint::{Endpoint, TCP, UDP};
use crate::flow::{Family, FlowKey, V4, V6};
use crate::forward::Origin;
use crate::hooks::{self, Outcome, Verdict};
use crate::limits;
use crate::memory::{Flowing, Memory};
use crate::packets::{Draft, check, endpoint};
use crate::reason::Reason;
use crate::segment::Version;
use crate::service::{Record, bounds};
use crate::stats::Counter;
use crate::tables::{FlowTables, Stage};
use crate::wire::ethernet;
use crate::wire::tcp::{ACK, FIN, PSH, RST, SYN};
use crate::word::Word;

/// What was forwarded or restored and goes on.
pub(crate) const ON: Outcome = Outcome { verdict: Verdict::Pass, reason: None };
/// What was forwarded or restored and goes back.
pub(crate) const BACK: Outcome = Outcome { verdict: Verdict::Back, reason: None };

pub(crate) const SYN_ACK: u8 = SYN | ACK;
pub(crate) const PUSH: u8 = PSH | ACK;
pub(crate) const FIN_ACK: u8 = FIN | ACK;
pub(crate) const RST_ACK: u8 = RST | ACK;

/// What is to happen to a packet of a reason.
pub(crate) fn passes(reason: Reason) -> Outcome {
    Outcome { verdict: Verdict::Pass, reason: Some(reason) }
}

pub(crate) fn refused(reason: Reason) -> Outcome {
    Outcome { verdict: Verdict::Back, reason: Some(reason) }
}

pub(crate) fn dropped(reason: Reason) -> Outcome {
    Outcome { verdict: Verdict::Drop, reason: Some(reason) }
}

/// Family and protocol of a world: every test of a flow holds for each.
#[derive(Clone, Copy, Debug)]
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
    pub(crate) const TCP: [Self; 2] =
        [Self { v6: false, protocol: TCP }, Self { v6: true, protocol: TCP }];
    pub(crate) const UDP: [Self; 2] =
        [Self { v6: false, protocol: UDP }, Self { v6: true, protocol: UDP }];

    /// Host `host` of net `net`: 10.net.0.host, or its like in IPv6.
    pub(crate) fn at(self, net: u8, host: u8, port: u16) -> Endpoint {
        let at: SocketAddr = if self.v6 {
            format!("[fd00:{net}::{host}]:{port}").parse().unwrap()
        } else {
            format!("10.{net}.0.{host}:{port}").parse().unwrap()
        };
        endpoint(at, self.protocol)
    }

    /// Flags of a packet that may start a flow.
    pub(crate) fn first(self) -> u8 {
        if self.protocol == TCP { SYN } else { 0 }
    }

    /// Flags of the answer to it.
    pub(crate) fn answer(self) -> u8 {
        if self.protocol == TCP { SYN_ACK } else { 0 }
    }
}

/// A node with one service: frontend 0, backends 0 and 1 in a split each, shares 100 and 0.
pub(crate) struct World {
    pub(crate) kind: Kind,
    pub(crate) tables: Memory,
    /// The frontend of service 0.
    pub(crate) vip: Endpoint,
    /// The backends.
    pub(crate) blue: Endpoint,
    pub(crate) green: Endpoint,
    /// A client on another node or pod.
    pub(crate) client: Endpoint,
}

pub(crate) const BLUE: u16 = 1;
pub(crate) const GREEN: u16 = 2;

impl World {
    pub(crate) fn new(kind: Kind) -> Self {
        let mut world = Self {
            kind,
            tables: Memory::default(),
            vip: kind.at(96, 1, 80),
            blue: kind.at(244, 1, 8080),
            green: kind.at(244, 2, 8080),
            client: kind.at(244, 9, 40_000),
        };
        world.tables.settings.bucket_mask.store(15);
        world.tables.settings.seed.store(0x5eed);
        let idle = [
            limits::OPENING_IDLE,
            limits::ESTABLISHED_IDLE,
            limits::CLOSING_IDLE,
            limits::ANSWERED_UDP_IDLE,
        ];
        for (word, limit) in world.tables.settings.idle.iter().zip(idle) {
            word.store(limit);
        }
        world.tables.buckets = (0..16).map(|_| Bucket::default()).collect();
        world.tables.now.set(1_000);
        world.tables.tick.set(50_000);
        world.add_backend(world.blue, 0);
        world.add_backend(world.green, 0);
        world.add_frontend(world.vip, 0);
        world.publish(0, &[(10_000, &[0], BLUE), (0, &[1], GREEN)]);
        world
    }

    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Kind::ALL.into_iter().map(Self::new)
    }

    pub(crate) fn tcp() -> impl Iterator<Item = Self> {
        Kind::TCP.into_iter().map(Self::new)
    }

    pub(crate) fn udp() -> impl Iterator<Item = Self> {
        Kind::UDP.into_iter().map(Self::new)
    }

    pub(crate) fn add_frontend(&mut self, at: Endpoint, service: u32) -> u32 {
        let id = u32::try_from(self.tables.frontends.len()).unwrap();
        self.tables.frontends.push(Frontend {
            address: at.address.0,
            port: at.port,
            protocol: at.protocol,
            reserved: 0,
            service: Word::new(service),
            flags: Word::new(0),
            generation: Word::new(7),
        });
        self.occupy(at, Occupant::Frontend(id));
        id
    }

    pub(crate) fn add_backend(&mut self, at: Endpoint, home: u32) -> u32 {
        let id = u32::try_from(self.tables.backends.len()).unwrap();
        self.tables.backends.push(Backend {
            address: at.address.0,
            port: at.port,
            protocol: at.protocol,
            reserved: 0,
            status: Word::new(Backend::status_of(State::Alive, 0, 3)),
            home: Word::new(home),
            home_generation: Word::new(7),
        });
        self.occupy(at, Occupant::Backend(id));
        id
    }

    /// Puts an occupant where lookups find it; the small directory never overflows here.
    pub(crate) fn occupy(&mut self, at: Endpoint, occupant: Occupant) {
        let choices = buckets(at, self.tables.settings.bucket_mask.load());
        let buckets = &mut self.tables.buckets;
        let entries = choices.iter().flat_map(|bucket| (0..2).map(move |entry| (*bucket, entry)));
        let (bucket, entry) = entries
            .map(|(bucket, entry)| (usize::try_from(bucket).unwrap(), entry))
            .find(|(bucket, entry)| buckets[*bucket].entries[*entry].value.load() == 0)
            .expect("room in the directory");
        let entry = &mut buckets[bucket].entries[entry];
        (entry.address, entry.tail) = (at.address.words(), at.tail());
        entry.value.store(occupant.to_value());
    }

    /// Puts a record in force: share, backends and statistics id of each split.
    pub(crate) fn publish(&mut self, service: usize, splits: &[(u16, &[u32], u16)]) {
        let mut record = Record::default();
        let splits: Vec<_> = splits.iter().filter(|(share, ..)| *share > 0).collect();
        let shares: Vec<u16> = splits.iter().map(|(share, ..)| *share).collect();
        record.bounds = bounds(&shares);
        record.count = u32::try_from(splits.len()).unwrap();
        for (index, (_, ids, statistics)) in splits.into_iter().enumerate() {
            record.statistics[index] = *statistics;
            record.lengths[index] = u32::try_from(ids.len()).unwrap();
            if let [id] = ids {
                record.slots[index] = *id;
            } else {
                record.slots[index] = u32::try_from(self.tables.slots.len()).unwrap();
                self.tables.slots.extend(*ids);
            }
        }
        let index = u32::try_from(self.tables.records.len()).unwrap();
        self.tables.records.push(record);
        let current = &mut self.tables.current;
        current.resize(current.len().max(service + 1), 0);
        current[service] = index;
    }

    /// Gives a backend another state, its generation and flags kept.
    pub(crate) fn set_state(&self, backend: usize, state: State) {
        let row = &self.tables.backends[backend];
        let flags = row.status.load() & Backend::HAS_RETURNS;
        row.status.store(Backend::status_of(state, flags, row.status().generation()));
    }

    pub(crate) fn pass_time(&self, seconds: u32) {
        self.tables.now.set(self.tables.now.get() + seconds);
    }

    pub(crate) fn pass_ticks(&self, ticks: u32) {
        self.tables.tick.set(self.tables.tick.get() + ticks);
    }

    pub(crate) fn count(&self, statistics: u16, counter: Counter) -> u64 {
        self.tables.counter(statistics, counter)
    }

    /// A packet of the client to the frontend, through `from_pod`.
    pub(crate) fn ask(&self, flags: u8, payload: &[u8]) -> Outcome {
        self.pod_sends(&mut self.question(flags, payload).build())
    }

    /// A packet of a backend to the client, through `to_pod`.
    pub(crate) fn answer(&self, backend: Endpoint, flags: u8, payload: &[u8]) -> Outcome {
        self.pod_gets(&mut self.reply(backend, flags, payload).build())
    }

    pub(crate) fn question(&self, flags: u8, payload: &[u8]) -> Draft {
        Draft::new(self.client, self.vip).flags(flags).payload(payload)
    }

    pub(crate) fn reply(&self, backend: Endpoint, flags: u8, payload: &[u8]) -> Draft {
        Draft::new(backend, self.client).flags(flags).payload(payload)
    }

    /// A flow that was answered and whose client has spoken since.
    pub(crate) fn establish(&self) {
        let (first, answer) = (self.kind.first(), self.kind.answer());
        assert_eq!(self.ask(first, b""), ON);
        assert_eq!(self.answer(self.blue, answer, b""), ON);
        assert_eq!(self.ask(if self.kind.protocol == TCP { ACK } else { 0 }, b""), ON);
    }

    pub(crate) fn pod_sends(&self, packet: &mut Vec<u8>) -> Outcome {
        self.inbound(packet, Origin::Pod)
    }

    pub(crate) fn net_sends(&self, packet: &mut Vec<u8>) -> Outcome {
        self.inbound(packet, Origin::Net)
    }

    /// One packet through a hook; what leaves with right sums must have come so.
    fn inbound(&self, packet: &mut Vec<u8>, origin: Origin) -> Outcome {
        let was_right = check(packet, true);
        let outcome = match hooks::version(packet, ethernet::LEN) {
            Ok(Version::V4) => {
                hooks::inbound::<V4, _, _>(packet, &self.tables, ethernet::LEN, origin)
            }
            Ok(Version::V6) => {
                hooks::inbound::<V6, _, _>(packet, &self.tables, ethernet::LEN, origin)
            }
            Err(outcome) => outcome,
        };
        assert_eq!(check(packet, true), was_right, "{outcome:?}");
        outcome
    }

    /// One packet through `to_pod` or `to_net`, its sums watched as above.
    pub(crate) fn pod_gets(&self, packet: &mut Vec<u8>) -> Outcome {
        let was_right = check(packet, true);
        let outcome = match hooks::version(packet, ethernet::LEN) {
            Ok(Version::V4) => hooks::outbound::<V4, _, _>(packet, &self.tables, ethernet::LEN),
            Ok(Version::V6) => hooks::outbound::<V6, _, _>(packet, &self.tables, ethernet::LEN),
            Err(outcome) => outcome,
        };
        assert_eq!(check(packet, true), was_right, "{outcome:?}");
        outcome
    }

    /// Flows in `OPENING` and in `FLOWS`.
    pub(crate) fn flows(&self) -> [usize; 2] {
        let (four, six) = (&self.tables.flows4, &self.tables.flows6);
        [
            four.opening.borrow().len() + six.opening.borrow().len(),
            four.established.borrow().len() + six.established.borrow().len(),
        ]
    }

    /// The backend of the client's flow through a frontend; `None` if there is no such flow.
    pub(crate) fn backend_of(&self, frontend: u32) -> Option<u32> {
        if self.kind.v6 { self.backend_in::<V6>(frontend) } else { self.backend_in::<V4>(frontend) }
    }

    fn backend_in<F: Family>(&self, frontend: u32) -> Option<u32>
    where
        Memory: Flowing<F>,
    {
        let (client, port) = (F::bytes(self.client.address), self.client.port);
        let key = FlowKey { client, peer: frontend, port, generation: 7 };
        [Stage::Established, Stage::Opening].into_iter().find_map(|stage| {
            FlowTables::<F>::flow(&self.tables, stage, &key).map(|flow| flow.backend())
        })
    }
}

/// Source and destination of a packet, and its source and destination hardware addresses.
pub(crate) fn ends(packet: &[u8]) -> (Endpoint, Endpoint) {
    let segment = match hooks::version(packet, ethernet::LEN).unwrap() {
        Version::V4 => V4::segment(packet, ethernet::LEN),
        Version::V6 => V6::segment(packet, ethernet::LEN),
    }
    .unwrap();
    (segment.source, segment.destination)
}

/// TCP for UDP, and the other way round.
pub(crate) fn other_protocol(endpoint: Endpoint) -> u8 {
    if endpoint.protocol == TCP { UDP } else { TCP }
}
