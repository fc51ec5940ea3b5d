//! Three nodes, a router between them and a client behind it.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use canary_tests::{
    lab::{
        Agent, AgentOptions, Lab, Neighbour, Outside, Router,
        link::{Checksum, set_checksum_offload},
        policy::Policy,
    },
    scenario::{Backend, HOLD, OFFERS, Offer, Subset, TIMEOUT, VIRTUAL_V4, VIRTUAL_V6, resolver},
    workload::{
        Answers, Protocol,
        client::{exchange, greet},
        connect_many,
    },
};

const SUBSETS: [Subset; 2] = [Subset { name: "blue", pods: 1 }, Subset { name: "green", pods: 1 }];

/// Has backends elsewhere answer clients outside themselves, and uplinks hooked like this.
pub(crate) const fn direct(mode: &str) -> [&str; 4] {
    ["--outside-return", "ipip", "--uplink-mode", mode]
}

/// Bytes of one exchange, and how many are exchanged: 10 MB.
const BULK: (usize, usize) = (65_536, 160);

/// How long a route may take to be heeded; it takes a tenth of a second.
pub(crate) const HEEDED: Duration = Duration::from_secs(5);

/// Three nodes, a router between them and a client behind it.
pub(crate) struct Net<'lab> {
    pub(crate) labs: [&'lab Lab; 3],
    pub(crate) nodes: [Neighbour; 3],
    pub(crate) router: Router,
    pub(crate) client: Outside,
    /// `blue` on the first node, `green` on the last.
    pub(crate) backends: Vec<Backend>,
}

impl<'lab> Net<'lab> {
    pub(crate) fn new(labs: [&'lab Lab; 3]) -> Result<Self> {
        let [first, second, last] = labs;
        let router = Router::new(first)?;
        let nodes = [router.join(first, 1)?, router.join(second, 2)?, router.join(last, 3)?];
        let client = router.client(first, 9)?;
        let blue =
            first.pod_at("blue-1", [10, 244, 1, 7].into(), Some("fd00:244:1::7".parse()?))?;
        let green =
            last.pod_at("green-1", [10, 244, 3, 7].into(), Some("fd00:244:3::7".parse()?))?;
        let backends =
            vec![Backend::start(first, blue, "blue")?, Backend::start(last, green, "green")?];
        let net = Self { labs, nodes, router, client, backends };
        net.route(&[0])?;
        Ok(net)
    }

    /// Routes the virtual addresses to these nodes.
    pub(crate) fn route(&self, to: &[usize]) -> Result<()> {
        let hops = |v6: bool| -> String {
            let hop = |node: &usize| format!("nexthop via {}", self.nodes[*node].address(v6));
            to.iter().map(hop).collect::<Vec<_>>().join(" ")
        };
        self.router.namespace.ip(&[
            format!("route replace {VIRTUAL_V4}/32 {}", hops(false)),
            format!("route replace {VIRTUAL_V6}/128 {}", hops(true)),
        ])
    }

    /// Starts the agent of a node with all backends.
    pub(crate) fn agent(&self, node: usize, args: &[&str]) -> Result<Agent<'lab>> {
        self.agent_for(node, &OFFERS, "", args)
    }

    /// Makes sure that the uplink of a node is hooked like this.
    pub(crate) fn check_hook(&self, node: usize, mode: &str) -> Result<()> {
        let uplinks = self.labs[node].status()?.interfaces;
        let mut uplink = uplinks.iter().filter(|uplink| uplink.name == "eth0");
        ensure!(uplink.any(|uplink| uplink.hook == mode), "{uplinks:?}");
        Ok(())
    }

    /// Has links behave as hardware does under native XDP: sums are whole, and what a driver sends
    /// back is received, as long as what is returned is kept.
    pub(crate) fn as_hardware(&self) -> Result<Policy> {
        for namespace in [&self.client.namespace, &self.backends[1].pod.namespace] {
            set_checksum_offload(namespace, "eth0", Checksum::Send, false)?;
        }
        Policy::receive_all(&self.router.namespace, &Router::interface(1))
    }

    /// The same with these services, and something more in their defaults.
    pub(crate) fn agent_for(
        &self,
        node: usize,
        offers: &[Offer],
        more: &str,
        args: &[&str],
    ) -> Result<Agent<'lab>> {
        let mut options = AgentOptions::default().args(args.iter().copied());
        for offer in offers {
            let service = offer.service;
            options = options
                .file(format!("{service}_defaults.hcl"), offer.defaults() + more)
                .file(format!("{service}_resolver.hcl"), resolver(service, &SUBSETS));
            for backend in &self.backends {
                let text = backend.definition(offer).context("a pod of both families")?;
                options = options.file(format!("{service}_{}.hcl", backend.pod.name), text);
            }
        }
        self.labs[node].agent(options)
    }

    /// Sets the weights of a service on the node.
    pub(crate) fn split(&self, node: usize, service: &str, blue: u8) -> Result<()> {
        let text = format!(
            "kind = \"service-splitter\"\nname = \"{service}\"\nsplits = [\n\
             {{ weight = {blue}, service_subset = \"blue\" }},\n\
             {{ weight = {}, service_subset = \"green\" }},\n]\n",
            100 - blue
        );
        self.labs[node].write_entry(&format!("{service}_splitter.hcl"), &text).map(drop)
    }

    pub(crate) fn ask(&self, offer: &Offer, count: u64) -> Result<Answers> {
        connect_many(&self.client.namespace, offer.protocol, offer.frontend(), count, TIMEOUT)
    }

    pub(crate) fn client_address(&self, v6: bool) -> IpAddr {
        if v6 { IpAddr::V6(self.client.v6) } else { IpAddr::V4(self.client.v4) }
    }

    /// Whom a backend has had for its clients since the last time, by protocol.
    pub(crate) fn clients(
        &self,
        backend: usize,
        protocol: Protocol,
    ) -> Result<BTreeMap<IpAddr, u64>> {
        let report = self.backends[backend].server.report()?;
        Ok(match protocol {
            Protocol::Tcp => report.accepted,
            Protocol::Udp => report.datagrams,
        })
    }

    /// Exchanges 10 MB with whoever has the long connections.
    pub(crate) fn bulk(&self) -> Result<()> {
        let (length, times) = BULK;
        let question: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
        self.client.namespace.enter(|| -> Result<()> {
            let (mut stream, _) = greet(HOLD.frontend(), TIMEOUT)?;
            (0..times).try_for_each(|_| Ok(exchange(&mut stream, &question)?))
        })?
    }
}

/// Runs a test in three labs.
pub(crate) fn run(name: &str, test: impl FnOnce(&mut Net<'_>) -> Result<()>) -> Result<()> {
    Lab::run(name, |first| {
        let (second, last) = (Lab::new(name)?, Lab::new(name)?);
        let mut net = Net::new([first, &second, &last])?;
        test(&mut net)
    })
}

/// Packets that were not forwarded for a reason.
pub(crate) fn reason(lab: &Lab, word: &str) -> Result<u64> {
    Ok(lab.status()?.reasons.get(word).copied().unwrap_or_default())
}

/// What was counted since `before`.
pub(crate) fn since(
    before: &BTreeMap<IpAddr, u64>,
    now: &BTreeMap<IpAddr, u64>,
) -> BTreeMap<IpAddr, u64> {
    let more = now
        .iter()
        .map(|(client, count)| (*client, count - before.get(client).copied().unwrap_or_default()));
    more.filter(|(_, count)| *count > 0).collect()
}
