//! Backends that leave: datagrams go elsewhere at once, and so does a SYN that is on its way.
#![expect(clippy::print_stdout, reason = "who answered is told for those that live, too")]

use std::{net::IpAddr, thread};

use anyhow::{Context, Result, ensure};
use canary_tests::{
    lab::{Agent, AgentOptions, Lab, Pod, wait_for},
    scenario::{HOLD, Offer, Subset, TIMEOUT, VIRTUAL_V4, definition, resolver},
    workload::{Answers, Crowd, Ports, Protocol, Server, ServerOptions},
};

/// The service of datagrams that backends leave, and one that takes a backend's address over.
const DNS: Offer = Offer { service: "dns", protocol: Protocol::Udp, ..HOLD };
const DNS6: Offer = Offer { service: "dns6", v6: true, ..DNS };
const OTHER: Offer = Offer { service: "other", port: 90, ..DNS };
const STREAMS: Offer = Offer { service: "streams", ..HOLD };

/// Sockets that have a flow when a backend leaves.
const COUNT: u16 = 100;

const SUBSETS: [Subset; 2] = [Subset { name: "blue", pods: 1 }, Subset { name: "green", pods: 1 }];

#[test]
fn datagrams_leave_a_backend_that_is_deregistered() -> Result<()> {
    leaves(|stage| {
        stage.deregister(DNS, "blue")?;
        stage.deregister(DNS6, "blue")
    })
}

#[test]
fn datagrams_leave_a_backend_in_maintenance() -> Result<()> {
    leaves(|stage| {
        for offer in [DNS, DNS6] {
            let id = id(offer, "blue");
            stage.lab.ctl(&["service", "maintenance", &id, "--enable"])?;
        }
        Ok(())
    })
}

#[test]
fn datagrams_leave_a_backend_that_turns_critical() -> Result<()> {
    leaves(|stage| {
        for offer in [DNS, DNS6] {
            // A TTL check is critical until it is first passed.
            let id = id(offer, "blue");
            let check = "check { name = \"alive\" ttl = \"1h\" }";
            stage.register(offer, "blue", &id, check)?;
        }
        stage.lab.wait_healthy(DNS.service, 1)?;
        stage.lab.wait_healthy(DNS6.service, 1).map(drop)
    })
}

#[test]
fn a_change_of_weights_leaves_datagrams_where_they_are() -> Result<()> {
    Lab::run("weights", |lab| {
        let stage = Stage::start(lab)?;
        stage.split()?;
        for offer in [DNS, DNS6] {
            let mut flows = stage.open(offer)?;
            let before = flows.answers();
            for weights in
                [["blue=0", "green=100"], ["blue=100", "green=0"], ["blue=50", "green=50"]]
            {
                lab.set_split(offer.service, &weights)?;
                assert_eq!(flows.ask(), before, "{offer:?} {weights:?}");
            }
        }
        Ok(())
    })
}

#[test]
fn no_client_of_a_service_speaks_to_another_one_that_took_an_address_over() -> Result<()> {
    Lab::run("reuse", |lab| {
        let stage = Stage::start(lab)?;
        let mut flows = stage.open(DNS)?;
        ensure!(flows.answers().of("blue") > 0, "{:?}", flows.answers());

        stage.deregister(DNS, "blue")?;
        let blue = stage.pod("blue")?;
        blue.1.kill()?;
        let options = ServerOptions { name: "other".into(), ..hold_options("") };
        let other = lab.serve(&blue.0.namespace, &options)?;
        stage.register(OTHER, "blue", "other-1", "")?;
        lab.wait_healthy(OTHER.service, 1)?;

        let answers = flows.ask();
        println!("after another service took blue's address over: {answers:?}");
        let strangers = other.report()?.datagrams;
        assert_eq!(answers.of("other"), 0, "{answers:?}");
        assert_eq!(answers.of("green"), u64::from(COUNT), "{answers:?}");
        assert_eq!(strangers.get(&IpAddr::V4(stage.client.v4)), None);
        Ok(())
    })
}

#[test]
fn a_syn_on_its_way_to_a_backend_that_leaves_is_picked_anew() -> Result<()> {
    Lab::run("syn", |lab| {
        let stage = Stage::start(lab)?;
        let (blue, _) = stage.pod("blue")?;
        let from = &stage.client;
        blue.namespace.drop_incoming(&format!("tcp dport {}", STREAMS.pod_port))?;
        let syns = format!("ip daddr {VIRTUAL_V4} tcp flags & (syn | ack) == syn");
        from.namespace.count_outgoing(&syns)?;

        let (answers, after) = thread::scope(|scope| -> Result<(Answers, u64)> {
            let ports = stage.ports(STREAMS)?;
            let client = scope.spawn(move || {
                let protocol = STREAMS.protocol;
                Crowd::open(&from.namespace, protocol, STREAMS.frontend(), &ports)
            });
            wait_for("all SYNs to be sent", TIMEOUT, || {
                Ok(from.namespace.counted("asks", "seen")? >= COUNT.into())
            })?;
            stage.deregister(STREAMS, "blue")?;
            let before = from.namespace.counted("asks", "seen")?;
            let crowd = client.join().ok().context("the client panicked")??;
            Ok((crowd.answers(), from.namespace.counted("asks", "seen")? - before))
        })?;

        let lost = blue.namespace.counted("deaf", "seen")?;
        println!("SYNs to blue: {lost}, SYNs sent after it left: {after}, {answers:?}");
        assert!(lost > 0);
        assert_eq!(answers.of("green"), u64::from(COUNT), "{answers:?}");
        // The second SYN of each that waited, and no third.
        assert!(after <= lost, "{after} SYNs after {lost} were lost");
        Ok(())
    })
}

/// Flows to two backends, of which one leaves.
fn leaves(leave: impl Fn(&Stage<'_>) -> Result<()>) -> Result<()> {
    Lab::run("leaves", |lab| {
        let stage = Stage::start(lab)?;
        let mut flows = stage.flows()?;

        leave(&stage)?;

        stage.none_is_left(&mut flows)
    })
}

/// A client, and the pods `blue` and `green` that serve it.
struct Stage<'lab> {
    lab: &'lab Lab,
    client: Pod,
    pods: [(Pod, Server); 2],
    _agent: Agent<'lab>,
}

impl<'lab> Stage<'lab> {
    fn start(lab: &'lab Lab) -> Result<Self> {
        let client = lab.pod("client")?;
        let pod = |name: &str| -> Result<(Pod, Server)> {
            let pod = lab.pod(name)?;
            let server = lab.serve(&pod.namespace, &hold_options(name))?;
            Ok((pod, server))
        };
        let pods = [pod("blue")?, pod("green")?];
        let mut options = AgentOptions::default();
        for offer in [DNS, DNS6, OTHER, STREAMS] {
            options = options.file(format!("{}.hcl", offer.service), offer.defaults());
        }
        let stage = Self { lab, client, pods, _agent: lab.agent(options)? };
        for offer in [DNS, DNS6, STREAMS] {
            for name in ["blue", "green"] {
                stage.register(offer, name, &id(offer, name), "")?;
            }
        }
        for offer in [DNS, DNS6, STREAMS] {
            lab.wait_healthy(offer.service, 2)?;
        }
        Ok(stage)
    }

    fn pod(&self, name: &str) -> Result<&(Pod, Server)> {
        self.pods.iter().find(|(pod, _)| pod.name == name).context("no such pod")
    }

    /// Registers a pod for a service, with more of a definition.
    fn register(&self, offer: Offer, name: &str, id: &str, more: &str) -> Result<()> {
        let backend = offer.backend(&self.pod(name)?.0).context("a pod has both families")?;
        let text = definition(&offer, id, backend, name);
        let text = text.strip_suffix("}\n").context("a definition ends with a brace")?;
        self.lab.register("instance.hcl", &format!("{text}{more}\n}}\n")).map(drop)
    }

    fn deregister(&self, offer: Offer, name: &str) -> Result<()> {
        self.lab.ctl(&["service", "deregister", &id(offer, name)]).map(drop)
    }

    /// Gives each pod a split of its own, with half of the weight.
    fn split(&self) -> Result<()> {
        for service in [DNS, DNS6, STREAMS].map(|offer| offer.service) {
            self.lab.write_entry("resolver.hcl", &resolver(service, &SUBSETS))?;
            let splits = "splits = [{ weight = 50, service_subset = \"blue\" },
                                    { weight = 50, service_subset = \"green\" }]";
            let head = format!("kind = \"service-splitter\"\nname = \"{service}\"");
            self.lab.write_entry("splitter.hcl", &format!("{head}\n{splits}\n"))?;
        }
        Ok(())
    }

    fn ports(&self, offer: Offer) -> Result<Ports> {
        let own = self.client.address_like(offer.frontend().ip())?;
        Ok(Ports::Given(own, (40_000..40_000 + COUNT).collect()))
    }

    fn open(&self, offer: Offer) -> Result<Crowd> {
        let from = &self.client.namespace;
        let crowd = Crowd::open(from, offer.protocol, offer.frontend(), &self.ports(offer)?)?;
        let answers = crowd.answers();
        ensure!(answers.of("blue") > 0 && answers.of("green") > 0, "{answers:?}");
        ensure!(answers.failed() == 0, "{answers:?}");
        Ok(crowd)
    }

    /// Flows of both families.
    fn flows(&self) -> Result<[Crowd; 2]> {
        Ok([self.open(DNS)?, self.open(DNS6)?])
    }

    /// Asks by all flows: `green` answers each, and `blue`, which still serves, hears nothing.
    fn none_is_left(&self, flows: &mut [Crowd; 2]) -> Result<()> {
        let (_, blue) = self.pod("blue")?;
        let before = blue.report()?.datagrams;

        let answers = flows.each_mut().map(Crowd::ask);

        println!("{}: {answers:?}", self.lab.name());
        let after = blue.report()?.datagrams;
        assert_eq!(answers.each_ref().map(|answers| answers.of("green")), [u64::from(COUNT); 2]);
        assert_eq!(before, after, "datagrams to the backend that left");
        Ok(())
    }
}

fn hold_options(name: &str) -> ServerOptions {
    ServerOptions { name: name.to_owned(), hold: vec![HOLD.pod_port], ..ServerOptions::default() }
}

fn id(offer: Offer, name: &str) -> String {
    format!("{}-{name}", offer.service)
}
