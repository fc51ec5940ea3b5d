//! A lab: one node of namespaces, its pods, and the real agent in it.
//!
//! The node is a namespace too, so that nothing of the machine's own network is touched. Pods
//! hang off it by veth pairs, routed one by one or as ports of a bridge; an uplink `eth0` leads
//! to what lies outside. Names carry the process id; everything is undone when the lab is
//! dropped, and when the process panics or is interrupted.

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    process,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU16, AtomicU32, Ordering},
    },
};

use anyhow::{Context, Result};

pub mod agent;
pub mod binaries;
pub mod cgroup;
pub mod far;
pub mod firewall;
pub mod gate;
pub mod leftovers;
pub mod link;
pub mod namespace;
pub mod pod;
pub mod policy;
pub mod process_handle;
pub mod router;
pub mod show;
pub mod tap;
pub mod undo;
pub mod wait;
pub mod wire;

pub use agent::{Agent, AgentOptions};
pub use far::Far;
pub use gate::Gate;
pub use leftovers::Leftovers;
pub use namespace::Namespace;
pub use pod::{Bridge, Outside, Pod};
pub use process_handle::Process;
pub use router::{Neighbour, Router};
pub use wait::wait_for;

use undo::{Step, Undo};

/// The node's own address, from which it speaks to its pods.
pub const NODE_V4: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);

/// The node's own IPv6 address.
pub const NODE_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x244, 0, 0, 0, 0, 0, 1);

/// A node with its pods.
#[derive(Debug)]
pub struct Lab {
    name: String,
    node: Namespace,
    directory: PathBuf,
    cgroup: PathBuf,
    next_host: AtomicU16,
    next_interface: AtomicU16,
    pods: Mutex<Vec<Pod>>,
    socket: PathBuf,
    undo: Undo,
}

impl Lab {
    /// A node without pods: a namespace that forwards, a directory, a bpffs and a cgroup.
    ///
    /// # Errors
    ///
    /// Without root, or without bpffs or cgroup v2 in the kernel.
    pub fn new(name: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("canary-{}-{number}-{name}", process::id());
        let undo = Undo::new();

        // Undone in reverse: processes first, then the pins, the namespaces, the directory.
        let directory = make_directory(&undo, &name)?;
        let cgroup = cgroup::create(&undo, &name)?;
        let node = Namespace::create(&undo, &name)?;
        mount_bpffs(&undo, &directory.join("bpffs"))?;

        node.sysctl("net/ipv4/ip_forward", "1")?;
        node.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        node.ip(&[
            format!("address add {NODE_V4}/32 dev lo"),
            format!("address add {NODE_V6}/128 dev lo nodad"),
        ])?;
        let lab = Self {
            name,
            node,
            socket: directory.join("agent.sock"),
            directory,
            cgroup,
            next_host: AtomicU16::new(1),
            next_interface: AtomicU16::new(1),
            pods: Mutex::default(),
            undo,
        };
        lab.rp_filter(false)?;
        Ok(lab)
    }

    /// Makes a lab, runs `body` in it, and shows the agent's state if that fails.
    ///
    /// Holds a place at the [`Gate`] meanwhile, so that labs that run side by side do not
    /// starve each other.
    ///
    /// # Errors
    ///
    /// What making the lab or `body` fails with.
    pub fn run(name: &str, body: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let _place = Gate::enter()?;
        let lab = Self::new(name)?;
        let result = body(&lab);
        if result.is_err() {
            lab.show();
        }
        result
    }

    /// Its name, unique on the machine.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace of the node.
    #[must_use]
    pub fn node(&self) -> &Namespace {
        &self.node
    }

    /// A directory of its own.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The mount of its own bpffs.
    #[must_use]
    pub fn bpffs(&self) -> PathBuf {
        self.directory.join("bpffs")
    }

    /// Its own cgroup, where the node's clients live.
    #[must_use]
    pub fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    /// The agent's socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What it made.
    #[must_use]
    pub fn undo(&self) -> &Undo {
        &self.undo
    }

    /// Turns strict reverse path filtering on or off on the node, for links to come as well.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn rp_filter(&self, strict: bool) -> Result<()> {
        let value = if strict { "1" } else { "0" };
        self.node.sysctl("net/ipv4/conf/all/rp_filter", value)?;
        self.node.sysctl("net/ipv4/conf/default/rp_filter", value)
    }

    /// Pods made so far.
    #[must_use]
    pub fn pods(&self) -> Vec<Pod> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The next free number of a pod.
    fn next_host(&self) -> u16 {
        self.next_host.fetch_add(1, Ordering::Relaxed)
    }

    /// The next free name of a pod's interface on the node.
    fn next_interface(&self) -> String {
        format!("veth{}", self.next_interface.fetch_add(1, Ordering::Relaxed))
    }

    fn forget(&self, pod: &Pod) {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| other != pod);
    }

    fn remember(&self, pod: &Pod) {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner).push(pod.clone());
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show();
        }
    }
}

/// Makes the lab's directory, outside `/sys` and short enough for the path of a socket.
fn make_directory(undo: &Undo, name: &str) -> Result<PathBuf> {
    undo.make(|| {
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
        let undone = directory.clone();
        let step: Step = Box::new(move || {
            let _ = fs::remove_dir_all(undone);
        });
        Ok((directory, step))
    })
}

/// Mounts a bpffs of the lab's own: what is pinned there goes with it.
fn mount_bpffs(undo: &Undo, target: &Path) -> Result<()> {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};

    undo.make(|| {
        fs::create_dir_all(target).with_context(|| format!("make {}", target.display()))?;
        mount(Some("bpffs"), target, Some("bpf"), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("mount bpffs on {}", target.display()))?;
        let undone = target.to_owned();
        let step: Step = Box::new(move || {
            let _ = umount2(&undone, MntFlags::MNT_DETACH);
            let _ = fs::remove_dir(&undone);
        });
        Ok(((), step))
    })
}
