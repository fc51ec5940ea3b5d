//! Sockets of the node's own programs: what they are told of whom they speak to, and what becomes
//! of them when their backend goes.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use canary_tests::{
    lab::{Lab, wait_for},
    scenario::{HOLD, Offer, Scenario, Subset, TCP4, TCP6, TIMEOUT, UDP4, UDP6},
    workload::Script,
};

const SUBSETS: [Subset; 2] = [Subset { name: "blue", pods: 1 }, Subset { name: "green", pods: 1 }];

/// Connections of others, more than any table of sockets has places.
const OTHERS: usize = 150_000;

/// A kind of socket, and the service that it speaks to.
#[derive(Clone, Copy, Debug)]
struct Case {
    socket: &'static str,
    offer: Offer,
}

const DATAGRAMS: [Case; 3] = [
    Case { socket: "udp4", offer: UDP4 },
    Case { socket: "udp6", offer: UDP6 },
    Case { socket: "udp6", offer: UDP4 },
];

const STREAMS: [Case; 5] = [
    Case { socket: "tcp4", offer: TCP4 },
    Case { socket: "tcp6", offer: TCP6 },
    Case { socket: "tcp6", offer: TCP4 },
    Case { socket: "mptcp4", offer: TCP4 },
    Case { socket: "mptcp6", offer: TCP6 },
];

impl Case {
    /// An address as the socket's family writes it.
    fn written(&self, at: SocketAddr) -> SocketAddr {
        match at.ip() {
            IpAddr::V4(v4) if self.socket.ends_with('6') => (v4.to_ipv6_mapped(), at.port()).into(),
            _ => at,
        }
    }

    fn frontend(&self) -> SocketAddr {
        self.written(self.offer.frontend())
    }

    fn backend(&self, scenario: &Scenario<'_>) -> Result<SocketAddr> {
        let pod = &scenario.backend("blue-1")?.pod;
        Ok(self.written(self.offer.backend(pod).context("no such address")?))
    }
}

#[test]
fn an_answer_comes_from_whom_was_asked() -> Result<()> {
    Lab::run("answers", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;
        let script = lab.script(lab.node())?;
        for case in DATAGRAMS {
            let (frontend, backend) = (case.frontend(), case.backend(&scenario)?);
            script.open("s", case.socket)?;
            for to in [frontend, backend, frontend, frontend, backend, backend, frontend] {
                let answer = script.ask_of("s", to)?;
                assert_eq!(answer, (to, "blue-1".to_owned()), "{case:?}");
            }
        }
        let opened = lab.service(UDP4.service)?.splits[0].connections.opened;
        // Of each socket of IPv4: one pick each time that it came back from the pod's address.
        assert_eq!(opened, 6);
        Ok(())
    })
}

#[test]
fn a_connected_socket_of_datagrams_is_told_whom_it_connected_to() -> Result<()> {
    Lab::run("connected", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;
        let script = lab.script(lab.node())?;
        for case in DATAGRAMS {
            let (frontend, backend) = (case.frontend(), case.backend(&scenario)?);
            script.open("s", case.socket)?;
            for to in [frontend, backend, frontend, backend] {
                script.connect("s", to)?;
                assert_eq!(script.peer("s")?, to, "{case:?}");
                assert_eq!(script.ask("s")?, (to, "blue-1".to_owned()), "{case:?}");
                script.disconnect("s")?;
                assert!(script.peer("s").is_err(), "{case:?} is connected to nobody");
                let answer = script.ask_of("s", to)?;
                assert_eq!(answer, (to, "blue-1".to_owned()), "{case:?}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_stream_is_told_whom_it_connected_to_last() -> Result<()> {
    Lab::run("streams", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;
        let script = lab.script(lab.node())?;
        let has_mptcp = script.open("s", "mptcp4").is_ok();
        println!("MPTCP: {has_mptcp}");
        for case in STREAMS.iter().filter(|case| has_mptcp || case.socket.starts_with("tcp")) {
            let (frontend, backend) = (case.frontend(), case.backend(&scenario)?);
            script.open("s", case.socket)?;
            for to in [frontend, backend, frontend] {
                script.connect("s", to)?;
                assert_eq!(script.peer("s")?, to, "{case:?}");
                script.disconnect("s")?;
                assert!(script.peer("s").is_err(), "{case:?} is connected to nobody");
            }
        }
        Ok(())
    })
}

#[test]
fn a_peer_is_what_it_was_after_many_others_connected() -> Result<()> {
    Lab::run("others", |lab| {
        let _scenario = Scenario::start(lab, &SUBSETS)?;
        let script = lab.script(lab.node())?;
        let frontend = HOLD.frontend();
        script.open("s", "tcp4")?;
        script.connect("s", frontend)?;

        let connected = script.run(&format!("connects tcp {frontend} {OTHERS}"))?;

        assert_eq!(connected, OTHERS.to_string());
        assert_eq!(script.peer("s")?, frontend);
        script.run("send s hello")?;
        Ok(())
    })
}

#[test]
fn datagrams_keep_their_backend_until_it_leaves() -> Result<()> {
    Lab::run("sticky", |lab| {
        let _scenario = Scenario::start(lab, &SUBSETS)?;
        let script = lab.script(lab.node())?;
        for case in DATAGRAMS {
            let (service, frontend) = (case.offer.service, case.frontend());
            lab.set_split(service, &["blue=100", "green=0"])?;
            script.open("s", case.socket)?;
            assert_eq!(script.ask_of("s", frontend)?.1, "blue-1");
            lab.set_split(service, &["blue=0", "green=100"])?;
            for _ in 0..20 {
                assert_eq!(script.ask_of("s", frontend)?, (frontend, "blue-1".to_owned()));
            }

            let id = format!("{service}-blue-1");
            lab.ctl(&["service", "maintenance", &id, "--enable"])?;

            assert_eq!(script.ask_of("s", frontend)?, (frontend, "green-1".to_owned()), "{case:?}");
            lab.ctl(&["service", "maintenance", &id, "--disable"])?;
            lab.wait_healthy(service, 2)?;
        }
        Ok(())
    })
}

#[test]
fn sockets_of_the_node_are_one_client_where_its_address_counts() -> Result<()> {
    Lab::run("affinity", |lab| {
        let subsets = [Subset { name: "blue", pods: 4 }];
        let _scenario = Scenario::start(lab, &subsets)?;
        let script = lab.script(lab.node())?;
        let counts = |case: Case| -> Result<BTreeMap<String, usize>> {
            let mut counts = BTreeMap::new();
            for _ in 0..40 {
                script.open("s", case.socket)?;
                script.connect("s", case.frontend())?;
                let name = if case.socket.starts_with("udp") {
                    script.ask("s")?.1
                } else {
                    // A stream says nothing of whom its bytes come from.
                    script.run("receive s")?.trim().to_owned()
                };
                *counts.entry(name).or_default() += 1;
            }
            Ok(counts)
        };
        for case in [DATAGRAMS[0], DATAGRAMS[1], STREAMS[0], STREAMS[1]] {
            let service = case.offer.service;
            assert!(counts(case)?.len() > 1, "{case:?} before");
            let resolver = format!(
                "kind = \"service-resolver\"\nname = \"{service}\"\ndefault_subset = \"blue\"\n\
                 subsets = {{ blue = {{ filter = \"Service.Meta.subset == blue\" }} }}\n\
                 load_balancer = {{ policy = \"maglev\" hash_policies = [{{ source_ip = true }}] }}\n"
            );
            lab.write_entry("resolver.hcl", &resolver)?;

            let counts = counts(case)?;

            assert_eq!(counts.len(), 1, "{case:?}: {counts:?}");
        }
        Ok(())
    })
}

#[test]
fn a_connected_socket_of_datagrams_ends_when_its_backend_is_deregistered() -> Result<()> {
    Lab::run("ended", |lab| {
        let _scenario = Scenario::start(lab, &SUBSETS)?;
        let script = lab.script(lab.node())?;
        for case in DATAGRAMS {
            script.open("own", case.socket)?;
            script.connect("own", case.frontend())?;
            assert_eq!(script.ask("own")?.1, "blue-1");
            script.open("other", case.socket)?;
            lab.set_split(case.offer.service, &["blue=0", "green=100"])?;
            script.connect("other", case.frontend())?;
            assert_eq!(script.ask("other")?.1, "green-1");

            let file = lab.config_directory().join(format!("{}_blue-1.hcl", case.offer.service));
            let definition = fs::read(&file)?;
            fs::remove_file(&file)?;
            lab.ctl(&["reload"])?;

            let took = ended(&script, "own")?;
            println!("{case:?} ended after {took:?}");
            assert_eq!(script.ask("other")?.1, "green-1", "{case:?}: that of another backend");
            fs::write(&file, definition)?;
            lab.ctl(&["reload"])?;
            lab.wait_healthy(case.offer.service, 2)?;
            lab.set_split(case.offer.service, &["blue=100", "green=0"])?;
        }
        Ok(())
    })
}

#[test]
fn a_stream_lives_while_its_backend_drains_and_ends_when_its_pod_is_gone() -> Result<()> {
    Lab::run("drained", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;
        let script = lab.script(lab.node())?;
        let blue = scenario.backend("blue-1")?;
        script.open("own", "tcp4")?;
        script.connect("own", HOLD.frontend())?;
        let hello = script.run("receive own")?;
        script.open("straight", "tcp4")?;
        script.connect("straight", HOLD.backend(&blue.pod).context("no address")?)?;

        fs::remove_file(lab.config_directory().join("hold_blue-1.hcl"))?;
        lab.ctl(&["reload"])?;

        // Longer than rows of backends without connections are kept.
        let drained = wait_for("a socket that drains to end", Duration::from_secs(6), || {
            Ok(script.run("send own still?").is_err())
        });
        assert!(drained.is_err(), "a stream of a backend that drains has ended; first was {hello}");
        lab.unplug(&blue.pod)?;
        let took = ended(&script, "own")?;
        println!("ended {took:?} after the pod was unplugged");
        script.run("send straight hello").context("a socket that came without us")?;
        Ok(())
    })
}

#[test]
fn streams_of_the_node_are_counted_by_the_kernel() -> Result<()> {
    Lab::run("counted", |lab| {
        let _scenario = Scenario::start(lab, &SUBSETS)?;
        let script = lab.script(lab.node())?;
        let counted = || -> Result<[u64; 5]> {
            let split = lab.service(HOLD.service)?.splits.into_iter().next().context("no split")?;
            let (connections, bytes) = (split.connections, split.bytes);
            Ok([
                connections.opened,
                connections.established,
                connections.active,
                bytes.to_backend,
                bytes.to_client,
            ])
        };
        for name in ["one", "two", "three"] {
            script.open(name, "tcp4")?;
            script.connect(name, HOLD.frontend())?;
            script.run(&format!("send {name} 0123456789"))?;
            // The server says its name first.
            let mut got = String::new();
            while !got.contains("0123456789") {
                got.push_str(script.run(&format!("receive {name}"))?.trim());
            }
        }
        assert_eq!(counted()?, [3, 3, 3, 0, 0]);

        script.run("close one")?;
        script.run("close two")?;

        let bytes = 10;
        let line = 7;
        let expected = [3, 3, 1, 2 * bytes, 2 * (bytes + line)];
        wait_for("both ends to be counted", TIMEOUT, || Ok(counted()? == expected))
            .with_context(|| format!("{:?} instead of {expected:?}", counted()))?;
        Ok(())
    })
}

/// Waits until a socket is told that it was ended.
fn ended(script: &Script, name: &str) -> Result<Duration> {
    let mut last = String::new();
    let took = wait_for("the socket to end", TIMEOUT, || {
        last = script
            .run(&format!("send {name} who?"))
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        Ok(!last.is_empty())
    })?;
    // A socket of datagrams has lost its peer as well, and a send looks at that first.
    let is_ended = ["ECONNABORTED", "EDESTADDRREQ"].iter().any(|code| last.contains(code));
    ensure!(is_ended, "ended otherwise: {last}");
    Ok(took)
}
