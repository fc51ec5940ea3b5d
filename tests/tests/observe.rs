//! What becomes of packets, and what the flow table holds, as those see it who look.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    mem::offset_of,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::unix::net::UnixStream,
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use aya::maps::{Map, MapData, RingBuf};
use canary_common::{
    endpoint::UDP,
    event::Kind,
    layout::LAYOUT_VERSION,
    packets::{Draft, endpoint, rare::fragments},
    service::Record,
    settings::Settings,
};
use canary_tests::{
    lab::{
        Lab, NODE_V4, Process, binaries, wait_for,
        wire::{Wire, hardware},
    },
    scenario::{HOLD, OFFERS, Offer, Scenario, Subset, TCP4, TCP6, TIMEOUT, UDP4},
    workload::{Crowd, Ports, Protocol, connect_many},
};
use canary_userspace::{
    document::{
        flows::Flows,
        observe::{Event, Lost},
    },
    kernel::mapped::Mapped,
};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::signal::Signal,
    unistd::Pid,
};

const SUBSETS: [Subset; 2] = [Subset { name: "blue", pods: 1 }, Subset { name: "none", pods: 0 }];

/// A port of the client that two connections have.
const SHARED: u16 = 40_000;

/// Datagrams that nobody takes, of a burst: more than wait anywhere on the way to an observer.
const BURST: u64 = 30_000;

#[test]
fn connections_clashes_refusals_drops_and_resets_are_seen_with_reasons_and_tuples() -> Result<()> {
    Lab::run("observe", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;
        scenario.split(TCP6.service, &[("blue", 0.0), ("none", 100.0)])?;
        let observer = Observer::start(lab, &[])?;
        observer.wait_begun(&scenario)?;
        let client = &scenario.client;
        let own = IpAddr::V4(client.v4);
        let pod = &scenario.backend("blue-1")?.pod;
        let backend = HOLD.backend(pod).context("no address")?;

        // The client's port is taken straight towards the pod, then used by the virtual address.
        let ports = Ports::Given(own, vec![SHARED]);
        let straight = Crowd::open(&client.namespace, Protocol::Tcp, backend, &ports)?;
        let through = Crowd::open(&client.namespace, Protocol::Tcp, HOLD.frontend(), &ports)?;
        ensure!(straight.answers().failed() + through.answers().failed() == 0, "none may fail");
        let shared = SocketAddr::from((own, SHARED)).to_string();
        let clash = observer.wait("a clash", |event| {
            event.kind == "clash" && event.source.as_ref() == Some(&shared)
        })?;
        assert_eq!(clash.source.as_deref(), Some(shared.as_str()));
        assert_eq!(clash.destination, Some(HOLD.frontend().to_string()));
        assert_eq!(clash.backend, Some(backend.to_string()));
        assert_eq!(clash.service.as_deref(), Some(HOLD.service));
        assert_eq!(clash.subset.as_deref(), Some("blue"));
        assert!(clash.port.is_some_and(|port| port >= 61_000), "{clash:?}");
        assert_eq!(clash.interface.as_ref(), Some(&client.interface));

        // Nobody serves the subset that all of this service goes to.
        let refused = connect_many(&client.namespace, Protocol::Tcp, TCP6.frontend(), 1, TIMEOUT)?;
        assert_eq!(refused.failed(), 1);
        let refused =
            observer.wait("a refusal", |event| event.by == "packet" && event.kind == "refused")?;
        assert_eq!(refused.reason.as_deref(), Some("no-backend"));
        assert_eq!(refused.destination, Some(TCP6.frontend().to_string()));
        let from = refused.source.as_deref().context("no source")?.parse::<SocketAddr>()?;
        assert_eq!(Some(from.ip()), client.v6.map(IpAddr::V6));
        assert_eq!(refused.service.as_deref(), Some(TCP6.service));

        // The second piece of a datagram, whose first never came.
        let ends = [SocketAddr::from((own, SHARED)), UDP4.frontend()];
        let [source, destination] = ends.map(|end| endpoint(end, UDP));
        let whole = Draft::new(source, destination).payload(&[0; 2_000]).build();
        let mut frame = fragments(&whole, 1, 1_000).pop().context("no second piece")?;
        let macs = [hardware(lab.node(), &client.interface)?, hardware(&client.namespace, "eth0")?];
        frame.get_mut(..12).context("no frame")?.copy_from_slice(macs.as_flattened());
        Wire::open(&client.namespace, "eth0")?.send(&frame)?;
        let dropped = observer.wait("a drop", |event| event.kind == "dropped")?;
        assert_eq!(dropped.reason.as_deref(), Some("fragment-early"));
        // Only the first piece has the ports.
        let bare = ends.map(|end| Some(SocketAddr::new(end.ip(), 0).to_string()));
        assert_eq!([dropped.source, dropped.destination], bare);

        // Nothing listens in the pod any more.
        scenario.backend("blue-1")?.server.kill()?;
        let failed = connect_many(&client.namespace, Protocol::Tcp, TCP4.frontend(), 1, TIMEOUT)?;
        assert_eq!(failed.failed(), 1);
        let closed = TCP4.backend(pod).map(|closed| closed.to_string());
        let reset = observer.wait("a reset by the backend", |event| {
            event.kind == "reset" && event.sender == "backend" && event.source == closed
        })?;
        assert_eq!((reset.answered, reset.subset.as_deref()), (Some(false), Some("blue")));
        assert_eq!(observer.end()?, 0, "Ctrl-C ends it well");
        Ok(())
    })
}

#[test]
fn what_sockets_are_given_when_they_connect_is_seen_and_refusals_too() -> Result<()> {
    Lab::run("calls", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;
        scenario.split(TCP6.service, &[("blue", 0.0), ("none", 100.0)])?;
        let observer = Observer::start(lab, &[])?;
        observer.wait_begun(&scenario)?;
        let pod = &scenario.backend("blue-1")?.pod;
        // The node's own sockets are picked for when they connect.
        let script = lab.script(lab.node())?;
        script.open("s", "tcp4")?;
        script.connect("s", TCP4.frontend())?;
        let picked = observer.wait("a pick", |event| event.by == "socket")?;
        assert_eq!(
            (picked.kind.as_str(), picked.source),
            ("connection", Some(NODE_V4.to_string()))
        );
        assert_eq!(picked.destination, Some(TCP4.frontend().to_string()));
        assert_eq!(picked.backend, Some(TCP4.backend(pod).context("no address")?.to_string()));
        assert_eq!((picked.subset.as_deref(), picked.interface), (Some("blue"), None));
        script.open("s", "tcp6")?;
        ensure!(script.connect("s", TCP6.frontend()).is_err(), "nobody serves it");
        let refused =
            observer.wait("a refusal", |event| event.by == "socket" && event.kind == "refused")?;
        assert_eq!(refused.reason.as_deref(), Some("no-backend"));
        assert_eq!(refused.service.as_deref(), Some(TCP6.service));
        Ok(())
    })
}

#[test]
fn filters_are_the_observers_own_and_bad_ones_are_refused() -> Result<()> {
    Lab::run("observe-filters", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;
        scenario.split(TCP6.service, &[("blue", 0.0), ("none", 100.0)])?;
        let all = Observer::start(lab, &[])?;
        let of_one = Observer::start(lab, &[TCP4.service])?;
        let no_backend = Observer::start(lab, &["--reason", "no-backend"])?;
        let other = Observer::start(lab, &["--client", "10.9.0.0/16"])?;
        all.wait_begun(&scenario)?;
        of_one.wait_begun(&scenario)?;

        let namespace = &scenario.client.namespace;
        wait_for("the refusal", TIMEOUT, || {
            connect_many(namespace, Protocol::Tcp, TCP6.frontend(), 1, TIMEOUT)?;
            Ok(!no_backend.events().is_empty())
        })?;
        all.wait("the refusal", |event| event.kind == "refused")?;

        assert!(of_one.events().iter().all(|event| event.service.as_deref() == Some(TCP4.service)));
        let reasons = no_backend.events().into_iter().map(|event| event.reason);
        assert!(reasons.into_iter().all(|reason| reason.as_deref() == Some("no-backend")));
        assert_eq!(other.events(), []);
        for (words, code, text) in [
            (["observe", "tcp44"], 3, "did you mean \"tcp4\"?"),
            (["flows", "tcp44"], 3, "did you mean \"tcp4\"?"),
            (["observe", "--reason=no-prt"], 2, "no-port"),
            (["observe", "--client=10.0"], 2, "ADDRESS/LENGTH"),
        ] {
            let output = lab.ctl_output(&words)?;
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
            assert!(said.contains(text), "{words:?}: {said}");
        }
        Ok(())
    })
}

#[test]
fn a_slow_observer_loses_events_is_told_how_many_and_holds_up_nobody() -> Result<()> {
    Lab::run("observe-slow", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;
        scenario.split(UDP4.service, &[("blue", 0.0), ("none", 100.0)])?;
        let mut slow = Stream::open(lab)?;

        let mut sent = BURST;
        send(&scenario, BURST)?;
        // It has read nothing yet, and the agent answers.
        lab.status()?;

        slow.read()?;
        let waited = wait_for("each event to be told or counted", 6 * TIMEOUT, || {
            if slow.told() == sent {
                return Ok(true);
            }
            // What a CPU has lost, it tells with its next event.
            send(&scenario, 1)?;
            sent += 1;
            slow.wait_more()?;
            Ok(slow.told() == sent)
        });
        println!("sent {sent}, seen {}, lost {}", slow.seen(), slow.lost());
        waited?;
        assert!(slow.lost() > 0 && slow.seen() > 0);
        Ok(())
    })
}

#[test]
fn nothing_is_told_while_nobody_observes() -> Result<()> {
    Lab::run("observe-nobody", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;
        scenario.split(TCP6.service, &[("blue", 0.0), ("none", 100.0)])?;
        let maps = lab.bpffs().join(format!("v{LAYOUT_VERSION}/maps"));
        let ask = || -> Result<()> {
            let namespace = &scenario.client.namespace;
            for offer in [TCP4, TCP6] {
                connect_many(namespace, Protocol::Tcp, offer.frontend(), 20, TIMEOUT)?;
            }
            Ok(())
        };
        // Each reader of the ring goes on from where the one before it was.
        let entries = || -> Result<usize> {
            let map = Map::RingBuf(MapData::from_pin(maps.join("EVENTS"))?);
            let mut ring = RingBuf::try_from(map)?;
            let mut count = 0;
            while ring.next().is_some() {
                count += 1;
            }
            Ok(count)
        };

        ask()?;
        let before = entries()?;
        let observer = Observer::start(lab, &[])?;
        observer.wait_begun(&scenario)?;
        observer.end()?;
        let settings = MapData::from_pin(maps.join("SETTINGS"))?;
        let settings: Mapped<Settings> = Mapped::new("SETTINGS", &settings)?;
        let observed = offset_of!(Settings, observed);
        wait_for("nobody to observe", TIMEOUT, || Ok(settings.load(0, observed)? == 0))?;
        let threads = format!("/proc/{}/task", scenario.agent.process().id());
        wait_for("the ring to be left alone", TIMEOUT, || {
            let mut names = fs::read_dir(&threads)?
                .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("comm")).ok());
            Ok(!names.any(|name| name.trim() == "events"))
        })?;
        entries()?;
        ask()?;
        let after = entries()?;
        let kinds = [Kind::Connection, Kind::Clash, Kind::Refused];
        settings.store(0, observed, kinds.iter().fold(0, |bits, kind| bits | kind.bit()))?;
        ask()?;
        let asked_for = entries()?;

        assert_eq!((before, after), (0, 0));
        assert_eq!(asked_for, 40, "it is the word in the settings that asks");
        Ok(())
    })
}

#[test]
fn flows_are_shown_with_their_states_and_picked_by_every_filter() -> Result<()> {
    Lab::run("flows", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;
        let client = &scenario.client;
        let own = IpAddr::V4(client.v4);
        let pod = &scenario.backend("blue-1")?.pod;
        let backend = HOLD.backend(pod).context("no address")?;
        let ports =
            |first: u16, count: u16| Ports::Given(own, (first..).take(count.into()).collect());
        let hold = Offer { protocol: Protocol::Tcp, ..HOLD };
        let open =
            |target, ports: &Ports| Crowd::open(&client.namespace, hold.protocol, target, ports);

        let held = open(HOLD.frontend(), &ports(41_000, 1_500))?;
        let straight = open(backend, &ports(43_000, 3))?;
        ensure!(held.answers().failed() + straight.answers().failed() == 0, "none may fail");
        let list = |words: &[&str]| -> Result<Flows> {
            lab.ctl_json(&[&["flows", "--limit", "100000"], words].concat())
        };

        let all = list(&["hold"])?;
        assert_eq!(all.flows.len(), 1_500);
        let one = list(&["hold", "--client", &SocketAddr::from((own, 41_000)).to_string()])?;
        let [flow] = one.flows.as_slice() else { anyhow::bail!("{one:?}") };
        assert_eq!(
            [&flow.kind, &flow.protocol, &flow.client, &flow.destination],
            ["forward", "tcp", &format!("{own}:41000"), &HOLD.frontend().to_string()]
        );
        assert_eq!(flow.state.as_deref(), Some("established"));
        assert_eq!(flow.backend, Some(backend.to_string()));
        assert_eq!(flow.subset.as_deref(), Some("blue"));
        assert_eq!(flow.interface.as_ref(), Some(&client.interface));
        let count = |words: &[&str]| list(words).map(|found| found.flows.len());
        assert_eq!(count(&["hold", "--subset", "none"])?, 0);
        assert_eq!(count(&["hold", "--subset", "blue", "--state", "established"])?, 1_500);
        assert_eq!(count(&["--kind", "straight", "--client", &own.to_string()])?, 3);
        assert_eq!(count(&["hold", "--client", "10.9.0.0/16"])?, 0);
        let limited: Flows = lab.ctl_json(&["flows", "hold", "--limit", "1200"])?;
        assert_eq!(limited.flows.len(), 1_200);
        assert!(limited.next.is_some());
        drop(held);
        wait_for("the connections to be closed", TIMEOUT, || {
            Ok(count(&["hold", "--state", "closed", "--state", "reset"])? == 1_500)
        })?;
        Ok(())
    })
}

#[test]
fn a_table_that_contradicts_itself_is_in_the_agents_log_once_a_second() -> Result<()> {
    Lab::run("never", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;
        let maps = lab.bpffs().join(format!("v{LAYOUT_VERSION}/maps"));
        let current = MapData::from_pin(maps.join("CURRENT"))?;
        let current: Mapped<u32> = Mapped::new("CURRENT", &current)?;
        let records = MapData::from_pin(maps.join("SERVICES"))?;
        let records: Mapped<Record> = Mapped::new("SERVICES", &records)?;
        let services = u32::try_from(OFFERS.len())?;
        for service in 0..=services {
            records.store(current.load(service, 0)?, offset_of!(Record, count), 0)?;
        }
        let said = || -> Result<usize> {
            let log = fs::read_to_string(lab.agent_log())?;
            Ok(log.matches("contradicts itself").count())
        };
        assert_eq!(said()?, 0);

        let start = Instant::now();
        let namespace = &scenario.client.namespace;
        let answers = connect_many(namespace, Protocol::Tcp, TCP4.frontend(), 200, TIMEOUT)?;
        wait_for("the log to say so", TIMEOUT, || Ok(said()? > 0))?;

        assert_eq!(answers.failed(), 200);
        let cpus = thread::available_parallelism()?.get();
        let seconds = usize::try_from(start.elapsed().as_secs())? + 2;
        let lines = said()?;
        assert!(lines <= cpus * seconds, "{lines} lines in {seconds} seconds of {cpus} CPUs");
        Ok(())
    })
}

/// Whether a connection began. Where there is no conntrack, a new interface's connections all
/// have their ports translated, for they may be those of older ones.
fn is_begun(event: &Event) -> bool {
    ["connection", "clash"].contains(&event.kind.as_str())
}

/// Sends datagrams to a service that nobody serves, all from one CPU.
fn send(scenario: &Scenario<'_>, count: u64) -> Result<()> {
    scenario.client.namespace.enter(|| {
        let mut first = CpuSet::new();
        first.set(0)?;
        sched_setaffinity(Pid::from_raw(0), &first)?;
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        for _ in 0..count {
            socket.send_to(b"?", UDP4.frontend())?;
        }
        Ok(())
    })?
}

/// `canaryctl observe --json`, and what it has printed.
struct Observer {
    process: Process,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Observer {
    fn start(lab: &Lab, words: &[&str]) -> Result<Self> {
        let mut command = Command::new(binaries::product("canaryctl")?);
        command.env("CANARY_AGENT", lab.agent_address()).args(["observe", "--json"]).args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let process = Process::start(lab.undo(), lab.node(), &mut command)?;
        let (_, output) = process.pipes()?;
        let events = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&events);
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Ok(event) = serde_json::from_str::<Event>(&line) {
                    heard.lock().unwrap_or_else(PoisonError::into_inner).push(event);
                }
            }
        });
        Ok(Self { process, events })
    }

    fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until connections of `TCP4` are told, and their ends are known.
    fn wait_begun(&self, scenario: &Scenario<'_>) -> Result<()> {
        wait_for("the first event", 2 * TIMEOUT, || {
            let namespace = &scenario.client.namespace;
            connect_many(namespace, Protocol::Tcp, TCP4.frontend(), 1, TIMEOUT)?;
            Ok(self.events().iter().any(is_begun))
        })
        .with_context(|| format!("{:#?}", self.events().first()))?;
        let first = self.wait("a connection", is_begun)?;
        assert_eq!(first.destination, Some(TCP4.frontend().to_string()));
        assert_eq!(first.target.as_deref(), Some(TCP4.service));
        assert_eq!(first.subset.as_deref(), Some("blue"));
        assert_eq!(first.port.is_some(), first.kind == "clash");
        Ok(())
    }

    fn wait(&self, what: &str, wanted: impl Fn(&Event) -> bool) -> Result<Event> {
        let mut found = None;
        wait_for(what, 2 * TIMEOUT, || {
            found = self.events().into_iter().find(|event| wanted(event));
            Ok(found.is_some())
        })
        .with_context(|| format!("{:#?}", self.events()))?;
        found.context("it is gone")
    }

    /// Ends it as Ctrl-C does, and gives its exit code.
    fn end(&self) -> Result<i32> {
        self.process.signal(Signal::SIGINT)?;
        self.process.wait(TIMEOUT)?.code().context("it was killed")
    }
}

/// The API's stream itself, read only when asked to.
struct Stream {
    socket: UnixStream,
    counts: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

impl Stream {
    fn open(lab: &Lab) -> Result<Self> {
        let mut socket = UnixStream::connect(lab.socket())?;
        // Of HTTP 1.0, whose bodies are not cut into chunks.
        socket.write_all(b"GET /v1/canary/observe HTTP/1.0\r\nHost: agent\r\n\r\n")?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte)?;
            head.extend(byte);
        }
        let head = String::from_utf8(head)?;
        ensure!(head.contains(" 200 "), "{head}");
        Ok(Self { socket, counts: Arc::default() })
    }

    /// Begins to read.
    fn read(&mut self) -> Result<()> {
        let lines = BufReader::new(self.socket.try_clone()?).lines();
        let counts = Arc::clone(&self.counts);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
                if let Ok(lost) = serde_json::from_str::<Lost>(&line)
                    && lost.kind == Lost::KIND
                {
                    *counts.entry("lost").or_default() += lost.count;
                } else if serde_json::from_str::<Event>(&line).is_ok() {
                    *counts.entry("seen").or_default() += 1;
                }
            }
        });
        Ok(())
    }

    fn count(&self, what: &str) -> u64 {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(what).copied().unwrap_or(0)
    }

    fn seen(&self) -> u64 {
        self.count("seen")
    }

    fn lost(&self) -> u64 {
        self.count("lost")
    }

    /// Events that it knows of.
    fn told(&self) -> u64 {
        self.seen() + self.lost()
    }

    /// Waits for more to be told, or a moment.
    fn wait_more(&self) -> Result<()> {
        let before = self.told();
        let more = wait_for("more", Duration::from_millis(200), || Ok(self.told() > before));
        // None may be under way.
        more.map(drop).or(Ok(()))
    }
}
