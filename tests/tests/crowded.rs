//! A small flow table that real sockets fill: who holds how much, what goes, and what is said.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use canary_tests::{
    lab::{Agent, AgentOptions, Lab, Pod, wait_for},
    scenario::{HOLD, Offer},
    workload::{Answers, Crowd, Ports, Protocol, Server, ServerOptions},
};
use canary_userspace::{
    document::{Flows, Map},
    kernel::sizes,
};

/// Connections that the flow table is made for: 1,204 places.
const ROOM: u32 = 420;

/// A service of the server's, and a second name of it.
const OFFERS: [Offer; 3] = [
    Offer { service: "one", ..HOLD },
    Offer { service: "two", port: 82, ..HOLD },
    Offer { service: "dns", protocol: Protocol::Udp, ..HOLD },
];

/// The agent counts twice in this time, on a busy machine too.
const COUNTED: Duration = Duration::from_secs(60);

/// What the agent says of the flow table.
fn flows(lab: &Lab) -> Result<(u64, Flows)> {
    let maps: Vec<Map> = lab.ctl_json(&["maps"])?;
    let map = maps.into_iter().find(|map| map.name == "FLOWS").context("no FLOWS")?;
    Ok((map.capacity, map.flows.context("nothing is said of FLOWS")?))
}

/// A server that answers on a port of each protocol, and the agent with a small table.
///
/// Conntrack knows of connections by then, so that every port stays as its client chose it.
fn serve(lab: &Lab) -> Result<(Pod, Server, Agent<'_>)> {
    lab.node().nft(
        "table inet tracks { chain forward { type filter hook forward priority filter;
           ct state established accept
         }
         }",
    )?;
    let server = lab.pod("server")?;
    let options = ServerOptions {
        name: server.name.clone(),
        hold: vec![HOLD.pod_port],
        ..ServerOptions::default()
    };
    let serving = lab.serve(&server.namespace, &options)?;
    let first = lab.pod("first")?;
    let straight = (server.v4, HOLD.pod_port).into();
    let known = Crowd::open(&first.namespace, Protocol::Tcp, straight, &Ports::Chosen(1))?;
    ensure_all(&known.answers(), &server, 1)?;
    let settings = lab.file("agent.hcl", &format!("limits {{\n  flows = {ROOM}\n}}\n"))?;
    let settings = settings.display().to_string();
    let mut options = AgentOptions::default().args(["--config", settings.as_str()]);
    for offer in OFFERS {
        options.files.extend(offer.files(&[&server])?);
    }
    let agent = lab.agent(options)?;
    for offer in OFFERS {
        lab.wait_healthy(offer.service, 1)?;
    }
    Ok((server, serving, agent))
}

fn open(client: &Pod, offer: &Offer, count: usize) -> Result<Crowd> {
    Crowd::open(&client.namespace, offer.protocol, offer.frontend(), &Ports::Chosen(count))
}

fn ensure_all(answers: &Answers, server: &Pod, count: u64) -> Result<()> {
    ensure!(answers.of(&server.name) == count && answers.failed() == 0, "{answers:?}");
    Ok(())
}

#[test]
fn one_pod_that_holds_half_of_the_table_gets_no_more_and_others_are_served() -> Result<()> {
    Lab::run("crowded", |lab| {
        let (server, _serving, _agent) = serve(lab)?;
        let (noisy, quiet) = (lab.pod("noisy")?, lab.pod("quiet")?);
        let [one, two, _] = &OFFERS;
        let mut held = open(&noisy, one, 320)?;
        ensure_all(&held.answers(), &server, 320)?;

        wait_for("the noisy pod to be told of", COUNTED, || {
            Ok(flows(lab)?.1.crowded == [noisy.interface.clone()])
        })?;
        let (capacity, said) = flows(lab)?;
        println!("of {capacity} places: {said:?}");
        ensure!(said.percent >= 50 && said.connections >= 320, "{said:?}");
        let warnings = lab.status()?.warnings;
        let names = |text: &str| text.contains(&noisy.interface) && text.contains("half of FLOWS");
        ensure!(warnings.iter().any(|warning| names(&warning.text)), "{warnings:?}");
        let text = lab.ctl(&["maps"])?;
        ensure!(
            text.contains(&format!("interface {} holds half of it", noisy.interface)),
            "{text}"
        );

        let more = open(&noisy, two, 50)?.answers();
        ensure!(more.failed() == 50, "it got more: {more:?}");
        let mut others = open(&quiet, two, 50)?;
        ensure_all(&others.answers(), &server, 50)?;
        ensure_all(&held.ask(), &server, 320)?;

        drop(held);
        wait_for("its connections to end", COUNTED, || Ok(flows(lab)?.1.crowded.is_empty()))?;
        ensure_all(&open(&noisy, two, 50)?.answers(), &server, 50)?;
        ensure_all(&others.ask(), &server, 50)
    })
}

#[test]
fn twenty_idle_connections_by_each_of_two_names_live_through_short_ones_and_questions() -> Result<()>
{
    Lab::run("idle", |lab| {
        let (server, _serving, _agent) = serve(lab)?;
        let (client, noisy) = (lab.pod("client")?, lab.pod("noisy")?);
        let [one, two, dns] = &OFFERS;
        let mut idle = Vec::new();
        for offer in [one, two] {
            idle.push(open(&client, offer, 20)?);
        }

        // Two tables full and more, of either kind, and few of them at once.
        let mut answered = 0;
        for offer in [one, dns] {
            for _ in 0..15 {
                answered += open(&noisy, offer, 100)?.answers().of(&server.name);
            }
        }
        // One that is pushed out before its answer comes may lose it, as with conntrack's early
        // drop.
        ensure!(answered >= 2_970, "{answered} of 3,000");

        let (capacity, said) = flows(lab)?;
        println!("of {capacity} places: {said:?}");
        let pushed_out: u64 = said.evicted.values().sum();
        ensure!(pushed_out > 0, "there was room for all: {said:?}");
        for mut crowd in idle {
            ensure_all(&crowd.ask(), &server, 20)?;
        }
        Ok(())
    })
}

/// What the kernel accounts for all tables of a node with this memory and as many CPUs.
#[test]
fn all_tables_of_a_node_of_24_gib_take_100_mib_at_most() -> Result<()> {
    const MEMORY: u64 = 24 << 30;
    const CPUS: u64 = 8;
    Lab::run("memory", |lab| {
        // What the agent takes of such a node's memory where no setting says otherwise.
        let connections = sizes::connections(sizes::default_buckets(MEMORY)?);
        let settings = format!("limits {{\n  flows = {connections}\n}}\n");
        let settings = lab.file("agent.hcl", &settings)?.display().to_string();
        let _agent = lab.agent(AgentOptions::default().args(["--config", settings.as_str()]))?;

        let maps: Vec<Map> = lab.ctl_json(&["maps"])?;

        let here = u64::try_from(aya::util::nr_cpus().map_err(|(_, error)| error)?)?;
        let bytes = |map: &Map| {
            if map.kind != "percpu_array" {
                return map.bytes;
            }
            // A pointer a row, and the map's own; the rest is there for each CPU.
            let fixed = 8 * map.capacity + 256;
            fixed + map.bytes.saturating_sub(fixed) * CPUS / here
        };
        let total: u64 = maps.iter().map(bytes).sum();
        println!("{} maps, {connections} connections: {} KiB", maps.len(), total >> 10);
        ensure!(maps.iter().all(|map| map.bytes > 0), "{maps:?}");
        ensure!(maps.len() >= 19, "only {} maps", maps.len());
        ensure!(total <= 100 << 20, "{total} bytes: {maps:?}");
        Ok(())
    })
}
