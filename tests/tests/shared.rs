//! Pods that are backends of more than one service, of themselves, and of nobody.

use std::time::Duration;

use anyhow::Result;
use canary_tests::{
    lab::Lab,
    scenario::{NAMING, Offer, Scenario, Subset, TCP4, TIMEOUT, UDP4, definition},
    workload::connect_many,
};

#[test]
fn two_services_over_the_same_pods_are_both_served() -> Result<()> {
    Lab::run("shared", |lab| {
        let scenario = Scenario::start(lab, &[Subset { name: "blue", pods: 2 }])?;
        for first in [TCP4, UDP4] {
            // Another port of the same virtual address, in front of the very same backends.
            let second = Offer { service: "second", port: first.port + 1000, ..first };
            let protocol = format!("{:?}", first.protocol).to_lowercase();
            lab.write_entry(
                "second_defaults.hcl",
                &format!(
                    "kind = \"service-defaults\"\nname = \"second\"\nprotocol = \"{protocol}\"\n"
                ),
            )?;
            for own in &scenario.backends {
                let backend = second.backend(&own.pod).unwrap();
                let text = definition(&second, &own.id(&second), backend, "blue");
                lab.register("second.hcl", &text)?;
            }
            lab.wait_healthy("second", 2)?;

            // In turn, so that ports of the client meet the same backend by both ways.
            for _ in 0..5 {
                for offer in [first, second] {
                    let from = &scenario.client.namespace;
                    let answers =
                        connect_many(from, offer.protocol, offer.frontend(), 500, TIMEOUT)?;
                    assert_eq!(answers.of("blue"), 500, "{offer:?} {answers:?}");
                }
            }
        }
        Ok(())
    })
}

#[test]
fn a_pod_that_is_its_own_only_backend_is_served() -> Result<()> {
    Lab::run("hairpin", |lab| {
        let scenario = Scenario::start(lab, &[Subset { name: "blue", pods: 1 }])?;
        let own = &scenario.backends[0].pod.namespace;

        for offer in NAMING {
            let answers = connect_many(own, offer.protocol, offer.frontend(), 200, TIMEOUT)?;
            assert_eq!(answers.of("blue-1"), 200, "{offer:?} {answers:?}");
        }
        Ok(())
    })
}

#[test]
fn without_a_backend_a_client_is_refused_at_once() -> Result<()> {
    Lab::run("refused", |lab| {
        let subsets = [Subset { name: "blue", pods: 1 }, Subset { name: "green", pods: 1 }];
        let scenario = Scenario::start(lab, &subsets)?;
        let from = &scenario.client.namespace;
        for offer in NAMING {
            // The store's deregistration of a file's instance is refused, so a file goes.
            let file = format!("{}_green-1.hcl", offer.service);
            std::fs::remove_file(lab.config_directory().join(file))?;
            lab.ctl(&["reload"])?;
            lab.set_split(offer.service, &["blue=0", "green=100"])?;

            let start = std::time::Instant::now();
            let answers = connect_many(from, offer.protocol, offer.frontend(), 1, TIMEOUT)?;

            assert_eq!(answers.failed(), 1, "{offer:?} {answers:?}");
            let error = answers.failures.keys().next().unwrap();
            assert!(error.contains("refused"), "{offer:?}: {error}");
            assert!(start.elapsed() < Duration::from_secs(1), "{offer:?} {:?}", start.elapsed());
        }
        Ok(())
    })
}
