//! Services at loopback addresses of one pod, as Consul's upstreams are, without a sidecar.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use canary_tests::{
    lab::{Lab, wait_for},
    scenario::{NAMING, Offer, Scenario, Subset, TCP4, TCP6, TIMEOUT, UDP4, UDP6},
    workload::Script,
};

const SUBSETS: [Subset; 2] = [Subset { name: "blue", pods: 1 }, Subset { name: "green", pods: 1 }];

/// Each service, its kind of socket, and the local port of its upstream.
const UPSTREAMS: [(Offer, &str, u16); 4] =
    [(TCP4, "tcp4", 9091), (UDP4, "udp4", 9092), (TCP6, "tcp6", 9093), (UDP6, "udp6", 9094)];

#[test]
fn a_pod_reaches_its_upstreams_at_loopback_addresses_and_so_do_they_theirs() -> Result<()> {
    Lab::run("upstreams", |lab| {
        let scenario = Scenario::start_with(lab, &SUBSETS, &["--socket-lb", "all"])?;
        wait_for("namespaces", TIMEOUT, || Ok(lab.status()?.sockets.namespaces == Some(3)))?;
        let client = &scenario.client;
        // Web reaches all four, and one of what it reaches has an upstream of its own.
        lab.register("web.hcl", &web(IpAddr::V4(client.v4), &UPSTREAMS))?;
        let blue = &scenario.backend("blue-1")?.pod;
        let behind = web(IpAddr::V4(blue.v4), &[(TCP4, "tcp4", 9091)]).replace("web", "behind");
        lab.register("behind.hcl", &behind)?;
        let script = lab.script(&client.namespace)?;
        let next = lab.script(&blue.namespace)?;
        for subset in ["blue", "green"] {
            for (offer, socket, port) in UPSTREAMS {
                let weights = ["blue", "green"].map(|own| format!("{own}={}", share(own, subset)));
                let weights = weights.each_ref().map(String::as_str);
                lab.set_split(offer.service, &weights)?;
                let at = local(offer, port);
                reach(&script, socket, at, &format!("{subset}-1"))?;
                if port == 9091 {
                    reach(&next, socket, at, &format!("{subset}-1"))?;
                } else {
                    next.open("s", socket)?;
                    ensure!(is_refused(&next, socket, at), "{at} is the client's own");
                }
            }
        }
        // It counts as the service does, and nothing is at these ports for anybody else.
        let opened: u64 = lab.service("tcp4")?.splits.iter().map(|s| s.connections.opened).sum();
        assert_eq!(opened, 4);
        let node = lab.script(lab.node())?;
        node.open("s", "tcp4")?;
        ensure!(is_refused(&node, "tcp4", local(TCP4, 9091)), "the node has no upstream");
        let locals = lab.service("udp6")?.locals;
        assert_eq!((locals.len(), locals[0].port), (1, 9094), "{locals:?}");
        // A backend that cannot be drawn refuses, as anywhere.
        lab.ctl(&["service", "maintenance", "tcp4-green-1", "--enable"])?;
        script.open("s", "tcp4")?;
        ensure!(is_refused(&script, "tcp4", local(TCP4, 9091)), "no healthy instance is left");
        lab.ctl(&["service", "maintenance", "tcp4-green-1", "--disable"])?;
        lab.wait_healthy("tcp4", 2)?;

        // Both loopback addresses, where none is named; another destination is another service.
        let upstream = "{ destination_name = \"tcp4\", local_bind_port = 9095 }, \
                        { destination_name = \"tpc4\", local_bind_port = 9096 }";
        lab.register("web.hcl", &definition(IpAddr::V4(client.v4), upstream))?;
        reach(&script, "tcp4", (Ipv4Addr::LOCALHOST, 9095).into(), "green-1")?;
        script.open("s", "tcp6")?;
        let both = SocketAddr::from((Ipv6Addr::LOCALHOST, 9095));
        ensure!(is_refused(&script, "tcp6", both), "it has no backend of IPv6");
        script.open("s", "tcp4")?;
        ensure!(is_refused(&script, "tcp4", local(TCP4, 9091)), "it is gone");
        let warnings = lab.status()?.warnings;
        let told = warnings.iter().find(|warning| warning.text.contains("\"tpc4\""));
        let text = &told.context("nothing is said of tpc4")?.text;
        ensure!(text.contains("did you mean \"tcp4\"?"), "{text}");

        scenario.agent.kill9()?;
        scenario.agent.restart()?;
        reach(&script, "tcp4", (Ipv4Addr::LOCALHOST, 9095).into(), "green-1")?;
        lab.ctl(&["service", "deregister", "web"])?;
        script.open("s", "tcp4")?;
        ensure!(is_refused(&script, "tcp4", (Ipv4Addr::LOCALHOST, 9095).into()), "web is gone");
        Ok(())
    })
}

#[test]
fn upstreams_of_the_node_need_no_pods_sockets_and_those_of_pods_say_what_they_need() -> Result<()> {
    Lab::run("nodeups", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;
        lab.register("web.hcl", &web(Ipv4Addr::LOCALHOST.into(), &UPSTREAMS))?;
        let script = lab.script(lab.node())?;
        for (offer, socket, port) in UPSTREAMS {
            reach(&script, socket, local(offer, port), "blue-1")?;
        }
        // A service that has no virtual address is reached by its upstreams alone.
        let backend = TCP4.backend(&scenario.backend("green-1")?.pod).context("no address")?;
        let only = format!(
            "service {{\n name = \"only\"\n address = \"{}\"\n port = {}\n}}\n",
            backend.ip(),
            backend.port()
        );
        lab.register("only.hcl", &only)?;
        let upstream = "{ destination_name = \"only\", local_bind_port = 9097 }";
        lab.register("web.hcl", &definition(Ipv4Addr::LOCALHOST.into(), upstream))?;
        reach(&script, "tcp4", local(TCP4, 9097), "green-1")?;
        assert_eq!(lab.service("only")?.splits[0].connections.opened, 1);

        lab.register("web.hcl", &web(IpAddr::V4(scenario.client.v4), &UPSTREAMS))?;

        let warnings = lab.status()?.warnings;
        let text = "start the agent with --socket-lb all";
        ensure!(warnings.iter().any(|warning| warning.text.contains(text)), "{warnings:?}");
        script.open("s", "tcp4")?;
        ensure!(is_refused(&script, "tcp4", local(TCP4, 9091)), "it is the pod's now");
        assert_eq!(NAMING.len(), UPSTREAMS.len());
        Ok(())
    })
}

fn share(own: &str, all: &str) -> u8 {
    if own == all { 100 } else { 0 }
}

fn local(offer: Offer, port: u16) -> SocketAddr {
    let address: IpAddr =
        if offer.v6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
    (address, port).into()
}

/// A service of the tutorial: it runs at an address and reaches others at ports of its own.
fn web(address: IpAddr, upstreams: &[(Offer, &str, u16)]) -> String {
    let upstream = |(offer, _, port): &(Offer, &str, u16)| {
        format!(
            "{{ destination_name = \"{}\", local_bind_port = {port}, local_bind_address = \"{}\" }}",
            offer.service,
            local(*offer, *port).ip()
        )
    };
    let upstreams: Vec<String> = upstreams.iter().map(upstream).collect();
    definition(address, &upstreams.join(", "))
}

fn definition(address: IpAddr, upstreams: &str) -> String {
    format!(
        "service {{\n  name = \"web\"\n  address = \"{address}\"\n  port = 9090\n  connect {{\n    \
         sidecar_service {{\n      proxy {{\n        upstreams = [{upstreams}]\n      }}\n    }}\n  \
         }}\n}}\n"
    )
}

/// Reaches a server by a loopback address, which is its peer and where its answers come from.
fn reach(script: &Script, socket: &str, at: SocketAddr, server: &str) -> Result<()> {
    let case = format!("{socket} to {at}");
    script.open("s", socket)?;
    script.connect("s", at).with_context(|| case.clone())?;
    assert_eq!(script.peer("s")?, at, "{case}");
    if socket.starts_with("tcp") {
        assert_eq!(script.run("receive s")?.trim(), server, "{case}");
        return Ok(());
    }
    assert_eq!(script.ask("s")?, (at, server.to_owned()), "{case}");
    script.open("s", socket)?;
    assert_eq!(script.ask_of("s", at)?, (at, server.to_owned()), "{case}, unconnected");
    Ok(())
}

/// Whether nothing is at an address.
fn is_refused(script: &Script, socket: &str, at: SocketAddr) -> bool {
    let connected = script.connect("s", at);
    let said = if socket.starts_with("udp") && connected.is_ok() {
        // The answer of a closed port is told with the next call.
        script.ask("s").map(drop)
    } else {
        connected
    };
    said.is_err_and(|error| error.to_string().contains("ECONNREFUSED"))
}
