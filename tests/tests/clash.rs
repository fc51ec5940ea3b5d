//! Connections of one client that meet in a port: by a virtual address and straight to the pod
//! behind it, or by two virtual addresses of one pod. All are legal, so none may harm another.
//!
//! Each script runs beside nftables' DNAT first, as the measure, and then beside the agent.

#![expect(clippy::print_stdout, reason = "what was lost is told for those that live, too")]

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use canary_tests::{
    lab::{Agent, AgentOptions, Lab, Pod},
    scenario::{HOLD, Offer},
    workload::{Crowd, Ports, Protocol, Server, ServerOptions},
};

/// Connections that are live when others begin.
const LIVE: u16 = 2_000;

/// The ports of the first of them.
const FIRST: u16 = 40_000;

/// Connections that then begin by the virtual address, from all the ports that there are.
const MORE: u16 = 3_000;

/// Time for which connections are asked: a flow that is taken for ended goes within it.
const SETTLED: Duration = Duration::from_secs(2);

/// Services of one pod: one a protocol and family, and a second name of each.
const TCP: [Offer; 4] = [
    Offer { service: "one4", ..HOLD },
    Offer { service: "one6", v6: true, ..HOLD },
    Offer { service: "two4", port: 82, ..HOLD },
    Offer { service: "two6", port: 82, v6: true, ..HOLD },
];

const UDP: [Offer; 4] = [
    Offer { service: "one4", protocol: Protocol::Udp, ..HOLD },
    Offer { service: "one6", protocol: Protocol::Udp, v6: true, ..HOLD },
    Offer { service: "two4", protocol: Protocol::Udp, port: 82, ..HOLD },
    Offer { service: "two6", protocol: Protocol::Udp, port: 82, v6: true, ..HOLD },
];

#[test]
fn tcp_straight_from_the_ports_of_2000_live_connections_harms_none() -> Result<()> {
    beside_dnat("straight", TCP, straight_after)
}

#[test]
fn udp_straight_from_the_ports_of_2000_live_flows_harms_none() -> Result<()> {
    beside_dnat("straight-udp", UDP, straight_after)
}

#[test]
fn tcp_by_the_virtual_address_beside_2000_straight_connections_harms_none() -> Result<()> {
    beside_dnat("through", TCP, through_after)
}

#[test]
fn udp_by_the_virtual_address_beside_2000_straight_flows_harms_none() -> Result<()> {
    beside_dnat("through-udp", UDP, through_after)
}

#[test]
fn tcp_by_two_virtual_addresses_of_one_pod_from_the_same_2000_ports() -> Result<()> {
    beside_dnat("two", TCP, by_two_names)
}

#[test]
fn udp_by_two_virtual_addresses_of_one_pod_from_the_same_2000_ports() -> Result<()> {
    beside_dnat("two-udp", UDP, by_two_names)
}

#[test]
fn tcp_by_the_virtual_address_when_all_ports_are_in_use_towards_the_pod() -> Result<()> {
    beside_dnat("all-ports", TCP, with_all_ports_in_use)
}

#[test]
fn straight_connections_older_than_the_agent_are_not_harmed() -> Result<()> {
    older_than_the_agent(|_| Ok(()))
}

#[test]
fn straight_connections_older_than_the_agent_that_conntrack_knows_are_not_harmed() -> Result<()> {
    older_than_the_agent(|lab| {
        lab.node().nft(
            "table inet strict { chain forward { type filter hook forward priority filter;
               ct state established accept
             }
             }",
        )
    })
}

/// Live straight to the pod, then the agent starts, then by the virtual address from the same
/// ports.
fn older_than_the_agent(prepare: impl Fn(&Lab) -> Result<()>) -> Result<()> {
    Lab::run("older", |lab| {
        prepare(lab)?;
        let mut stage = Stage::set(lab)?;
        let [v4, v6, ..] = &TCP;
        let mut older = Vec::new();
        for offer in [v4, v6] {
            let ports = stage.ports(offer, LIVE)?;
            older.push(stage.open_all(offer, stage.backend(offer)?, &ports)?);
        }
        stage.serve(&TCP)?;

        let mut losses = Vec::new();
        for (offer, older) in [v4, v6].into_iter().zip(older) {
            let through = stage.open(offer, offer.frontend(), &stage.ports(offer, LIVE)?)?;
            losses.push(lost(&stage, older, through)?);
        }

        println!("older: {losses:?}");
        assert_eq!(losses, [Lost::default(), Lost::default()]);
        Ok(())
    })
}

/// Live by the virtual address, then straight to the pod from the same ports.
fn straight_after(stage: &Stage<'_>, [one, _]: [&Offer; 2]) -> Result<Lost> {
    let ports = stage.ports(one, LIVE)?;
    let live = stage.open_all(one, one.frontend(), &ports)?;
    let straight = stage.open(one, stage.backend(one)?, &ports)?;
    lost(stage, live, straight)
}

/// Live straight to the pod, then more by the virtual address from as many ports as there are.
fn through_after(stage: &Stage<'_>, [one, _]: [&Offer; 2]) -> Result<Lost> {
    stage.cut_ports(MORE)?;
    let [ports, more] = match one.protocol {
        // To each target the kernel chooses among all that no socket is bound to.
        Protocol::Tcp => [LIVE, MORE].map(|count| Ports::Chosen(count.into())),
        // Here it gives a socket a port that no other one has.
        Protocol::Udp => [stage.ports(one, LIVE)?, stage.ports(one, MORE)?],
    };
    let live = stage.open_all(one, stage.backend(one)?, &ports)?;
    let through = stage.open(one, one.frontend(), &more)?;
    lost(stage, live, through)
}

/// Live by one virtual address, then by a second one of the same pod from the same ports.
fn by_two_names(stage: &Stage<'_>, [one, two]: [&Offer; 2]) -> Result<Lost> {
    let ports = stage.ports(one, LIVE)?;
    let first = stage.open_all(one, one.frontend(), &ports)?;
    let second = stage.open(two, two.frontend(), &ports)?;
    lost(stage, first, second)
}

/// Live straight to the pod from every port that the client may use, then by the virtual address.
fn with_all_ports_in_use(stage: &Stage<'_>, [one, _]: [&Offer; 2]) -> Result<Lost> {
    stage.cut_ports(LIVE)?;
    let ports = Ports::Chosen(LIVE.into());
    let live = stage.open_all(one, stage.backend(one)?, &ports)?;
    let through = stage.open(one, one.frontend(), &ports)?;
    lost(stage, live, through)
}

/// Runs a script beside DNAT and beside the agent, for both families, and wants no loss of each.
fn beside_dnat(
    name: &str,
    offers: [Offer; 4],
    script: impl Fn(&Stage<'_>, [&Offer; 2]) -> Result<Lost>,
) -> Result<()> {
    let [one4, one6, two4, two6] = &offers;
    for by in ["nftables", "agent"] {
        Lab::run(name, |lab| {
            let mut stage = Stage::set(lab)?;
            match by {
                "agent" => stage.serve(&offers)?,
                _ => stage.translate(&offers)?,
            }
            let lost = [script(&stage, [one4, two4])?, script(&stage, [one6, two6])?];
            println!("{name} by {by}: {lost:?}");
            assert_eq!(lost, <[Lost; 2]>::default(), "by {by}");
            Ok(())
        })?;
    }
    Ok(())
}

/// Connections of a script that did not live, by what the system said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Lost {
    /// Those that were live when the others began.
    died: BTreeMap<String, u64>,
    /// The others, while they were opened.
    refused: BTreeMap<String, u64>,
    /// The others, later.
    died_later: BTreeMap<String, u64>,
}

/// Asks by all sockets at once, again and again for longer than a flow lives that is taken for
/// ended: before the first answer leaves, all questions have come.
fn lost(stage: &Stage<'_>, mut first: Crowd, mut second: Crowd) -> Result<Lost> {
    let refused = second.answers().failures;
    let start = Instant::now();
    loop {
        stage.serving.pause()?;
        first.send();
        second.send();
        stage.serving.resume()?;
        let died = first.hear().failures;
        let mut died_later = second.hear().failures;
        if start.elapsed() > SETTLED {
            for (error, count) in &refused {
                died_later.entry(error.clone()).and_modify(|later| *later -= count);
            }
            died_later.retain(|_, count| *count > 0);
            return Ok(Lost { died, refused, died_later });
        }
    }
}

/// A client's pod and a server's, with nothing between them yet.
struct Stage<'lab> {
    lab: &'lab Lab,
    client: Pod,
    server: Pod,
    serving: Server,
    agent: Option<Agent<'lab>>,
}

impl<'lab> Stage<'lab> {
    fn set(lab: &'lab Lab) -> Result<Self> {
        let (client, server) = (lab.pod("client")?, lab.pod("server")?);
        let options = ServerOptions {
            name: server.name.clone(),
            hold: vec![HOLD.pod_port],
            ..ServerOptions::default()
        };
        let serving = lab.serve(&server.namespace, &options)?;
        Ok(Self { lab, client, server, serving, agent: None })
    }

    /// Lets nftables translate, as kube-proxy does.
    fn translate(&self, offers: &[Offer]) -> Result<()> {
        let mut rules = String::new();
        for offer in offers {
            let (frontend, backend) = (offer.frontend(), self.backend(offer)?);
            let family = if offer.v6 { "ip6" } else { "ip" };
            let protocol = offer.protocol.name();
            let (address, port) = (frontend.ip(), frontend.port());
            writeln!(
                rules,
                "{family} daddr {address} {protocol} dport {port} dnat {family} to {backend}"
            )?;
        }
        self.lab.node().nft(&format!(
            "table inet other {{ chain in {{ type nat hook prerouting priority dstnat;\n{rules}}}\n}}"
        ))
    }

    /// Lets the agent serve.
    fn serve(&mut self, offers: &[Offer]) -> Result<()> {
        let mut options = AgentOptions::default();
        for offer in offers {
            options.files.extend(offer.files(&[&self.server])?);
        }
        self.agent = Some(self.lab.agent(options)?);
        offers.iter().try_for_each(|offer| self.lab.wait_healthy(offer.service, 1).map(drop))
    }

    fn open(&self, offer: &Offer, target: SocketAddr, ports: &Ports) -> Result<Crowd> {
        Crowd::open(&self.client.namespace, offer.protocol, target, ports)
    }

    /// Opens the connections that a script begins with.
    fn open_all(&self, offer: &Offer, target: SocketAddr, ports: &Ports) -> Result<Crowd> {
        let crowd = self.open(offer, target, ports)?;
        let answers = crowd.answers();
        ensure!(answers.of(&self.server.name) == u64::from(LIVE), "to {target}: {answers:?}");
        Ok(crowd)
    }

    fn backend(&self, offer: &Offer) -> Result<SocketAddr> {
        offer.backend(&self.server).context("a pod has both families")
    }

    /// The ports that all scripts begin with, at the client's address.
    fn ports(&self, offer: &Offer, count: u16) -> Result<Ports> {
        let own = self.client.address_like(offer.frontend().ip())?;
        Ok(Ports::Given(own, (FIRST..).take(count.into()).collect()))
    }

    /// Leaves the client `count` ports to choose from.
    fn cut_ports(&self, count: u16) -> Result<()> {
        let range = format!("{FIRST} {}", FIRST + count - 1);
        self.client.namespace.sysctl("net/ipv4/ip_local_port_range", &range)
    }
}
