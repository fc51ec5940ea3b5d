//! A service with subsets behind virtual addresses, ready to be asked: what most tests need.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{
    lab::{Agent, AgentOptions, Lab, Pod},
    workload::{Protocol, Server, ServerOptions},
};

/// The service that answers with the pod's name, over TCP.
pub const APP: &str = "app";

/// The same over UDP.
pub const APP_UDP: &str = "app-udp";

/// The service of long connections.
pub const HOLD: &str = "hold";

/// Virtual address of all three.
pub const VIRTUAL_V4: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// Virtual IPv6 address of all three.
pub const VIRTUAL_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, 0x10);

/// Virtual port of the services that answer with a name.
pub const PORT: u16 = 80;

/// Virtual port of long connections.
pub const HOLD_PORT: u16 = 81;

/// Port of a pod that answers with its name.
pub const POD_PORT: u16 = 8080;

/// Port of a pod for long connections.
pub const POD_HOLD_PORT: u16 = 8081;

/// How long a client waits: more than a lost SYN costs, so that only true failures count.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// A subset and the number of its pods.
#[derive(Clone, Copy, Debug)]
pub struct Subset {
    /// Its name, which its pods' names start with.
    pub name: &'static str,
    /// Its pods.
    pub pods: usize,
}

/// A pod and what serves in it.
#[derive(Debug)]
pub struct Backend {
    /// The pod, whose name is the instance's id but for the service.
    pub pod: Pod,
    /// Its server.
    pub server: Server,
    subset: &'static str,
}

/// A lab in which a client can ask a service.
#[derive(Debug)]
pub struct Scenario<'lab> {
    /// The lab.
    pub lab: &'lab Lab,
    /// The agent.
    pub agent: Agent<'lab>,
    /// A pod that asks.
    pub client: Pod,
    /// Pods that answer.
    pub backends: Vec<Backend>,
    subsets: Vec<Subset>,
}

impl<'lab> Scenario<'lab> {
    /// Makes the pods, registers them, and gives all to the first subset.
    ///
    /// # Errors
    ///
    /// If the lab or the agent fails.
    pub fn start(lab: &'lab Lab, subsets: &[Subset]) -> Result<Self> {
        Self::start_with(lab, subsets, &[])
    }

    /// The same with arguments for the agent.
    ///
    /// # Errors
    ///
    /// If the lab or the agent fails.
    pub fn start_with(lab: &'lab Lab, subsets: &[Subset], args: &[&str]) -> Result<Self> {
        let client = lab.pod("client")?;
        let mut backends = Vec::new();
        for subset in subsets {
            for number in 1..=subset.pods {
                let pod = lab.pod(&format!("{}-{number}", subset.name))?;
                backends.push(Backend::start(lab, pod, subset.name)?);
            }
        }
        Self::serve(lab, client, backends, subsets, args)
    }

    /// A scenario over pods that exist.
    ///
    /// # Errors
    ///
    /// If the agent does not start or the pods are not well in time.
    pub fn serve(
        lab: &'lab Lab,
        client: Pod,
        backends: Vec<Backend>,
        subsets: &[Subset],
        args: &[&str],
    ) -> Result<Self> {
        let udp =
            format!("kind = \"service-defaults\"\nname = \"{APP_UDP}\"\nprotocol = \"udp\"\n");
        let mut options =
            AgentOptions::default().args(args.iter().copied()).file("defaults.hcl", udp);
        for service in [APP, APP_UDP, HOLD] {
            options = options.file(format!("{service}_resolver.hcl"), resolver(service, subsets));
            for backend in &backends {
                let name = format!("{service}_{}.hcl", backend.pod.name);
                options = options.file(name, backend.definition(service));
            }
        }
        let agent = lab.agent(options)?;
        let mut scenario = Self { lab, agent, client, backends, subsets: subsets.to_vec() };
        scenario.all_to_first()?;
        for service in [APP, APP_UDP, HOLD] {
            let all = u64::try_from(scenario.backends.len())?;
            lab.wait_healthy(service, all)?;
        }
        Ok(scenario)
    }

    /// Writes splitters: 100 to the first subset, 0 to the others, so that all are shown.
    fn all_to_first(&mut self) -> Result<()> {
        let weights: Vec<(&str, f64)> = self
            .subsets
            .iter()
            .zip([100.0].into_iter().chain(std::iter::repeat(0.0)))
            .map(|(subset, weight)| (subset.name, weight))
            .collect();
        [APP, APP_UDP, HOLD].into_iter().try_for_each(|service| self.split(service, &weights))
    }

    /// Writes a service's splitter through the agent.
    ///
    /// # Errors
    ///
    /// If it is refused.
    pub fn split(&self, service: &str, weights: &[(&str, f64)]) -> Result<()> {
        let mut text = format!("kind = \"service-splitter\"\nname = \"{service}\"\nsplits = [\n");
        for (subset, weight) in weights {
            writeln!(text, "  {{ weight = {weight}, service_subset = \"{subset}\" }},")?;
        }
        text.push_str("]\n");
        self.lab.write_entry(&format!("{service}_splitter.hcl"), &text).map(drop)
    }

    /// A pod by its name.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn backend(&self, name: &str) -> Result<&Backend> {
        let mut backends = self.backends.iter();
        backends.find(|backend| backend.pod.name == name).with_context(|| format!("no pod {name}"))
    }
}

impl Backend {
    /// Starts the servers of a pod that belongs to `subset`.
    ///
    /// # Errors
    ///
    /// If they do not start.
    pub fn start(lab: &Lab, pod: Pod, subset: &'static str) -> Result<Self> {
        let options = ServerOptions {
            name: pod.name.clone(),
            echo: vec![POD_PORT],
            hold: vec![POD_HOLD_PORT],
            ..ServerOptions::default()
        };
        let server = lab.serve(&pod.namespace, &options)?;
        Ok(Self { pod, server, subset })
    }

    /// Its service definition; one instance for each family that the pod has.
    #[must_use]
    pub fn definition(&self, service: &str) -> String {
        let families = [
            Some((IpAddr::V4(self.pod.v4), IpAddr::V4(VIRTUAL_V4), "")),
            self.pod.v6.map(|v6| (IpAddr::V6(v6), IpAddr::V6(VIRTUAL_V6), "-v6")),
        ];
        let (port, pod_port) = match service {
            HOLD => (HOLD_PORT, POD_HOLD_PORT),
            _ => (PORT, POD_PORT),
        };
        let mut text = String::new();
        for (address, virtual_address, suffix) in families.into_iter().flatten() {
            let _ = write!(
                text,
                "service {{\n  name = \"{service}\"\n  id = \"{service}-{name}{suffix}\"\n  \
                 address = \"{address}\"\n  port = {pod_port}\n  meta {{ subset = \"{subset}\" }}\n  \
                 tagged_addresses {{ virtual {{ address = \"{virtual_address}\" port = {port} }} }}\n}}\n",
                name = self.pod.name,
                subset = self.subset,
            );
        }
        text
    }
}

/// The virtual address of a service that answers with a name.
#[must_use]
pub fn frontend(v6: bool) -> SocketAddr {
    if v6 { (VIRTUAL_V6, PORT).into() } else { (VIRTUAL_V4, PORT).into() }
}

/// All that can be asked: both protocols over both families.
#[must_use]
pub fn ways() -> [(Protocol, SocketAddr); 4] {
    [
        (Protocol::Tcp, frontend(false)),
        (Protocol::Udp, frontend(false)),
        (Protocol::Tcp, frontend(true)),
        (Protocol::Udp, frontend(true)),
    ]
}

fn resolver(service: &str, subsets: &[Subset]) -> String {
    let mut text = format!("kind = \"service-resolver\"\nname = \"{service}\"\n");
    if let Some(first) = subsets.first() {
        let _ = writeln!(text, "default_subset = \"{}\"", first.name);
    }
    text.push_str("subsets = {\n");
    for Subset { name, .. } in subsets {
        let _ = writeln!(text, "  {name} = {{ filter = \"Service.Meta.subset == {name}\" }}");
    }
    text.push_str("}\n");
    text
}
