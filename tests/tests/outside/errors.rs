//! Packets that are too long for their way, errors about others, and fragments.

use std::{
    io::{self, ErrorKind},
    net::IpAddr,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use canary_tests::{
    lab::{Agent, Namespace, Router},
    scenario::{HOLD, Offer, TIMEOUT},
    workload::{
        Protocol,
        client::{exchange, greet},
    },
};

use crate::net::{Net, direct, reason, run};

/// They send back what they get; nobody is at the port of the last two.
const OFFERS: [Offer; 6] = [
    HOLD,
    Offer { service: "hold6", v6: true, ..HOLD },
    Offer { service: "udphold4", protocol: Protocol::Udp, ..HOLD },
    Offer { service: "udphold6", protocol: Protocol::Udp, v6: true, ..HOLD },
    Offer { service: "closed4", protocol: Protocol::Udp, port: 82, pod_port: 9_999, ..HOLD },
    Offer { service: "closed6", protocol: Protocol::Udp, v6: true, port: 82, pod_port: 9_999 },
];

/// MTU of a narrow place: IPv6 has none below 1280.
const NARROW: u32 = 1_300;
/// The same where 40 bytes are another header's.
const NARROW_DIRECT: u32 = 1_340;

/// The routes of the first node to the backend of the last, and to the client.
const TO_BACKEND: [&str; 2] = ["10.244.3.0/24", "fd00:244:3::/64"];
const TO_CLIENT: [&str; 2] = ["198.18.9.0/24", "2001:db8:9::/64"];

/// Bytes of one exchange, and how many are exchanged: 1 MB.
const BULK: (usize, usize) = (65_536, 16);

/// An error is there at once: nothing waits for a timeout.
const AT_ONCE: Duration = Duration::from_secs(1);

#[test]
fn by_tcx_errors_and_fragments_find_their_connection() -> Result<()> {
    run("tcx-errors", |net| all(net, "tcx"))
}

#[test]
fn by_xdp_errors_and_fragments_find_their_connection() -> Result<()> {
    run("xdp-errors", |net| {
        let _kept = net.as_hardware()?;
        all(net, "xdp")
    })
}

#[test]
fn by_tcx_they_do_with_direct_return() -> Result<()> {
    run("direct-tcx-errors", |net| all_direct(net, "tcx"))
}

#[test]
fn behind_xdp_they_do_with_direct_return() -> Result<()> {
    run("direct-xdp-errors", |net| {
        let _kept = net.as_hardware()?;
        all_direct(net, "xdp")
    })
}

fn all(net: &Net<'_>, mode: &str) -> Result<()> {
    let _agent = begin(net, 0, &["--uplink-mode", mode])?;
    net.check_hook(0, mode)?;

    fragments(net)?;
    let reasons = net.labs[0].status()?.reasons;
    ensure!(!reasons.contains_key("fragment-early"), "{reasons:?}");
    closed_port(net)?;
    let nodes = [false, true].map(|v6| net.nodes[0].address(v6));
    narrow_places(net, NARROW, &[questions(net)?, answers(net, nodes)])?;
    narrow_routes(net, NARROW, &[TO_BACKEND, TO_CLIENT])
}

/// A narrow place between the nodes is not heard of: what is too long there is the outer packet.
fn all_direct(net: &Net<'_>, mode: &str) -> Result<()> {
    let _agents = [begin(net, 0, &direct(mode))?, begin(net, 2, &direct(mode))?];
    [0, 2].iter().try_for_each(|node| net.check_hook(*node, mode))?;

    // The outer header takes room that a whole fragment has not left.
    let [_, _, v4, v6, ..] = OFFERS;
    [v4, v6].iter().try_for_each(|offer| learn(net, offer))?;
    let before = reason(net.labs[0], "fragment-early")?;
    fragments(net)?;
    assert_eq!(reason(net.labs[0], "fragment-early")?, before);
    closed_port(net)?;
    let clients = [false, true].map(|v6| net.client_address(v6));
    narrow_places(net, NARROW_DIRECT, &[answers(net, clients)])?;
    narrow_routes(net, NARROW_DIRECT, &[TO_BACKEND])
}

/// An agent whose splits have no backend but the last.
fn begin<'lab>(net: &Net<'lab>, node: usize, args: &[&str]) -> Result<Agent<'lab>> {
    let agent = net.agent_for(node, &OFFERS, "", args)?;
    for offer in OFFERS {
        net.split(node, offer.service, 0)?;
    }
    Ok(agent)
}

/// Datagrams of many fragments, there and back.
fn fragments(net: &Net<'_>) -> Result<()> {
    let [_, _, v4, v6, ..] = OFFERS;
    for offer in [v4, v6] {
        for length in [1_473, 8_000, 65_000].into_iter().cycle().take(60) {
            let answer = net.client.namespace.enter(|| question(&offer, length))?;
            let length = answer.with_context(|| format!("{length} bytes of {}", offer.service))?;
            ensure!(length > 1_473, "{length} bytes of {}", offer.service);
        }
    }
    Ok(())
}

/// A datagram to a port that nobody has is refused at once.
fn closed_port(net: &Net<'_>) -> Result<()> {
    let [.., v4, v6] = OFFERS;
    for offer in [v4, v6] {
        // A pod answers only so many in a row.
        for _ in 0..3 {
            let start = Instant::now();
            let answer = net.client.namespace.enter(|| question(&offer, 10))?;
            let kind = answer.err().map(|error| error.kind());
            assert_eq!(kind, Some(ErrorKind::ConnectionRefused), "{offer:?}");
            assert!(start.elapsed() < AT_ONCE, "{offer:?} {:?}", start.elapsed());
        }
    }
    Ok(())
}

/// A narrow place behind the router, in both families.
struct Narrow<'net> {
    /// The routes of the router that lead there.
    ways: [String; 2],
    /// The sender.
    who: &'net Namespace,
    /// The receiver's addresses, as the sender knows them.
    to: [IpAddr; 2],
}

/// One on the way to the backend.
fn questions<'net>(net: &'net Net<'_>) -> Result<Narrow<'net>> {
    let [v4, v6, ..] = OFFERS;
    let (pod, [.., node]) = (&net.backends[1].pod, net.nodes);
    let v6_pod = pod.v6.context("IPv6")?;
    Ok(Narrow {
        ways: [format!("{} via {}", pod.v4, node.v4), format!("{v6_pod} via {}", node.v6)],
        who: &net.client.namespace,
        to: [v4, v6].map(|offer| offer.frontend().ip()),
    })
}

/// One on the way to the client, whom the backend knows by these addresses.
fn answers<'net>(net: &'net Net<'_>, to: [IpAddr; 2]) -> Narrow<'net> {
    let link = Router::interface(9);
    let ways = [net.client.v4.to_string(), net.client.v6.to_string()]
        .map(|address| format!("{address} dev {link}"));
    Narrow { ways, who: &net.backends[1].pod.namespace, to }
}

/// Whoever sends what is too long for a narrow place hears of it.
fn narrow_places(net: &Net<'_>, mtu: u32, narrow: &[Narrow<'_>]) -> Result<()> {
    let [v4, v6, ..] = OFFERS;
    let router = &net.router.namespace;
    for Narrow { ways, who, to } in narrow {
        router.ip(&ways.clone().map(|way| format!("route add {way} mtu lock {mtu}")))?;
        for (offer, to) in [v4, v6].into_iter().zip(*to) {
            bulk(net, &offer).with_context(|| format!("{} by {ways:?}", offer.service))?;
            let known = show(who, &["route", "get", &to.to_string()])?;
            let is_known = known.contains(&format!("mtu {mtu}"));
            ensure!(is_known, "to {to} by {ways:?}: {known}");
        }
        router.ip(&ways.clone().map(|way| format!("route del {way}")))?;
        forget(net)?;
    }
    Ok(())
}

/// Routes of the node that are narrow: it says so itself.
fn narrow_routes(net: &Net<'_>, mtu: u32, ways: &[[&str; 2]]) -> Result<()> {
    let [v4, v6, udp4, udp6, ..] = OFFERS;
    let lab = net.labs[0];
    for [to_v4, to_v6] in ways {
        lab.node().ip(&[
            format!("route replace {to_v4} via 198.18.1.254 mtu lock {mtu}"),
            format!("route replace {to_v6} via 2001:db8:1::fe mtu lock {mtu}"),
        ])?;
        for offer in [v4, v6] {
            let before = reason(lab, "too-long")?;
            bulk(net, &offer).with_context(|| format!("{} to {to_v4}", offer.service))?;
            ensure!(reason(lab, "too-long")? > before, "{} to {to_v4}", offer.service);
        }
        for offer in [udp4, udp6] {
            learn(net, &offer).with_context(|| format!("{} to {to_v4}", offer.service))?;
        }
        lab.node().ip(&[format!("route del {to_v4}"), format!("route del {to_v6}")])?;
        forget(net)?;
    }
    assert_eq!(reason(lab, "no-route")?, 0);
    Ok(())
}

/// Exchanges a bulk.
fn bulk(net: &Net<'_>, offer: &Offer) -> Result<()> {
    let (length, times) = BULK;
    let question: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
    net.client.namespace.enter(|| -> Result<()> {
        let (mut stream, _) = greet(offer.frontend(), TIMEOUT)?;
        (0..times).try_for_each(|_| Ok(exchange(&mut stream, &question)?))
    })??;
    Ok(())
}

/// Asks until the client has heard which fragments are not too long, and makes others.
fn learn(net: &Net<'_>, offer: &Offer) -> Result<()> {
    let ask = || net.client.namespace.enter(|| question(offer, 8_000));
    let mut tries = 0;
    while let Err(error) = ask()? {
        ensure!(tries < 3, "{error}");
        tries += 1;
    }
    Ok(())
}

/// Asks by a datagram of this length; the length of the answer, whose bytes are the question's.
fn question(offer: &Offer, length: usize) -> io::Result<usize> {
    let socket = offer.datagrams()?;
    let question: Vec<u8> = (0..=250).cycle().take(length).collect();
    socket.send(&question)?;
    let mut answer = vec![0; 65_535];
    let length = socket.recv(&mut answer)?;
    answer.truncate(length);
    if answer.ends_with(&question) { Ok(length) } else { Err(io::Error::other("other bytes")) }
}

/// Has nobody know of a narrow link any more.
fn forget(net: &Net<'_>) -> Result<()> {
    let pods = net.backends.iter().map(|backend| &backend.pod.namespace);
    for namespace in pods.chain([&net.client.namespace]) {
        for family in ["-4", "-6"] {
            show(namespace, &[family, "route", "flush", "cache"])?;
        }
    }
    Ok(())
}

/// What `ip` says in a namespace.
fn show(namespace: &Namespace, arguments: &[&str]) -> Result<String> {
    let output = namespace.output(Command::new("ip").args(arguments))?;
    ensure!(output.status.success(), "ip {arguments:?}: {output:?}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
