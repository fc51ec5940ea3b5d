//! Ways of packets: routed and bridged, with checksums that nobody finished or that are whole.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::Result;
use canary_tests::{
    lab::{
        Lab, Namespace,
        link::{Checksum, set_checksum_offload},
    },
    scenario::{Backend, NAMING, Scenario, Subset, TCP4, TIMEOUT, UDP4, definition},
    workload::{ServerOptions, connect_many},
};

const SUBSETS: [Subset; 2] = [Subset { name: "blue", pods: 1 }, Subset { name: "green", pods: 1 }];

#[test]
fn routed_without_checksum_offload_on_each_interface_in_turn() -> Result<()> {
    Lab::run("routed", |lab| {
        let outside = lab.outside("outside")?;
        let scenario = Scenario::start(lab, &SUBSETS)?;
        let (client, node) = (&scenario.client, lab.node());
        let server = &scenario.backend("blue-1")?.pod;
        let interfaces: [(&Namespace, &str); 6] = [
            (&client.namespace, "eth0"),
            (node, &client.interface),
            (node, &server.interface),
            (&server.namespace, "eth0"),
            (node, "eth0"),
            (&outside.namespace, "eth0"),
        ];

        for which in [Checksum::Send, Checksum::Receive] {
            for (namespace, interface) in interfaces {
                set_checksum_offload(namespace, interface, which, false)?;
                for offer in NAMING {
                    for from in [&client.namespace, &outside.namespace] {
                        let answers =
                            connect_many(from, offer.protocol, offer.frontend(), 20, TIMEOUT)?;
                        let case = format!("{offer:?} from {from}, {interface} without {which:?}");
                        assert_eq!(answers.of("blue"), 20, "{case}: {answers:?}");
                    }
                }
                set_checksum_offload(namespace, interface, which, true)?;
            }
        }
        Ok(())
    })
}

#[test]
fn clients_of_the_node_itself_are_served() -> Result<()> {
    Lab::run("node", |lab| {
        let _scenario = Scenario::start(lab, &SUBSETS)?;

        for offer in NAMING {
            lab.set_split(offer.service, &["blue=0", "green=100"])?;
            let answers = lab.ask_from_node(offer.protocol, offer.frontend(), 200, TIMEOUT)?;
            assert_eq!(answers.of("green"), 200, "{offer:?} {answers:?}");

            let file = format!("{}_green-1.hcl", offer.service);
            std::fs::remove_file(lab.config_directory().join(file))?;
            lab.ctl(&["reload"])?;
            let start = Instant::now();
            let answers = lab.ask_from_node(offer.protocol, offer.frontend(), 10, TIMEOUT)?;
            let refused = answers.failures.iter().find(|(error, _)| error.contains("refused"));
            assert_eq!(refused.map(|(_, count)| *count), Some(10), "{offer:?} {answers:?}");
            assert!(start.elapsed() < Duration::from_secs(1), "{offer:?} {:?}", start.elapsed());
        }
        Ok(())
    })
}

#[test]
fn a_backend_one_hop_away_is_reached_from_pods() -> Result<()> {
    Lab::run("remote", |lab| {
        let outside = lab.outside("outside")?;
        let _far = lab.serve(&outside.namespace, &ServerOptions::echo("far-1", TCP4.pod_port))?;
        let scenario = Scenario::start(lab, &SUBSETS)?;
        for offer in [TCP4, UDP4] {
            let backend = (outside.v4, offer.pod_port).into();
            let id = format!("{}-far", offer.service);
            lab.register("far.hcl", &definition(&offer, &id, backend, "green"))?;
            lab.wait_healthy(offer.service, 3)?;
            lab.set_split(offer.service, &["blue=0", "green=100"])?;
        }
        let client = &scenario.client;

        for (namespace, interface) in
            [(lab.node(), "eth0"), (&outside.namespace, "eth0"), (lab.node(), &client.interface)]
        {
            set_checksum_offload(namespace, interface, Checksum::Send, false)?;
            for offer in [TCP4, UDP4] {
                let from = &client.namespace;
                let answers = connect_many(from, offer.protocol, offer.frontend(), 200, TIMEOUT)?;
                let far = answers.of("far");
                assert_eq!(far + answers.of("green"), 200, "{offer:?} {interface} {answers:?}");
                assert!((20..=180).contains(&far), "{offer:?} {interface} {answers:?}");
            }
            set_checksum_offload(namespace, interface, Checksum::Send, true)?;
        }
        Ok(())
    })
}

#[test]
fn ports_of_a_bridge_are_served() -> Result<()> {
    Lab::run("bridge", |lab| {
        let bridge = lab.bridge("br0", Ipv4Addr::new(10, 244, 9, 1), 24)?;
        let host = |number| Ipv4Addr::new(10, 244, 9, number);
        let client = lab.bridge_pod(&bridge, "client", host(2))?;
        let blue = lab.bridge_pod(&bridge, "blue-1", host(3))?;
        let green = lab.bridge_pod(&bridge, "green-1", host(4))?;
        let backends =
            vec![Backend::start(lab, blue, "blue")?, Backend::start(lab, green, "green")?];
        let scenario = Scenario::serve(lab, client, backends, &SUBSETS, &[])?;
        scenario.split(TCP4.service, &[("blue", 50.0), ("green", 50.0)])?;
        scenario.split(UDP4.service, &[("blue", 50.0), ("green", 50.0)])?;

        for offload in [true, false] {
            for own in &scenario.backends {
                set_checksum_offload(&own.pod.namespace, "eth0", Checksum::Send, offload)?;
            }
            for offer in [TCP4, UDP4] {
                let from = &scenario.client.namespace;
                let answers = connect_many(from, offer.protocol, offer.frontend(), 400, TIMEOUT)?;
                assert_eq!(answers.failed(), 0, "{offer:?} {answers:?}");
                assert!(answers.of("blue") > 100 && answers.of("green") > 100, "{answers:?}");
            }
        }
        Ok(())
    })
}
