//! Routes, neighbours and clients that move.

use std::{
    collections::BTreeMap,
    fs,
    net::UdpSocket,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use canary_tests::{
    lab::wait_for,
    scenario::{HOLD, Offer, TCP4, TCP6, TIMEOUT},
    workload::client::{exchange, greet},
};

use crate::net::{HEEDED, reason, run, since};

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
