//! Internal and external traffic policies: who is given backends of the node alone.

use std::{collections::BTreeMap, time::Instant};

use anyhow::{Context, Result};
use canary_tests::{
    lab::{Lab, Pod, wait_for},
    scenario::{NAMING, OFFERS, Offer, TCP4, TCP6, TIMEOUT},
    workload::{Answers, connect_many},
};

use crate::net::{HEEDED, Net, reason, run, since};

const EXTERNAL: &str = "meta { \"canary/external-traffic-policy\" = \"Local\" }\n";
const INTERNAL: &str = "meta { \"canary/internal-traffic-policy\" = \"Local\" }\n";

fn ask(from: &Pod, offer: &Offer, count: u64) -> Result<Answers> {
    connect_many(&from.namespace, offer.protocol, offer.frontend(), count, TIMEOUT)
}

fn warns(lab: &Lab, service: &str, text: &str) -> Result<bool> {
    let warnings = lab.status()?.warnings;
    Ok(warnings.iter().any(|warning| warning.service == service && warning.text.contains(text)))
}

#[test]
fn clients_outside_are_given_backends_of_the_node_alone_where_the_policy_says_so() -> Result<()> {
    run("external", |net| {
        let lab = net.labs[0];
        let asker = lab.pod("asker")?;
        let agent = net.agent_for(0, &OFFERS, EXTERNAL, &[])?;
        for offer in NAMING {
            net.split(0, offer.service, 50)?;
            let before = net.clients(0, offer.protocol)?;
            let answers = net.ask(&offer, 200)?;
            assert_eq!((answers.failed(), answers.of("blue")), (0, 200), "{offer:?} {answers:?}");
            let seen = since(&before, &net.clients(0, offer.protocol)?);
            let client = net.client_address(offer.v6);
            assert_eq!(seen, BTreeMap::from([(client, 200)]), "{offer:?}");
            let own = ask(&asker, &offer, 200)?;
            assert_eq!(own.failed(), 0, "{offer:?} {own:?}");
            assert!(own.of("green") > 50, "{offer:?} {own:?}");

            let frontend = lab.service(offer.service)?.frontends.remove(0);
            assert_eq!(frontend.external_traffic_policy, "Local");
            assert_eq!(frontend.internal_traffic_policy, "Cluster");
            assert_eq!(frontend.source, None, "nobody outside is given one elsewhere");
            assert!(lab.ctl(&["explain", offer.service])?.contains("(external: Local)"));
            let text = "external traffic policy Local: with no healthy backend on this node, \
                        the other splits get 50 % of subset \"green\"";
            assert!(warns(lab, offer.service, text)?, "{:?}", lab.status()?.warnings);
        }
        // Without one of this node that has a share, they are refused at once.
        net.split(0, TCP4.service, 0)?;
        let (start, before) = (Instant::now(), reason(lab, "no-backend")?);
        let answers = net.ask(&TCP4, 5)?;
        assert_eq!(answers.failed(), 5, "{answers:?}");
        assert!(answers.failures.keys().all(|error| error.contains("refused")), "{answers:?}");
        assert!(start.elapsed() < TIMEOUT);
        assert!(reason(lab, "no-backend")? >= before + 5);
        assert!(warns(lab, TCP4.service, "no healthy backend is on this node")?);
        assert_eq!(ask(&asker, &TCP4, 20)?.failed(), 0);

        // Another agent knows what this one has left.
        net.split(0, TCP4.service, 50)?;
        agent.terminate()?;
        agent.restart()?;
        let answers = net.ask(&TCP4, 50)?;
        assert_eq!((answers.failed(), answers.of("blue")), (0, 50), "{answers:?}");
        moves(net)
    })
}

/// A backend that leaves the node and comes back.
fn moves(net: &Net<'_>) -> Result<()> {
    let (lab, pod) = (net.labs[0], &net.backends[0].pod);
    let ways = [
        format!("{}/32 dev {}", pod.v4, pod.interface),
        format!("{}/128 dev {}", pod.v6.context("IPv6")?, pod.interface),
    ];
    for offer in [TCP4, TCP6] {
        lab.node().ip(&ways.clone().map(|way| format!("route del {way}")))?;
        wait_for("the backend to be elsewhere", HEEDED, || {
            warns(lab, offer.service, "no healthy backend is on this node")
        })?;
        assert_eq!(net.ask(&offer, 5)?.failed(), 5);
        lab.node().ip(&ways.clone().map(|way| format!("route add {way}")))?;
        wait_for("the backend to be here", HEEDED, || {
            Ok(!warns(lab, offer.service, "no healthy backend is on this node")?)
        })?;
        let answers = net.ask(&offer, 20)?;
        assert_eq!((answers.failed(), answers.of("blue")), (0, 20), "{answers:?}");
    }
    Ok(())
}

#[test]
fn pods_are_given_backends_of_the_node_alone_where_the_policy_says_so() -> Result<()> {
    run("internal", |net| {
        let lab = net.labs[0];
        let asker = lab.pod("asker")?;
        let _agent = net.agent_for(0, &OFFERS, INTERNAL, &[])?;
        for offer in NAMING {
            net.split(0, offer.service, 50)?;
            let own = ask(&asker, &offer, 200)?;
            assert_eq!((own.failed(), own.of("blue")), (0, 200), "{offer:?} {own:?}");
            let process = lab.ask_from_node(offer.protocol, offer.frontend(), 50, TIMEOUT)?;
            assert_eq!((process.failed(), process.of("blue")), (0, 50), "{offer:?} {process:?}");
            let answers = net.ask(&offer, 200)?;
            assert_eq!(answers.failed(), 0, "{offer:?} {answers:?}");
            assert!(answers.of("green") > 50, "{offer:?} {answers:?}");
        }
        // The policy alone changes: pods get all, then again those of the node.
        for (text, is_local) in [("", false), (INTERNAL, true)] {
            lab.write_entry("tcp4_defaults.hcl", &(TCP4.defaults() + text))?;
            let own = ask(&asker, &TCP4, 200)?;
            assert_eq!((own.failed(), own.of("green") == 0), (0, is_local), "{own:?}");
        }
        Ok(())
    })
}
