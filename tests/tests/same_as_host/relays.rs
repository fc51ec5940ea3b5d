//! Clients outside and backends elsewhere: the kernel sends on as the host does.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use canary_common::{
    addresses::{self, Place},
    backend::State,
    endpoint::{Address, Endpoint},
    hooks::{Outcome, Verdict},
    packets::{
        Draft, check,
        rare::{around, fragments, icmp_error},
    },
    reason::Reason,
    segment::{Segment, version},
    wire::{
        ethernet, ipv6,
        tcp::{ACK, FIN, PSH, RST, SYN},
    },
};
use canary_userspace::plan::Write;

use crate::{
    traffic::Dice,
    twin::{BY_BRIDGE, Hook, NOWHERE, Twin, Way},
    world::{Kind, Served, Service},
};

/// Packets of a run.
const PACKETS: usize = 20_000;
/// Packets after which the whole flow tables are compared.
const COMPARED: usize = 1_000;
/// How often what happens at all must happen.
const ENOUGH: u32 = 40;

const HOOKS: [Hook; 4] = [Hook::FromNet, Hook::FromNetRest, Hook::FromNetXdp, Hook::FromPod];

/// What became of a packet, and by which hook.
type Seen = BTreeMap<(Hook, Verdict, Option<Reason>), u32>;

struct Relays {
    twin: Twin,
    served: Vec<Served>,
    dice: Dice,
    seen: Seen,
    /// Ends of the node as backends have seen them, with the backend and the kind.
    talks: Vec<(Kind, Endpoint, Endpoint)>,
    /// The number of a packet whose bytes the host spoils after its work, if any.
    fault: Option<usize>,
    /// Fragments and errors that were sent on.
    unusual: u32,
    /// Packets that were put into others, and those that were taken out, by hook.
    put: BTreeMap<Hook, u32>,
    taken_out: BTreeMap<Hook, u32>,
}

impl Relays {
    fn new(fault: Option<usize>) -> Result<Self> {
        let mut twin = Twin::new()?;
        let served = Served::all(&mut twin)?;
        for kind in Kind::ALL {
            let Place { row, shift } = addresses::place(node(kind));
            twin.perform(&Write::Addresses { row, set: addresses::NODE << shift, clear: 0 })?;
            twin.set_source(node(kind).version(), Some(node(kind)))?;
        }
        let dice = Dice(0x7265_6c61);
        Ok(Self {
            twin,
            served,
            dice,
            seen: Seen::new(),
            talks: Vec::new(),
            fault,
            unusual: 0,
            put: BTreeMap::new(),
            taken_out: BTreeMap::new(),
        })
    }

    fn play(&mut self) -> Result<()> {
        for number in 0..PACKETS {
            if self.dice.below(50) == 0 {
                self.change()?;
            }
            let served = self.served[self.dice.below(4)];
            let hook = HOOKS[self.dice.below(HOOKS.len())];
            let is_answer = self.dice.below(2) == 0;
            let draft = if is_answer { self.answer(served) } else { self.question(served) };
            let hops = [0, 1, 2, 64, 64, 64, 64, 64][self.dice.below(8)];
            let payload = vec![7; self.dice.below(3) * 9];
            let draft = draft.hops(hops).payload(&payload);
            match self.dice.below(8) {
                0 => self.send_pieces(number, served, hook, &draft)?,
                1 => self.send_error(number, served, hook)?,
                2 => self.send_within(number, served, hook)?,
                _ => self.send(number, served, hook, &draft.build())?,
            }
        }
        Ok(())
    }

    /// Something that the agent, or time, changes.
    fn change(&mut self) -> Result<()> {
        let served = self.served[self.dice.below(4)];
        let nth = u32::try_from(self.dice.below(3))?;
        match self.dice.below(10) {
            0..=3 => {
                let is_elsewhere = self.dice.below(3) > 0;
                self.twin.set_elsewhere(served.backend_id(nth), is_elsewhere)
            }
            4 => {
                let state = [State::Alive, State::Draining, State::Gone][self.dice.below(3)];
                served.set_state(&mut self.twin, nth, state)
            }
            5 => {
                for nth in 0..3 {
                    served.set_state(&mut self.twin, nth, State::Alive)?;
                }
                Ok(())
            }
            6 => {
                let source = (self.dice.below(4) > 0).then(|| node(served.kind));
                self.twin.set_source(node(served.kind).version(), source)
            }
            7 | 8 => {
                let wraps = self.dice.below(2) == 0;
                self.twin.set_wraps(wraps)
            }
            _ => self.twin.pass_time(u32::try_from(self.dice.below(40))?),
        }
    }

    fn flags(&mut self, kind: Kind, is_answer: bool) -> u8 {
        if !kind.is_tcp() {
            return 0;
        }
        let first = if is_answer { SYN | ACK } else { SYN };
        [first, first, ACK, PSH | ACK, FIN | ACK, RST, RST | ACK][self.dice.below(7)]
    }

    fn client(&mut self, kind: Kind) -> Endpoint {
        let net = [9, 9, 9, 9, BY_BRIDGE, NOWHERE][self.dice.below(6)];
        let host = u16::try_from(1 + self.dice.below(6)).unwrap_or(1);
        kind.at(net, host, 40_000)
    }

    fn question(&mut self, served: Served) -> Draft {
        let service = [Service::Split, Service::Alias, Service::Inside][self.dice.below(3)];
        let client = self.client(served.kind);
        let to = match self.dice.below(12) {
            0 => served.backend(0),
            _ => served.frontend(service),
        };
        Draft::new(client, to).flags(self.flags(served.kind, false))
    }

    fn answer(&mut self, served: Served) -> Draft {
        let kind = served.kind;
        let flags = self.flags(kind, true);
        let own: Vec<_> = self.talks.iter().filter(|(of, ..)| *of == kind).copied().collect();
        if own.is_empty() || self.dice.below(8) == 0 {
            // To a port of the range that nobody was given, and to another.
            let port = [61_005, 22][self.dice.below(2)];
            let to = Endpoint { port: u16::to_be_bytes(port), ..kind.at(1, 1, 1) };
            return Draft::new(served.backend(0), to).flags(flags);
        }
        let (_, node, backend) = own[self.dice.below(own.len())];
        Draft::new(backend, node).flags(flags)
    }

    /// The fragments of a packet, of which one may be lost.
    fn send_pieces(
        &mut self,
        number: usize,
        served: Served,
        hook: Hook,
        draft: &Draft,
    ) -> Result<()> {
        let whole = draft.clone().payload(&[7; 90]).build();
        let id = u16::try_from(self.dice.below(4))?;
        let lost = self.dice.below(8);
        for (nth, piece) in fragments(&whole, id, 40).iter().enumerate() {
            if nth != lost {
                self.send(number, served, hook, piece)?;
            }
        }
        Ok(())
    }

    /// An error about a packet that was sent on, or was not.
    fn send_error(&mut self, number: usize, served: Served, hook: Hook) -> Result<()> {
        let about = if self.dice.below(2) == 0 {
            let answer = self.answer(served);
            reversed(&answer.build())?
        } else {
            reversed(&self.question(served).build())?
        };
        let header = if served.kind.v6 { [2, 0, 0, 0, 5, 20] } else { [3, 4, 0, 0, 5, 20] };
        let limit = [28, 48, 68, usize::MAX][self.dice.below(4)];
        let net = [9, BY_BRIDGE, NOWHERE][self.dice.below(3)];
        let error = icmp_error(served.kind.at(net, 77, 1).address, header, &about, limit);
        self.send(number, served, hook, &error)
    }

    /// Packets within packets to a backend, as another node sends them, or a liar.
    fn send_within(&mut self, number: usize, served: Served, hook: Hook) -> Result<()> {
        let to = served.backend(u32::try_from(self.dice.below(4))?).address;
        let from = served.kind.at(9, 200, 1).address;
        let question = self.question(served).payload(&[5; 90]).build();
        let inner = match self.dice.below(8) {
            0 => fragments(&question, u16::try_from(self.dice.below(4))?, 40),
            1 => {
                let header = if served.kind.v6 { [1, 4, 0, 0, 0, 0] } else { [3, 3, 0, 0, 0, 0] };
                let about = reversed(&question)?;
                vec![icmp_error(served.kind.at(9, 77, 1).address, header, &about, usize::MAX)]
            }
            2 => vec![around(from, to, &question)],
            _ => vec![question],
        };
        for packet in inner {
            let mut packet = around(from, to, &packet);
            if self.dice.below(8) == 0 {
                // The kernel takes no frame without an IP header.
                let lost = self.dice.below(packet.len() - ethernet::LEN - ipv6::LEN);
                packet.truncate(packet.len() - lost);
            }
            self.send(number, served, hook, &packet)?;
        }
        Ok(())
    }

    fn send(&mut self, number: usize, served: Served, hook: Hook, packet: &[u8]) -> Result<()> {
        let addresses = self.addresses(served.kind);
        self.twin.tell_ways(hook, &addresses);
        let (mut host, outcome) = self.twin.on_host(hook, Way::USUAL, packet);
        if self.fault == Some(number) {
            host.packet[20] ^= 1;
        }
        let kernel = self.twin.in_kernel(hook, Way::USUAL, packet)?;
        ensure!(
            kernel == host,
            "{number}: {} and the host differ over {packet:02x?}: {kernel:?} {host:?} {outcome:?}",
            hook.name()
        );
        if number.is_multiple_of(COMPARED) {
            self.twin.compare_flows().with_context(|| format!("after packet {number}"))?;
        }
        self.note(served.kind, hook, outcome, &host.packet, packet)
    }

    /// Every address that packets of a kind can be sent on to.
    fn addresses(&self, kind: Kind) -> Vec<Address> {
        let clients = [9, BY_BRIDGE, NOWHERE]
            .into_iter()
            .flat_map(|net| (1..=6).map(move |host| kind.at(net, host, 1).address));
        let served = self.served.iter().find(|served| served.kind == kind);
        let backends = served.into_iter().flat_map(|own| (0..4).map(|nth| own.backend(nth)));
        clients.chain(backends.map(|backend| backend.address)).collect()
    }

    fn note(
        &mut self,
        kind: Kind,
        hook: Hook,
        outcome: Outcome,
        after: &[u8],
        before: &[u8],
    ) -> Result<()> {
        *self.seen.entry((hook, outcome.verdict, outcome.reason)).or_default() += 1;
        if after.len() < before.len() && outcome == Outcome::ON {
            *self.taken_out.entry(hook).or_default() += 1;
        }
        if outcome.verdict != Verdict::Away {
            return Ok(());
        }
        if after.len() > before.len() {
            *self.put.entry(hook).or_default() += 1;
        }
        check(after, true).map_err(|error| anyhow::anyhow!("sent on with a wrong sum: {error}"))?;
        let [was, is] = [before, after].map(|packet| -> Result<Segment> {
            let version = version(packet, ethernet::LEN).map_err(of_reason)?;
            Segment::of(packet, ethernet::LEN, version).map_err(of_reason)
        });
        // What is no segment is a fragment or an error: its sums say enough.
        let (Ok(was), Ok(is)) = (was, is) else {
            self.unusual += 1;
            return Ok(());
        };
        if was.destination.address != node(kind) && self.talks.len() < 4_000 {
            ensure!(is.source.address == node(kind), "{is:?} is not from this node");
            self.talks.push((kind, is.source, is.destination));
        }
        Ok(())
    }
}

/// A packet with its ends exchanged.
fn reversed(packet: &[u8]) -> Result<Vec<u8>> {
    let version = version(packet, ethernet::LEN).map_err(of_reason)?;
    let segment = Segment::of(packet, ethernet::LEN, version).map_err(of_reason)?;
    let back = Draft::new(segment.destination, segment.source).flags(segment.flags);
    Ok(back.payload(&[3; 40]).build())
}

fn of_reason(reason: Reason) -> anyhow::Error {
    anyhow::anyhow!("it cannot be read: {}", reason.word())
}

/// The own address of a family.
fn node(kind: Kind) -> Address {
    kind.at(1, 1, 1).address
}

#[test]
fn the_kernel_sends_on_as_the_host() -> Result<()> {
    let mut relays = Relays::new(None)?;

    relays.play()?;

    relays.twin.compare_tables()?;
    for ((hook, verdict, reason), count) in &relays.seen {
        let word = reason.map_or("", Reason::word);
        println!("{:<14} {:<6} {word:<16} {count:>6}", hook.name(), format!("{verdict:?}"));
    }
    let of = |hook, verdict, reason| {
        relays.seen.get(&(hook, verdict, reason)).copied().unwrap_or_default()
    };
    for hook in [Hook::FromNet, Hook::FromNetRest] {
        for (verdict, reason) in [
            (Verdict::Away, None),
            (Verdict::Pass, Some(Reason::NotOurs)),
            (Verdict::Pass, Some(Reason::NotServedHere)),
            (Verdict::Pass, Some(Reason::Expired)),
            (Verdict::Pass, Some(Reason::Encapsulated)),
            (Verdict::Drop, Some(Reason::Expired)),
            (Verdict::Drop, Some(Reason::NoRoute)),
            (Verdict::Back, Some(Reason::FlowLost)),
        ] {
            let count = of(hook, verdict, reason);
            ensure!(count >= ENOUGH, "{hook:?} {verdict:?} {reason:?}: {count}");
        }
    }
    println!("put into others {:?}, taken out {:?}", relays.put, relays.taken_out);
    for all in [&relays.put, &relays.taken_out] {
        let hooks: Vec<_> = all.keys().collect();
        ensure!(hooks == [&Hook::FromNet, &Hook::FromNetRest], "{all:?}");
        ensure!(all.values().all(|count| *count >= ENOUGH), "{all:?}");
    }
    ensure!(relays.unusual >= ENOUGH, "{} fragments and errors", relays.unusual);
    ensure!(of(Hook::FromPod, Verdict::Away, None) == 0, "a pod is believed to be outside");
    Ok(())
}

#[test]
fn one_wrong_byte_of_a_packet_that_is_sent_on_is_found() -> Result<()> {
    let error = Relays::new(Some(100))?.play().expect_err("one byte was planted");

    ensure!(format!("{error:#}").starts_with("100: "), "{error:#}");
    Ok(())
}
