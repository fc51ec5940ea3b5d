//! Packets: scenes that a real node sees, with whatever may vary in them drawn by chance.

use anyhow::{Context, Result, ensure};
use canary_common::{
    backend::State,
    endpoint::Endpoint,
    flows::{self, Key, Limit, NO_PARTNER, Request, Values},
    hooks::{Outcome, Verdict},
    interface::Interface,
    packets::{Draft, check},
    route::{HAIRPIN_V4, HAIRPIN_V6},
    wire::{
        ethernet,
        tcp::{ACK, FIN, PSH, RST, SYN},
    },
};

use crate::{
    cells::{Cells, Fate},
    twin::{BRIDGE_MAC, BUCKETS, BY_BRIDGE, Hook, NOWHERE, PORTS, Run, Twin, Way},
    world::{FICKLE, Kind, Served, Service},
};

/// Chance that is the same in each run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// The next number below `limit`; the step of splitmix64.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((word ^ (word >> 31)) >> 33).expect("31 bits") % limit
    }

    pub(crate) fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).expect("below 256")
    }
}

/// Sends packets through both datapaths and compares.
pub(crate) struct Traffic {
    pub(crate) twin: Twin,
    pub(crate) cells: Cells,
    pub(crate) dice: Dice,
    served: Vec<Served>,
    clients: u16,
    /// How packets come.
    way: Way,
    /// Whether the table is so small that each insert pushes something out, or finds no room.
    pub(crate) is_tight: bool,
    /// The number of a packet whose bytes the host spoils after its work, if any.
    fault: Option<u32>,
}

/// A connection as its backend sees it.
#[derive(Clone, Copy)]
pub(crate) struct Talk {
    pub(crate) server: Endpoint,
    pub(crate) client: Endpoint,
}

/// Buckets of the tight table: both choices of a tuple may be the same.
const TIGHT: u32 = 2;

impl Traffic {
    pub(crate) fn new(fault: Option<u32>) -> Result<Self> {
        let mut twin = Twin::new()?;
        let served = Served::all(&mut twin)?;
        let (cells, dice) = (Cells::default(), Dice(0x7261_6e64));
        let (clients, way, is_tight) = (0, Way::USUAL, false);
        Ok(Self { twin, cells, dice, served, clients, way, is_tight, fault })
    }

    /// Plays every scene of every kind at every hook, with room and without.
    pub(crate) fn play(&mut self, times: usize) -> Result<()> {
        for _ in 0..times {
            for is_tight in [true, false] {
                self.is_tight = is_tight;
                self.twin.set_buckets(if is_tight { TIGHT } else { BUCKETS })?;
                self.twin.set_clock(1_000)?;
                self.play_all()?;
                self.twin.compare_tables()?;
            }
        }
        Ok(())
    }

    fn play_all(&mut self) -> Result<()> {
        for served in self.served.clone() {
            for hook in Hook::INBOUND {
                let told = || format!("{:?} at {}", served.kind, hook.name());
                self.scenes(hook, served).with_context(told)?;
            }
            for hook in Hook::ALL {
                self.broken(hook, served)?;
            }
        }
        Ok(())
    }

    fn scenes(&mut self, hook: Hook, served: Served) -> Result<()> {
        type Scene = fn(&mut Traffic, Hook, Served) -> Result<()>;
        let all: [(&str, Scene); 25] = [
            ("connection", |this, hook, served| this.connection(hook, served, Service::Split)),
            ("another", |this, hook, served| this.connection(hook, served, Service::Alias)),
            ("two names", Self::by_two_names),
            ("moved", Self::moved),
            ("follows", Self::follows),
            ("gone", Self::gone),
            ("straight", Self::straight),
            ("dialled", Self::dialled),
            ("foreign", Self::foreign),
            ("ignorant", Self::ignorant),
            ("again", Self::again),
            ("no port", Self::no_port),
            ("severed", Self::severed),
            ("spoofed", Self::spoofed),
            ("frames", Self::frames),
            ("no room", Self::no_room),
            ("refused", Self::refused),
            ("idle", Self::idle),
            ("elsewhere", Self::elsewhere),
            ("inside", Self::inside),
            ("fragments", Self::fragments),
            ("errors", Self::errors),
            ("echoes", Self::echoes),
            ("turned", Self::turned),
            ("extended", Self::extended),
        ];
        for (name, scene) in all {
            scene(self, hook, served).context(name)?;
            self.twin.pass_time(1)?;
            if self.is_tight {
                self.twin.compare_flows().with_context(|| format!("after {name}"))?;
            }
        }
        Ok(())
    }

    /// A connection from its first packet to its last, or some way.
    fn connection(&mut self, hook: Hook, served: Served, service: Service) -> Result<()> {
        let client = self.client(served.kind);
        let talk = self.open(hook, served, client, service)?;
        let (back, push) = (hook.back(), PSH | ACK);
        for _ in 0..self.dice.below(3) {
            self.ask(hook, served, client, service, push)?;
            self.reply(back, talk, push)?;
        }
        // Ends of all kinds, some of them too late, some in the wrong order.
        let ends = [[FIN | ACK, FIN | ACK], [RST, ACK], [ACK, RST | ACK], [push, FIN | push]];
        let [asked, replied] = ends[self.dice.below(ends.len())];
        self.ask(hook, served, client, service, asked)?;
        self.reply(back, talk, replied)?;
        self.ask(hook, served, client, service, ACK)?;
        self.reply(back, talk, push)?;
        self.ask(hook, served, client, service, SYN)?;
        let flags = self.dice.byte();
        self.ask(hook, served, client, service, flags)?;
        Ok(())
    }

    /// A client that comes by one name and then, from the same port, by another.
    fn by_two_names(&mut self, hook: Hook, served: Served) -> Result<()> {
        let client = self.client(served.kind);
        for service in [Service::Fickle, Service::Other, Service::Split, Service::Alias] {
            let talk = self.open(hook, served, client, service)?;
            self.reply(hook.back(), talk, PSH | ACK)?;
            let other = match service {
                Service::Fickle => Service::Other,
                Service::Other => Service::Fickle,
                Service::Split => Service::Alias,
                _ => Service::Split,
            };
            let second = self.ask(hook, served, client, other, SYN)?;
            let second = talk_of(&second, served.kind);
            self.reply(hook.back(), second, SYN | ACK)?;
            self.ask(hook, served, client, other, PSH | ACK)?;
            self.reply(hook.back(), second, PSH | ACK)?;
            self.reply(hook.back(), talk, PSH | ACK)?;
            self.ask(hook, served, client, service, RST)?;
        }
        Ok(())
    }

    /// A backend that drains under its flows.
    fn moved(&mut self, hook: Hook, served: Served) -> Result<()> {
        let client = self.client(served.kind);
        let talk = self.open(hook, served, client, Service::Fickle)?;
        served.set_state(&mut self.twin, FICKLE, State::Draining)?;
        self.ask(hook, served, client, Service::Fickle, PSH | ACK)?;
        self.reply(hook.back(), talk, PSH | ACK)?;
        let other = self.client(served.kind);
        self.ask(hook, served, other, Service::Fickle, SYN)?;
        self.ask(hook, served, other, Service::Fickle, SYN)?;
        served.set_state(&mut self.twin, FICKLE, State::Alive)
    }

    /// A flow whose service changes its weights, and says that its datagrams follow.
    fn follows(&mut self, hook: Hook, served: Served) -> Result<()> {
        let client = self.client(served.kind);
        let talk = self.open(hook, served, client, Service::Alias)?;
        for share in [10_000, 0, 5_000, 10_000] {
            served.set_share(&mut self.twin, Service::Alias, share)?;
            let run = self.ask(hook, served, client, Service::Alias, PSH | ACK)?;
            self.reply(hook.back(), talk_of(&run, served.kind), PSH | ACK)?;
            self.reply(hook.back(), talk, PSH | ACK)?;
        }
        served.set_share(&mut self.twin, Service::Alias, 6_000)
    }

    /// A backend that goes under its flows.
    fn gone(&mut self, hook: Hook, served: Served) -> Result<()> {
        let client = self.client(served.kind);
        let talk = self.open(hook, served, client, Service::Fickle)?;
        served.set_state(&mut self.twin, FICKLE, State::Gone)?;
        self.reply(hook.back(), talk, PSH | ACK)?;
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
        self.reply(hook.back(), Talk { server: served.backend(0), client }, SYN | ACK)?;
        straight(self, served.backend(0), PSH | ACK)?;
        let talk = self.open(hook, served, client, Service::Split)?;
        straight(self, talk.server, SYN)?;
        straight(self, talk.server, ACK)?;
        self.ask(hook, served, client, Service::Split, RST)?;
        straight(self, talk.server, SYN)?;
        straight(self, talk.server, RST)?;
        self.reply(hook.back(), talk, SYN | ACK)?;
        self.reply(hook.back(), talk, RST | ACK).map(drop)
    }

    /// One that dials a backend from the port that its flow to the same backend has.
    fn dialled(&mut self, hook: Hook, served: Served) -> Result<()> {
        let client = self.client(served.kind);
        let talk = self.open(hook, served, client, Service::Fickle)?;
        let draft = Draft::new(client, served.backend(FICKLE));
        let run = self.send(hook, served.kind, &draft.clone().flags(SYN))?;
        let direct = talk_of(&run, served.kind);
        self.reply(hook.back(), direct, SYN | ACK)?;
        for flags in [ACK, PSH | ACK, FIN | ACK] {
            self.send(hook, served.kind, &draft.clone().flags(flags))?;
            self.reply(hook.back(), direct, flags)?;
            self.reply(hook.back(), talk, ACK)?;
        }
        let seconds = [1, 61, 121][self.dice.below(3)];
        self.twin.pass_time(seconds)?;
        self.send(hook, served.kind, &draft.clone().flags(SYN))?;
        self.send(hook, served.kind, &draft.flags(RST)).map(drop)
    }

    /// Flows of somebody else's.
    fn foreign(&mut self, hook: Hook, served: Served) -> Result<()> {
        let client = self.client(served.kind);
        let request = Request {
            key: Key::new(client, served.frontend(Service::Alias)),
            values: Values { partner: NO_PARTNER, ..Values::default() },
            kind: flows::Kind::Foreign,
            state: 0,
            limit: Limit::Free,
            spare: NO_PARTNER,
            now: self.twin.memory.now.get(),
        };
        self.twin.insert(&request)?;
        for flags in [ACK, SYN, FIN | ACK, RST] {
            self.ask(hook, served, client, Service::Alias, flags)?;
        }
        Ok(())
    }

    /// Interfaces whose older connections are not known.
    fn ignorant(&mut self, hook: Hook, served: Served) -> Result<()> {
        for flag in [Interface::YOUNG, Interface::BLIND] {
            self.twin.set_flags(flag)?;
            let client = self.client(served.kind);
            self.ask(hook, served, client, Service::Split, ACK)?;
            self.send(hook, served.kind, &Draft::new(client, served.backend(0)).flags(ACK))?;
            let client = self.client(served.kind);
            let talk = self.open(hook, served, client, Service::Fickle)?;
            self.ask(hook, served, client, Service::Fickle, PSH | ACK)?;
            self.reply(hook.back(), talk, PSH | ACK)?;
            self.twin.set_flags(0)?;
            self.ask(hook, served, client, Service::Fickle, FIN | ACK)?;
            self.reply(hook.back(), talk, FIN | ACK)?;
        }
        Ok(())
    }

    /// A flow that is lost: picked again, but where its tuple is another's by then.
    fn again(&mut self, hook: Hook, served: Served) -> Result<()> {
        let client = self.client(served.kind);
        for flags in [RST, PSH | ACK, FIN | ACK] {
            let run = self.ask(hook, served, client, Service::Other, flags)?;
            self.reply(hook.back(), talk_of(&run, served.kind), PSH | ACK)?;
        }
        for flags in [RST, RST | ACK, PSH | ACK] {
            self.ask(hook, served, client, Service::Fickle, flags)?;
        }
        let run = self.ask(hook, served, client, Service::Fickle, SYN)?;
        self.reply(hook.back(), talk_of(&run, served.kind), RST | ACK)?;
        self.ask(hook, served, client, Service::Fickle, ACK).map(drop)
    }

    /// A tuple that is taken, and no other port.
    fn no_port(&mut self, hook: Hook, served: Served) -> Result<()> {
        let client = self.client(served.kind);
        self.twin.set_ports(0)?;
        self.ask(hook, served, client, Service::Fickle, SYN)?;
        let run = self.ask(hook, served, client, Service::Other, SYN)?;
        self.ask(hook, served, client, Service::Other, ACK)?;
        self.reply(hook.back(), talk_of(&run, served.kind), RST | ACK)?;
        self.ask(hook, served, client, Service::Other, SYN)?;
        self.twin.set_ports(PORTS)
    }

    /// A flow that the agent ends.
    fn severed(&mut self, hook: Hook, served: Served) -> Result<()> {
        for first in [SYN, ACK] {
            let client = self.client(served.kind);
            let talk = self.open(hook, served, client, Service::Fickle)?;
            self.twin.sever(&Key::new(client, served.frontend(Service::Fickle)))?;
            if self.dice.below(2) == 0 {
                self.reply(hook.back(), talk, PSH | ACK)?;
            }
            let flags = [PSH | ACK, FIN | ACK, RST | ACK][self.dice.below(3)];
            self.reply(hook.back(), talk, flags)?;
            self.ask(hook, served, client, Service::Fickle, first)?;
            self.reply(hook.back(), talk, ACK)?;
            self.ask(hook, served, client, Service::Fickle, PSH | ACK)?;
        }
        Ok(())
    }

    /// Addresses that are not their sender's, and clients that move to another interface.
    fn spoofed(&mut self, hook: Hook, served: Served) -> Result<()> {
        let other = Way { by: 1, ..Way::USUAL };
        let astray = Way { came_by: Some(1), ..Way::USUAL };
        let liar = Endpoint { ..served.kind.at(NOWHERE, 7, 40_000) };
        self.ask(hook, served, liar, Service::Split, SYN)?;
        self.send(hook, served.kind, &Draft::new(liar, served.backend(1)).flags(SYN))?;
        let client = self.client(served.kind);
        let run = self.ask(hook, served, client, Service::Fickle, SYN)?;
        let talk = talk_of(&run, served.kind);
        self.by(astray, |this| this.reply(hook.back(), talk, SYN | ACK))?;
        let node = Way { came_by: None, ..Way::USUAL };
        self.by(node, |this| this.reply(hook.back(), talk, SYN | ACK))?;
        self.by(astray, |this| this.reply(hook.back(), talk, ACK))?;
        self.by(astray, |this| this.reply(hook.back(), talk, FIN | ACK))?;
        self.by(other, |this| this.ask(hook, served, client, Service::Fickle, RST))?;
        self.by(other, |this| this.ask(hook, served, client, Service::Fickle, SYN))?;
        let port = self.client(served.kind).port;
        let client = Endpoint { port, ..served.kind.at(BY_BRIDGE, 9, 1) };
        self.open(hook, served, client, Service::Fickle)?;
        for flags in [PSH | ACK, SYN, ACK] {
            self.by(other, |this| this.ask(hook, served, client, Service::Fickle, flags))?;
            self.ask(hook, served, client, Service::Fickle, ACK)?;
        }
        Ok(())
    }

    /// Frames for others, for the bridge, and what we have sent back ourselves.
    fn frames(&mut self, hook: Hook, served: Served) -> Result<()> {
        let client = self.client(served.kind);
        let packet = Draft::new(client, served.frontend(Service::Split)).flags(SYN).build();
        for mac in [[2, 0, 0, 0, 0, 9], [0xff; 6], BRIDGE_MAC] {
            let mut packet = packet.clone();
            packet[..6].copy_from_slice(&mac);
            self.compare(hook, served.kind, &packet)?;
            let other = Way { by: 1, ..Way::USUAL };
            self.by(other, |this| this.compare(hook, served.kind, &packet))?;
        }
        let talk = self.open(hook, served, client, Service::Split)?;
        let ours = Way { is_sent_back: true, ..Way::USUAL };
        for way in [ours, Way { came_by: None, ..ours }] {
            self.by(way, |this| this.reply(hook.back(), talk, PSH | ACK))?;
        }
        Ok(())
    }

    /// A table that others write to, and an interface whose clients hold half of its places.
    fn no_room(&mut self, hook: Hook, served: Served) -> Result<()> {
        if !self.is_tight {
            return Ok(());
        }
        let client = self.client(served.kind);
        self.twin.set_locked(true)?;
        self.ask(hook, served, client, Service::Split, SYN)?;
        self.twin.set_locked(false)?;
        self.twin.set_flags(Interface::CROWDED)?;
        for _ in 0..8 {
            let client = self.client(served.kind);
            self.ask(hook, served, client, Service::Split, SYN)?;
        }
        self.send(hook, served.kind, &Draft::new(client, served.backend(0)).flags(SYN))?;
        self.twin.set_flags(0)
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

    /// A flow with pauses, some of them longer than any may be.
    fn idle(&mut self, hook: Hook, served: Served) -> Result<()> {
        let client = self.client(served.kind);
        let talk = self.open(hook, served, client, Service::Split)?;
        for _ in 0..3 {
            let seconds = [1, 2, 11, 31, 61, 181][self.dice.below(6)];
            self.twin.pass_time(seconds)?;
            if self.dice.below(2) == 0 {
                self.reply(hook.back(), talk, PSH | ACK)?;
            }
            let flags = if self.dice.below(2) == 0 { SYN } else { ACK };
            self.ask(hook, served, client, Service::Split, flags)?;
            self.ask(hook, served, client, Service::Split, ACK)?;
        }
        Ok(())
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

    /// What only pods do.
    fn inside(&mut self, hook: Hook, served: Served) -> Result<()> {
        if hook == Hook::FromPod {
            return self.hairpin(served);
        }
        let client = self.client(served.kind);
        self.ask(hook, served, client, Service::Inside, SYN).map(drop)
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

    /// Packets that come another way than usual.
    pub(crate) fn by<R>(
        &mut self,
        way: Way,
        work: impl FnOnce(&mut Self) -> Result<R>,
    ) -> Result<R> {
        self.way = way;
        let result = work(self);
        self.way = Way::USUAL;
        result
    }

    /// Packets that are cut, are of another kind, contradict themselves or were hit by chance.
    fn broken(&mut self, hook: Hook, served: Served) -> Result<()> {
        let client = self.client(served.kind);
        let kind = served.kind;
        let ends = if Hook::INBOUND.contains(&hook) {
            [client, served.frontend(Service::Split)]
        } else {
            [served.backend(0), client]
        };
        let [from, to] = ends;
        let draft = Draft::new(from, to).flags(SYN).payload(b"abc");
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

    /// Starts a flow and, most of the time, finishes its handshake.
    pub(crate) fn open(
        &mut self,
        hook: Hook,
        served: Served,
        client: Endpoint,
        service: Service,
    ) -> Result<Talk> {
        let run = self.ask(hook, served, client, service, SYN)?;
        let talk = talk_of(&run, served.kind);
        if self.dice.below(8) == 0 {
            self.ask(hook, served, client, service, SYN)?;
        }
        let refuses = self.dice.below(16) == 0;
        let answer = if refuses { RST | ACK } else { SYN | ACK };
        self.reply(hook.back(), talk, answer)?;
        if !refuses {
            self.ask(hook, served, client, service, ACK)?;
        }
        Ok(talk)
    }

    pub(crate) fn ask(
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

    pub(crate) fn reply(&mut self, hook: Hook, talk: Talk, flags: u8) -> Result<Run> {
        let Talk { server, client } = talk;
        let kind = Kind { v6: server.address.as_v4().is_none(), protocol: server.protocol };
        self.send(hook, kind, &Draft::new(server, client).flags(flags))
    }

    /// Sends a packet, with options, numbers and a payload by chance.
    pub(crate) fn send(&mut self, hook: Hook, kind: Kind, draft: &Draft) -> Result<Run> {
        let payload: Vec<u8> = match self.dice.below(6) {
            5 => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            sevens => (0..sevens * 7).map(|_| self.dice.byte()).collect(),
        };
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
    pub(crate) fn compare(&mut self, hook: Hook, kind: Kind, packet: &[u8]) -> Result<Run> {
        let (mut host, outcome) = self.twin.on_host(hook, self.way, packet);
        if self.fault == Some(self.cells.total()) {
            let at = self.dice.below(host.packet.len());
            host.packet[at] ^= 1 << self.dice.below(8);
        }
        let kernel = self.twin.in_kernel(hook, self.way, packet)?;
        ensure!(
            kernel == host,
            "{} and its twin differ over {packet:02x?}, {outcome:?} on the host:\n{kernel:02x?}\n{host:02x?}",
            hook.name()
        );
        self.cells.count(hook, kind, fate(hook, kind, outcome, [packet, &kernel.packet]));
        Ok(kernel)
    }

    /// A client that nobody was before.
    pub(crate) fn client(&mut self, kind: Kind) -> Endpoint {
        self.clients = self.clients.wrapping_add(1);
        let port = u16::try_from(1 + self.dice.below(65_535)).expect("a port");
        kind.at(200, self.clients, port)
    }
}

fn fate(hook: Hook, kind: Kind, outcome: Outcome, [before, after]: [&[u8]; 2]) -> Fate {
    let reserved = if kind.v6 { HAIRPIN_V6 } else { HAIRPIN_V4 };
    if let Some(reason) = outcome.reason {
        return Fate::Not(reason);
    }
    let same_source_port = source(before, kind).port == source(after, kind).port;
    let same_port = destination(before, kind).port == destination(after, kind).port;
    let same_address = destination(before, kind).address == destination(after, kind).address;
    match (outcome.verdict, Hook::INBOUND.contains(&hook)) {
        (Verdict::Back, _) if source(after, kind).address == reserved => Fate::Turned,
        (Verdict::Back, _) => Fate::Returned,
        (_, true) if same_address => Fate::Direct,
        (_, true) if !same_source_port => Fate::Translated,
        (_, true) => Fate::Forwarded,
        (_, false) if !same_port => Fate::Untranslated,
        (_, false) => Fate::Restored,
    }
}

/// Who talks to whom after a client's packet.
pub(crate) fn talk_of(run: &Run, kind: Kind) -> Talk {
    Talk { server: destination(&run.packet, kind), client: source(&run.packet, kind) }
}

pub(crate) fn source(packet: &[u8], kind: Kind) -> Endpoint {
    end(packet, kind, 0)
}

pub(crate) fn destination(packet: &[u8], kind: Kind) -> Endpoint {
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
    // A fragment behind the first, or an error, has other bytes there, or none.
    let port =
        packet.get(l4_at + 2 * nth..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; 2]);
    Endpoint { address, port, protocol: kind.protocol }
}
