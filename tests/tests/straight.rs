//! A client that uses the virtual address and then the pods themselves, from the same ports.

use anyhow::{Context, Result};
use canary_tests::{
    lab::Lab,
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

fn through_and_straight(offer: Offer) -> Result<()> {
    Lab::run("straight", |lab| {
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
