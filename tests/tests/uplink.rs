//! Clients outside the node, which come in by its uplink.

use std::{
    io::ErrorKind,
    net::{TcpStream, UdpSocket},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use canary_tests::{
    lab::{
        Lab, Outside,
        link::{Checksum, set_checksum_offload},
        policy::Policy,
    },
    scenario::{
        HOLD, NAMING, Offer, Scenario, Subset, TCP4, TIMEOUT, UDP4, VIRTUAL_V4, definition,
    },
    workload::{
        Protocol,
        client::{exchange, greet},
        connect_many,
    },
};

const SUBSETS: [Subset; 2] = [Subset { name: "blue", pods: 2 }, Subset { name: "green", pods: 1 }];

#[test]
fn an_uplink_of_tcx_serves_clients_outside() -> Result<()> {
    serves("tcx", |_| Ok(None))
}

#[test]
fn an_uplink_of_xdp_serves_clients_outside() -> Result<()> {
    serves("xdp", |outside| {
        // XDP is for hardware: sums are whole there, and what it sends back is received.
        set_checksum_offload(&outside.namespace, "eth0", Checksum::Send, false)?;
        Policy::receive_all(&outside.namespace, "eth0").map(Some)
    })
}

#[test]
fn a_veth_is_no_hardware_so_its_mode_is_tcx() -> Result<()> {
    Lab::run("auto", |lab| {
        let _outside = lab.outside("outside")?;
        let scenario = Scenario::start(lab, &SUBSETS)?;

        assert_eq!(hook(lab)?.as_deref(), Some("tcx"));
        drop(scenario);
        Ok(())
    })
}

/// Shares, answers, refusal and a bulk of data by one kind of uplink.
fn serves(mode: &str, prepare: impl FnOnce(&Outside) -> Result<Option<Policy>>) -> Result<()> {
    Lab::run(mode, |lab| {
        let outside = lab.outside("outside")?;
        let _kept = prepare(&outside)?;
        let scenario = Scenario::start_with(lab, &SUBSETS, &["--uplink-mode", mode])?;
        assert_eq!(hook(lab)?.as_deref(), Some(mode));
        let from = &outside.namespace;

        for offer in NAMING {
            scenario.split(offer.service, &[("blue", 50.0), ("green", 50.0)])?;
            let answers = connect_many(from, offer.protocol, offer.frontend(), 1000, TIMEOUT)?;
            assert_eq!(answers.failed(), 0, "{offer:?} {answers:?}");
            // Five sigma of 1000 draws.
            assert!((420..=580).contains(&answers.of("blue")), "{offer:?} {answers:?}");
        }
        let question: Vec<u8> = (0..=u8::MAX).cycle().take(65_536).collect();
        from.enter(|| -> Result<()> {
            let (mut stream, _) = greet(HOLD.frontend(), TIMEOUT)?;
            (0..100).try_for_each(|_| Ok(exchange(&mut stream, &question)?))
        })??;

        for offer in NAMING {
            let file = format!("{}_green-1.hcl", offer.service);
            std::fs::remove_file(lab.config_directory().join(file))?;
            lab.ctl(&["reload"])?;
            lab.set_split(offer.service, &["blue=0", "green=100"])?;
            // One byte is shorter than its refusal, and a veth leaves XDP no room behind it.
            for length in [1, 64, 1400] {
                let start = Instant::now();
                let error = from.enter(|| refusal(&offer, length))??;
                let took = start.elapsed();
                assert_eq!(error, ErrorKind::ConnectionRefused, "{offer:?}, {length} bytes");
                assert!(took.as_millis() < 500, "{offer:?} refused after {took:?}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_service_with_a_backend_elsewhere_is_left_to_others() -> Result<()> {
    Lab::run("elsewhere", |lab| {
        let outside = lab.outside("outside")?;
        let scenario = Scenario::start_with(lab, &SUBSETS, &["--source-address", "none"])?;
        let from = &outside.namespace;
        // Somebody else serves the virtual address, too, and always by the same pod.
        let green = scenario.backend("green-1")?.pod.v4;
        lab.node().nft(&format!(
            "table ip other {{ chain in {{ type nat hook prerouting priority dstnat; policy accept;
               ip daddr {VIRTUAL_V4} tcp dport {port} dnat to {green}:{pod}
               ip daddr {VIRTUAL_V4} udp dport {port} dnat to {green}:{pod}
             }}
             }}",
            port = TCP4.port,
            pod = TCP4.pod_port,
        ))?;

        for offer in [TCP4, UDP4] {
            // A datagram from a port that has a flow goes the way of that, whoever serves by now.
            let least = if offer.protocol == Protocol::Udp { 90 } else { 100 };
            let goes_to = |name: &str| -> Result<()> {
                let answers = connect_many(from, offer.protocol, offer.frontend(), 100, TIMEOUT)?;
                let is_right = answers.of(name) >= least && answers.failed() == 0;
                ensure!(is_right, "{offer:?} to {name}: {answers:?}");
                Ok(())
            };
            let opened = || -> Result<u64> {
                let splits = lab.service(offer.service)?.splits;
                Ok(splits.iter().map(|split| split.connections.opened).sum())
            };
            let warns = || -> Result<bool> {
                let warnings = lab.status()?.warnings;
                Ok(warnings.iter().any(|warning| {
                    warning.service == offer.service && warning.text.contains("198.51.100.7")
                }))
            };
            goes_to("blue")?;
            assert!(!warns()?);

            let far = format!("{}-far", offer.service);
            let backend = ([198, 51, 100, 7], offer.pod_port).into();
            lab.register("far.hcl", &definition(&offer, &far, backend, "green"))?;
            assert!(warns()?, "{:?}", lab.status()?.warnings);
            let before = opened()?;
            goes_to("green")?;
            assert_eq!(opened()?, before, "{offer:?}");
            // Pods are served all the same.
            let client = &scenario.client.namespace;
            let answers = connect_many(client, offer.protocol, offer.frontend(), 100, TIMEOUT)?;
            assert_eq!(answers.of("blue"), 100, "{offer:?} {answers:?}");

            lab.ctl(&["service", "deregister", &far])?;
            assert!(!warns()?);
            goes_to("blue")?;
        }
        Ok(())
    })
}

/// What a client is told that connects, or sends a datagram of `length` bytes.
fn refusal(offer: &Offer, length: usize) -> Result<ErrorKind> {
    let target = offer.frontend();
    let told = match offer.protocol {
        Protocol::Tcp => TcpStream::connect_timeout(&target, TIMEOUT).map(drop),
        Protocol::Udp => {
            // Below the ports that the kernel gives: those may still have a flow to a pod.
            let port = 20_000 + u16::try_from(length)?;
            let any = if offer.v6 { "[::]" } else { "0.0.0.0" };
            let socket = UdpSocket::bind(format!("{any}:{port}"))?;
            socket.connect(target)?;
            socket.set_read_timeout(Some(TIMEOUT))?;
            socket.send(&vec![7; length])?;
            socket.recv(&mut [0; 64]).map(drop)
        }
    };
    Ok(told.err().context("nobody refused")?.kind())
}

fn hook(lab: &Lab) -> Result<Option<String>> {
    let interfaces = lab.status()?.interfaces;
    let uplink = interfaces.into_iter().find(|interface| interface.role == "uplink");
    Ok(uplink.filter(|interface| interface.name == "eth0").map(|interface| interface.hook))
}
