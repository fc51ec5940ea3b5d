//! Interfaces that come, go and come again while the agent runs.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use canary_tests::{
    lab::{Lab, Pod, wait_for},
    scenario::{NAMING, Scenario, Subset, TCP4, TIMEOUT},
    workload::{Protocol, client::ask, connect_many},
};

/// How soon a pod's interface must be served.
const BAR: Duration = Duration::from_millis(100);

const SUBSETS: [Subset; 1] = [Subset { name: "blue", pods: 1 }];

#[test]
fn a_pod_that_appears_is_served_within_100_ms() -> Result<()> {
    Lab::run("appears", |lab| {
        let _scenario = Scenario::start(lab, &SUBSETS)?;
        let mut took = Vec::new();
        for number in 0..7 {
            let late = lab.pod(&format!("late-{number}"))?;
            // Under a name that is no pod's; so all of it but the name is there before.
            let (name, away) = (&late.interface, format!("away{number}"));
            lab.node()
                .ip(&[format!("link set {name} down"), format!("link set {name} name {away}")])?;
            wait_for("the interface to be left", TIMEOUT, || Ok(!is_served(lab, &late)?))?;
            let start = Instant::now();
            lab.node().ip(&[
                format!("link set {away} name {name}"),
                format!("link set {name} up"),
                format!("route add {}/32 dev {name}", late.v4),
            ])?;
            took.push(first_answer(&late, start)?);
        }
        took.sort_unstable();
        println!("served after {took:?}");
        // The machine may be busy once or twice, not most of the time.
        assert!(took[took.len() / 2] < BAR, "{took:?}");
        Ok(())
    })
}

#[test]
fn a_pod_that_goes_leaves_no_pin_and_its_name_is_served_again() -> Result<()> {
    Lab::run("goes", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;
        let late = lab.pod("late")?;
        first_answer(&late, Instant::now())?;
        let index = index(lab, &late)?;
        assert!(!pins_of(lab, index)?.is_empty());

        lab.unplug(&late)?;
        wait_for("its pins to go", TIMEOUT, || Ok(pins_of(lab, index)?.is_empty()))?;
        assert!(!is_served(lab, &late)?);

        // Gone and back at once, under its old name and number.
        let client = &scenario.client;
        let number = self::index(lab, client)?;
        let (interface, namespace) = (&client.interface, &client.namespace);
        let v6 = client.v6.context("the client has IPv6")?;
        lab.node().ip(&[
            format!("link delete {interface}"),
            format!(
                "link add {interface} index {number} type veth peer name eth0 netns {namespace}"
            ),
            format!("address add 169.254.1.1/32 dev {interface}"),
            format!("link set {interface} up"),
            format!("address add fe80::1/64 dev {interface} nodad"),
            format!("route add {}/32 dev {interface}", client.v4),
            format!("route add {v6}/128 dev {interface}"),
        ])?;
        namespace.ip(&[
            "link set eth0 up".to_owned(),
            format!("address add {}/32 dev eth0", client.v4),
            format!("address add {v6}/128 dev eth0 nodad"),
            "route add 169.254.1.1 dev eth0 scope link".to_owned(),
            "route add default via 169.254.1.1 dev eth0".to_owned(),
            "route add default via fe80::1 dev eth0".to_owned(),
        ])?;
        first_answer(client, Instant::now())?;
        for offer in NAMING {
            let answers = connect_many(namespace, offer.protocol, offer.frontend(), 50, TIMEOUT)?;
            assert_eq!(answers.of("blue"), 50, "{offer:?} {answers:?}");
        }
        Ok(())
    })
}

/// The time from `start` to the first answer, tried again and again.
fn first_answer(pod: &Pod, start: Instant) -> Result<Duration> {
    let patience = Duration::from_millis(20);
    pod.namespace.enter(|| {
        wait_for("an answer", TIMEOUT, || Ok(ask(Protocol::Tcp, TCP4.frontend(), patience).is_ok()))
    })??;
    Ok(start.elapsed())
}

fn is_served(lab: &Lab, pod: &Pod) -> Result<bool> {
    Ok(lab.status()?.interfaces.iter().any(|interface| interface.name == pod.interface))
}

fn index(lab: &Lab, pod: &Pod) -> Result<u32> {
    Ok(lab.node().enter(|| nix::net::if_::if_nametoindex(pod.interface.as_str()))??)
}

/// Files of the agent's bpffs that belong to an interface.
fn pins_of(lab: &Lab, index: u32) -> Result<Vec<String>> {
    let end = format!("-{index}");
    let mut found = Vec::new();
    let mut directories = vec![lab.bpffs()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory)?.flatten() {
            if entry.file_type()?.is_dir() {
                directories.push(entry.path());
            } else if entry.file_name().to_string_lossy().ends_with(&end) {
                found.push(entry.path().display().to_string());
            }
        }
    }
    Ok(found)
}
