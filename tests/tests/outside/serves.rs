//! A backend of this node sees the client, one elsewhere sees the node.

use std::{collections::BTreeMap, fs, net::IpAddr, path::Path};

use anyhow::{Result, ensure};
use canary_tests::{
    lab::wait_for,
    scenario::{HOLD, NAMING, TCP4, TIMEOUT},
    workload::{Protocol, hold::hold},
};

use crate::net::{HEEDED, Net, reason, run, since};

#[test]
fn by_tcx_a_backend_here_sees_the_client_and_one_elsewhere_sees_the_node() -> Result<()> {
    run("tcx", |net| serves(net, "tcx"))
}

#[test]
fn by_xdp_a_backend_here_sees_the_client_and_one_elsewhere_sees_the_node() -> Result<()> {
    run("xdp", |net| {
        let _kept = net.as_hardware()?;
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
    net.check_hook(0, mode)?;

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
