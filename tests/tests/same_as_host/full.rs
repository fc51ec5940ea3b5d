//! Connections that were answered and are idle live through whatever fills the table.
//!
//! The programs alone, in a small table that no agent sweeps: what is pushed out is theirs to
//! decide. The clock is the test's own, so that an hour passes at once.

use std::env;

use anyhow::{Context, Result, ensure};
use canary_common::{
    endpoint::{Endpoint, TCP},
    flows::{
        Client, EVICTIONS, Hash, Key, Kind as What, Limit, NO_PARTNER, Request, Stored, Values,
    },
    packets::Draft,
    reason::Reason,
    wire::tcp::{ACK, FIN, PSH, RST, SYN},
};

use crate::{
    traffic::{Dice, destination, source},
    twin::{Hook, Twin, Way},
    world::{Kind, Served, Service},
};

/// Buckets of the table: 3,584 places.
const BUCKETS: u32 = 512;

/// Idle connections by each of two frontends, and straight, in each family.
const EACH: u16 = 10;

/// The names that they were dialled by; all of them have the same backends.
const NAMES: [Option<Service>; 3] = [Some(Service::Split), Some(Service::Alias), None];

/// Seconds for which they are idle before anything happens: less than two hours and eleven minutes.
const IDLE: u32 = 3_600;

/// Packets or connections of a flood; ten times as many as the table has places.
const SHORT: u32 = 40_000;
/// The same if `CANARY_LONG` is set.
const LONG: u32 = 1_000_000;

/// `TCX_NEXT`.
const PASSED: u32 = u32::MAX;

/// A connection that lasts.
#[derive(Clone, Copy, Debug)]
struct Lasting {
    kind: Kind,
    /// Where its client dialled.
    dialled: Endpoint,
    client: Endpoint,
    /// The client as its server sees it, and the server.
    seen: Endpoint,
    server: Endpoint,
}

struct Siege {
    twin: Twin,
    served: Vec<Served>,
    lasting: Vec<Lasting>,
    dice: Dice,
}

impl Siege {
    fn new() -> Result<Self> {
        let mut twin = Twin::new()?;
        let served = Served::all(&mut twin)?;
        twin.set_buckets(BUCKETS)?;
        let mut siege = Self { twin, served, lasting: Vec::new(), dice: Dice(0x666c_6f6f_6473) };
        for served in siege.of_tcp() {
            for (name, number) in NAMES.into_iter().zip(0..) {
                for host in 0..EACH {
                    let client = served.kind.at(200, 60_000 + 100 * number + host, 40_000);
                    let dialled = name.map_or_else(|| served.backend(0), |it| served.frontend(it));
                    let lasting = siege.open(Hook::FromPod, served.kind, client, dialled)?;
                    siege.lasting.push(lasting);
                }
            }
        }
        siege.twin.pass_time(IDLE)?;
        Ok(siege)
    }

    fn of_tcp(&self) -> Vec<Served> {
        self.served.iter().copied().filter(|served| served.kind.is_tcp()).collect()
    }

    /// A packet through a hook; where it comes from and goes to then.
    fn send(&self, hook: Hook, ends: [Endpoint; 2], flags: u8) -> Result<(u32, [Endpoint; 2])> {
        let [from, to] = ends;
        let kind = Kind { v6: from.address.as_v4().is_none(), protocol: from.protocol };
        let packet = Draft::new(from, to).flags(flags).payload(b"x").build();
        let run = self.twin.in_kernel(hook, Way::USUAL, &packet)?;
        Ok((run.verdict, [source(&run.packet, kind), destination(&run.packet, kind)]))
    }

    /// A packet that must pass; where it comes from and goes to then.
    fn pass(&self, hook: Hook, ends: [Endpoint; 2], flags: u8) -> Result<[Endpoint; 2]> {
        let (verdict, sent) = self.send(hook, ends, flags)?;
        ensure!(verdict == PASSED, "{verdict} for {flags:#x} from {:?} to {:?}", ends[0], ends[1]);
        Ok(sent)
    }

    /// Opens a connection whose backend answers.
    fn open(&self, hook: Hook, kind: Kind, client: Endpoint, dialled: Endpoint) -> Result<Lasting> {
        let [seen, server] = self.pass(hook, [client, dialled], SYN)?;
        self.pass(hook.back(), [server, seen], SYN | ACK)?;
        self.pass(hook, [client, dialled], ACK)?;
        Ok(Lasting { kind, dialled, client, seen, server })
    }

    /// Whether all that last are there: a push of the server arrives, and one of the client.
    fn check(&self) -> Result<()> {
        for lasting in &self.lasting {
            let Lasting { kind, dialled, client, seen, server } = *lasting;
            let told = || format!("{kind:?}, {dialled:?} from {client:?}");
            let back = self.pass(Hook::ToPod, [server, seen], PSH | ACK).with_context(told)?;
            ensure!(back == [dialled, client], "{}: the server's push came as {back:?}", told());
            let forth =
                self.pass(Hook::FromPod, [client, dialled], PSH | ACK).with_context(told)?;
            ensure!(forth == [seen, server], "{}: the client's push went as {forth:?}", told());
            // A trace is seen by the connection that may not have its tuple.
            if dialled == server {
                let by = self.twin.memory.settings.flows();
                let key = Key::new(server, client);
                ensure!(self.twin.has(&key, Client::IsDestination, by), "{}: no trace", told());
            }
        }
        Ok(())
    }

    /// Sends a flood, and looks whether it filled the table and whether all that last still do.
    fn suffer(&mut self, name: &str, flood: impl Fn(&mut Self) -> Result<u32>) -> Result<()> {
        let before = self.twin.evictions()?;
        let packets = flood(self).with_context(|| name.to_owned())?;
        let after = self.twin.evictions()?;
        let (in_use, places) = (self.twin.in_use(), BUCKETS as usize * 7);
        let evicted: [u64; EVICTIONS] = std::array::from_fn(|slot| after[slot] - before[slot]);
        println!("{name}: {packets} of them, {in_use} of {places} places, by rank {evicted:?}");
        let is_full = in_use * 10 > places * 9;
        ensure!(is_full, "{name} did not fill the table: {in_use} of {places}");
        self.check().with_context(|| format!("after {name}"))
    }

    /// A client that is new, some of them in no order.
    fn stranger(&mut self, kind: Kind) -> Endpoint {
        let host = u16::try_from(self.dice.below(60_000)).expect("below 60,000");
        let port = u16::try_from(1 + self.dice.below(65_535)).expect("a port");
        kind.at(200, host, port)
    }
}

/// How many of each flood.
fn count() -> u32 {
    if env::var_os("CANARY_LONG").is_some() { LONG } else { SHORT }
}

/// Connections that open, ask once, and close.
fn short_connections(siege: &mut Siege) -> Result<u32> {
    let served = siege.of_tcp();
    let count = count() / 5;
    for number in 0..count {
        let served = served[number as usize % served.len()];
        let (client, dialled) = (siege.stranger(served.kind), served.frontend(Service::Split));
        let Lasting { seen, server, .. } =
            siege.open(Hook::FromPod, served.kind, client, dialled)?;
        siege.pass(Hook::FromPod, [client, dialled], FIN | ACK)?;
        siege.pass(Hook::ToPod, [server, seen], FIN | ACK)?;
        siege.pass(Hook::FromPod, [client, dialled], ACK)?;
        if number % 1_000 == 999 {
            siege.twin.pass_time(1)?;
        }
    }
    Ok(count)
}

/// SYNs of as many tuples, from outside and from pods.
fn syns(siege: &mut Siege) -> Result<u32> {
    let served = siege.of_tcp();
    for number in 0..count() {
        let served = served[number as usize % served.len()];
        let hook = if number % 4 == 0 { Hook::FromPod } else { Hook::FromNet };
        let ends = [siege.stranger(served.kind), served.frontend(Service::Split)];
        siege.pass(hook, ends, SYN)?;
        if number % 10_000 == 9_999 {
            siege.twin.pass_time(1)?;
        }
    }
    Ok(count())
}

/// Questions with answers, 10,000 in a second.
fn questions(siege: &mut Siege) -> Result<u32> {
    let udp: Vec<Served> =
        siege.served.iter().copied().filter(|served| !served.kind.is_tcp()).collect();
    for number in 0..count() {
        let served = udp[number as usize % udp.len()];
        let (client, dialled) = (siege.stranger(served.kind), served.frontend(Service::Split));
        let [seen, server] = siege.pass(Hook::FromPod, [client, dialled], 0)?;
        let answer = siege.pass(Hook::ToPod, [server, seen], 0)?;
        ensure!(answer == [dialled, client], "the answer came as {answer:?}");
        if number % 10_000 == 9_999 {
            siege.twin.pass_time(1)?;
        }
    }
    Ok(count())
}

/// SYNs, resets and datagrams to the backends themselves, from outside, of as many tuples.
fn straight(siege: &mut Siege) -> Result<u32> {
    let all = siege.served.clone();
    for number in 0..count() {
        let served = all[number as usize % all.len()];
        let flags = if number % 16 == 0 { RST } else { SYN };
        let ends = [siege.stranger(served.kind), served.backend(number % 3)];
        siege.pass(Hook::FromNet, ends, flags)?;
    }
    Ok(count())
}

/// Beginnings of datagrams in pieces, as they are stored.
fn fragments(siege: &mut Siege) -> Result<u32> {
    let now = siege.twin.memory.now.get();
    let mut stored = 0;
    for number in 0..count() {
        let served = siege.served[number as usize % siege.served.len()];
        let key = Key::new(siege.stranger(served.kind), served.frontend(Service::Split));
        let request = Request {
            key,
            values: Values { partner: NO_PARTNER, ..Values::default() },
            kind: What::Fragment,
            state: 0,
            limit: Limit::Traces,
            spare: NO_PARTNER,
            now,
        };
        stored += u32::from(matches!(siege.twin.insert_in_kernel(&request), Stored::At(_)));
    }
    ensure!(stored > BUCKETS * 7, "only {stored} found a place");
    Ok(count())
}

/// Connections whose tuples share the bucket of one that lasts, and are answered: as many as the
/// bucket and the second choices take, and more.
fn aimed(siege: &mut Siege) -> Result<u32> {
    let by = siege.twin.memory.settings.flows();
    let target = siege.lasting[0];
    let key = Key::new(target.client, target.dialled);
    let bucket = Hash::of(&key, Client::IsSource, by).first;
    let served = siege.of_tcp()[0];
    assert_eq!(served.kind, Kind { v6: false, protocol: TCP });
    let (dialled, mut hits, mut refused) = (served.frontend(Service::Split), 0, 0);
    while hits < 1_000 {
        let client = siege.stranger(served.kind);
        if Hash::of(&Key::new(client, dialled), Client::IsSource, by).first != bucket {
            continue;
        }
        hits += 1;
        let (verdict, [seen, server]) = siege.send(Hook::FromPod, [client, dialled], SYN)?;
        if verdict == PASSED {
            siege.pass(Hook::ToPod, [server, seen], SYN | ACK)?;
        } else {
            refused += 1;
        }
    }
    let full = siege.twin.reason(Reason::FlowTableFull)?;
    println!("aimed at bucket {bucket}: {refused} of {hits} refused");
    ensure!(refused > 0 && full >= refused, "{hits} connections found room in one bucket");
    Ok(hits)
}

#[test]
fn answered_idle_connections_live_through_whatever_fills_the_table() -> Result<()> {
    let mut siege = Siege::new()?;
    siege.check()?;
    siege.twin.pass_time(IDLE)?;

    siege.suffer("short connections", short_connections)?;
    siege.suffer("SYNs", syns)?;
    siege.suffer("questions", questions)?;
    siege.suffer("straight", straight)?;
    siege.suffer("fragments", fragments)?;
    siege.suffer("aimed", aimed)?;

    assert_eq!(siege.lasting.len(), 60);
    Ok(())
}
