//! The tutorial's pods on one node, and the commands that a person would type there.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::symlink,
    path::PathBuf,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use super::{files, narrator::Narrator};
use crate::{
    lab::{AgentOptions, Lab, NODE_V4, NODE_V6, Pod, binaries},
    workload::{Server, ServerOptions},
};

/// How long a service waits for its upstream, as the tutorial's fault needs it.
pub const UPSTREAM_TIMEOUT: Duration = Duration::from_millis(300);

/// The fault of version 3: it answers later than its caller waits.
const FAULT: Duration = Duration::from_secs(1);

/// The front waits for a service that may itself wait for an upstream in vain.
const FRONT_TIMEOUT: Duration = Duration::from_secs(2);

/// Where the front listens, seen from its own pod.
pub const FRONT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);

/// Virtual address of payments.
pub const PAYMENTS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10)), 80);

/// Virtual address of api.
const API: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 20)), 80);

/// Virtual address of currency.
pub const CURRENCY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 30)), 80);

/// Port that all services but the front serve on.
const PORT: u16 = 8080;

/// A running pod.
#[derive(Debug)]
pub struct Running {
    /// Its subset, or its service's name.
    pub subset: &'static str,
    /// Where it runs.
    pub pod: Pod,
    /// What runs in it.
    pub server: Server,
}

/// The pods of the tutorial.
#[derive(Debug)]
pub struct Cluster<'a> {
    lab: &'a Lab,
    narrator: Narrator,
    /// All pods that run.
    pub running: Vec<Running>,
}

impl<'a> Cluster<'a> {
    /// Starts the pods of web, api, currency and payments' blue, and the agent.
    ///
    /// # Errors
    ///
    /// If one does not start.
    pub fn start(lab: &'a Lab, narrator: Narrator) -> Result<Self> {
        files::copy_to(&lab.directory().join("payments"))?;
        link_programs(lab)?;
        let mut cluster = Self { lab, narrator, running: Vec::new() };
        cluster.run_pod("web", "web", 1, &[API], FRONT_TIMEOUT)?;
        cluster.run_pod("api", "api-v1", 2, &[PAYMENTS], UPSTREAM_TIMEOUT)?;
        cluster.run_pod("currency", "currency-v1", 3, &[], UPSTREAM_TIMEOUT)?;
        cluster.run_pod("blue", "payments-blue-1", 4, &[CURRENCY], UPSTREAM_TIMEOUT)?;
        cluster.run_pod("blue", "payments-blue-2", 5, &[CURRENCY], UPSTREAM_TIMEOUT)?;
        let mut options = AgentOptions::default();
        for name in ["web.hcl", "api.hcl", "currency.hcl"] {
            options = options.file(name, files::content(&format!("services/{name}"))?);
        }
        // The agent of a lab outlives the value: what matters is the lab's process.
        lab.agent(options)?;
        cluster.register("services/payments_blue_1.hcl")?;
        cluster.register("services/payments_blue_2.hcl")?;
        lab.wait_healthy("payments", 2)?;
        lab.wait_healthy("currency", 1)?;
        lab.wait_healthy("api", 1)?;
        Ok(cluster)
    }

    /// Starts green's pod: with its fault, or repaired.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub fn start_green(&mut self, number: u8, faulty: bool) -> Result<()> {
        let name = format!("payments-green-{number}");
        let delay = if faulty { FAULT } else { Duration::ZERO };
        let host = 5_u8.saturating_add(number);
        self.run_delayed("green", &name, host, &[CURRENCY], UPSTREAM_TIMEOUT, delay)
    }

    /// Takes green's pod away: deregistered, killed, unplugged.
    ///
    /// # Errors
    ///
    /// If there is none, or the agent refuses.
    pub fn stop_green(&mut self) -> Result<()> {
        let index = self.running.iter().position(|running| running.subset == "green");
        let green = self.running.swap_remove(index.context("green does not run")?);
        self.canaryctl(&["service", "deregister", green.server.name()])?;
        green.server.kill()?;
        self.lab.unplug(&green.pod)
    }

    /// The pod of a subset or a service.
    ///
    /// # Errors
    ///
    /// If none runs.
    pub fn pod_of(&self, subset: &str) -> Result<&Running> {
        let mut running = self.running.iter();
        running
            .find(|running| running.subset == subset)
            .with_context(|| format!("no pod of {subset}"))
    }

    /// Connections that a subset's pods accepted from pods; checks come from the node.
    ///
    /// # Errors
    ///
    /// If a pod does not answer.
    pub fn accepted(&self, subset: &str) -> Result<u64> {
        let checks = [IpAddr::V4(NODE_V4), IpAddr::V6(NODE_V6)];
        let pods = self.running.iter().filter(|running| running.subset == subset);
        pods.map(|running| Ok(running.server.report()?.accepted_but(&checks))).sum()
    }

    /// Registers an instance with `canaryctl`.
    ///
    /// # Errors
    ///
    /// If the agent refuses.
    pub fn register(&self, file: &str) -> Result<()> {
        self.canaryctl(&["service", "register", file]).map(drop)
    }

    /// Types a command of `canaryctl` where the files are.
    ///
    /// # Errors
    ///
    /// If it fails.
    pub fn canaryctl(&self, args: &[&str]) -> Result<String> {
        self.type_command("canaryctl", args)
    }

    /// Types a command of the tutorial, as printed there.
    ///
    /// # Errors
    ///
    /// If it fails.
    pub fn consul(&self, args: &[&str]) -> Result<String> {
        self.type_command("consul", args)
    }

    /// The lab.
    #[must_use]
    pub fn lab(&self) -> &'a Lab {
        self.lab
    }

    fn type_command(&self, program: &str, args: &[&str]) -> Result<String> {
        let line = format!("{program} {}", args.join(" "));
        self.narrator.command(&line)?;
        let mut command = Command::new(program_directory(self.lab).join(program));
        let address = self.lab.agent_address();
        command
            .args(args)
            .current_dir(self.lab.directory().join("payments"))
            .env("CONSUL_HTTP_ADDR", &address)
            .env("CANARY_AGENT", &address);
        let output = self.lab.node().output(&mut command)?;
        let (said, words) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            bail!("{line}: {}: {said}{words}", output.status);
        }
        self.narrator.quote(&said)?;
        self.narrator.quote(&words)?;
        Ok(said.into_owned())
    }

    fn run_pod(
        &mut self,
        subset: &'static str,
        name: &str,
        host: u8,
        upstreams: &[SocketAddr],
        timeout: Duration,
    ) -> Result<()> {
        self.run_delayed(subset, name, host, upstreams, timeout, Duration::ZERO)
    }

    fn run_delayed(
        &mut self,
        subset: &'static str,
        name: &str,
        host: u8,
        upstreams: &[SocketAddr],
        timeout: Duration,
        delay: Duration,
    ) -> Result<()> {
        ensure!(name.len() < 32, "the name {name} is too long");
        let pod = self.lab.pod_at(name, Ipv4Addr::new(10, 244, 1, host), None)?;
        let port = if subset == "web" { FRONT.port() } else { PORT };
        let options = ServerOptions {
            name: name.to_owned(),
            http: Some(port),
            upstreams: upstreams.to_vec(),
            timeout,
            delay,
            ..ServerOptions::default()
        };
        let server = self.lab.serve(&pod.namespace, &options)?;
        self.running.push(Running { subset, pod, server });
        Ok(())
    }
}

/// The directory of the commands' links.
#[must_use]
pub fn program_directory(lab: &Lab) -> PathBuf {
    lab.directory().join("bin")
}

/// Makes `canaryctl` callable, also by the tutorial's name for it.
fn link_programs(lab: &Lab) -> Result<()> {
    let directory = program_directory(lab);
    std::fs::create_dir_all(&directory).context("make the directory of the commands")?;
    let canaryctl = binaries::product("canaryctl")?.canonicalize().context("find canaryctl")?;
    for name in ["canaryctl", "consul"] {
        symlink(&canaryctl, directory.join(name)).with_context(|| format!("link {name}"))?;
    }
    Ok(())
}
