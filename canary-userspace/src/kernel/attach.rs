//! Which interface has which programs, now and as interfaces come and go.

mod ways;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Result, bail};
use aya::programs::TcAttachType;

pub use self::ways::Found;
use super::attached::{Bridge, Table};
use super::interfaces::{Change, Choice, Link, Role, Watcher};
use super::links::Links;
use super::node;
use crate::compile::Warning;
use crate::datapath::InterfaceStatus;
use crate::settings::{Settings, SocketLb, UplinkMode};

/// Every program of an interface, in the order in which they detach.
const ALL: [&str; 8] = [
    "from_pod",
    "from_net",
    "from_net_l3",
    "from_net_rest",
    "from_net_xdp",
    "to_pod",
    "to_net",
    "to_net_l3",
];

/// The attachments of this node.
pub struct Attachments {
    links: Links,
    table: Table,
    watcher: Watcher,
    mode: UplinkMode,
    /// Interfaces get their programs that forward.
    forwards: bool,
    attached: BTreeMap<u32, Attached>,
    failed: BTreeMap<String, String>,
    /// Interfaces that went and whose flows nobody has been told of.
    gone: BTreeSet<u32>,
}

#[derive(Debug)]
struct Attached {
    name: String,
    role: Role,
    hook: &'static str,
}

impl Attachments {
    /// Attaches to the interfaces there are and to the cgroup of the settings; the programs that
    /// forward only if `forwards` says so.
    ///
    /// # Errors
    ///
    /// If interfaces cannot be listed or the cgroup refuses; an interface that refuses is a
    /// warning.
    pub fn open(links: Links, table: Table, settings: &Settings, forwards: bool) -> Result<Self> {
        let choice = Choice::new(&settings.pod_interfaces, &settings.uplink_interfaces)?;
        let watcher = Watcher::new(choice)?;
        let mut attachments = Self {
            links,
            table,
            watcher,
            mode: settings.uplink_mode,
            forwards,
            attached: BTreeMap::new(),
            failed: BTreeMap::new(),
            gone: BTreeSet::new(),
        };
        attachments.settle()?;
        match settings.socket_lb {
            SocketLb::Host | SocketLb::All => {
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
                    self.forget(link.index);
                }
            }
            if changes.is_empty() { Ok(false) } else { self.settle().map(|()| true) }
        });
        followed.unwrap_or_else(|error| {
            tracing::error!("follow the interfaces: {error:#}");
            true
        })
    }

    /// What the programs know of the interfaces.
    pub fn table(&mut self) -> &mut Table {
        &mut self.table
    }

    /// The interfaces that went since the last call.
    pub fn take_gone(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.gone)
    }

    /// Says which interfaces hold more than half of the places of the flow table; 0 is all that
    /// are no pod's.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn crowded(&mut self, crowded: &BTreeSet<u32>) -> Result<()> {
        let is_of_group = |attached: &Attached| attached.role != Role::Pod && crowded.contains(&0);
        let group = self.attached.iter().filter(|(_, attached)| is_of_group(attached));
        let all = group.map(|(index, _)| *index).chain(crowded.iter().copied()).collect();
        self.table.crowded(&all)
    }

    /// Interfaces of pods that are served, by index.
    #[must_use]
    pub fn pods(&self) -> BTreeMap<u32, String> {
        let pods = self.attached.iter().filter(|(_, attached)| attached.role == Role::Pod);
        pods.map(|(index, attached)| (*index, attached.name.clone())).collect()
    }

    /// Names of the interfaces that get no more places of the flow table.
    #[must_use]
    pub fn crowded_now(&self) -> Vec<String> {
        let name = |index| self.attached.get(&index).map(|attached| attached.name.clone());
        self.table.crowded_now().filter_map(name).collect()
    }

    fn forget(&mut self, index: u32) {
        self.table.forget(index);
        self.gone.insert(index);
    }

    /// Whether packets from the network are served at all.
    #[must_use]
    pub fn has_uplink(&self) -> bool {
        self.mode != UplinkMode::Off
            && self.attached.values().any(|attached| attached.role == Role::Uplink)
    }

    /// Attaches the programs that forward, which [`Attachments::open`] was told to leave out.
    ///
    /// # Errors
    ///
    /// As [`Attachments::open`].
    pub fn begin_forwarding(&mut self) -> Result<()> {
        self.forwards = true;
        self.settle()
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
        for link in present.iter().filter(|_| self.forwards).collect::<Vec<_>>() {
            self.attempt(link, Self::attach_forth);
        }
        // A bridge may have taken a port since, or have another address.
        for link in present.iter().filter(|link| self.attached.contains_key(&link.index)) {
            let is_pod = link.role == Role::Pod;
            self.table.attached(link.index, Self::bridge_of(link, &present), is_pod, false)?;
        }
        Ok(())
    }

    /// The bridge that an interface is a port of.
    fn bridge_of(link: &Link, present: &[Link]) -> Bridge {
        let is_port_of =
            |other: &&Link| Some(other.index) == link.controller && other.kind == "bridge";
        let bridge = present.iter().find(is_port_of);
        bridge.map_or_else(
            || Bridge::own(link),
            |bridge| Bridge { index: bridge.index, mac: bridge.mac.unwrap_or_default() },
        )
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
        // A program whose interface has no row would take it for somebody else's.
        let present: Vec<Link> = self.watcher.links().cloned().collect();
        let bridge = Self::bridge_of(link, &present);
        let is_known = self.table.indices().any(|index| index == link.index);
        if !is_known {
            self.table.attached(link.index, bridge, link.role == Role::Pod, true)?;
        }
        let hook = match link.role {
            Role::Pod => {
                if self.links.attach_tcx(
                    "from_pod",
                    &link.name,
                    link.index,
                    TcAttachType::Ingress,
                )? {
                    self.table.attached(link.index, bridge, true, true)?;
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
                    self.links.attach_tcx(
                        "from_net_rest",
                        &link.name,
                        link.index,
                        TcAttachType::Ingress,
                    )?;
                    self.links.detach("from_net", link.index)?;
                    if new {
                        self.table.attached(link.index, Bridge::own(link), false, true)?;
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
        self.links.detach("from_net_rest", link.index)?;
        if new {
            self.table.attached(link.index, Bridge::own(link), false, true)?;
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
            }
        }
        let is_present = |index: &u32| present.iter().any(|link| link.index == *index);
        let gone: Vec<u32> = self.table.indices().filter(|index| !is_present(index)).collect();
        for index in gone {
            self.forget(index);
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
        ("from_net_rest" | "from_net_xdp", Role::Uplink) => {
            !matches!(mode, UplinkMode::Off | UplinkMode::Tcx)
        }
        _ => false,
    }
}
