//! Beside netfilter: conntrack's judgement, bridges that hide from it, and its own translations.

use std::{
    collections::{BTreeSet, HashSet},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
};

use anyhow::{Context, Result};
use canary_common::endpoint::{Endpoint, TCP};
use canary_tests::{
    lab::{Lab, NODE_V6, wait_for},
    scenario::{
        Backend, HOLD, NAMING, Offer, Scenario, Subset, TCP4, TIMEOUT, VIRTUAL_V4, VIRTUAL_V6,
        definition,
    },
    workload::{
        connect_many,
        hold::{Held, hold},
    },
};
use canary_userspace::compile::endpoint;
use canary_userspace::kernel::conntrack::{Conntrack, Key, Outcome, Reader, Reading, Tuple};

const SUBSETS: [Subset; 2] = [Subset { name: "blue", pods: 2 }, Subset { name: "green", pods: 1 }];

#[test]
fn conntrack_finds_nothing_invalid() -> Result<()> {
    Lab::run("conntrack", |lab| {
        lab.rp_filter(true)?;
        lab.node().nft(
            "table inet strict {
               counter tracked { }
               counter invalid { }
               chain forward { type filter hook forward priority filter; policy accept;
                 ct state established counter name tracked
                 ct state invalid counter name invalid drop
               }
             }",
        )?;
        let outside = lab.outside("outside")?;
        let scenario = Scenario::start(lab, &SUBSETS)?;
        let blue = &scenario.backend("blue-1")?.pod.namespace;

        for offer in NAMING {
            scenario.split(offer.service, &[("blue", 50.0), ("green", 50.0)])?;
            // From a pod, from one that may meet itself, and from outside.
            for from in [&scenario.client.namespace, blue, &outside.namespace] {
                let answers = connect_many(from, offer.protocol, offer.frontend(), 500, TIMEOUT)?;
                assert_eq!(answers.failed(), 0, "{offer:?} from {from} {answers:?}");
                assert!(answers.of("green") > 100, "{offer:?} from {from} {answers:?}");
            }
        }
        let held = hold(&scenario.client.namespace, HOLD.frontend(), 20)?;
        go_on(&held, 10)?;
        assert_eq!(held.end()?.len(), 0);

        assert!(lab.node().counted("strict", "tracked")? > 1000);
        assert_eq!(lab.node().counted("strict", "invalid")?, 0);
        Ok(())
    })
}

#[test]
fn ports_of_a_bridge_that_netfilter_does_not_see_are_refused() -> Result<()> {
    Lab::run("unseen", |lab| {
        let switch = "net/bridge/bridge-nf-call-iptables";
        lab.node().sysctl(switch, "0")?;
        let bridge = lab.bridge("br0", Ipv4Addr::new(10, 244, 9, 1), 24)?;
        let host = |number| Ipv4Addr::new(10, 244, 9, number);
        let client = lab.bridge_pod(&bridge, "client", host(2))?;
        let blue = lab.bridge_pod(&bridge, "blue-1", host(3))?;
        let interfaces = [client.interface.clone(), blue.interface.clone()];
        let backends = vec![Backend::start(lab, blue, "blue")?];
        let subsets = [Subset { name: "blue", pods: 1 }];
        let scenario = Scenario::serve(lab, client, backends, &subsets, &[])?;
        let ask = || {
            let from = &scenario.client.namespace;
            connect_many(from, TCP4.protocol, TCP4.frontend(), 1, TIMEOUT)
        };

        let status = lab.status()?;
        for interface in &interfaces {
            let warns = status.warnings.iter().any(|warning| {
                warning.text.contains(interface)
                    && warning.text.contains("bridge-nf-call-iptables is not 1")
            });
            assert!(warns, "{interface}: {:?}", status.warnings);
            assert!(!status.interfaces.iter().any(|served| served.name == *interface));
        }
        assert_eq!(ask()?.failed(), 1);

        lab.node().sysctl(switch, "1")?;
        scenario.agent.terminate()?;
        scenario.agent.restart()?;
        assert_eq!(lab.status()?.warnings, []);
        assert_eq!(ask()?.of("blue"), 1);
        Ok(())
    })
}

#[test]
fn connections_that_somebody_else_translates_stay_theirs() -> Result<()> {
    Lab::run("foreign", |lab| {
        let client = lab.pod("client")?;
        let backends = vec![
            Backend::start(lab, lab.pod("blue-1")?, "blue")?,
            Backend::start(lab, lab.pod("green-1")?, "green")?,
        ];
        let hold6 = Offer { service: "hold6", v6: true, ..HOLD };
        // As kube-proxy does it, and to the pod that we would not pick.
        let green: Vec<SocketAddr> =
            [HOLD, hold6].iter().filter_map(|offer| offer.backend(&backends.last()?.pod)).collect();
        lab.node().nft(&format!(
            "table inet other {{ chain in {{ type nat hook prerouting priority dstnat;
               ip daddr {VIRTUAL_V4} tcp dport {port} dnat ip to {}
               ip6 daddr {VIRTUAL_V6} tcp dport {port} dnat ip6 to {}
             }}
             }}",
            green[0],
            green[1],
            port = HOLD.port,
        ))?;
        let from = client.namespace.clone();
        let old = [hold(&from, HOLD.frontend(), 10)?, hold(&from, hold6.frontend(), 10)?];

        let subsets = [Subset { name: "blue", pods: 1 }, Subset { name: "green", pods: 1 }];
        let _scenario = Scenario::serve(lab, client, backends, &subsets, &[])?;
        let blue = lab.pods().into_iter().find(|pod| pod.name == "blue-1").unwrap();
        let text = definition(&hold6, "hold6-blue", hold6.backend(&blue).unwrap(), "blue");
        lab.register("hold6.hcl", &text)?;
        lab.wait_healthy("hold6", 1)?;

        for (held, offer) in old.iter().zip([HOLD, hold6]) {
            let new = hold(&from, offer.frontend(), 10)?;
            go_on(held, 10)?;
            go_on(&new, 10)?;
            assert_eq!(new.by_name.keys().collect::<Vec<_>>(), ["blue-1"], "{offer:?}");
            assert_eq!(new.end()?.len(), 0, "{offer:?}");
            let splits = lab.service(offer.service)?.splits;
            let opened: u64 = splits.iter().map(|split| split.connections.opened).sum();
            assert_eq!(opened, 10, "{offer:?}");
        }
        for held in old {
            assert_eq!(held.by_name.keys().collect::<Vec<_>>(), ["green-1"]);
            assert_eq!(held.end()?.len(), 0);
        }
        assert!(lab.status()?.reasons["foreign"] > 0);
        Ok(())
    })
}

#[test]
fn conntrack_tells_what_is_translated_and_what_backends_answer() -> Result<()> {
    Lab::run("table", |lab| {
        lab.node().nft(
            "table inet other { chain out { type nat hook output priority -100;
               ip daddr 127.0.0.9 tcp dport 80 dnat ip to 127.0.0.1:8080
               ip6 daddr fd00:244::1 tcp dport 80 dnat ip6 to [fd00:244::1]:8080
             }
             }",
        )?;
        let (frontend, backend) = ("127.0.0.9:80".parse()?, "127.0.0.1:8080".parse()?);
        let (frontend6, backend6) = (SocketAddr::from((NODE_V6, 80)), (NODE_V6, 8080).into());
        lab.node().enter(|| -> Result<()> {
            let _open = [TcpListener::bind(backend)?, TcpListener::bind(backend6)?];
            let mut connections = Vec::new();
            let mut connect = |to| -> Result<Tuple> {
                let connection = TcpStream::connect(to)?;
                let from = at(connection.local_addr()?);
                connections.push(connection);
                Ok(Tuple { source: from, destination: at(to) })
            };
            let (theirs, theirs6) = (connect(frontend)?, connect(frontend6)?);
            let (straight, _straight6) = (connect(backend)?, connect(backend6)?);
            let answer = |to: Tuple| Tuple { source: at(backend), destination: to.source };
            let mut conntrack = Conntrack::default();

            let mut translated = BTreeSet::new();
            let outcome = conntrack.translated(|entry| _ = translated.insert(entry.original))?;
            assert_eq!(outcome, Outcome::Whole);
            assert_eq!(translated, BTreeSet::from([theirs, theirs6]));

            let mut towards = BTreeSet::new();
            let backends = HashSet::from([at(backend)]);
            let outcome = conntrack.towards(&backends, |entry| _ = towards.insert(entry.reply))?;
            assert_eq!(outcome, Outcome::Whole);
            assert_eq!(towards, BTreeSet::from([theirs, straight].map(answer)));

            for original in [theirs, theirs6, straight] {
                let entry = conntrack.lookup(&original, 0)?.unwrap();
                assert_eq!(
                    (entry.original, entry.is_translated()),
                    (original, original != straight)
                );
                assert_eq!(conntrack.lookup(&entry.reply, 0)?, None);
                assert_eq!(conntrack.lookup(&original, 1)?, None);
            }

            let reading = read(3, backends)?;
            assert_eq!(reading.outcome, Outcome::Whole);
            let kept = reading.translated.len() + reading.towards.len();
            assert_eq!((kept, reading.exceeding), (3, 1));
            let whole = |key: &Key| translated.contains(&key.tuple) || towards.contains(&key.tuple);
            assert!(reading.translated.iter().chain(&reading.towards).all(whole));
            Ok(())
        })?
    })
}

/// What the thread that reads conntrack finds.
fn read(limit: usize, backends: HashSet<Endpoint>) -> Result<Reading> {
    let mut reader = Reader::start(limit)?;
    let asked = reader.ask(backends);
    let mut reading = None;
    wait_for("a reading", TIMEOUT, || {
        reading = reader.take().transpose()?;
        Ok(reading.is_some())
    })?;
    let reading = reading.context("a reading")?;
    assert_eq!(reading.asked, asked);
    Ok(reading)
}

fn at(address: SocketAddr) -> Endpoint {
    endpoint(address.ip(), address.port(), TCP)
}

/// Waits until all of them have exchanged data `rounds` times more.
fn go_on(held: &Held, rounds: u64) -> Result<()> {
    let before = held.rounds();
    wait_for("more rounds", TIMEOUT, || Ok(held.rounds() > before + rounds))?;
    Ok(())
}
