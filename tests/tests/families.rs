//! Services of both families: a client reaches backends of its own family, or is refused.

use std::net::{Ipv6Addr, SocketAddr};

use anyhow::{Context, Result};
use canary_common::{
    endpoint::{TCP, UDP},
    packets::{Draft, RECEIVER_MAC, SENDER_MAC, endpoint},
    wire::tcp::SYN,
};
use canary_tests::{
    lab::{Agent, AgentOptions, Lab, Pod, tap::Tap, wait_for},
    scenario::{Offer, Subset, TCP4, TCP6, TIMEOUT, UDP4, UDP6, VIRTUAL_V4, VIRTUAL_V6, resolver},
    workload::{Answers, Server, ServerOptions, connect_many},
};

/// A frontend of each family a service, and the pod that serves those who come by it.
const OFFERS: [(Offer, &str); 4] = [
    (Offer { service: "tcp", ..TCP4 }, "four"),
    (Offer { service: "tcp", ..TCP6 }, "six"),
    (Offer { service: "udp", ..UDP4 }, "four"),
    (Offer { service: "udp", ..UDP6 }, "six"),
];

const SUBSETS: [Subset; 2] = [Subset { name: "four", pods: 1 }, Subset { name: "six", pods: 1 }];

/// Connections a case: one in two would be drawn for the other family.
const COUNT: u64 = 24;

/// Source of the IPv6 frames that are made by hand.
const BY_HAND: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x245, 0, 0, 0, 0, 0, 7);

#[test]
fn clients_of_a_service_of_both_families_reach_backends_of_their_own() -> Result<()> {
    Lab::run("families", |lab| {
        let stage = Stage::start(lab)?;

        let mut wrong = Vec::new();
        for (offer, own) in OFFERS {
            for (from, answers) in stage.ask(&offer, COUNT)? {
                println!("{} {own} from the {from}: {answers:?}", offer.service);
                if answers.of(own) != COUNT {
                    wrong.push((offer, from, answers));
                }
            }
        }

        assert_eq!(wrong, []);
        Ok(())
    })
}

#[test]
fn a_split_without_a_backend_of_the_clients_family_refuses_at_once_and_is_named() -> Result<()> {
    Lab::run("no-family", |lab| {
        let stage = Stage::start(lab)?;
        let mut wrong = Vec::new();
        for service in ["tcp", "udp"] {
            lab.write_entry("resolver.hcl", &resolver(service, &SUBSETS))?;
            let splits = "splits = [{ weight = 0, service_subset = \"four\" },
                                    { weight = 100, service_subset = \"six\" }]";
            let splitter = format!("kind = \"service-splitter\"\nname = \"{service}\"\n{splits}\n");
            lab.write_entry("splitter.hcl", &splitter)?;
            let warnings = lab.status()?.warnings;
            let is_named = warnings.iter().any(|warning| {
                warning.service == service
                    && warning.text.contains("six")
                    && warning.text.contains("IPv4")
            });
            println!("{service}: {warnings:?}");
            if !is_named {
                wrong.push(format!("no warning for {service}"));
            }
        }

        for (offer, own) in OFFERS {
            for (from, answers) in stage.ask(&offer, 4)? {
                println!("{} {own} from the {from}: {answers:?}", offer.service);
                let right = if own == "six" { answers.of(own) } else { refused(&answers) };
                if right != 4 {
                    wrong.push(format!("{offer:?} from the {from}: {answers:?}"));
                }
            }
        }

        assert_eq!(wrong, <[String; 0]>::default());
        Ok(())
    })
}

#[test]
fn an_instance_with_an_address_of_each_family_serves_both() -> Result<()> {
    Lab::run("lan", |lab| {
        let stage = Stage::pods(lab)?;
        let (pod, _) = &stage.pods[0];
        let v6 = pod.v6.context("a pod has both families")?;
        let definition = format!(
            "service {{\n name = \"both\"\n id = \"both-1\"\n address = \"{}\"\n port = {port}\n
             tagged_addresses {{
               lan_ipv6 {{ address = \"{v6}\" port = {port} }}
               virtual {{ address = \"{VIRTUAL_V4}\" port = 80 }}
               virtual6 {{ address = \"{VIRTUAL_V6}\" port = 80 }}
             }}\n}}\n",
            pod.v4,
            port = TCP4.pod_port,
        );
        let _agent = lab.agent(AgentOptions::default().file("both.hcl", definition))?;

        let mut wrong = Vec::new();
        for offer in [TCP4, TCP6] {
            for (from, answers) in stage.ask(&offer, COUNT)? {
                println!("lan {:?} from the {from}: {answers:?}", offer.frontend());
                if answers.of(&pod.name) != COUNT {
                    wrong.push((offer, from, answers));
                }
            }
        }

        assert_eq!(wrong, []);
        Ok(())
    })
}

#[test]
fn ipv6_to_the_mapped_form_of_an_ipv4_frontend_is_not_its() -> Result<()> {
    Lab::run("mapped", |lab| {
        let _stage = Stage::start(lab)?;
        let interface = "vethtap0";
        let tap = Tap::create(lab.node(), interface, RECEIVER_MAC)?;
        let hardware = SENDER_MAC.map(|byte| format!("{byte:02x}")).join(":");
        lab.node().ip(&[
            format!("route add {BY_HAND}/128 dev {interface}"),
            format!("neighbour add {BY_HAND} lladdr {hardware} dev {interface}"),
        ])?;
        wait_for("the tap to be served", TIMEOUT, || {
            Ok(lab.status()?.interfaces.iter().any(|served| served.name == interface))
        })?;

        let before = opened(lab)?;
        let mapped = SocketAddr::from((VIRTUAL_V4.to_ipv6_mapped(), TCP4.port));
        for port in 40_000..40_010 {
            let [from, to] = [(BY_HAND, port).into(), mapped].map(|end| endpoint(end, TCP));
            tap.send(&Draft::new(from, to).flags(SYN).build(), 1)?;
            let [from, to] = [(BY_HAND, port).into(), mapped].map(|end| endpoint(end, UDP));
            tap.send(&Draft::new(from, to).payload(b"who?").build(), 1)?;
        }
        // Frames are judged in their order: what comes first is the answer to the last.
        let right = [(BY_HAND, 40_010).into(), OFFERS[3].0.frontend()];
        let [from, to] = right.map(|end| endpoint(end, UDP));
        tap.send(&Draft::new(from, to).payload(b"who?").build(), 1)?;
        let answer = tap.receive(TIMEOUT, |frame| {
            let ports = frame.get(54..58).and_then(<[u8]>::first_chunk::<4>);
            ports.is_some_and(|[high, low, ..]| u16::from_be_bytes([*high, *low]) == TCP4.port)
        })?;

        assert_eq!(answer[22..38], VIRTUAL_V6.octets(), "an answer of the mapped address");
        assert_eq!(answer[56..58], 40_010_u16.to_be_bytes());
        assert_eq!(opened(lab)? - before, 1, "of 20 frames to {mapped} and one to IPv6");
        Ok(())
    })
}

/// Clients of a pod and of the node, and pods that serve.
struct Stage<'lab> {
    lab: &'lab Lab,
    client: Pod,
    pods: Vec<(Pod, Server)>,
    agent: Option<Agent<'lab>>,
}

impl<'lab> Stage<'lab> {
    /// The pods alone.
    fn pods(lab: &'lab Lab) -> Result<Self> {
        let client = lab.pod("client")?;
        let mut pods = Vec::new();
        for name in ["four", "six"] {
            let pod = lab.pod(name)?;
            let server = lab.serve(&pod.namespace, &ServerOptions::echo(name, TCP4.pod_port))?;
            pods.push((pod, server));
        }
        Ok(Self { lab, client, pods, agent: None })
    }

    /// Each service with an instance of IPv4 and one of IPv6, in one split.
    fn start(lab: &'lab Lab) -> Result<Self> {
        let mut stage = Self::pods(lab)?;
        let mut options = AgentOptions::default();
        for (offer, own) in OFFERS {
            let mut pods = stage.pods.iter();
            let (pod, _) = pods.find(|(pod, _)| pod.name == own).context("no such pod")?;
            options.files.extend(offer.files(&[pod])?);
        }
        stage.agent = Some(lab.agent(options)?);
        lab.wait_healthy("tcp", 2)?;
        lab.wait_healthy("udp", 2)?;
        Ok(stage)
    }

    /// Asks from a pod, and from the node.
    fn ask(&self, offer: &Offer, count: u64) -> Result<Vec<(&'static str, Answers)>> {
        let (from, protocol, target) = (&self.client.namespace, offer.protocol, offer.frontend());
        let mut answers = vec![("pod", connect_many(from, protocol, target, count, TIMEOUT)?)];
        answers.push(("node", self.lab.ask_from_node(protocol, target, count, TIMEOUT)?));
        Ok(answers)
    }
}

fn refused(answers: &Answers) -> u64 {
    let refused = answers.failures.iter().filter(|(error, _)| error.contains("refused"));
    refused.map(|(_, count)| count).sum()
}

/// Connections that both services have opened.
fn opened(lab: &Lab) -> Result<u64> {
    let splits = [lab.service("tcp")?.splits, lab.service("udp")?.splits].concat();
    Ok(splits.iter().map(|split| split.connections.opened).sum())
}
