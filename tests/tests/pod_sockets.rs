//! Sockets of pods that are given their backends when they connect (`--socket-lb all`).

use std::{fs, net::SocketAddr, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use canary_tests::{
    lab::{Lab, Pod, cgroup, wait_for},
    scenario::{HOLD, Offer, Scenario, Subset, TCP4, TCP6, TIMEOUT, UDP4, UDP6},
    workload::{Script, connect_many},
};
use canary_userspace::document::flows::Flows;

const SUBSETS: [Subset; 2] = [Subset { name: "blue", pods: 1 }, Subset { name: "green", pods: 1 }];

/// Kinds of sockets, and what they ask.
const CASES: [(&str, Offer); 4] = [("tcp4", TCP4), ("tcp6", TCP6), ("udp4", UDP4), ("udp6", UDP6)];

/// Time within which sockets end that lost their backend.
const A_SECOND: Duration = Duration::from_secs(1);

#[test]
fn sockets_of_pods_are_given_their_backends_and_told_the_virtual_address() -> Result<()> {
    Lab::run("pods", |lab| {
        let scenario = start(lab, &SUBSETS, &[])?;
        let own = scenario.backend("blue-1")?.pod.clone();
        // The last one speaks to itself.
        for pod in [&scenario.client, &own] {
            let script = lab.script(&pod.namespace)?;
            for (socket, offer) in CASES {
                let case = format!("{socket} of {}", pod.name);
                let frontend = offer.frontend();
                script.open("s", socket)?;
                script.connect("s", frontend)?;
                assert_eq!(script.peer("s")?, frontend, "{case}");
                assert_eq!(ask(&script, socket)?, "blue-1", "{case}");
                if socket.starts_with("udp") {
                    script.open("s", socket)?;
                    let answer = script.ask_of("s", frontend)?;
                    assert_eq!(answer, (frontend, "blue-1".to_owned()), "{case}");
                }
            }
        }
        for (socket, offer) in CASES {
            let opened = opened(lab, offer)?;
            let each = if socket.starts_with("udp") { 2 } else { 1 };
            assert_eq!(opened, 2 * each, "{socket}");
        }
        assert_eq!(translated(lab)?, 0, "no packet is translated");
        let status = lab.ctl(&["status"])?;
        assert!(status.contains("all, 3 network namespaces of pods"), "{status}");
        Ok(())
    })
}

#[test]
fn sockets_of_a_cgroup_that_is_left_out_are_served_by_packets() -> Result<()> {
    Lab::run("except", |lab| {
        let name = format!("{}/mesh", lab.name());
        let mesh = cgroup::create(lab.undo(), &name)?;
        let below = cgroup::create(lab.undo(), &format!("{name}/sidecar"))?;
        let subsets = [Subset { name: "blue", pods: 4 }];
        let missing = format!("{}/not-there", lab.name());
        let args = ["--socket-lb-except", &name, "--socket-lb-except", &missing];
        let scenario = start(lab, &subsets, &args)?;
        let status = lab.status()?;
        assert_eq!(status.sockets.excepted, 1);
        let told = |text: &str| status.warnings.iter().any(|warning| warning.text.contains(text));
        assert!(told(&missing), "{:?}", status.warnings);
        for service in ["tcp4", "udp4", "tcp6", "udp6"] {
            affine(lab, service)?;
        }
        let scripts = [lab.cgroup(), &mesh, &below]
            .map(|cgroup| lab.script_in(&scenario.client.namespace, cgroup));
        for (socket, offer) in CASES {
            let before = translated(lab)?;
            let mut names = Vec::new();
            for script in &scripts {
                let script = script.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
                script.open("s", socket)?;
                script.connect("s", offer.frontend())?;
                assert_eq!(script.peer("s")?, offer.frontend(), "{socket}");
                names.push(ask(script, socket)?);
            }
            // `source_ip` is the pod's address, whoever draws.
            assert!(names.iter().all(|name| *name == names[0]), "{socket}: {names:?}");
            assert_eq!(translated(lab)? - before, 2, "{socket}: two of three by packets");
        }
        Ok(())
    })
}

#[test]
fn sockets_of_pods_end_within_a_second_of_their_backends() -> Result<()> {
    Lab::run("podends", |lab| {
        let scenario = start(lab, &SUBSETS, &[])?;
        let script = lab.script(&scenario.client.namespace)?;
        for (socket, offer) in [("udp4", UDP4), ("udp6", UDP6)] {
            script.open("own", socket)?;
            script.connect("own", offer.frontend())?;
            assert_eq!(script.ask("own")?.1, "blue-1");
            fs::remove_file(lab.config_directory().join(format!("{}_blue-1.hcl", offer.service)))?;
            lab.ctl(&["reload"])?;
            ended(&script, "own", A_SECOND).with_context(|| socket.to_owned())?;
        }
        script.open("own", "tcp4")?;
        script.connect("own", HOLD.frontend())?;
        script.run("receive own")?;
        let blue = scenario.backend("blue-1")?;
        script.open("straight", "tcp4")?;
        script.connect("straight", HOLD.backend(&blue.pod).context("no address")?)?;
        fs::remove_file(lab.config_directory().join("hold_blue-1.hcl"))?;
        lab.ctl(&["reload"])?;
        script.run("send own still?").context("a stream lives while its backend drains")?;
        lab.unplug(&blue.pod)?;
        let took = ended(&script, "own", A_SECOND)?;
        println!("ended {took:?} after the pod was unplugged");
        script.run("send straight hello").context("a socket that came without us")?;
        Ok(())
    })
}

#[test]
fn three_ways_to_one_pod_at_once_do_each_other_no_harm() -> Result<()> {
    Lab::run("ways", |lab| {
        let scenario = start(lab, &SUBSETS, &[])?;
        let other = lab.pod("other")?;
        lab.wait_served(&other)?;
        let blue = &scenario.backend("blue-1")?.pod;
        let script = lab.script(&scenario.client.namespace)?;
        for (protocol, offer) in [("tcp", TCP4), ("tcp", TCP6), ("udp", UDP4), ("udp", UDP6)] {
            let (frontend, backend) =
                (offer.frontend(), offer.backend(blue).context("no address")?);
            // What this process opens is in no cgroup of the lab's, and so served by packets.
            let run = |pod: &Pod, to: SocketAddr| {
                let answers = connect_many(&pod.namespace, offer.protocol, to, 1_000, TIMEOUT)?;
                ensure!(answers.of("blue-1") == 1_000, "{protocol} to {to}: {answers:?}");
                Ok(())
            };
            thread::scope(|scope| -> Result<()> {
                let ways = [
                    scope.spawn(|| run(&other, frontend)),
                    scope.spawn(|| run(&scenario.client, frontend)),
                    scope.spawn(|| run(&scenario.client, backend)),
                ];
                if protocol == "tcp" {
                    script.run(&format!("connects tcp {frontend} 2000"))?;
                } else {
                    script.open("s", offer.service)?;
                    for _ in 0..1_000 {
                        let answer = script.ask_of("s", frontend)?;
                        ensure!(answer == (frontend, "blue-1".to_owned()), "{answer:?}");
                    }
                }
                ways.into_iter().try_for_each(|way| way.join().ok().context("a panic")?)
            })?;
        }
        Ok(())
    })
}

#[test]
fn what_was_begun_goes_on_when_another_agent_serves_other_sockets() -> Result<()> {
    Lab::run("modes", |lab| {
        let scenario = start(lab, &SUBSETS, &[])?;
        let script = lab.script(&scenario.client.namespace)?;
        let frontend = HOLD.frontend();
        script.open("picked", "tcp4")?;
        script.connect("picked", frontend)?;
        script.open("asked", "udp4")?;
        script.connect("asked", UDP4.frontend())?;
        scenario.agent.terminate()?;
        let mut before: Vec<(String, usize)> = Vec::new();
        for (whose, expected) in [("host", 1), ("off", 1), ("all", 0), ("host", 1)] {
            let agent = lab.start_agent(&["--socket-lb".to_owned(), whose.to_owned()])?;
            lab.ctl(&["status", "--wait", "--timeout", "30s"])?;
            if whose == "all" {
                wait_served(lab, 3)?;
            }
            let (name, flows) = (format!("{whose}{}", before.len()), translated(lab)?);
            script.open(&name, "tcp4")?;
            script.connect(&name, frontend)?;
            before.push((name, expected));
            let now = translated(lab)?;
            assert_eq!(now - flows, expected, "{whose}: a flow of packets, or none");
            for (name, _) in &before {
                assert_eq!(script.peer(name)?, frontend, "{whose}: {name}");
                script.run(&format!("send {name} hello"))?;
                script.run(&format!("receive {name}"))?;
            }
            assert_eq!(script.peer("picked")?, frontend, "{whose}");
            script.run("send picked hello")?;
            let answer = script.ask("asked")?;
            assert_eq!(answer, (UDP4.frontend(), "blue-1".to_owned()), "{whose}");
            agent.signal(nix::sys::signal::Signal::SIGTERM)?;
            agent.wait(TIMEOUT)?;
        }
        Ok(())
    })
}

#[test]
fn pods_that_come_and_go_are_served_and_forgotten() -> Result<()> {
    Lab::run("comers", |lab| {
        let scenario = start(lab, &SUBSETS, &[])?;
        let late = lab.pod("late")?;
        wait_served(lab, 4)?;
        let script = lab.script(&late.namespace)?;
        script.open("s", "tcp4")?;
        script.connect("s", TCP4.frontend())?;
        assert_eq!(script.peer("s")?, TCP4.frontend());
        assert_eq!(translated(lab)?, 0, "served when it connects");
        let maps = lab.ctl(&["maps"])?;
        assert!(maps.contains("NAMESPACES"), "{maps}");

        lab.unplug(&late)?;

        wait_served(lab, 3)?;
        // An interface without a namespace: both ends are the node's.
        lab.node().ip(&["link add veth99 type veth peer name other99", "link set veth99 up"])?;
        wait_for("a warning", TIMEOUT, || {
            let warnings = lab.status()?.warnings;
            Ok(warnings.iter().any(|warning| warning.text.contains("veth99")))
        })?;
        let findings = lab.ctl_output(&["doctor", "--json"])?;
        let findings = String::from_utf8_lossy(&findings.stdout);
        assert!(findings.contains("none is found for 1 of 4 pods' interfaces"), "{findings}");
        drop(scenario);
        Ok(())
    })
}

/// A scenario whose pods' sockets are served when they connect.
fn start<'lab>(lab: &'lab Lab, subsets: &[Subset], args: &[&str]) -> Result<Scenario<'lab>> {
    let args = [&["--socket-lb", "all"], args].concat();
    let scenario = Scenario::start_with(lab, subsets, &args)?;
    let pods = u64::try_from(lab.pods().len())?;
    wait_served(lab, pods)?;
    Ok(scenario)
}

fn wait_served(lab: &Lab, namespaces: u64) -> Result<Duration> {
    wait_for(&format!("{namespaces} namespaces to be served"), TIMEOUT, || {
        Ok(lab.status()?.sockets.namespaces == Some(namespaces))
    })
}

/// Connections that are translated packet by packet.
fn translated(lab: &Lab) -> Result<usize> {
    let flows: Flows = lab.ctl_json(&["flows", "--kind", "forward"])?;
    Ok(flows.flows.len())
}

fn opened(lab: &Lab, offer: Offer) -> Result<u64> {
    let splits = lab.service(offer.service)?.splits;
    Ok(splits.iter().map(|split| split.connections.opened).sum())
}

/// Asks by a connected socket; who answers.
fn ask(script: &Script, socket: &str) -> Result<String> {
    if socket.starts_with("udp") {
        return Ok(script.ask("s")?.1);
    }
    Ok(script.run("receive s")?.trim().to_owned())
}

/// Has a service draw by the client's address.
fn affine(lab: &Lab, service: &str) -> Result<()> {
    let resolver = format!(
        "kind = \"service-resolver\"\nname = \"{service}\"\ndefault_subset = \"blue\"\n\
         subsets = {{ blue = {{ filter = \"Service.Meta.subset == blue\" }} }}\n\
         load_balancer = {{ policy = \"maglev\" hash_policies = [{{ source_ip = true }}] }}\n"
    );
    lab.write_entry("resolver.hcl", &resolver).map(drop)
}

/// Waits until a socket is told that it was ended.
fn ended(script: &Script, name: &str, limit: Duration) -> Result<Duration> {
    wait_for("the socket to end", limit, || {
        let Err(error) = script.run(&format!("send {name} who?")) else { return Ok(false) };
        let text = error.to_string();
        let is_ended = ["ECONNABORTED", "EDESTADDRREQ"].iter().any(|code| text.contains(code));
        ensure!(is_ended, "ended otherwise: {text}");
        Ok(true)
    })
}
