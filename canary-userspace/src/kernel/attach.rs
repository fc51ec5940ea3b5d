//! Which interface has which programs, now and as interfaces come and go.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result, bail};
use aya::Ebpf;
use aya::maps::{HashMap, MapData};
use aya::programs::TcAttachType;

use super::interfaces::{Change, Choice, Link, Role, Watcher};
use super::links::Links;
use super::load::take;
use super::node;
use crate::compile::Warning;
use crate::datapath::InterfaceStatus;
use crate::settings::{Settings, SocketLb, UplinkMode};

/// Every program of an interface, in the order in which they detach.
const ALL: [&str; 7] =
    ["from_pod", "from_net", "from_net_l3", "from_net_xdp", "to_pod", "to_net", "to_net_l3"];

/// Index of the loopback interface, in every network namespace.
const LOOPBACK: u32 = 1;

/// Since when interfaces are ours: what the programs take for young.
#[derive(Debug)]
pub struct Since {
    table: HashMap<MapData, u32, u32>,
    hertz: u64,
}

impl Since {
    /// Takes the table out of the object.
    ///
    /// # Errors
    ///
    /// If it is missing or of another shape.
    pub fn take(ebpf: &mut Ebpf, hertz: u64) -> Result<Self> {
        let table = HashMap::try_from(take(ebpf, "INTERFACES")?).context("INTERFACES")?;
        Ok(Self { table, hertz })
    }

    fn note(&mut self, index: u32) -> Result<()> {
        self.table.insert(index, node::now(self.hertz)?, 0).context("note the interface's age")
    }

    fn forget(&mut self, index: u32) {
        // It may never have been noted.
        drop(self.table.remove(&index));
    }
}

/// The attachments of this node.
pub struct Attachments {
    links: Links,
    since: Since,
    watcher: Watcher,
    mode: UplinkMode,
    attached: BTreeMap<u32, Attached>,
    failed: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Attached {
    name: String,
    role: Role,
    hook: &'static str,
}

impl Attachments {
    /// Attaches to the interfaces there are and to the cgroup of the settings.
    ///
    /// # Errors
    ///
    /// If interfaces cannot be listed or the cgroup refuses; an interface that refuses is a
    /// warning.
    pub fn open(links: Links, since: Since, settings: &Settings) -> Result<Self> {
        let choice = Choice::new(&settings.pod_interfaces, &settings.uplink_interfaces)?;
        let watcher = Watcher::new(choice)?;
        let mut attachments = Self {
            links,
            since,
            watcher,
            mode: settings.uplink_mode,
            attached: BTreeMap::new(),
            failed: BTreeMap::new(),
        };
        attachments.settle()?;
        match settings.socket_lb {
            SocketLb::Host => {
                let cgroup = settings.cgroup.clone().map_or_else(node::cgroup_root, Ok)?;
                attachments.links.attach_sockets(&cgroup)?;
            }
            SocketLb::Off => attachments.links.detach_sockets()?,
        }
        Ok(attachments)
    }

    /// Follows what changed since; whether anything did.
    pub fn follow(&mut self) -> bool {
        let followed = self.watcher.poll().and_then(|changes| {
            for change in &changes {
                // Another interface may have its index and its name by now.
                if let Change::Removed(link) = change {
                    self.attached.remove(&link.index);
                }
            }
            if changes.is_empty() { Ok(false) } else { self.settle().map(|()| true) }
        });
        followed.unwrap_or_else(|error| {
            tracing::error!("follow the interfaces: {error:#}");
            true
        })
    }

    /// Whether packets from the network are served at all.
    #[must_use]
    pub fn has_uplink(&self) -> bool {
        self.mode != UplinkMode::Off
            && self.attached.values().any(|attached| attached.role == Role::Uplink)
    }

    /// Whether an address is a pod's of this node, or the node's own.
    ///
    /// # Errors
    ///
    /// If the route cannot be read.
    pub fn is_here(&mut self, address: IpAddr) -> Result<bool> {
        let Some(index) = self.watcher.route_interface(address)? else { return Ok(false) };
        let pods = || self.watcher.links().filter(|link| link.role == Role::Pod);
        let is_pod = pods().any(|pod| pod.index == index || pod.controller == Some(index));
        Ok(is_pod || index == LOOPBACK && !address.is_loopback())
    }

    /// Why a pod's interface must not be served, if so.
    ///
    /// Netfilter would see one half of a connection only: what comes by the bridge's port is
    /// routed there, and the answer goes from port to port.
    fn refusal(&self, link: &Link) -> Option<&'static str> {
        let is_bridge =
            |other: &&Link| Some(other.index) == link.controller && other.kind == "bridge";
        self.watcher.links().find(is_bridge)?;
        let seen = fs::read_to_string("/proc/sys/net/bridge/bridge-nf-call-iptables");
        if seen.is_ok_and(|value| value.trim() == "1") {
            return None;
        }
        Some(
            "it is a port of a bridge and net.bridge.bridge-nf-call-iptables is not 1: netfilter \
             would see half of each connection",
        )
    }

    /// The interfaces served.
    #[must_use]
    pub fn interfaces(&self) -> Vec<InterfaceStatus> {
        let mut interfaces: Vec<_> = self
            .attached
            .values()
            .map(|attached| InterfaceStatus {
                name: attached.name.clone(),
                role: attached.role.as_str(),
                hook: attached.hook,
            })
            .collect();
        interfaces.sort_by(|left, right| (left.role, &left.name).cmp(&(right.role, &right.name)));
        interfaces
    }

    /// Interfaces that could not be served.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        let text =
            |(name, error): (&String, &String)| format!("interface {name} is not served: {error}");
        self.failed
            .iter()
            .map(|entry| Warning { service: String::new(), text: text(entry) })
            .collect()
    }

    /// Makes the attachments those that the present interfaces need: ways back first.
    fn settle(&mut self) -> Result<()> {
        let present: Vec<Link> = self.watcher.links().cloned().collect();
        self.leave(&present)?;
        self.failed.clear();
        for link in &present {
            self.attempt(link, Self::attach_back);
        }
        for link in &present {
            self.attempt(link, Self::attach_forth);
        }
        Ok(())
    }

    fn attempt(&mut self, link: &Link, attach: fn(&mut Self, &Link) -> Result<()>) {
        if self.failed.contains_key(&link.name) {
            return;
        }
        if let Err(error) = attach(self, link) {
            tracing::warn!("interface {}: {error:#}", link.name);
            self.failed.insert(link.name.clone(), format!("{error:#}"));
        }
    }

    /// The egress program of an interface.
    fn attach_back(&mut self, link: &Link) -> Result<()> {
        if self.attached.contains_key(&link.index) {
            return Ok(());
        }
        if let Some(reason) = self.refusal(link).filter(|_| link.role == Role::Pod) {
            bail!("{reason}");
        }
        let program = match (link.role, link.l2_len) {
            (Role::Pod, _) => "to_pod",
            (_, 0) => "to_net_l3",
            _ => "to_net",
        };
        self.links.attach_tcx(program, &link.name, link.index, TcAttachType::Egress)?;
        Ok(())
    }

    /// The ingress program of an interface, if it has one.
    fn attach_forth(&mut self, link: &Link) -> Result<()> {
        if self.attached.contains_key(&link.index) {
            return Ok(());
        }
        let hook = match link.role {
            Role::Pod => {
                if self.links.attach_tcx(
                    "from_pod",
                    &link.name,
                    link.index,
                    TcAttachType::Ingress,
                )? {
                    self.since.note(link.index)?;
                }
                "tcx"
            }
            Role::Uplink => self.attach_uplink(link)?,
            Role::Other => "tcx",
        };
        let attached = Attached { name: link.name.clone(), role: link.role, hook };
        tracing::info!("interface {} ({}) is served by {hook}", link.name, link.role.as_str());
        self.attached.insert(link.index, attached);
        Ok(())
    }

    fn attach_uplink(&mut self, link: &Link) -> Result<&'static str> {
        let xdp = match self.mode {
            UplinkMode::Off => return Ok("off"),
            UplinkMode::Tcx => false,
            UplinkMode::Xdp => true,
            UplinkMode::Auto => link.has_real_driver && link.l2_len != 0,
        };
        if xdp {
            match self.links.attach_xdp("from_net_xdp", link.index) {
                Ok(new) => {
                    self.links.detach("from_net", link.index)?;
                    if new {
                        self.since.note(link.index)?;
                    }
                    return Ok("xdp");
                }
                Err(error) if self.mode == UplinkMode::Xdp => return Err(error),
                Err(error) => tracing::info!("interface {}: {error:#}; taking tcx", link.name),
            }
        }
        let program = if link.l2_len == 0 { "from_net_l3" } else { "from_net" };
        let new = self.links.attach_tcx(program, &link.name, link.index, TcAttachType::Ingress)?;
        self.links.detach("from_net_xdp", link.index)?;
        if new {
            self.since.note(link.index)?;
        }
        Ok("tcx")
    }

    /// Detaches from interfaces that are gone or changed their name, role or pins.
    fn leave(&mut self, present: &[Link]) -> Result<()> {
        let stays = |index: u32, name: &str, role: Role| {
            present.iter().any(|link| link.index == index && link.name == name && link.role == role)
        };
        self.attached.retain(|index, attached| stays(*index, &attached.name, attached.role));
        for (program, index) in self.links.pinned()? {
            let link = present.iter().find(|link| link.index == index);
            if !link.is_some_and(|link| belongs(&program, link, self.mode))
                && ALL.contains(&program.as_str())
            {
                self.links.detach(&program, index)?;
                if link.is_none() {
                    self.since.forget(index);
                }
            }
        }
        Ok(())
    }
}

impl AsFd for Attachments {
    /// Readable when [`Attachments::follow`] has something to do.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watcher.as_fd()
    }
}

/// Whether an interface may have a program.
fn belongs(program: &str, link: &Link, mode: UplinkMode) -> bool {
    let l3 = link.l2_len == 0;
    match (program, link.role) {
        ("from_pod" | "to_pod", Role::Pod) => true,
        ("to_net", Role::Uplink | Role::Other) => !l3,
        ("to_net_l3", Role::Uplink | Role::Other) => l3,
        ("from_net", Role::Uplink) => !l3 && mode != UplinkMode::Off,
        ("from_net_l3", Role::Uplink) => l3 && mode != UplinkMode::Off,
        ("from_net_xdp", Role::Uplink) => !matches!(mode, UplinkMode::Off | UplinkMode::Tcx),
        _ => false,
    }
}
