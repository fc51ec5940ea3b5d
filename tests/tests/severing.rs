//! Live connections that are ended on purpose: both ends are told, at the pace that was asked
//! for, as many as were asked for, and nobody else's.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use canary_tests::{
    lab::{Agent, AgentOptions, Lab, Pod, wait_for},
    scenario::{HOLD, Offer, Subset, TIMEOUT, definition, resolver},
    workload::{Answers, Crowd, Ports, Protocol, Server, ServerOptions},
};
use canary_userspace::document::Severing;

const STREAMS: Offer = Offer { service: "streams", ..HOLD };
const STREAMS6: Offer = Offer { service: "streams6", v6: true, ..STREAMS };
const DNS: Offer = Offer { service: "dns", protocol: Protocol::Udp, ..HOLD };
const DNS6: Offer = Offer { service: "dns6", v6: true, ..DNS };
/// The same pods by other names, whose connections nobody asks to end.
const BESIDE: Offer = Offer { service: "beside", port: 91, ..STREAMS };
const BESIDE_UDP: Offer = Offer { service: "beside-udp", port: 91, ..DNS };

const ALL: [Offer; 6] = [STREAMS, STREAMS6, DNS, DNS6, BESIDE, BESIDE_UDP];
const SEVERED: [Offer; 4] = [STREAMS, STREAMS6, DNS, DNS6];

const SUBSETS: [Subset; 2] = [Subset { name: "blue", pods: 1 }, Subset { name: "green", pods: 1 }];

/// Sockets of each crowd.
const COUNT: u16 = 100;
/// The same where shares are counted.
const MANY: u16 = 400;

const FOLLOW: &str = "meta { \"canary/udp-follow-weights\" = \"true\" }\n";

#[test]
fn what_should_not_be_ends_for_both_ends_and_neighbours_stay() -> Result<()> {
    Lab::run("sever", |lab| {
        let stage = Stage::start(lab, "")?;
        let mut crowds = stage.open_each(SEVERED, COUNT)?;
        let mut beside = stage.open_each([BESIDE, BESIDE_UDP], COUNT)?;
        let mut straight = stage.straight("green")?;
        let before = crowds.each_ref().map(Crowd::answers);
        let (near, direct) = (beside.each_ref().map(Crowd::answers), straight.answers());

        for offer in SEVERED {
            lab.set_split(offer.service, &["blue=100", "green=0"])?;
            let counted = stage.sever(&[offer.service, "--dry-run"])?;
            ensure!(counted.state == "counted" && counted.ended == 0, "{counted:?}");
        }
        assert_eq!(crowds.each_mut().map(Crowd::ask), before, "nothing was ended yet");
        for (offer, before) in SEVERED.iter().zip(&before) {
            let severing = stage.sever(&[offer.service, "--rate", "all", "--wait"])?;
            println!("{}: {severing:?}", offer.service);
            let green = before.of("green");
            assert_eq!((severing.found, severing.ended, severing.left), (green, green, 0));
            assert_eq!(severing.state, "done");
            assert!(severing.splits.iter().all(|split| split.subset == "green"), "{severing:?}");
        }

        for ((offer, crowd), before) in SEVERED.iter().zip(&mut crowds).zip(&before) {
            let after = crowd.ask();
            println!("{}: {after:?}", offer.service);
            match offer.protocol {
                Protocol::Tcp => {
                    assert_eq!(after.of("blue"), before.of("blue"), "{after:?}");
                    assert_eq!(resets(&after), before.of("green"), "{after:?}");
                    assert_eq!(after.of("green") + after.failed(), before.of("green"));
                }
                Protocol::Udp => {
                    assert_eq!((after.of("blue"), after.failed()), (COUNT.into(), 0), "{after:?}");
                }
            }
        }
        assert_eq!(beside.each_mut().map(Crowd::ask), near, "neighbours");
        assert_eq!(straight.ask(), direct, "straight");
        let text = lab.ctl(&["history", "streams"])?;
        ensure!(text.contains("sever") && text.contains("(all)"), "{text}");
        for offer in SEVERED {
            let again = stage.sever(&[offer.service])?;
            assert_eq!(again.found, 0, "{again:?}");
        }
        Ok(())
    })
}

#[test]
fn a_backend_that_pushes_is_told_after_its_client() -> Result<()> {
    Lab::run("push", |lab| {
        let stage = Stage::start(lab, "")?;
        for offer in [STREAMS, STREAMS6] {
            // A server of the test's own, on a port of its own, that speaks when it is told to.
            let (pod, _) = stage.pod("green")?;
            let port = if offer.v6 { 8092 } else { 8091 };
            let own = Offer {
                service: if offer.v6 { "push6" } else { "push" },
                port,
                pod_port: port,
                ..offer
            };
            let any: SocketAddr = if own.v6 { "[::]:0".parse()? } else { "0.0.0.0:0".parse()? };
            let listener = pod.namespace.enter(|| TcpListener::bind((any.ip(), port)))??;
            stage.register(own, "green", &id(own, "green"), "")?;
            lab.wait_healthy(own.service, 1)?;
            let mut clients = Vec::new();
            let mut servers = Vec::new();
            for _ in 0..10 {
                let connect = || TcpStream::connect_timeout(&own.frontend(), TIMEOUT);
                clients.push(stage.client.namespace.enter(connect)??);
                servers.push(listener.accept()?.0);
            }
            for stream in clients.iter().chain(&servers) {
                stream.set_read_timeout(Some(TIMEOUT))?;
            }
            let at = own.backend(pod).context("a pod has both families")?.to_string();
            let refused = lab.ctl_output(&["sever", own.service, "--backend", &at])?;
            assert_eq!(refused.status.code(), Some(4), "it takes new ones: {refused:?}");
            lab.ctl(&["service", "maintenance", &id(own, "green"), "--enable"])?;

            let severing =
                stage.sever(&[own.service, "--backend", &at, "--rate", "all", "--wait"])?;

            assert_eq!((severing.found, severing.ended), (10, 10), "{severing:?}");
            for (client, server) in clients.iter_mut().zip(&mut servers) {
                server.write_all(b"news")?;
                let heard = client.read(&mut [0; 16]);
                let told = heard.expect_err("the client hears the news").kind();
                assert_eq!(told, ErrorKind::ConnectionReset, "the client never spoke");
                // What it sends again is answered.
                let told = server.read(&mut [0; 16]).expect_err("the server goes on").kind();
                assert_eq!(told, ErrorKind::ConnectionReset);
            }
            println!("{}: {:?}", own.service, lab.service(own.service)?.splits);
            let active = || Ok(lab.service(own.service)?.splits[0].connections.active == 0);
            wait_for("no connection to be active", TIMEOUT, active)?;
        }
        Ok(())
    })
}

#[test]
fn no_more_end_than_the_pace_says_and_other_shares_stop_it() -> Result<()> {
    Lab::run("pace", |lab| {
        let stage = Stage::start(lab, "")?;
        let mut crowds = stage.open_each([STREAMS, STREAMS6], COUNT)?;
        for (offer, crowd) in [STREAMS, STREAMS6].iter().zip(&mut crowds) {
            let green = crowd.answers().of("green");
            lab.set_split(offer.service, &["blue=100", "green=0"])?;
            let begun = Instant::now();
            let severing = stage.sever(&[offer.service, "--rate", "10/s"])?;
            assert_eq!((severing.found, severing.per_second), (green, Some(10)), "{severing:?}");
            // However slow this machine is: no more have ended than the time allows.
            let most = || u64::try_from(begun.elapsed().as_millis() / 100).unwrap_or(0) + 1;
            let mut seen = Vec::new();
            wait_for("all to have ended", 12 * TIMEOUT, || {
                let failed = crowd.ask().failed();
                ensure!(
                    failed <= most(),
                    "{failed} of {green} have ended after {:?}",
                    begun.elapsed()
                );
                seen.push(failed);
                Ok(failed == green)
            })?;
            println!("{}: {green} by {:?}, seen {seen:?}", offer.service, begun.elapsed());
            assert!(begun.elapsed().as_millis() >= u128::from(green.saturating_sub(1)) * 100);
            lab.set_split(offer.service, &["blue=50", "green=50"])?;
        }

        let mut again = stage.open_other(STREAMS, COUNT)?;
        let green = again.answers().of("green");
        lab.set_split(STREAMS.service, &["blue=100", "green=0"])?;
        let slow = stage.sever(&[STREAMS.service, "--rate", "1/s"])?;
        ensure!(slow.found >= green && slow.state == "running", "{slow:?}");
        lab.set_split(STREAMS.service, &["blue=50", "green=50"])?;
        let mut stopped = slow;
        wait_for("it to be stopped", TIMEOUT, || {
            stopped = stage.sever(&[STREAMS.service, "--progress"])?;
            Ok(stopped.state == "stopped")
        })?;
        let ended = stopped.ended;
        let failed = again.ask().failed();
        println!("stopped after {ended} of {green}: {failed} failed");
        assert!(failed == ended && ended < green, "{failed} failed of {ended} of {green}");
        assert_eq!(again.ask().failed(), failed, "no more");
        Ok(())
    })
}

#[test]
fn a_rollback_that_severs_leaves_the_stable_subset_alone() -> Result<()> {
    Lab::run("rollback", |lab| {
        let stage = Stage::start(lab, "")?;
        let mut crowds = stage.open_each([STREAMS, DNS6], COUNT)?;
        let before = crowds.each_ref().map(Crowd::answers);
        for (offer, before) in [STREAMS, DNS6].iter().zip(&before) {
            let green = before.of("green");
            let args = ["rollback", offer.service, "--sever", "--rate", "all"];
            let look = lab.ctl(&[&args[..], &["--dry-run"]].concat())?;
            ensure!(
                look.contains("Would sever: ") && look.contains(&format!("green {green}")),
                "{look}"
            );
            let told = lab.ctl(&args)?;
            println!("{told}");
            ensure!(told.contains(&format!("Severing: {} green {green}", offer.service)), "{told}");
            wait_for("it to be done", TIMEOUT, || {
                Ok(stage.sever(&[offer.service, "--progress"])?.state == "done")
            })?;
        }

        let after = crowds.each_mut().map(Crowd::ask);

        let [streams, dns] = &after;
        assert_eq!(streams.of("blue"), before[0].of("blue"), "{streams:?}");
        assert_eq!(resets(streams), before[0].of("green"), "{streams:?}");
        assert_eq!((dns.of("blue"), dns.failed()), (COUNT.into(), 0), "{dns:?}");
        Ok(())
    })
}

#[test]
fn new_weights_that_rebalance_end_as_many_as_they_ask_for() -> Result<()> {
    Lab::run("balance", |lab| {
        let stage = Stage::start(lab, "")?;
        let mut crowds = stage.open_each(SEVERED, MANY)?;
        let mut beside = stage.open_each([BESIDE], MANY)?;
        let near = beside[0].answers();
        let before = crowds.each_ref().map(Crowd::answers);
        let args = |service| {
            ["split", "set", service, "blue=90", "green=10", "--rebalance", "--rate", "all"]
        };
        for offer in SEVERED {
            lab.ctl(&args(offer.service))?;
        }
        let all = u64::from(MANY);
        for ((offer, crowd), before) in SEVERED.iter().zip(&mut crowds).zip(&before) {
            let severing = stage.sever(&[offer.service, "--progress"])?;
            wait_for("it to be done", TIMEOUT, || {
                Ok(stage.sever(&[offer.service, "--progress"])?.state == "done")
            })?;
            let (after, ended, green) = (crowd.ask(), severing.found, before.of("green"));
            println!("{}: {before:?} to {after:?}, {ended} of {green} ended", offer.service);
            // Two fifths of all, as the dice fall, and at least a tenth stays.
            assert!((3 * all / 10..=all / 2).contains(&ended), "{ended} of {all}");
            assert!(green - ended >= all / 10, "{ended} of {green}");
            assert_eq!(after.of("green"), green - ended, "{after:?}");
            match offer.protocol {
                Protocol::Tcp => {
                    assert_eq!((after.of("blue"), resets(&after)), (before.of("blue"), ended));
                }
                Protocol::Udp => {
                    assert_eq!((after.of("blue"), after.failed()), (before.of("blue") + ended, 0));
                }
            }
            // Of those that are gone, TCP's do not count any more until they come again.
            if offer.protocol == Protocol::Udp {
                let again = lab.ctl(&args(offer.service))?;
                ensure!(again.contains("Nothing to sever"), "{again}");
            }
        }
        assert_eq!(beside[0].ask(), near, "neighbours");
        Ok(())
    })
}

#[test]
fn datagrams_follow_the_weights_where_their_service_says_so() -> Result<()> {
    Lab::run("follow", |lab| {
        // The services of datagrams follow, but for the one beside them.
        let stage = Stage::start(lab, FOLLOW)?;
        let mut crowds = stage.open_each([DNS, DNS6, BESIDE_UDP, STREAMS], COUNT)?;
        let before = crowds.each_ref().map(Crowd::answers);
        for (blue, green) in [(0, 100), (100, 0), (50, 50)] {
            for offer in [DNS, DNS6, BESIDE_UDP, STREAMS] {
                let weights = [format!("blue={blue}"), format!("green={green}")];
                lab.set_split(offer.service, &weights.each_ref().map(String::as_str))?;
            }

            let [dns, dns6, beside, streams] = crowds.each_mut().map(Crowd::ask);

            println!("{blue}/{green}: {dns:?} {dns6:?}, beside {beside:?}");
            for (dns, before) in [(dns, &before[0]), (dns6, &before[1])] {
                assert_eq!(dns.failed(), 0, "{dns:?}");
                let wanted = match blue {
                    0 => 0,
                    100 => u64::from(COUNT),
                    // The same draw as at first.
                    _ => before.of("blue"),
                };
                assert_eq!(dns.of("blue"), wanted, "{dns:?}");
            }
            assert_eq!(beside, before[2], "a service that does not say so");
            assert_eq!(streams, before[3], "not TCP");
        }
        Ok(())
    })
}

/// A client, and the pods `blue` and `green`, half of each service to each.
struct Stage<'lab> {
    lab: &'lab Lab,
    client: Pod,
    pods: [(Pod, Server); 2],
    _agent: Agent<'lab>,
}

impl<'lab> Stage<'lab> {
    /// `meta` is of the services of datagrams, but for the one beside.
    fn start(lab: &'lab Lab, meta: &str) -> Result<Self> {
        let client = lab.pod("client")?;
        let pod = |name: &str| -> Result<(Pod, Server)> {
            let pod = lab.pod(name)?;
            let hold = vec![HOLD.pod_port];
            let options = ServerOptions { name: name.to_owned(), hold, ..ServerOptions::default() };
            let server = lab.serve(&pod.namespace, &options)?;
            Ok((pod, server))
        };
        let pods = [pod("blue")?, pod("green")?];
        let mut options = AgentOptions::default();
        for offer in ALL {
            let more = if [DNS.service, DNS6.service].contains(&offer.service) { meta } else { "" };
            let text = offer.defaults() + more;
            options = options.file(format!("{}.hcl", offer.service), text);
        }
        let stage = Self { lab, client, pods, _agent: lab.agent(options)? };
        for offer in ALL {
            for name in ["blue", "green"] {
                stage.register(offer, name, &id(offer, name), "")?;
            }
            lab.write_entry("resolver.hcl", &resolver(offer.service, &SUBSETS))?;
            let splits = "splits = [{ weight = 50, service_subset = \"blue\" },
                                    { weight = 50, service_subset = \"green\" }]";
            let head = format!("kind = \"service-splitter\"\nname = \"{}\"", offer.service);
            lab.write_entry("splitter.hcl", &format!("{head}\n{splits}\n"))?;
        }
        for offer in ALL {
            lab.wait_healthy(offer.service, 2)?;
        }
        Ok(stage)
    }

    fn pod(&self, name: &str) -> Result<&(Pod, Server)> {
        self.pods.iter().find(|(pod, _)| pod.name == name).context("no such pod")
    }

    fn register(&self, offer: Offer, name: &str, id: &str, more: &str) -> Result<()> {
        let backend = offer.backend(&self.pod(name)?.0).context("a pod has both families")?;
        let text = definition(&offer, id, backend, name);
        let text = text.strip_suffix("}\n").context("a definition ends with a brace")?;
        self.lab.register("instance.hcl", &format!("{text}{more}\n}}\n")).map(drop)
    }

    /// Opens a crowd by each, of which both subsets have some.
    fn open_each<const N: usize>(&self, offers: [Offer; N], count: u16) -> Result<[Crowd; N]> {
        let crowds = offers.iter().map(|offer| self.open(*offer, 40_000, count));
        let crowds: Vec<Crowd> = crowds.collect::<Result<_>>()?;
        crowds.try_into().ok().context("one each")
    }

    /// Another crowd from other ports.
    fn open_other(&self, offer: Offer, count: u16) -> Result<Crowd> {
        self.open(offer, 50_000, count)
    }

    fn open(&self, offer: Offer, first: u16, count: u16) -> Result<Crowd> {
        let target = offer.frontend();
        // Each service's from ports of its own: none of them is translated.
        let place = ALL.iter().position(|other| other.service == offer.service).unwrap_or(0);
        let first = first + u16::try_from(place)? * 1_000;
        let own = self.client.address_like(target.ip())?;
        let ports = Ports::Given(own, (first..first + count).collect());
        let crowd = Crowd::open(&self.client.namespace, offer.protocol, target, &ports)?;
        let answers = crowd.answers();
        ensure!(answers.of("blue") > 0 && answers.of("green") > 0, "{answers:?}");
        ensure!(answers.failed() == 0, "{answers:?}");
        Ok(crowd)
    }

    /// Connections straight to a pod.
    fn straight(&self, name: &str) -> Result<Crowd> {
        let target = STREAMS.backend(&self.pod(name)?.0).context("a pod has IPv4")?;
        let crowd = Crowd::open(&self.client.namespace, Protocol::Tcp, target, &Ports::Chosen(20))?;
        ensure!(crowd.answers().failed() == 0, "{:?}", crowd.answers());
        Ok(crowd)
    }

    fn sever(&self, args: &[&str]) -> Result<Severing> {
        self.lab.ctl_json(&[&["sever"], args].concat())
    }
}

/// Failures that are a reset.
fn resets(answers: &Answers) -> u64 {
    let reset = std::io::Error::from_raw_os_error(libc::ECONNRESET).to_string();
    answers.failures.iter().filter(|(text, _)| **text == reset).map(|(_, count)| count).sum()
}

fn id(offer: Offer, name: &str) -> String {
    format!("{}-{name}", offer.service)
}
