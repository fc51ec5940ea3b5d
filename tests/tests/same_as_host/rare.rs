//! Scenes of packets beside the ordinary ones: fragments, ICMP, and extension headers.

use anyhow::{Result, ensure};
use canary_common::{
    endpoint::Endpoint,
    packets::{
        Draft, check,
        rare::{fragments, icmp, icmp_error, reassembled, with_extensions},
    },
    wire::tcp::{ACK, PSH, SYN},
};

use crate::{
    traffic::{Talk, Traffic},
    twin::{Hook, NOWHERE, Run, Way},
    world::{FICKLE, Kind, Served, Service},
};

/// Types and codes of errors: of IPv4, then of IPv6.
const ERRORS: [[[u8; 2]; 6]; 2] = [
    [[3, 0], [3, 1], [3, 3], [3, 4], [11, 0], [12, 0]],
    [[1, 0], [1, 3], [1, 4], [2, 0], [3, 0], [4, 1]],
];

impl Traffic {
    /// Fragments of questions and answers, in order and not.
    pub(crate) fn fragments(&mut self, hook: Hook, served: Served) -> Result<()> {
        let client = self.client(served.kind);
        let talk = self.open(hook, served, client, Service::Fickle)?;
        let frontend = served.frontend(Service::Fickle);
        let ways = [
            (hook, client, frontend, PSH | ACK),
            (hook.back(), talk.server, talk.client, PSH | ACK),
            (hook, client, served.frontend(Service::Nobody), SYN),
            (hook, client, Endpoint { port: [9, 9], ..frontend }, SYN),
        ];
        for (hook, from, to, flags) in ways {
            let pieces = self.pieces(from, to, flags);
            let (first, rest) = pieces.split_first().expect("there are several");
            // Before its first; then all; then by another interface, later, and hit by chance.
            self.compare(hook, served.kind, &rest[0])?;
            self.twin.set_virtual(to.address, true)?;
            self.compare(hook, served.kind, &rest[0])?;
            let mut after = vec![self.compare(hook, served.kind, first)?.packet];
            for piece in rest {
                after.push(self.compare(hook, served.kind, piece)?.packet);
            }
            let (before, after) = (reassembled(&pieces), reassembled(&after));
            // Of what is refused the first is an answer to it.
            if !self.is_tight && flags != SYN && check(&before, true).is_ok() {
                let right = check(&after, true);
                ensure!(right.is_ok(), "{right:?} of fragments from {from:?} to {to:?}");
            }
            let other = Way { by: 1, ..Way::USUAL };
            self.by(other, |this| this.compare(hook, served.kind, &rest[0]))?;
            self.spoilt(hook, served.kind, first)?;
            self.spoilt(hook, served.kind, &rest[0])?;
            self.twin.pass_time([1, 14, 16][self.dice.below(3)])?;
            self.compare(hook, served.kind, &rest[0])?;
            self.twin.set_virtual(to.address, false)?;
        }
        Ok(())
    }

    /// ICMP errors about a flow's packets, about others', and redirects.
    pub(crate) fn errors(&mut self, hook: Hook, served: Served) -> Result<()> {
        let client = self.client(served.kind);
        let talk = self.open(hook, served, client, Service::Fickle)?;
        let second = self.ask(hook, served, client, Service::Other, SYN)?;
        let frontend = served.frontend(Service::Fickle);
        let seen = crate::traffic::talk_of(&second, served.kind);
        for Talk { server, client: from } in [talk, seen] {
            self.errors_about(hook.back(), served.kind, [from, server])?;
        }
        self.errors_about(hook, served.kind, [frontend, client])?;
        self.errors_about(hook, served.kind, [served.frontend(Service::Other), client])?;
        let stranger = self.client(served.kind);
        self.errors_about(hook, served.kind, [frontend, stranger])?;
        self.errors_about(hook.back(), served.kind, [stranger, served.backend(0)])
    }

    /// Errors of all kinds about a packet between two ends.
    fn errors_about(&mut self, hook: Hook, kind: Kind, [from, to]: [Endpoint; 2]) -> Result<()> {
        let v6 = kind.v6;
        let payload: Vec<u8> = (0..self.dice.below(5) * 7).map(|_| self.dice.byte()).collect();
        let draft = Draft::new(from, to).flags(PSH | ACK).payload(&payload);
        let mut about = draft.ip_options(self.dice.below(4)).build();
        if v6 && self.dice.below(3) == 0 {
            about = with_extensions(&about, &[(0, 1), (60, 2)]);
        }
        let router = kind.at(77, 1, 0).address;
        let nowhere = kind.at(NOWHERE, 1, 0).address;
        for source in [to.address, router, nowhere] {
            let [code, byte] = ERRORS[usize::from(v6)][self.dice.below(6)];
            let limit = [28, 36, 48, 60, 68, 88, 500][self.dice.below(7)];
            let error = icmp_error(source, [code, byte, 0, 0, 5, 20], &about, limit);
            self.checked(hook, kind, &error)?;
            self.spoilt(hook, kind, &error)?;
        }
        let redirect = if v6 { 137 } else { 5 };
        let packet = icmp_error(router, [redirect, 1, 0, 0, 0, 0], &about, 500);
        self.checked(hook, kind, &packet)?;
        // To another than whose packet it quotes.
        let other = kind.at(200, 9, 0).address;
        let packet = icmp(to.address, other, [3, 1, 0, 0, 0, 0], &about[14..]);
        self.checked(hook, kind, &packet).map(drop)
    }

    /// Echo requests, to addresses that are only virtual and to others.
    pub(crate) fn echoes(&mut self, hook: Hook, served: Served) -> Result<()> {
        let asker = self.client(served.kind);
        let client = asker.address;
        let to = served.frontend(Service::Split).address;
        self.twin.set_silent(false)?;
        for is_virtual in [true, false] {
            self.twin.set_virtual(to, is_virtual)?;
            for header in [[8, 0, 1, 2, 3, 4], [128, 0, 1, 2, 3, 4], [13, 0, 0, 0, 0, 0]] {
                let request = icmp(client, to, header, &[7; 20]);
                self.checked(hook, served.kind, &request)?;
                self.spoilt(hook, served.kind, &request)?;
            }
        }
        self.twin.set_virtual(to, true)?;
        // On the way out: what nobody serves, and what is served.
        let closed = Endpoint { port: [0x10, 0xe1], ..served.frontend(Service::Split) };
        for came_by in [None, Some(0)] {
            let way = Way { came_by, ..Way::USUAL };
            for to in [closed, served.frontend(Service::Split)] {
                let packet = Draft::new(asker, to).flags(SYN).payload(b"anybody?").build();
                self.by(way, |this| this.checked(hook.back(), served.kind, &packet))?;
            }
        }
        self.twin.set_silent(true)?;
        let echo = if served.kind.v6 { 128 } else { 8 };
        self.checked(hook, served.kind, &icmp(client, to, [echo, 0, 0, 0, 0, 0], b""))?;
        self.twin.set_silent(false)?;
        self.twin.set_virtual(to, false)
    }

    /// A hairpin's fragments and errors.
    pub(crate) fn turned(&mut self, hook: Hook, served: Served) -> Result<()> {
        if hook != Hook::FromPod {
            return Ok(());
        }
        let client = Endpoint { port: [0x9c, 0x47], ..served.backend(FICKLE) };
        let run = self.ask(hook, served, client, Service::Fickle, SYN)?;
        let seen = crate::traffic::talk_of(&run, served.kind);
        let frontend = served.frontend(Service::Fickle);
        for (from, to) in [(client, frontend), (seen.server, seen.client)] {
            for piece in self.pieces(from, to, PSH | ACK) {
                self.compare(hook, served.kind, &piece)?;
            }
            self.errors_about(hook, served.kind, [to, from])?;
            self.errors_about(hook, served.kind, [from, to])?;
        }
        Ok(())
    }

    /// A connection behind extension headers.
    pub(crate) fn extended(&mut self, hook: Hook, served: Served) -> Result<()> {
        if !served.kind.v6 {
            return Ok(());
        }
        let client = self.client(served.kind);
        let frontend = served.frontend(Service::Fickle);
        let chains: [&[(u8, u8)]; 6] = [
            &[(0, 1)],
            &[(60, 2)],
            &[(43, 3), (60, 1)],
            &[(0, 2), (43, 1), (44, 1), (51, 3), (60, 12)],
            &[(60, 1); 7],
            &[(60, 40)],
        ];
        for chain in chains {
            let draft = Draft::new(client, frontend).flags(SYN).payload(b"and more");
            let packet = with_extensions(&draft.build(), chain);
            let run = self.checked(hook, served.kind, &packet)?;
            self.spoilt(hook, served.kind, &packet)?;
            let plain = self.ask(hook, served, client, Service::Fickle, ACK)?;
            let talk = crate::traffic::talk_of(&plain, served.kind);
            let draft = Draft::new(talk.server, talk.client).flags(SYN | ACK);
            let packet = with_extensions(&draft.build(), chain);
            self.checked(hook.back(), served.kind, &packet)?;
            self.spoilt(hook.back(), served.kind, &packet)?;
            let mut routed = with_extensions(&draft.build(), &[(43, 1)]);
            routed[14 + 40 + 3] = 1;
            self.checked(hook.back(), served.kind, &routed)?;
            drop(run);
        }
        Ok(())
    }

    /// A datagram's fragments.
    fn pieces(&mut self, from: Endpoint, to: Endpoint, flags: u8) -> Vec<Vec<u8>> {
        let payload: Vec<u8> = (0..150).map(|_| self.dice.byte()).collect();
        let packet = Draft::new(from, to).flags(flags).payload(&payload).build();
        let id = u16::from_be_bytes([self.dice.byte() & 3, self.dice.byte()]);
        fragments(&packet, id, 24 + 8 * self.dice.below(4))
    }

    /// Compares, and wants sums as right as they were.
    fn checked(&mut self, hook: Hook, kind: Kind, packet: &[u8]) -> Result<Run> {
        let run = self.compare(hook, kind, packet)?;
        if check(packet, true).is_ok() {
            let right = check(&run.packet, true);
            ensure!(right.is_ok(), "{right:?} in {:02x?}, was {packet:02x?}", run.packet);
        }
        Ok(run)
    }

    /// The same packet with some bits hit, and one cut short.
    fn spoilt(&mut self, hook: Hook, kind: Kind, packet: &[u8]) -> Result<()> {
        let mut hit = packet.to_vec();
        for _ in 0..=self.dice.below(3) {
            let at = 14 + self.dice.below(hit.len() - 14);
            hit[at] ^= 1 << self.dice.below(8);
        }
        self.compare(hook, kind, &hit)?;
        // Less than an IP header the kernel does not run.
        let least = if kind.v6 { 14 + 40 } else { 14 + 20 };
        let cut = least + self.dice.below(packet.len().saturating_sub(least).max(1));
        self.compare(hook, kind, &packet[..cut.min(packet.len())]).map(drop)
    }
}
