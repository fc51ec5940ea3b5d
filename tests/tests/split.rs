//! Shares of new connections, over real sockets.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "all of it is test code, and the exemption of the lints covers only test functions"
)]

use anyhow::Result;
use canary_tests::{
    binomial::interval,
    lab::Lab,
    scenario::{Scenario, Subset, TCP4, TCP6, TIMEOUT, UDP4, UDP6},
    workload::connect_many,
};

/// Chance that a right split fails one check.
const RISK: f64 = 1e-6;

const CONNECTIONS: u32 = 10_000;

#[test]
fn two_subsets_share_10000_connections_by_weight_and_not_by_pods() -> Result<()> {
    Lab::run("split", |lab| {
        let subsets = [Subset { name: "blue", pods: 3 }, Subset { name: "green", pods: 1 }];
        let scenario = Scenario::start(lab, &subsets)?;

        for (blue, green) in [(50.0, 50.0), (90.0, 10.0), (95.0, 5.0)] {
            share(&scenario, &[("blue", blue), ("green", green)])?;
        }
        Ok(())
    })
}

#[test]
fn five_subsets_of_unequal_size_share_10000_connections() -> Result<()> {
    Lab::run("split5", |lab| {
        let subsets = [("red", 1), ("orange", 2), ("yellow", 3), ("green", 1), ("blue", 2)]
            .map(|(name, pods)| Subset { name, pods });
        let scenario = Scenario::start(lab, &subsets)?;

        let weights =
            [("red", 40.0), ("orange", 25.0), ("yellow", 20.0), ("green", 10.0), ("blue", 5.0)];
        share(&scenario, &weights)
    })
}

#[test]
fn weights_of_zero_and_of_all_leave_nothing_to_chance() -> Result<()> {
    Lab::run("split0", |lab| {
        let subsets = [Subset { name: "blue", pods: 2 }, Subset { name: "green", pods: 1 }];
        let _scenario = Scenario::start(lab, &subsets)?;

        for (weights, all) in
            [(["blue=0", "green=100"], "green"), (["blue=100", "green=0"], "blue")]
        {
            // A datagram from a port that spoke before belongs to its flow, whatever the
            // weights: a new client has none.
            let client = lab.pod(&format!("client-{all}"))?;
            lab.wait_served(&client)?;
            for offer in [TCP4, UDP4] {
                lab.set_split(offer.service, &weights)?;
                let from = &client.namespace;
                let answers = connect_many(from, offer.protocol, offer.frontend(), 500, TIMEOUT)?;
                assert_eq!(answers.of(all), 500, "{offer:?} {answers:?}");
            }
        }
        Ok(())
    })
}

#[test]
fn ipv6_and_udp_share_by_weight_too() -> Result<()> {
    Lab::run("split6", |lab| {
        let subsets = [Subset { name: "blue", pods: 2 }, Subset { name: "green", pods: 1 }];
        let scenario = Scenario::start(lab, &subsets)?;
        let client = &scenario.client.namespace;

        for offer in [UDP4, TCP6, UDP6] {
            scenario.split(offer.service, &[("blue", 70.0), ("green", 30.0)])?;
            let answers = connect_many(client, offer.protocol, offer.frontend(), 2000, TIMEOUT)?;
            assert_eq!(answers.failed(), 0, "{offer:?} {answers:?}");
            let expected = interval(2000, 0.3, RISK);
            assert!(expected.contains(&answers.of("green")), "{offer:?} {answers:?}");
        }
        Ok(())
    })
}

/// Splits and asks, and compares who answered with the weights, the agent and the pods.
fn share(scenario: &Scenario<'_>, weights: &[(&str, f64)]) -> Result<()> {
    scenario.split(TCP4.service, weights)?;
    let before = scenario.lab.service(TCP4.service)?;
    let client = &scenario.client.namespace;

    let answers =
        connect_many(client, TCP4.protocol, TCP4.frontend(), CONNECTIONS.into(), TIMEOUT)?;

    println!("{weights:?}: {:?}", answers.by_name);
    assert_eq!(answers.failed(), 0, "{answers:?}");
    let after = scenario.lab.service(TCP4.service)?;
    for (subset, weight) in weights {
        let got = answers.of(subset);
        let expected = interval(CONNECTIONS, weight / 100.0, RISK);
        assert!(expected.contains(&got), "{subset} got {got}, which is outside {expected:?}");
        let opened = |service: &canary_userspace::document::Service| {
            let split = service.splits.iter().find(|split| split.subset == *subset).unwrap();
            (split.connections.opened, split.connections.established)
        };
        let (before, after) = (opened(&before), opened(&after));
        assert_eq!((after.0 - before.0, after.1 - before.1), (got, got), "of {subset}");
        for own in scenario.backends.iter().filter(|own| own.pod.name.starts_with(subset)) {
            assert!(answers.of(&own.pod.name) > 0, "{} got nothing: {answers:?}", own.pod.name);
        }
    }
    Ok(())
}
