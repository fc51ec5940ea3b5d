//! A small node in plain memory, for tests: services, backends, and packets through the hooks.

mod packet;
mod table;

pub(crate) use self::packet::{ends, other_protocol, tcp_flags, with_port};

use core::net::SocketAddr;

use crate::addresses;
use crate::backend::{Backend, Frontend, State};
use crate::directory::{Bucket, Occupant, buckets};
use crate::endpoint::{Endpoint, TCP, UDP};
use crate::flows;
use crate::hooks::{self, First, Outcome, Verdict};
use crate::limits;
use crate::memory::Memory;
use crate::packets::{Draft, check, endpoint};
use crate::reason::Reason;
use crate::route::{Origin, hairpin_address};
use crate::segment::{Segment, version};
use crate::service::{Record, bounds};
use crate::stats::Counter;
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

/// Index of the interface of the client's pod.
pub(crate) const INDEX: u32 = 7;

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

    /// Flags of a packet in the middle of a connection.
    pub(crate) fn data(self) -> u8 {
        if self.protocol == TCP { PUSH } else { 0 }
    }

    /// Whether it is TCP.
    pub(crate) fn is_tcp(self) -> bool {
        self.protocol == TCP
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
    /// Every packet goes through the whole logic, never through the plain case.
    pub(crate) whole: bool,
}

pub(crate) const BLUE: u16 = 1;
pub(crate) const GREEN: u16 = 2;

/// Buckets of the flow table.
const FLOW_BUCKETS: u32 = 64;

impl World {
    pub(crate) fn new(kind: Kind) -> Self {
        let mut world = Self {
            kind,
            tables: Memory::default(),
            vip: kind.at(96, 1, 80),
            blue: kind.at(244, 1, 8080),
            green: kind.at(244, 2, 8080),
            client: kind.at(244, 9, 40_000),
            whole: false,
        };
        let settings = &world.tables.settings;
        settings.bucket_mask.store(15);
        settings.seed.store(0x5eed);
        settings.flow_seed.store(0xf10e);
        settings.flow_buckets.store(FLOW_BUCKETS);
        settings.first_port.store(limits::FIRST_PORT.into());
        settings.ports.store(u32::from(limits::LAST_PORT - limits::FIRST_PORT) + 1);
        let idle = [
            limits::OPENING_IDLE,
            limits::ESTABLISHED_IDLE,
            limits::CLOSED_IDLE,
            limits::RESET_IDLE,
            limits::UDP_EXCHANGE_IDLE,
            limits::UDP_STREAM_IDLE,
        ];
        for (word, limit) in settings.idle.iter().zip(idle) {
            word.store(limit);
        }
        world.tables.buckets = (0..16).map(|_| Bucket::default()).collect();
        world.tables.flows = (0..FLOW_BUCKETS).map(|_| flows::Bucket::default()).collect();
        world.tables.now.set(1_000);
        world.tables.tick.set(50_000);
        world.tables.index.set(INDEX);
        world.add_backend(world.blue);
        world.add_backend(world.green);
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
            service: Word::new(service),
            ..Frontend::default()
        });
        self.tables.set_bits(at.address, addresses::FRONTEND);
        self.occupy(at, Occupant::Frontend(id));
        id
    }

    pub(crate) fn add_backend(&mut self, at: Endpoint) -> u32 {
        let id = u32::try_from(self.tables.backends.len()).unwrap();
        self.tables.backends.push(Backend {
            address: at.address.0,
            port: at.port,
            protocol: at.protocol,
            state: Word::new(Backend::word_of(State::Alive)),
            ..Backend::default()
        });
        self.tables.set_bits(at.address, addresses::BACKEND);
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

    /// Puts a record in force: share, backends and statistics id of each split, for clients of
    /// this world's family.
    pub(crate) fn publish(&mut self, service: usize, splits: &[(u16, &[u32], u16)]) {
        let mut record = Record::default();
        let splits: Vec<_> = splits.iter().filter(|(share, ..)| *share > 0).collect();
        let shares: Vec<u16> = splits.iter().map(|(share, ..)| *share).collect();
        record.bounds = bounds(&shares);
        record.count = u32::try_from(splits.len()).unwrap();
        let family = usize::from(self.kind.v6);
        for (index, (_, ids, statistics)) in splits.into_iter().enumerate() {
            record.statistics[index] = *statistics;
            record.lengths[family][index] = u32::try_from(ids.len()).unwrap();
            if let [id] = ids {
                record.slots[family][index] = *id;
            } else {
                record.slots[family][index] = u32::try_from(self.tables.slots.len()).unwrap();
                self.tables.slots.extend(*ids);
            }
        }
        let index = u32::try_from(self.tables.records.len()).unwrap();
        self.tables.records.push(record);
        let current = &mut self.tables.current;
        current.resize(current.len().max(service + 1), 0);
        current[service] = index;
    }

    /// All new flows go to `green`.
    pub(crate) fn publish_green(&mut self) {
        self.publish(0, &[(10_000, &[1], GREEN)]);
    }

    /// A second frontend, of service 1, which has `blue` alone.
    pub(crate) fn add_second_name(&mut self) -> Endpoint {
        let other = self.kind.at(96, 2, 80);
        self.add_frontend(other, 1);
        self.publish(1, &[(10_000, &[0], GREEN)]);
        other
    }

    /// Gives a backend another state.
    pub(crate) fn set_state(&self, backend: usize, state: State) {
        self.tables.backends[backend].state.store(Backend::word_of(state));
    }

    /// Gives the packets' interface flags.
    pub(crate) fn set_interface(&self, flags: u32) {
        self.tables.interface.flags.store(flags);
    }

    /// Whether the route to an address leads to another interface than its packets come by.
    pub(crate) fn move_elsewhere(&self, end: Endpoint, is_elsewhere: bool) {
        if is_elsewhere {
            self.tables.elsewhere.borrow_mut().insert(end.address);
        } else {
            self.tables.elsewhere.borrow_mut().remove(&end.address);
        }
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
        assert_eq!(self.ask(if self.kind.is_tcp() { ACK } else { 0 }, b""), ON);
    }

    /// Sends a packet from `from` to `to` through `from_pod`; the outcome, and whom it comes from
    /// and goes to then.
    pub(crate) fn send(&self, from: Endpoint, to: Endpoint, flags: u8) -> (Outcome, [Endpoint; 2]) {
        let mut packet = Draft::new(from, to).flags(flags).build();
        let outcome = self.pod_sends(&mut packet);
        (outcome, ends(&packet).into())
    }

    /// The same through `to_pod`.
    pub(crate) fn get(&self, from: Endpoint, to: Endpoint, flags: u8) -> (Outcome, [Endpoint; 2]) {
        let mut packet = Draft::new(from, to).flags(flags).build();
        let outcome = self.pod_gets(&mut packet);
        (outcome, ends(&packet).into())
    }

    /// Opens a connection that is not at its backend yet; the client as its backend sees it.
    pub(crate) fn open(&self, from: Endpoint, to: Endpoint, backend: Endpoint) -> Endpoint {
        let (outcome, [client, at]) = self.send(from, to, self.kind.first());
        assert_eq!((outcome, at), (ON, backend));
        client
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
        let l2 = ethernet::LEN;
        let outcome = match self.first(packet, origin) {
            Some(First::Whole { version, bits }) => {
                hooks::inbound_whole(packet, &self.tables, l2, origin, version, bits)
            }
            Some(First::Done(outcome)) => outcome,
            None => hooks::inbound(packet, &self.tables, l2, origin),
        };
        assert_eq!(check(packet, true), was_right, "{outcome:?}");
        outcome
    }

    /// One packet through `to_pod` or `to_net`, its sums watched as above.
    pub(crate) fn pod_gets(&self, packet: &mut Vec<u8>) -> Outcome {
        let was_right = check(packet, true);
        let outcome = match version(packet, ethernet::LEN) {
            Ok(version) if self.whole && self.bits_of_source(packet) & addresses::BACKEND != 0 => {
                hooks::outbound_whole(packet, &self.tables, ethernet::LEN, version)
            }
            _ => hooks::outbound(packet, &self.tables, ethernet::LEN),
        };
        assert_eq!(check(packet, true), was_right, "{outcome:?}");
        outcome
    }

    /// What the first look would give were there no plain case; `None` where that is not asked
    /// for, or where the packet cannot be read.
    fn first(&self, packet: &Vec<u8>, origin: Origin) -> Option<First> {
        if !self.whole {
            return None;
        }
        let version = version(packet, ethernet::LEN).ok()?;
        let destination = Segment::of(packet, ethernet::LEN, version).ok()?.destination.address;
        let bits = self.bits(destination);
        let is_hairpin = origin == Origin::Pod && destination == hairpin_address(version);
        if bits == 0 && !is_hairpin {
            return Some(First::Done(passes(Reason::NotOurs)));
        }
        Some(First::Whole { version, bits })
    }

    fn bits_of_source(&self, packet: &Vec<u8>) -> u64 {
        let segment = version(packet, ethernet::LEN)
            .and_then(|version| Segment::of(packet, ethernet::LEN, version));
        segment.map_or(0, |segment| self.bits(segment.source.address))
    }

    /// The bits of an address in `ADDRESSES`.
    pub(crate) fn bits(&self, address: crate::endpoint::Address) -> u64 {
        crate::node::bits(&self.tables, address) & addresses::ALL
    }
}
