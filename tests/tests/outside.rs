//! Clients behind a router, whose connections come to one node and go to backends of others.
#![expect(
    clippy::indexing_slicing,
    reason = "all of it is test code, and the exemption of the lints covers only test functions"
)]

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, UdpSocket},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use canary_tests::{
    lab::{
        Agent, AgentOptions, Lab, Neighbour, Outside, Router,
        link::{Checksum, set_checksum_offload},
        policy::Policy,
        wait_for,
    },
    scenario::{
        Backend, HOLD, NAMING, OFFERS, Offer, Subset, TCP4, TCP6, TIMEOUT, VIRTUAL_V4, VIRTUAL_V6,
        resolver,
    },
    workload::{
        Answers, Protocol,
        client::{exchange, greet},
        connect_many,
        hold::hold,
    },
};

const SUBSETS: [Subset; 2] = [Subset { name: "blue", pods: 1 }, Subset { name: "green", pods: 1 }];

/// Bytes of one exchange, and how many are exchanged: 10 MB.
const BULK: (usize, usize) = (65_536, 160);

/// How long a route may take to be heeded; it takes a tenth of a second.
const HEEDED: Duration = Duration::from_secs(5);

/// Three nodes, a router between them and a client behind it.
struct Net<'lab> {
    labs: [&'lab Lab; 3],
    nodes: [Neighbour; 3],
    router: Router,
    client: Outside,
    /// `blue` on the first node, `green` on the last.
    backends: Vec<Backend>,
}

impl<'lab> Net<'lab> {
    fn new(labs: [&'lab Lab; 3]) -> Result<Self> {
        let [first, second, last] = labs;
        let router = Router::new(first)?;
        let nodes = [router.join(first, 1)?, router.join(second, 2)?, router.join(last, 3)?];
        let client = router.client(first, 9)?;
        let blue =
            first.pod_at("blue-1", [10, 244, 1, 7].into(), Some("fd00:244:1::7".parse()?))?;
        let green =
            last.pod_at("green-1", [10, 244, 3, 7].into(), Some("fd00:244:3::7".parse()?))?;
        let backends =
            vec![Backend::start(first, blue, "blue")?, Backend::start(last, green, "green")?];
        let net = Self { labs, nodes, router, client, backends };
        net.route(&[0])?;
        Ok(net)
    }

    /// Routes the virtual addresses to these nodes.
    fn route(&self, to: &[usize]) -> Result<()> {
        let hops = |v6: bool| -> String {
            let hop = |node: &usize| format!("nexthop via {}", self.nodes[*node].address(v6));
            to.iter().map(hop).collect::<Vec<_>>().join(" ")
        };
        self.router.namespace.ip(&[
            format!("route replace {VIRTUAL_V4}/32 {}", hops(false)),
            format!("route replace {VIRTUAL_V6}/128 {}", hops(true)),
        ])
    }

    /// Starts the agent of a node with all backends.
    fn agent(&self, node: usize, args: &[&str]) -> Result<Agent<'lab>> {
        let mut options = AgentOptions::default().args(args.iter().copied());
        for offer in OFFERS {
            let service = offer.service;
            options = options
                .file(format!("{service}_defaults.hcl"), offer.defaults())
                .file(format!("{service}_resolver.hcl"), resolver(service, &SUBSETS));
            for backend in &self.backends {
                let text = backend.definition(&offer).context("a pod of both families")?;
                options = options.file(format!("{service}_{}.hcl", backend.pod.name), text);
            }
        }
        self.labs[node].agent(options)
    }

    /// Sets the weights of a service on the node.
    fn split(&self, node: usize, service: &str, blue: u8) -> Result<()> {
        let text = format!(
            "kind = \"service-splitter\"\nname = \"{service}\"\nsplits = [\n\
             {{ weight = {blue}, service_subset = \"blue\" }},\n\
             {{ weight = {}, service_subset = \"green\" }},\n]\n",
            100 - blue
        );
        self.labs[node].write_entry(&format!("{service}_splitter.hcl"), &text).map(drop)
    }

    fn ask(&self, offer: &Offer, count: u64) -> Result<Answers> {
        connect_many(&self.client.namespace, offer.protocol, offer.frontend(), count, TIMEOUT)
    }

    fn client_address(&self, v6: bool) -> IpAddr {
        if v6 { IpAddr::V6(self.client.v6) } else { IpAddr::V4(self.client.v4) }
    }

    /// Whom a backend has had for its clients since the last time, by protocol.
    fn clients(&self, backend: usize, protocol: Protocol) -> Result<BTreeMap<IpAddr, u64>> {
        let report = self.backends[backend].server.report()?;
        Ok(match protocol {
            Protocol::Tcp => report.accepted,
            Protocol::Udp => report.datagrams,
        })
    }

    /// Exchanges 10 MB with whoever has the long connections.
    fn bulk(&self) -> Result<()> {
        let (length, times) = BULK;
        let question: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
        self.client.namespace.enter(|| -> Result<()> {
            let (mut stream, _) = greet(HOLD.frontend(), TIMEOUT)?;
            (0..times).try_for_each(|_| Ok(exchange(&mut stream, &question)?))
        })?
    }
}

/// Runs a test in three labs.
fn run(name: &str, test: impl FnOnce(&mut Net<'_>) -> Result<()>) -> Result<()> {
    Lab::run(name, |first| {
        let (second, last) = (Lab::new(name)?, Lab::new(name)?);
        let mut net = Net::new([first, &second, &last])?;
        test(&mut net)
    })
}

#[test]
fn by_tcx_a_backend_here_sees_the_client_and_one_elsewhere_sees_the_node() -> Result<()> {
    run("tcx", |net| serves(net, "tcx"))
}

#[test]
fn by_xdp_a_backend_here_sees_the_client_and_one_elsewhere_sees_the_node() -> Result<()> {
    run("xdp", |net| {
        // XDP is for hardware: sums are whole there, and what it sends back is received.
        let client = &net.client.namespace;
        for namespace in [client, &net.backends[1].pod.namespace] {
            set_checksum_offload(namespace, "eth0", Checksum::Send, false)?;
        }
        let _kept = Policy::receive_all(&net.router.namespace, &Router::interface(1))?;
        serves(net, "xdp")?;
        // Without the hook behind it: the neighbour is known now, so the driver sends all of it.
        let _agent = net.agent(0, &["--uplink-mode", "xdp"])?;
        remove_pin(&net.labs[0].bpffs(), "from_net_rest-")?;
        for offer in NAMING {
            net.split(0, offer.service, 0)?;
            let answers = net.ask(&offer, 100)?;
            // A datagram from a port that had a flow goes the way of that.
            assert_eq!(answers.failed(), 0, "{offer:?} {answers:?}");
            assert!(answers.of("green") > 80, "{offer:?} {answers:?}");
        }
        Ok(())
    })
}

fn serves(net: &Net<'_>, mode: &str) -> Result<()> {
    let lab = net.labs[0];
    let agent = net.agent(0, &["--uplink-mode", mode])?;
    let uplinks = lab.status()?.interfaces;
    assert!(uplinks.iter().any(|uplink| uplink.name == "eth0" && uplink.hook == mode));

    for offer in NAMING {
        net.split(0, offer.service, 50)?;
        let before = [net.clients(0, offer.protocol)?, net.clients(1, offer.protocol)?];
        let answers = net.ask(&offer, 1000)?;
        assert_eq!(answers.failed(), 0, "{offer:?} {answers:?}");
        // Five sigma of 1000 draws.
        assert!((420..=580).contains(&answers.of("blue")), "{offer:?} {answers:?}");
        for (backend, seen) in
            [(0, net.client_address(offer.v6)), (1, net.nodes[0].address(offer.v6))]
        {
            let more = since(&before[backend], &net.clients(backend, offer.protocol)?);
            let name = ["blue", "green"][backend];
            assert_eq!(more, BTreeMap::from([(seen, answers.of(name))]), "{offer:?} {name}");
        }
        let service = lab.service(offer.service)?;
        let source = net.nodes[0].address(offer.v6).to_string();
        assert_eq!(service.frontends[0].source, Some(source.clone()));
        assert!(lab.ctl(&["explain", offer.service])?.contains(&format!("elsewhere as {source}")));
        let opened: Vec<u64> =
            service.splits.iter().map(|split| split.connections.opened).collect();
        for (opened, name) in opened.into_iter().zip(["blue", "green"]) {
            // A datagram from a port that had a flow goes the way of that.
            let again = if offer.protocol == Protocol::Udp { 50 } else { 0 };
            let all = answers.of(name);
            assert!((all - again..=all).contains(&opened), "{offer:?} {name} {opened} of {all}");
        }
    }

    net.split(0, HOLD.service, 0)?;
    net.bulk()?;
    net.split(0, HOLD.service, 50)?;
    let held = hold(&net.client.namespace, HOLD.frontend(), 40)?;
    assert_eq!(held.by_name.len(), 2, "{:?}", held.by_name);
    let goes_on = |rounds: u64| {
        let goal = held.rounds() + rounds;
        wait_for("the connections to go on", TIMEOUT, || Ok(held.rounds() >= goal))
    };
    agent.terminate()?;
    goes_on(5)?;
    agent.restart()?;
    goes_on(5)?;
    assert_eq!(held.end()?, BTreeMap::new());
    // Another one may start where this one was.
    agent.terminate()
}

#[test]
fn without_a_source_address_a_service_with_a_backend_elsewhere_is_left_to_others() -> Result<()> {
    run("none", |net| {
        let lab = net.labs[0];
        let _agent = net.agent(0, &["--source-address", "none"])?;
        net.split(0, TCP4.service, 50)?;
        let warnings = lab.status()?.warnings;
        let text = "not served from the network: backend 10.244.3.7 is not on this node";
        assert!(warnings.iter().any(|warning| warning.text == text), "{warnings:?}");
        let served = lab.service(TCP4.service)?;
        assert_eq!(served.frontends[0].source, None);

        assert_eq!(net.ask(&TCP4, 3)?.failed(), 3);

        assert!(reason(lab, "not-served-here")? > 0);
        Ok(())
    })
}

#[test]
fn an_address_of_its_own_for_backends_elsewhere_is_used_when_the_node_has_it() -> Result<()> {
    run("own", |net| {
        let lab = net.labs[0];
        let _agent = net.agent(0, &["--source-address", "198.18.1.77"])?;
        net.split(0, TCP4.service, 0)?;
        let warns = || -> Result<bool> {
            let warnings = lab.status()?.warnings;
            Ok(warnings.iter().any(|warning| warning.text.contains("198.18.1.77 is not this")))
        };
        assert!(warns()?);
        lab.node().ip(&["address add 198.18.1.77/32 dev eth0"])?;
        wait_for("the address to be the node's", HEEDED, || Ok(!warns()?))?;

        let answers = net.ask(&TCP4, 100)?;

        assert_eq!((answers.failed(), answers.of("green")), (0, 100), "{answers:?}");
        let seen = net.clients(1, Protocol::Tcp)?;
        assert_eq!(seen, BTreeMap::from([(IpAddr::from([198, 18, 1, 77]), 100)]));
        Ok(())
    })
}

#[test]
fn a_route_that_comes_or_goes_after_the_link_moves_a_backend() -> Result<()> {
    run("route", |net| {
        let lab = net.labs[0];
        let pod = net.backends[0].pod.clone();
        let leave = [
            format!("route del {}/32 dev {}", pod.v4, pod.interface),
            format!("route del {}/128 dev {}", pod.v6.context("IPv6")?, pod.interface),
        ];
        let come = leave.clone().map(|line| line.replace(" del ", " add "));
        lab.node().ip(&leave)?;
        let _agent = net.agent(0, &[])?;
        for offer in [TCP4, TCP6] {
            net.split(0, offer.service, 100)?;
            lab.ctl(&["service", "deregister", &format!("{}-green-1", offer.service)]).err();
            fs::remove_file(lab.config_directory().join(format!("{}_green-1.hcl", offer.service)))?;
        }
        lab.ctl(&["reload"])?;
        let is_elsewhere = |offer: &Offer| -> Result<bool> {
            Ok(lab.service(offer.service)?.frontends[0].source.is_some())
        };
        for round in 0..3 {
            for offer in [TCP4, TCP6] {
                assert!(is_elsewhere(&offer)?, "{offer:?} in round {round}");
            }
            lab.node().ip(&come)?;
            for offer in [TCP4, TCP6] {
                wait_for("the backend to be here", HEEDED, || Ok(!is_elsewhere(&offer)?))?;
                let before = net.clients(0, offer.protocol)?;
                let answers = net.ask(&offer, 100)?;
                assert_eq!(answers.failed(), 0, "{offer:?} {answers:?}");
                let more = since(&before, &net.clients(0, offer.protocol)?);
                let client = net.client_address(offer.v6);
                assert_eq!(more, BTreeMap::from([(client, 100)]), "{offer:?}");
            }
            lab.node().ip(&leave)?;
            for offer in [TCP4, TCP6] {
                wait_for("the backend to be elsewhere", HEEDED, || is_elsewhere(&offer))?;
            }
        }
        Ok(())
    })
}

#[test]
fn a_neighbour_that_is_not_known_yet_costs_no_connection() -> Result<()> {
    run("neighbour", |net| {
        let _agent = net.agent(0, &[])?;
        for offer in [TCP4, TCP6] {
            net.split(0, offer.service, 0)?;
            for _ in 0..10 {
                net.labs[0].node().ip(&["neigh flush all"])?;
                let answers = net.ask(&offer, 10)?;
                assert_eq!((answers.failed(), answers.of("green")), (0, 10), "{answers:?}");
            }
        }
        Ok(())
    })
}

#[test]
fn two_nodes_share_the_clients_and_one_that_leaves_resets_what_it_had() -> Result<()> {
    run("ecmp", |net| {
        for (lab, node) in net.labs.iter().zip(net.nodes).take(2) {
            // Without conntrack, what is not known is for ten minutes somebody else's; and one
            // that has seen nothing counts as none.
            lab.node().nft(
                "table inet tracks { chain in { type filter hook prerouting priority filter;
                   ct state established accept
                 }
                 }",
            )?;
            net.client.namespace.enter(|| -> Result<()> {
                let socket = UdpSocket::bind("0.0.0.0:0")?;
                socket.send_to(b"seen", (node.v4, 9))?;
                Ok(())
            })??;
        }
        let _agents = [net.agent(0, &[])?, net.agent(1, &[])?];
        for offer in [TCP4, TCP6, HOLD] {
            net.split(0, offer.service, 50)?;
            net.split(1, offer.service, 50)?;
        }
        let opened = |node: usize, offer: &Offer| -> Result<u64> {
            let splits = net.labs[node].service(offer.service)?.splits;
            Ok(splits.iter().map(|split| split.connections.opened).sum())
        };
        net.route(&[0, 1])?;
        for offer in [TCP4, TCP6] {
            let answers = net.ask(&offer, 1000)?;
            assert_eq!(answers.failed(), 0, "{offer:?} {answers:?}");
            assert!((420..=580).contains(&answers.of("blue")), "{offer:?} {answers:?}");
            let shares = [opened(0, &offer)?, opened(1, &offer)?];
            assert_eq!(shares.iter().sum::<u64>(), 1000);
            assert!(shares.iter().all(|share| *share > 300), "{offer:?} {shares:?}");
        }

        // All by the first node, then by the second, which has no backend of its own: what speaks
        // meanwhile is reset at once, what is silent goes on when it is back.
        net.route(&[0])?;
        let client = &net.client.namespace;
        let mut streams = client.enter(|| {
            (0..40).map(|_| greet(HOLD.frontend(), TIMEOUT)).collect::<std::io::Result<Vec<_>>>()
        })??;
        net.route(&[1])?;
        let lost = reason(net.labs[1], "flow-lost")?;
        let start = Instant::now();
        for (stream, name) in streams.drain(..20) {
            let error = {
                let mut stream = stream;
                exchange(&mut stream, b"lost").err()
            };
            let kind = error.context("a connection went on by a node that knows nothing of it")?;
            assert_eq!(kind.kind(), std::io::ErrorKind::ConnectionReset, "{name}");
        }
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        assert!(reason(net.labs[1], "flow-lost")? >= lost + 20);
        let answers = net.ask(&TCP4, 1000)?;
        assert_eq!(answers.failed(), 0, "{answers:?}");
        net.route(&[0])?;
        for (stream, name) in &mut streams {
            exchange(stream, b"still there").with_context(|| format!("to {name}"))?;
        }
        Ok(())
    })
}

/// Packets that were not forwarded for a reason.
fn reason(lab: &Lab, word: &str) -> Result<u64> {
    Ok(lab.status()?.reasons.get(word).copied().unwrap_or_default())
}

/// Removes the pins below a directory whose names begin so, of which there must be one.
fn remove_pin(directory: &Path, start: &str) -> Result<()> {
    let mut directories = vec![directory.to_owned()];
    let mut removed = 0;
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                directories.push(entry.path());
            } else if entry.file_name().to_string_lossy().starts_with(start) {
                fs::remove_file(entry.path())?;
                removed += 1;
            }
        }
    }
    ensure!(removed == 1, "{removed} pins of {start}");
    Ok(())
}

/// What was counted since `before`.
fn since(before: &BTreeMap<IpAddr, u64>, now: &BTreeMap<IpAddr, u64>) -> BTreeMap<IpAddr, u64> {
    let more = now
        .iter()
        .map(|(client, count)| (*client, count - before.get(client).copied().unwrap_or_default()));
    more.filter(|(_, count)| *count > 0).collect()
}
