//! State that ages, and state that must not be made: ports that spoke before there was a service,
//! and the last bytes of connections that both ends have closed.

use std::{
    env, fs,
    io::{Read, Write},
    net::Shutdown,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use canary_common::{
    endpoint::{TCP, UDP},
    packets::{Draft, endpoint},
    wire::tcp::SYN,
};
use canary_tests::{
    lab::{
        AgentOptions, Lab, wait_for,
        wire::{Wire, hardware},
    },
    scenario::{HOLD, Offer, TIMEOUT, VIRTUAL_V4, VIRTUAL_V6},
    workload::{Crowd, Ports, Protocol, ServerOptions, client::greet},
};

const OFFERS: [Offer; 4] = [
    Offer { service: "udp4", protocol: Protocol::Udp, ..HOLD },
    Offer { service: "udp6", protocol: Protocol::Udp, v6: true, ..HOLD },
    Offer { service: "tcp4", ..HOLD },
    Offer { service: "tcp6", v6: true, ..HOLD },
];

/// Ports of the client that speak too early.
const COUNT: u16 = 2_000;

/// The first of them.
const FIRST: u16 = 40_000;

#[test]
fn a_port_that_spoke_before_there_was_a_service_is_not_deaf() -> Result<()> {
    Lab::run("early", |lab| {
        // A rule that asks conntrack makes it track; packets to no service get lost outside.
        lab.node().nft(
            "table inet tracks { chain forward { type filter hook forward priority filter;
               ct state established accept
             }
             }",
        )?;
        let outside = lab.outside("outside")?;
        outside.namespace.ip(&[
            format!("route add blackhole {VIRTUAL_V4}/32"),
            format!("route add blackhole {VIRTUAL_V6}/128"),
        ])?;
        let (client, server) = (lab.pod("client")?, lab.pod("server")?);
        let options = ServerOptions {
            name: server.name.clone(),
            hold: vec![HOLD.pod_port],
            ..ServerOptions::default()
        };
        let _serving = lab.serve(&server.namespace, &options)?;
        let _agent = lab.agent(AgentOptions::default())?;

        let wire = Wire::open(&client.namespace, "eth0")?;
        let from = hardware(&client.namespace, "eth0")?;
        let to = hardware(lab.node(), &client.interface)?;
        for offer in OFFERS {
            let own = client.address_like(offer.frontend().ip())?;
            for port in (FIRST..).take(COUNT.into()) {
                let protocol = if offer.protocol == Protocol::Tcp { TCP } else { UDP };
                let ends = [(own, port).into(), offer.frontend()];
                let [own, virtual_end] = ends.map(|end| endpoint(end, protocol));
                let frame = Draft::new(own, virtual_end).flags(SYN).payload(b"early\n").build();
                wire.send(&[&to, &from, frame.get(12..).unwrap_or_default()].concat())?;
            }
        }
        let count = "/proc/sys/net/netfilter/nf_conntrack_count";
        wait_for("conntrack to know all of them", TIMEOUT, || {
            let known: usize = lab.node().enter(|| fs::read_to_string(count))??.trim().parse()?;
            Ok(known >= OFFERS.len() * usize::from(COUNT))
        })?;

        let mut deaf = Vec::new();
        for offer in OFFERS {
            lab.write_entry("defaults.hcl", &offer.defaults())?;
            for (_, definition) in offer.files(&[&server])?.into_iter().skip(1) {
                lab.register("instance.hcl", &definition)?;
            }
            lab.wait_healthy(offer.service, 1)?;
            let own = client.address_like(offer.frontend().ip())?;
            let ports = Ports::Given(own, (FIRST..).take(COUNT.into()).collect());
            let crowd = Crowd::open(&client.namespace, offer.protocol, offer.frontend(), &ports)?;
            let answers = crowd.answers();
            println!("early {}: {answers:?}", offer.service);
            if answers.of(&server.name) != u64::from(COUNT) {
                deaf.push((offer.service, answers));
            }
        }

        assert_eq!(deaf, []);
        Ok(())
    })
}

/// Takes half a minute, so it runs only if `CANARY_LONG` is set: nothing shorter than the time
/// that a closed flow is kept shows anything.
#[test]
fn the_last_bytes_of_a_closed_connection_survive_an_outage_of_16_seconds() -> Result<()> {
    const OUTAGE: Duration = Duration::from_secs(16);
    const TAIL: &[u8] = b"the last bytes";
    if env::var_os("CANARY_LONG").is_none() {
        println!("skipped: CANARY_LONG is not set");
        return Ok(());
    }
    Lab::run("tail", |lab| {
        let (client, server) = (lab.pod("client")?, lab.pod("server")?);
        let options = ServerOptions {
            name: server.name.clone(),
            hold: vec![HOLD.pod_port],
            ..ServerOptions::default()
        };
        let _serving = lab.serve(&server.namespace, &options)?;
        let mut options = AgentOptions::default();
        options.files.extend(HOLD.files(&[&server])?);
        let _agent = lab.agent(options)?;
        lab.wait_healthy(HOLD.service, 1)?;
        // One straight to the pod shows what the two ends can bear.
        let targets = [HOLD.frontend(), (server.v4, HOLD.pod_port).into()];
        let mut streams = Vec::new();
        for target in targets {
            let (stream, name) = client.namespace.enter(|| greet(target, TIMEOUT))??;
            ensure!(name == server.name, "{name} answered");
            streams.push(stream);
        }

        client.namespace.nft(
            "table inet outage { chain in { type filter hook input priority filter;
               meta l4proto tcp drop
             }
             }",
        )?;
        let start = Instant::now();
        for stream in &mut streams {
            stream.write_all(TAIL)?;
            stream.shutdown(Shutdown::Write)?;
        }
        wait_for("the outage to end", OUTAGE * 2, || Ok(start.elapsed() > OUTAGE))?;
        client.namespace.nft("delete table inet outage")?;

        let mut tails = Vec::new();
        for mut stream in streams.into_iter().rev() {
            let mut tail = Vec::new();
            stream.set_read_timeout(Some(OUTAGE * 2))?;
            let read = stream.read_to_end(&mut tail);
            println!("tail of {:?} after {:?}: {read:?}", stream.peer_addr(), start.elapsed());
            tails.push(tail);
        }
        assert_eq!(tails, [TAIL; 2], "straight, and by the virtual address");
        Ok(())
    })
}
