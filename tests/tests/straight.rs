//! A client that uses the virtual address and then the pods themselves, from the same ports.

use std::net::UdpSocket;

use anyhow::{Context, Result};
use canary_tests::{
    lab::{Lab, NODE_V4},
    scenario::{Offer, Scenario, Subset, TCP4, TIMEOUT, UDP4},
    workload::connect_many,
};

#[test]
fn tcp_through_the_virtual_address_and_then_straight_to_each_pod() -> Result<()> {
    through_and_straight(TCP4)
}

#[test]
fn udp_through_the_virtual_address_and_then_straight_to_each_pod() -> Result<()> {
    through_and_straight(UDP4)
}

/// Has conntrack track the node's connections, as on most nodes, and one there is: where it tracks
/// nothing, the source ports of an interface's first ten minutes are all translated, of which there
/// are fewer than this test has flows.
fn track(lab: &Lab) -> Result<()> {
    lab.node().nft(
        "table inet tracked { chain forward { type filter hook forward priority filter;
           ct state established accept
         }
         }",
    )?;
    lab.node().enter(|| {
        let socket = UdpSocket::bind((NODE_V4, 0))?;
        socket.send_to(b"?", (NODE_V4, 9))
    })??;
    Ok(())
}

fn through_and_straight(offer: Offer) -> Result<()> {
    Lab::run("straight", |lab| {
        track(lab)?;
        let subsets = [Subset { name: "blue", pods: 2 }, Subset { name: "green", pods: 1 }];
        let scenario = Scenario::start(lab, &subsets)?;
        scenario.split(offer.service, &[("blue", 50.0), ("green", 50.0)])?;
        let from = &scenario.client.namespace;

        let answers = connect_many(from, offer.protocol, offer.frontend(), 30_000, TIMEOUT)?;
        assert_eq!(answers.failed(), 0, "{answers:?}");

        for own in &scenario.backends {
            let target = offer.backend(&own.pod).context("a pod has both families")?;
            let answers = connect_many(from, offer.protocol, target, 5_000, TIMEOUT)?;
            assert_eq!(answers.of(&own.pod.name), 5_000, "{} {answers:?}", own.pod.name);
        }
        Ok(())
    })
}
