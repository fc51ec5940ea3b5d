//! Packets within packets: a backend elsewhere sees the client and answers it itself.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use canary_tests::{
    lab::wait_for,
    scenario::{HOLD, NAMING, Offer, TCP4, TCP6, TIMEOUT},
    workload::{
        Protocol,
        client::{exchange, greet},
        hold::hold,
    },
};

use crate::net::{Net, direct, reason, run, since};

/// The weight of `blue`, on each node that draws or takes out.
fn split(net: &Net<'_>, nodes: &[usize], service: &str, blue: u8) -> Result<()> {
    nodes.iter().try_for_each(|node| net.split(*node, service, blue))
}

#[test]
fn by_tcx_backends_here_and_elsewhere_see_the_client_and_answer_it() -> Result<()> {
    run("direct-tcx", |net| serves(net, "tcx"))
}

#[test]
fn behind_xdp_backends_here_and_elsewhere_see_the_client_and_answer_it() -> Result<()> {
    run("direct-xdp", |net| {
        let _kept = net.as_hardware()?;
        serves(net, "xdp")
    })
}

fn serves(net: &Net<'_>, mode: &str) -> Result<()> {
    let agent = net.agent(0, &direct(mode))?;
    let _other = net.agent(2, &direct(mode))?;
    [0, 2].iter().try_for_each(|node| net.check_hook(*node, mode))?;
    for offer in NAMING {
        split(net, &[0, 2], offer.service, 50)?;
        let before = [net.clients(0, offer.protocol)?, net.clients(1, offer.protocol)?];
        let answers = net.ask(&offer, 1000)?;
        assert_eq!(answers.failed(), 0, "{offer:?} {answers:?}");
        // Five sigma of 1000 draws.
        assert!((420..=580).contains(&answers.of("blue")), "{offer:?} {answers:?}");
        let client = net.client_address(offer.v6);
        for (backend, name) in ["blue", "green"].into_iter().enumerate() {
            let more = since(&before[backend], &net.clients(backend, offer.protocol)?);
            assert_eq!(more, BTreeMap::from([(client, answers.of(name))]), "{offer:?} {name}");
        }
        let told = net.labs[0].service(offer.service)?.frontends.remove(0);
        let source = net.nodes[0].address(offer.v6).to_string();
        assert_eq!((told.source, told.direct_return), (Some(source.clone()), true));
        let text = net.labs[0].ctl(&["explain", offer.service])?;
        assert!(text.contains(&format!("elsewhere by IP in IP from {source}")), "{text}");
        // Each is counted once, where its backend is.
        let opened = [opened(net, 0, &offer)?, opened(net, 2, &offer)?];
        let all: u64 = opened.iter().flatten().sum();
        // A datagram from a port that had a flow goes the way of that.
        let again = if offer.protocol == Protocol::Udp { 100 } else { 0 };
        assert!((1000 - again..=1000).contains(&all), "{offer:?} {opened:?}");
        assert_eq!([opened[0][1], opened[1][0]], [0, 0], "{offer:?} {opened:?}");
    }
    split(net, &[0, 2], HOLD.service, 0)?;
    net.bulk()?;
    assert!(reason(net.labs[0], "too-long")? > 0);

    split(net, &[0, 2], HOLD.service, 50)?;
    let held = hold(&net.client.namespace, HOLD.frontend(), 40)?;
    assert_eq!(held.by_name.len(), 2, "{:?}", held.by_name);
    let goes_on = |rounds: u64| {
        let goal = held.rounds() + rounds;
        wait_for("the connections to go on", TIMEOUT, || Ok(held.rounds() >= goal))
    };
    // Other weights on each node: connections stay, and new ones are taken out all the same.
    net.split(0, HOLD.service, 0)?;
    net.split(2, HOLD.service, 99)?;
    goes_on(5)?;
    let client = &net.client.namespace;
    let name = client.enter(|| greet(HOLD.frontend(), TIMEOUT).map(|(_, name)| name))??;
    assert_eq!(name, "green-1");
    agent.terminate()?;
    goes_on(5)?;
    agent.restart()?;
    goes_on(5)?;
    assert_eq!(held.end()?, BTreeMap::new());
    agent.terminate()
}

/// Connections that were opened on a node, of `blue` and of `green`.
fn opened(net: &Net<'_>, node: usize, offer: &Offer) -> Result<[u64; 2]> {
    let splits = net.labs[node].service(offer.service)?.splits;
    let opened = splits.iter().map(|split| split.connections.opened);
    opened.collect::<Vec<_>>().try_into().ok().context("two splits")
}

#[test]
fn a_connection_that_moves_to_another_node_goes_on() -> Result<()> {
    run("direct-ecmp", |net| {
        let agent = |node| net.agent(node, &direct("tcx"));
        let _agents = [agent(0)?, agent(1)?, agent(2)?];
        for offer in [TCP4, TCP6, HOLD] {
            split(net, &[0, 1, 2], offer.service, 50)?;
        }
        net.route(&[0, 1])?;
        for offer in [TCP4, TCP6] {
            let answers = net.ask(&offer, 1000)?;
            assert_eq!(answers.failed(), 0, "{offer:?} {answers:?}");
        }
        net.route(&[0])?;
        let client = &net.client.namespace;
        let mut streams = client.enter(|| {
            (0..40).map(|_| greet(HOLD.frontend(), TIMEOUT)).collect::<std::io::Result<Vec<_>>>()
        })??;
        for way in [&[1][..], &[2], &[0, 1], &[0]] {
            net.route(way)?;
            for (stream, name) in &mut streams {
                exchange(stream, b"moved").with_context(|| format!("to {name} by {way:?}"))?;
            }
        }
        Ok(())
    })
}
