//! Packets: scenes that a real node sees, with whatever may vary in them drawn by chance.

use anyhow::{Context, Result, ensure};
use canary_common::{
    backend::State,
    endpoint::Endpoint,
    forward::{HAIRPIN_V4, HAIRPIN_V6},
    hooks::{Outcome, Verdict},
    packets::{Draft, check},
    wire::{
        ethernet,
        tcp::{ACK, FIN, PSH, RST, SYN},
    },
};

use crate::{
    cells::{Cells, Fate},
    twin::{Hook, Run, Twin},
    world::{FICKLE, FRONTEND_GENERATION, Kind, Served, Service},
};

/// Chance that is the same in each run.
pub(crate) struct Dice(u64);

impl Dice {
    /// The next number below `limit`; the step of splitmix64.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((word ^ (word >> 31)) >> 33).expect("31 bits") % limit
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).expect("below 256")
    }
}

/// Sends packets through both datapaths and compares.
pub(crate) struct Traffic {
    pub(crate) twin: Twin,
    pub(crate) cells: Cells,
    dice: Dice,
    served: Vec<Served>,
    clients: u16,
    /// The number of a packet whose bytes the host spoils after its work, if any.
    fault: Option<u32>,
}

impl Traffic {
    pub(crate) fn new(fault: Option<u32>) -> Result<Self> {
        let mut twin = Twin::new()?;
        let served = Served::all(&mut twin)?;
        let cells = Cells::default();
        Ok(Self { twin, cells, dice: Dice(0x7261_6e64), served, clients: 0, fault })
    }

    /// Plays every scene of every kind at every hook.
    pub(crate) fn play(&mut self, times: usize) -> Result<()> {
        for _ in 0..times {
            for served in self.served.clone() {
                for hook in Hook::INBOUND {
                    let told = || format!("{:?} at {}", served.kind, hook.name());
                    self.scenes(hook, served).with_context(told)?;
                }
                for hook in Hook::ALL {
                    self.broken(hook, served)?;
                }
            }
        }
        Ok(())
    }

    fn scenes(&mut self, hook: Hook, served: Served) -> Result<()> {
        self.connection(hook, served, Service::Split)?;
        self.connection(hook, served, Service::Alias)?;
        self.by_two_names(hook, served)?;
        self.moved(hook, served)?;
        self.gone(hook, served)?;
        self.straight(hook, served)?;
        self.foreign(hook, served)?;
        self.refused(hook, served)?;
        self.idle(hook, served)?;
        self.elsewhere(hook, served)?;
        if hook == Hook::FromPod {
            self.hairpin(served)?;
        } else {
            let client = self.client(served.kind);
            self.ask(hook, served, client, Service::Inside, 0)?;
        }
        Ok(())
    }

    /// A connection from its first packet to its last, or some way.
    fn connection(&mut self, hook: Hook, served: Served, service: Service) -> Result<()> {
        let client = self.client(served.kind);
        let server = self.open(hook, served, client, service)?;
        let (back, push) = (hook.back(), PSH | ACK);
        for _ in 0..self.dice.below(3) {
            self.ask(hook, served, client, service, push)?;
            self.reply(back, server, client, push)?;
        }
        // Ends of all kinds, some of them too late, some in the wrong order.
        let ends = [[FIN | ACK, FIN | ACK], [RST, ACK], [ACK, RST | ACK], [push, FIN | push]];
        let [asked, replied] = ends[self.dice.below(ends.len())];
        self.ask(hook, served, client, service, asked)?;
        self.reply(back, server, client, replied)?;
        self.ask(hook, served, client, service, ACK)?;
        self.reply(back, server, client, push)?;
        self.ask(hook, served, client, service, SYN)?;
        let flags = self.dice.byte();
        self.ask(hook, served, client, service, flags)?;
        Ok(())
    }

    /// A client that comes by one name and then, from the same port, by another.
    fn by_two_names(&mut self, hook: Hook, served: Served) -> Result<()> {
        let client = self.client(served.kind);
        for service in [Service::Split, Service::Alias, Service::Split] {
            let server = self.open(hook, served, client, service)?;
            self.reply(hook.back(), server, client, PSH | ACK)?;
            let other = if service == Service::Split { Service::Alias } else { Service::Split };
            self.ask(hook, served, client, other, SYN)?;
            self.ask(hook, served, client, other, ACK)?;
            self.reply(hook.back(), server, client, PSH | ACK)?;
            self.ask(hook, served, client, service, RST)?;
        }
        Ok(())
    }

    /// A backend that drains under its flows.
    fn moved(&mut self, hook: Hook, served: Served) -> Result<()> {
        let client = self.client(served.kind);
        let server = self.open(hook, served, client, Service::Fickle)?;
        served.set_state(&mut self.twin, FICKLE, State::Draining)?;
        self.ask(hook, served, client, Service::Fickle, PSH | ACK)?;
        self.reply(hook.back(), server, client, PSH | ACK)?;
        served.set_state(&mut self.twin, FICKLE, State::Alive)
    }

    /// A backend that goes under its flows.
    fn gone(&mut self, hook: Hook, served: Served) -> Result<()> {
        let client = self.client(served.kind);
        let server = self.open(hook, served, client, Service::Fickle)?;
        served.set_state(&mut self.twin, FICKLE, State::Gone)?;
        self.reply(hook.back(), server, client, PSH | ACK)?;
        let first = if self.dice.below(3) == 0 { SYN } else { PSH | ACK };
        for flags in [PSH | ACK, first, SYN, FIN | ACK] {
            self.ask(hook, served, client, Service::Fickle, flags)?;
        }
        served.set_state(&mut self.twin, FICKLE, State::Alive)
    }

    /// A client that goes straight to a backend, before and after its flow's end.
    fn straight(&mut self, hook: Hook, served: Served) -> Result<()> {
        let client = self.client(served.kind);
        let straight = |this: &mut Self, server, flags| {
            this.send(hook, served.kind, &Draft::new(client, server).flags(flags))
        };
        straight(self, served.backend(0), SYN)?;
        self.reply(hook.back(), served.backend(0), client, SYN | ACK)?;
        let server = self.open(hook, served, client, Service::Split)?;
        straight(self, server, SYN)?;
        straight(self, server, ACK)?;
        self.ask(hook, served, client, Service::Split, RST)?;
        straight(self, server, SYN)?;
        self.reply(hook.back(), server, client, SYN | ACK).map(drop)
    }

    /// Flows of somebody else's.
    fn foreign(&mut self, hook: Hook, served: Served) -> Result<()> {
        let client = self.client(served.kind);
        self.twin.set_young(true)?;
        self.ask(hook, served, client, Service::Split, ACK)?;
        self.twin.set_young(false)?;
        for flags in [PSH | ACK, FIN | ACK, ACK, RST, ACK] {
            self.ask(hook, served, client, Service::Split, flags)?;
        }
        let client = self.client(served.kind);
        let frontend = served.frontend_id(Service::Alias);
        self.twin.set_foreign(client, frontend, FRONTEND_GENERATION)?;
        self.ask(hook, served, client, Service::Alias, ACK)?;
        self.ask(hook, served, client, Service::Alias, SYN).map(drop)
    }

    /// What is refused, and refused once too often.
    fn refused(&mut self, hook: Hook, served: Served) -> Result<()> {
        let client = self.client(served.kind);
        self.twin.set_silent(false)?;
        self.ask(hook, served, client, Service::Nobody, SYN)?;
        self.ask(hook, served, client, Service::Empty, SYN)?;
        self.ask(hook, served, client, Service::Nobody, FIN)?;
        self.ask(hook, served, client, Service::Nobody, RST)?;
        self.twin.set_silent(true)?;
        self.ask(hook, served, client, Service::Nobody, SYN)?;
        self.twin.set_silent(false)
    }

    /// A flow that is idle for longer than any may be.
    fn idle(&mut self, hook: Hook, served: Served) -> Result<()> {
        let client = self.client(served.kind);
        let server = self.open(hook, served, client, Service::Split)?;
        self.twin.set_clock(1_000_000)?;
        self.reply(hook.back(), server, client, PSH | ACK)?;
        let flags = if self.dice.below(2) == 0 { SYN } else { ACK };
        self.ask(hook, served, client, Service::Split, flags)?;
        self.ask(hook, served, client, Service::Split, ACK)?;
        self.twin.set_clock(0)
    }

    /// What is nobody's.
    fn elsewhere(&mut self, hook: Hook, served: Served) -> Result<()> {
        let client = self.client(served.kind);
        let port = u16::try_from(81 + self.dice.below(900))?;
        let to = [served.kind.at(96, 1, port), served.kind.at(97, 1, 80)][self.dice.below(2)];
        let draft = Draft::new(client, to).flags(SYN);
        self.send(hook, served.kind, &draft)?;
        let draft = Draft::new(to, client).flags(SYN | ACK);
        self.send(hook.back(), served.kind, &draft).map(drop)
    }

    /// A pod that talks to itself.
    fn hairpin(&mut self, served: Served) -> Result<()> {
        let port = u16::try_from(30_000 + self.dice.below(30_000))?.to_be_bytes();
        let client = Endpoint { port, ..served.backend(FICKLE) };
        let service = Service::Fickle;
        let reserved = if served.kind.v6 { HAIRPIN_V6 } else { HAIRPIN_V4 };
        let reserved = Endpoint { address: reserved, ..client };
        for (asked, replied) in [(SYN, SYN | ACK), (PSH | ACK, PSH | ACK), (FIN | ACK, RST)] {
            self.ask(Hook::FromPod, served, client, service, asked)?;
            let draft = Draft::new(served.backend(FICKLE), reserved).flags(replied);
            self.send(Hook::FromPod, served.kind, &draft)?;
        }
        Ok(())
    }

    /// Packets that are cut, are of another kind, contradict themselves or were hit by chance.
    fn broken(&mut self, hook: Hook, served: Served) -> Result<()> {
        let client = self.client(served.kind);
        let kind = served.kind;
        let draft = Draft::new(client, served.frontend(Service::Split)).flags(SYN).payload(b"abc");
        let whole = draft.build();
        let (l3_at, l4_at) = (ethernet::LEN, if kind.v6 { 54 } else { 34 });
        // The kernel runs no packet that ends in its IP header.
        let cut = l4_at + self.dice.below(if kind.is_tcp() { 20 } else { 8 });
        self.compare(hook, kind, &whole[..cut])?;
        let behind = l4_at + if kind.is_tcp() { 20 } else { 8 };
        let behind = behind + self.dice.below(3);
        self.compare(hook, kind, &whole[..behind])?;
        let high = self.dice.byte();
        let changed = |at: usize, value: u8| {
            let mut packet = whole.clone();
            packet[at] = value;
            packet
        };
        self.compare(hook, kind, &changed(12, 0x10 | (high & 0x60)))?;
        let protocol_at = if kind.v6 { 20 } else { 23 };
        let protocol = [1, 47, 50, 58, 132][self.dice.below(5)];
        self.compare(hook, kind, &changed(protocol_at, protocol))?;
        let fragment = match (kind.v6, self.dice.below(2)) {
            (true, _) => changed(20, 44),
            (false, 0) => changed(20, 0x20),
            (false, _) => changed(21, high | 1),
        };
        self.compare(hook, kind, &fragment)?;
        let malformed = match (kind.v6, self.dice.below(2)) {
            (true, 0) => changed(l3_at, 0x40 | (high & 0x0f)),
            (true, _) => changed(19, high & 7),
            (false, 0) => changed(l3_at, 0x40 | (high & 3)),
            (false, _) => changed(17, high & 0x0f),
        };
        self.compare(hook, kind, &malformed)?;
        let mut hit = whole;
        for _ in 0..=self.dice.below(3) {
            let at = self.dice.below(hit.len());
            hit[at] ^= 1 << self.dice.below(8);
        }
        self.compare(hook, kind, &hit).map(drop)
    }

    /// Starts a flow and, most of the time, finishes its handshake; the backend it went to.
    fn open(
        &mut self,
        hook: Hook,
        served: Served,
        client: Endpoint,
        service: Service,
    ) -> Result<Endpoint> {
        let run = self.ask(hook, served, client, service, SYN)?;
        let server = destination(&run.packet, served.kind);
        if self.dice.below(8) == 0 {
            self.ask(hook, served, client, service, SYN)?;
        }
        let refuses = self.dice.below(16) == 0;
        let answer = if refuses { RST | ACK } else { SYN | ACK };
        self.reply(hook.back(), server, client, answer)?;
        if !refuses {
            self.ask(hook, served, client, service, ACK)?;
        }
        Ok(server)
    }

    fn ask(
        &mut self,
        hook: Hook,
        served: Served,
        client: Endpoint,
        service: Service,
        flags: u8,
    ) -> Result<Run> {
        let draft = Draft::new(client, served.frontend(service)).flags(flags);
        self.send(hook, served.kind, &draft)
    }

    fn reply(&mut self, hook: Hook, server: Endpoint, client: Endpoint, flags: u8) -> Result<Run> {
        let kind = Kind { v6: server.address.as_v4().is_none(), protocol: server.protocol };
        self.send(hook, kind, &Draft::new(server, client).flags(flags))
    }

    /// Sends a packet, with options, numbers and a payload by chance.
    fn send(&mut self, hook: Hook, kind: Kind, draft: &Draft) -> Result<Run> {
        let payload: Vec<u8> = (0..self.dice.below(5) * 7).map(|_| self.dice.byte()).collect();
        let number = |dice: &mut Dice| u32::from_be_bytes([0; 4].map(|_: u8| dice.byte()));
        let mut draft = draft.clone().payload(&payload).sequence(number(&mut self.dice));
        draft = draft.acknowledgement(number(&mut self.dice));
        if self.dice.below(3) == 0 {
            draft = draft.ip_options(self.dice.below(11)).tcp_options(self.dice.below(11));
        }
        if self.dice.below(8) == 0 {
            draft = draft.unsummed();
        }
        let packet = draft.build();
        let run = self.compare(hook, kind, &packet)?;
        if check(&packet, true).is_ok() {
            let right = check(&run.packet, true);
            ensure!(right.is_ok(), "{right:?} in {:02x?}, was {packet:02x?}", run.packet);
        }
        Ok(run)
    }

    /// Runs a packet on both sides; fails unless verdict and all bytes are the same.
    fn compare(&mut self, hook: Hook, kind: Kind, packet: &[u8]) -> Result<Run> {
        let (mut host, outcome) = self.twin.on_host(hook, packet);
        if self.fault == Some(self.cells.total()) {
            let at = self.dice.below(host.packet.len());
            host.packet[at] ^= 1 << self.dice.below(8);
        }
        let kernel = self.twin.in_kernel(hook, packet)?;
        ensure!(
            kernel == host,
            "{} and its twin differ over {packet:02x?}, {outcome:?} on the host:\n{kernel:02x?}\n{host:02x?}",
            hook.name()
        );
        self.cells.count(hook, kind, fate(hook, kind, outcome, &kernel.packet));
        Ok(kernel)
    }

    /// A client that nobody was before.
    fn client(&mut self, kind: Kind) -> Endpoint {
        self.clients = self.clients.wrapping_add(1);
        let port = u16::try_from(1 + self.dice.below(65_535)).expect("a port");
        kind.at(200, self.clients, port)
    }
}

fn fate(hook: Hook, kind: Kind, outcome: Outcome, packet: &[u8]) -> Fate {
    let reserved = if kind.v6 { HAIRPIN_V6 } else { HAIRPIN_V4 };
    match (outcome.reason, outcome.verdict) {
        (Some(reason), _) => Fate::Not(reason),
        (None, Verdict::Back) if source(packet, kind).address == reserved => Fate::Turned,
        (None, Verdict::Back) => Fate::Returned,
        (None, _) if Hook::INBOUND.contains(&hook) => Fate::Forwarded,
        (None, _) => Fate::Restored,
    }
}

fn source(packet: &[u8], kind: Kind) -> Endpoint {
    end(packet, kind, 0)
}

fn destination(packet: &[u8], kind: Kind) -> Endpoint {
    end(packet, kind, 1)
}

fn end(packet: &[u8], kind: Kind, nth: usize) -> Endpoint {
    use canary_common::endpoint::Address;
    let (at, l4_at) = if kind.v6 {
        (22 + 16 * nth, 54)
    } else {
        (26 + 4 * nth, 14 + 4 * usize::from(packet[14] & 0x0f))
    };
    let bytes = &packet[at..];
    let address = if kind.v6 {
        Address(*bytes.first_chunk().expect("an address"))
    } else {
        Address::v4(*bytes.first_chunk().expect("an address"))
    };
    let port = [packet[l4_at + 2 * nth], packet[l4_at + 2 * nth + 1]];
    Endpoint { address, port, protocol: kind.protocol }
}
