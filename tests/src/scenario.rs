//! A service with subsets behind virtual addresses, ready to be asked: what most tests need.

use std::{
    fmt::Write as _,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{
    lab::{Agent, AgentOptions, Lab, Pod},
    workload::{Protocol, Server, ServerOptions},
};

/// A service of the scenario: one of each protocol and family, and one of long connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its name.
    pub service: &'static str,
    /// What it speaks.
    pub protocol: Protocol,
    /// IPv6 instead of IPv4.
    pub v6: bool,
    /// Port of its virtual address.
    pub port: u16,
    /// Port of its pods.
    pub pod_port: u16,
}

/// Answers with the pod's name over TCP and IPv4.
pub const TCP4: Offer =
    Offer { service: "tcp4", protocol: Protocol::Tcp, v6: false, port: 80, pod_port: 8080 };

/// Answers with the pod's name over UDP and IPv4.
pub const UDP4: Offer = Offer { service: "udp4", protocol: Protocol::Udp, ..TCP4 };

/// Answers with the pod's name over TCP and IPv6.
pub const TCP6: Offer = Offer { service: "tcp6", v6: true, ..TCP4 };

/// Answers with the pod's name over UDP and IPv6.
pub const UDP6: Offer = Offer { service: "udp6", v6: true, ..UDP4 };

/// Sends back what it gets, over TCP and IPv4.
pub const HOLD: Offer = Offer { service: "hold", port: 81, pod_port: 8081, ..TCP4 };

/// All that answer with a name.
pub const NAMING: [Offer; 4] = [TCP4, UDP4, TCP6, UDP6];

/// All.
pub const OFFERS: [Offer; 5] = [TCP4, UDP4, TCP6, UDP6, HOLD];

/// Virtual address of all that speak IPv4.
pub const VIRTUAL_V4: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// Virtual address of all that speak IPv6.
pub const VIRTUAL_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, 0x10);

impl Offer {
    /// Where clients connect.
    #[must_use]
    pub fn frontend(&self) -> SocketAddr {
        if self.v6 { (VIRTUAL_V6, self.port).into() } else { (VIRTUAL_V4, self.port).into() }
    }

    /// A socket of datagrams that speaks to the virtual address and hears nobody else.
    ///
    /// # Errors
    ///
    /// If there is no way there.
    pub fn datagrams(&self) -> io::Result<UdpSocket> {
        let any: SocketAddr = if self.v6 {
            (Ipv6Addr::UNSPECIFIED, 0).into()
        } else {
            (Ipv4Addr::UNSPECIFIED, 0).into()
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(self.frontend())?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        Ok(socket)
    }

    /// Where a pod serves, if it has an address of the family.
    #[must_use]
    pub fn backend(&self, pod: &Pod) -> Option<SocketAddr> {
        let address = if self.v6 { IpAddr::V6(pod.v6?) } else { IpAddr::V4(pod.v4) };
        Some((address, self.pod_port).into())
    }

    /// Files that offer the service by pods, each an instance named after its pod.
    ///
    /// # Errors
    ///
    /// If a pod has no address of the family.
    pub fn files(&self, pods: &[&Pod]) -> Result<Vec<(String, String)>> {
        let mut files = vec![(format!("{}_defaults.hcl", self.service), self.defaults())];
        for pod in pods {
            let id = format!("{}-{}", self.service, pod.name);
            let backend = self.backend(pod).with_context(|| format!("no address of {id}"))?;
            files.push((format!("{id}.hcl"), definition(self, &id, backend, &pod.name)));
        }
        Ok(files)
    }

    /// The service's defaults.
    #[must_use]
    pub fn defaults(&self) -> String {
        let (name, protocol) = (self.service, self.protocol.name());
        format!("kind = \"service-defaults\"\nname = \"{name}\"\nprotocol = \"{protocol}\"\n")
    }
}

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
        let mut options = AgentOptions::default().args(args.iter().copied());
        for offer in offers_of(&backends) {
            let service = offer.service;
            options = options
                .file(format!("{service}_defaults.hcl"), offer.defaults())
                .file(format!("{service}_resolver.hcl"), resolver(service, subsets));
            for backend in &backends {
                if let Some(definition) = backend.definition(&offer) {
                    options =
                        options.file(format!("{service}_{}.hcl", backend.pod.name), definition);
                }
            }
        }
        let agent = lab.agent(options)?;
        let scenario = Self { lab, agent, client, backends, subsets: subsets.to_vec() };
        scenario.all_to_first()?;
        scenario.wait_healthy()?;
        Ok(scenario)
    }

    /// Waits until all pods are well in all services.
    ///
    /// # Errors
    ///
    /// If that does not come about in time.
    pub fn wait_healthy(&self) -> Result<()> {
        for offer in offers_of(&self.backends) {
            let pods = self.backends.iter().filter(|own| offer.backend(&own.pod).is_some());
            self.lab.wait_healthy(offer.service, u64::try_from(pods.count())?)?;
        }
        Ok(())
    }

    /// Writes splitters: 100 to the first subset, 0 to the others, so that all are shown.
    fn all_to_first(&self) -> Result<()> {
        let weights = [100.0].into_iter().chain(std::iter::repeat(0.0));
        let names = self.subsets.iter().map(|subset| subset.name);
        let weights: Vec<(&str, f64)> = names.zip(weights).collect();
        let mut offers = offers_of(&self.backends);
        offers.try_for_each(|offer| self.split(offer.service, &weights))
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
            echo: vec![TCP4.pod_port],
            hold: vec![HOLD.pod_port],
            ..ServerOptions::default()
        };
        let server = lab.serve(&pod.namespace, &options)?;
        Ok(Self { pod, server, subset })
    }

    /// Its service definition, if it has an address of the family.
    #[must_use]
    pub fn definition(&self, offer: &Offer) -> Option<String> {
        let backend = offer.backend(&self.pod)?;
        Some(definition(offer, &self.id(offer), backend, self.subset))
    }

    /// Its id as an instance of a service.
    #[must_use]
    pub fn id(&self, offer: &Offer) -> String {
        format!("{}-{}", offer.service, self.pod.name)
    }
}

/// A service definition.
#[must_use]
pub fn definition(offer: &Offer, id: &str, backend: SocketAddr, subset: &str) -> String {
    let frontend = offer.frontend();
    format!(
        "service {{\n  name = \"{}\"\n  id = \"{id}\"\n  address = \"{}\"\n  port = {}\n  \
         meta {{ subset = \"{subset}\" }}\n  \
         tagged_addresses {{ virtual {{ address = \"{}\" port = {} }} }}\n}}\n",
        offer.service,
        backend.ip(),
        backend.port(),
        frontend.ip(),
        frontend.port(),
    )
}

/// Services that at least one pod has an address for.
fn offers_of(backends: &[Backend]) -> impl Iterator<Item = Offer> {
    OFFERS.into_iter().filter(|offer| backends.iter().any(|own| offer.backend(&own.pod).is_some()))
}

/// A resolver that tells instances apart by their `subset`; the first one is the default.
#[must_use]
pub fn resolver(service: &str, subsets: &[Subset]) -> String {
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
