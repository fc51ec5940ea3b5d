//! Frames made by hand: with the address of another pod, for another machine, or of a VLAN. They
//! harm no connection of another pod, move no counter, and are not answered.
#![expect(clippy::print_stdout, reason = "what was lost is told for those that live, too")]

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use canary_common::{
    endpoint::{TCP, UDP},
    packets::{Draft, endpoint},
    wire::tcp::{ACK, FIN, PSH, RST, SYN},
};
use canary_tests::{
    lab::{
        Agent, AgentOptions, Lab, Pod, wait_for,
        wire::{Wire, hardware},
    },
    scenario::{HOLD, Offer, TCP4, TCP6, TIMEOUT, UDP4, VIRTUAL_V4, VIRTUAL_V6},
    workload::{Answers, Crowd, Ports, Protocol, Server, ServerOptions, connect_many},
};
use serde_json::{Value, json};

const STREAMS: Offer = Offer { service: "streams", ..HOLD };
const DATAGRAMS: Offer = Offer { service: "datagrams", protocol: Protocol::Udp, ..HOLD };

/// Services without a backend that is well.
const EMPTY: [Offer; 2] =
    [Offer { service: "empty4", port: 83, ..TCP4 }, Offer { service: "empty6", port: 83, ..TCP6 }];

/// A frame with the victim's address, by what it is called and whether the backend's is the
/// source.
const FORGERIES: [(&str, bool, u8); 7] = [
    ("SYN", false, SYN),
    ("RST", false, RST),
    ("FIN", false, FIN | ACK),
    ("data", false, PSH | ACK),
    ("RST of the backend", true, RST),
    ("FIN of the backend", true, FIN | ACK),
    ("data of the backend", true, PSH | ACK),
];

/// Connections that each forgery is tried on.
const EACH: u16 = 10;

/// First source port of the connections.
const FIRST: u16 = 40_000;

/// Silence of a connection after a forged end, in which a flow taken for ended is forgotten.
const SILENCE: Duration = Duration::from_secs(12);

#[test]
fn a_routed_pod_with_the_address_of_another_harms_none() -> Result<()> {
    Lab::run("spoof", |lab| Victim::routed(lab)?.survives())
}

#[test]
fn a_routed_pod_behind_rp_filter_harms_none_of_another() -> Result<()> {
    Lab::run("spoof-strict", |lab| {
        lab.rp_filter(true)?;
        Victim::routed(lab)?.survives()
    })
}

#[test]
fn a_routed_pod_with_the_address_of_another_moves_no_counter() -> Result<()> {
    Lab::run("count", |lab| Victim::routed(lab)?.is_counted_alone())
}

#[test]
fn a_routed_pod_behind_rp_filter_moves_no_counter_of_another() -> Result<()> {
    Lab::run("count-strict", |lab| {
        lab.rp_filter(true)?;
        Victim::routed(lab)?.is_counted_alone()
    })
}

#[test]
fn frames_for_another_machine_or_of_a_vlan_are_neither_answered_nor_translated() -> Result<()> {
    Lab::run("other-host", |lab| {
        let victim = Victim::routed(lab)?;
        let client = &victim.client;
        lab.node().ip(&[format!("link set {} promisc on", client.interface)])?;
        let own = hardware(&client.namespace, "eth0")?;
        let gate = hardware(lab.node(), &client.interface)?;
        let wire = Wire::open(&client.namespace, "eth0")?;
        // Refused at once, were it asked: of its one backend there is none that is well.
        for offer in EMPTY {
            let files = offer.files(&[&victim.server])?;
            let (_, definition) = files.last().context("no definition")?;
            lab.register("empty.hcl", definition)?;
            let id = format!("{}-{}", offer.service, victim.server.name);
            lab.ctl(&["service", "maintenance", &id, "--enable"])?;
            lab.wait_healthy(offer.service, 0)?;
        }

        let mut wrong = Vec::new();
        for (number, offer) in (0_u16..).zip([TCP4, TCP6].into_iter().chain(EMPTY)) {
            let from = client.address_like(offer.frontend().ip())?;
            let marker = 41_000 + number;
            let frame = |port: u16, flags: u8| {
                let ends = [(from, port).into(), offer.frontend()];
                let [from, to] = ends.map(|end| endpoint(end, TCP));
                Draft::new(from, to).flags(flags).build()
            };
            for (port, flags) in (FIRST..).zip([SYN, ACK, PSH | ACK, FIN | ACK]) {
                wire.send(&addressed(&frame(port, flags), own, [0x02, 0, 0, 0, 0, 0x77]))?;
                let tagged = addressed(&frame(port + 100, flags), own, gate);
                wire.send(&[&tagged[..12], &[0x81, 0, 0, 7], &tagged[12..]].concat())?;
            }
            wire.send(&addressed(&frame(marker, SYN), own, gate))?;

            // Frames are judged in their order, so all is seen once the last one's answer is.
            let back = wire.receive(TIMEOUT, |frame| port_to(frame) == Some(marker))?;
            let answered: Vec<u16> = back.iter().filter_map(|frame| port_to(frame)).collect();
            if answered != [marker] {
                wrong.push(format!("{}: answers to {answered:?}", offer.service));
            }
            let splits = lab.service(offer.service)?.splits;
            let counted = splits.iter().map(|split| split.connections);
            let seen: u64 = counted.map(|counted| counted.opened + counted.refused).sum();
            if seen > 1 {
                wrong.push(format!("{}: {seen} opened or refused", offer.service));
            }
        }

        println!("other-host: {wrong:?}");
        assert_eq!(wrong, <[String; 0]>::default());
        Ok(())
    })
}

/// A client and a server, and a third pod that pretends.
struct Victim<'lab> {
    lab: &'lab Lab,
    client: Pod,
    server: Pod,
    forger: Pod,
    /// Hardware address that the third pod sends to: its gateway's.
    gate: [u8; 6],
    _running: (Server, Agent<'lab>),
}

impl<'lab> Victim<'lab> {
    fn routed(lab: &'lab Lab) -> Result<Self> {
        let [client, server, forger] = [lab.pod("client")?, lab.pod("server")?, lab.pod("forger")?];
        let gate = hardware(lab.node(), &forger.interface)?;
        Self::start(lab, [client, server, forger], gate)
    }

    fn start(lab: &'lab Lab, pods: [Pod; 3], gate: [u8; 6]) -> Result<Self> {
        let [client, server, forger] = pods;
        let options = ServerOptions {
            name: server.name.clone(),
            echo: vec![TCP4.pod_port],
            hold: vec![HOLD.pod_port],
            ..ServerOptions::default()
        };
        let serving = lab.serve(&server.namespace, &options)?;
        let mut options = AgentOptions::default();
        let both: &[Offer] = if server.v6.is_some() { &[TCP6] } else { &[] };
        for offer in [STREAMS, DATAGRAMS, TCP4, UDP4].iter().chain(both) {
            options.files.extend(offer.files(&[&server])?);
        }
        let agent = lab.agent(options)?;
        for service in [STREAMS.service, DATAGRAMS.service, UDP4.service] {
            lab.wait_healthy(service, 1)?;
        }
        Ok(Self { lab, client, server, forger, gate, _running: (serving, agent) })
    }

    /// Forges frames of live connections; after a silence, all must go on.
    fn survives(&self) -> Result<()> {
        let mut streams = Vec::new();
        for (number, (name, ..)) in (0_u16..).zip(FORGERIES) {
            streams.push((name, self.open(STREAMS, FIRST + number * EACH)?));
        }
        let mut datagrams = self.open(DATAGRAMS, FIRST)?;

        self.forge()?;
        let start = Instant::now();
        wait_for("the silence to end", SILENCE * 2, || Ok(start.elapsed() > SILENCE))?;

        let mut died: BTreeMap<&str, Answers> = BTreeMap::new();
        for (name, crowd) in &mut streams {
            died.insert(name, crowd.ask());
        }
        died.insert("datagrams", datagrams.ask());
        println!("{}: {died:?}", self.lab.name());
        died.retain(|_, answers| answers.of(&self.server.name) != u64::from(EACH));
        assert_eq!(died, BTreeMap::new());
        Ok(())
    }

    /// Forges frames of live connections and of none; no counter moves.
    fn is_counted_alone(&self) -> Result<()> {
        let mut crowds = Vec::new();
        for number in (0_u16..).take(FORGERIES.len()) {
            crowds.push(self.open(STREAMS, FIRST + number * EACH)?);
        }
        crowds.push(self.open(DATAGRAMS, FIRST)?);
        let before = self.counters()?;

        self.forge()?;
        self.forge_new()?;

        let after = self.counters()?;
        println!("{}: {before} {after}", self.lab.name());
        assert_eq!(before, after);
        Ok(())
    }

    fn open(&self, offer: Offer, first: u16) -> Result<Crowd> {
        let ports = Ports::Given(IpAddr::V4(self.client.v4), (first..first + EACH).collect());
        let from = &self.client.namespace;
        let crowd = Crowd::open(from, offer.protocol, offer.frontend(), &ports)?;
        let answers = crowd.answers();
        ensure!(answers.of(&self.server.name) == u64::from(EACH), "{offer:?}: {answers:?}");
        Ok(crowd)
    }

    /// Sends each kind of frame to its connections, and datagrams, from the third pod.
    fn forge(&self) -> Result<()> {
        let wire = Wire::open(&self.forger.namespace, "eth0")?;
        for (number, (_, is_backend, flags)) in (0_u16..).zip(FORGERIES) {
            for port in (FIRST + number * EACH..).take(EACH.into()) {
                let [from, to] = self.ends(STREAMS, port, is_backend);
                let draft = Draft::new(endpoint(from, TCP), endpoint(to, TCP));
                // Far from any window, on most of 10 connections.
                let draft = draft.flags(flags).sequence(0x1234_5678).acknowledgement(0x8765_4321);
                self.send(&wire, &draft)?;
            }
        }
        for port in (FIRST..).take(EACH.into()) {
            for is_backend in [false, true] {
                let [from, to] = self.ends(DATAGRAMS, port, is_backend);
                let draft = Draft::new(endpoint(from, UDP), endpoint(to, UDP));
                self.send(&wire, &draft.payload(b"forged\n"))?;
            }
        }
        self.mark()
    }

    /// Begins connections and flows in the client's name.
    fn forge_new(&self) -> Result<()> {
        let wire = Wire::open(&self.forger.namespace, "eth0")?;
        for port in (FIRST + 1_000..).take(EACH.into()) {
            let [from, to] = self.ends(STREAMS, port, false);
            self.send(&wire, &Draft::new(endpoint(from, TCP), endpoint(to, TCP)).flags(SYN))?;
            let [from, to] = self.ends(DATAGRAMS, port, false);
            let draft = Draft::new(endpoint(from, UDP), endpoint(to, UDP));
            self.send(&wire, &draft.payload(b"forged\n"))?;
        }
        self.mark()
    }

    /// Waits until the frames sent so far are judged: an honest datagram behind them is answered.
    fn mark(&self) -> Result<()> {
        let (from, target) = (&self.forger.namespace, UDP4.frontend());
        let answers = connect_many(from, Protocol::Udp, target, 4, TIMEOUT)?;
        ensure!(answers.failed() == 0, "{answers:?}");
        Ok(())
    }

    fn ends(&self, offer: Offer, port: u16, is_backend: bool) -> [SocketAddr; 2] {
        let client = (self.client.v4, port).into();
        if is_backend {
            [(self.server.v4, offer.pod_port).into(), client]
        } else {
            [client, offer.frontend()]
        }
    }

    fn send(&self, wire: &Wire, draft: &Draft) -> Result<()> {
        let own = hardware(&self.forger.namespace, "eth0")?;
        wire.send(&addressed(&draft.build(), own, self.gate))
    }

    /// Counters of the services that frames are forged of.
    fn counters(&self) -> Result<Value> {
        let splits = [STREAMS, DATAGRAMS].map(|offer| self.lab.service(offer.service));
        let [streams, datagrams] = splits;
        let [streams, datagrams] = [streams?.splits, datagrams?.splits].map(|splits| {
            let counted = splits.into_iter().map(|split| json!([split.connections, split.bytes]));
            Value::Array(counted.collect())
        });
        Ok(json!({ "streams": streams, "datagrams": datagrams }))
    }
}

/// A frame with other hardware addresses.
fn addressed(frame: &[u8], from: [u8; 6], to: [u8; 6]) -> Vec<u8> {
    [to.as_slice(), &from, frame.get(12..).unwrap_or_default()].concat()
}

/// Destination port of a frame of TCP from a virtual address.
fn port_to(frame: &[u8]) -> Option<u16> {
    let (at, source) = match frame.get(12..14)? {
        [0x08, 0x00] if frame.get(23) == Some(&TCP) => (34, frame.get(26..30)?),
        [0x86, 0xdd] if frame.get(20) == Some(&TCP) => (54, frame.get(22..38)?),
        _ => return None,
    };
    let is_virtual = source == VIRTUAL_V4.octets() || source == VIRTUAL_V6.octets();
    let port = frame.get(at + 2..)?.first_chunk::<2>()?;
    is_virtual.then_some(u16::from_be_bytes(*port))
}
