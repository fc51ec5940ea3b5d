//! Other owners' tcx programs, before and behind ours: they see pods' addresses.

use anyhow::Result;
use canary_tests::{
    lab::{
        Lab,
        policy::{Hook, Looks, Order, Policy},
    },
    scenario::{Backend, Scenario, Subset, TCP4, TIMEOUT, UDP4, VIRTUAL_V4},
    workload::connect_many,
};

#[test]
fn policies_of_others_see_pod_addresses_before_and_after_us() -> Result<()> {
    Lab::run("others", |lab| {
        let client = lab.pod("client")?;
        let backends = vec![Backend::start(lab, lab.pod("blue-1")?, "blue")?];
        let (node, interface) = (lab.node(), client.interface.clone());
        let from = client.namespace.clone();
        let policy = |hook, order, looks| {
            Policy::attach(node, &interface, (hook, order), (looks, VIRTUAL_V4))
        };
        // Each drops what it would see if it were on the wrong side of ours.
        let _before = [
            policy(Hook::Ingress, Order::First, Looks::Destination)?,
            policy(Hook::Egress, Order::Last, Looks::Source)?,
        ];
        let subsets = [Subset { name: "blue", pods: 1 }];
        let _scenario = Scenario::serve(lab, client, backends, &subsets, &[])?;
        let _after = [
            policy(Hook::Ingress, Order::Last, Looks::Destination)?,
            policy(Hook::Egress, Order::First, Looks::Source)?,
        ];

        for offer in [TCP4, UDP4] {
            let answers = connect_many(&from, offer.protocol, offer.frontend(), 100, TIMEOUT)?;
            assert_eq!(answers.of("blue"), 100, "{offer:?} {answers:?}");

            // On the wrong side they do see the virtual address.
            let short = TIMEOUT / 20;
            for (hook, order, looks) in [
                (Hook::Ingress, Order::First, Looks::Destination),
                (Hook::Egress, Order::Last, Looks::Source),
            ] {
                let _wrong = policy(hook, order, looks)?;
                let answers = connect_many(&from, offer.protocol, offer.frontend(), 1, short)?;
                assert_eq!(answers.failed(), 1, "{offer:?} {hook:?} {answers:?}");
            }
        }
        Ok(())
    })
}
