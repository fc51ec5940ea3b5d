//! Attaches programs and keeps their links pinned, so that they outlive the agent.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::programs::links::{CgroupAttachMode, FdLink, LinkOrder, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::xdp::XdpLink;
use aya::programs::{
    CgroupSockAddr, Program, SchedClassifier, TcAttachType, TracePoint, Xdp, XdpMode,
};

use super::insert::Inserter;
use super::program::load_program;

/// Programs of the cgroup hooks: what shows a virtual address before what hides it.
pub const SOCKET_PROGRAMS: [&str; 9] = [
    "streams",
    "getpeername4",
    "getpeername6",
    "recvmsg4",
    "recvmsg6",
    "connect4",
    "connect6",
    "sendmsg4",
    "sendmsg6",
];

/// Those of them that pick.
pub const PICKING: [&str; 4] = ["connect4", "connect6", "sendmsg4", "sendmsg6"];

/// The program that inserts into the flow table.
const INSERTER: &str = "put_flow";

/// The programs, and where their links are pinned.
#[derive(Debug)]
pub struct Links {
    ebpf: Ebpf,
    directory: PathBuf,
    loaded: BTreeSet<String>,
}

impl Links {
    /// Over the programs of an object whose maps are loaded.
    #[must_use]
    pub fn new(ebpf: Ebpf, directory: PathBuf) -> Self {
        Self { ebpf, directory, loaded: BTreeSet::new() }
    }

    /// Where the link of a program on an interface is pinned.
    fn pin(&self, program: &str, at: &str) -> PathBuf {
        self.directory.join(format!("{program}-{at}"))
    }

    /// The program, loaded on first use: verifying one takes up to 50 ms.
    fn program(&mut self, name: &str) -> Result<&mut Program> {
        let program = self.ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
        if !self.loaded.contains(name) {
            load_program(program).with_context(|| format!("load program {name}"))?;
            self.loaded.insert(name.to_owned());
        }
        Ok(program)
    }

    /// Loads a program that is going to be attached; one that there is not is left out.
    pub fn load(&mut self, program: &str) {
        if let Err(error) = self.program(program) {
            tracing::debug!("{error:#}");
        }
    }

    /// The program that inserts into the flow table, in hands of its own.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn inserter(&mut self) -> Result<Inserter> {
        let pin = self.directory.join(INSERTER);
        let program: &mut SchedClassifier = self.program(INSERTER)?.try_into()?;
        // No pin is to stay: it is how a program's descriptor is had a second time.
        remove(&pin)?;
        program.pin(&pin).with_context(|| format!("pin {}", pin.display()))?;
        let again = SchedClassifier::from_pin(&pin);
        remove(&pin)?;
        Ok(Inserter::new(again.context("open program put_flow again")?))
    }

    /// Attaches a program to a tcx hook of an interface, or puts it into the link that is pinned.
    ///
    /// Ingress goes before other owners' programs and egress behind them, so that those see pod
    /// addresses. Returns whether the attachment is new.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn attach_tcx(
        &mut self,
        program: &str,
        name: &str,
        index: u32,
        hook: TcAttachType,
    ) -> Result<bool> {
        let pin = self.pin(program, &index.to_string());
        let old = pinned(&pin);
        let program: &mut SchedClassifier = self.program(program)?.try_into()?;
        if let Some(old) = old {
            let link =
                SchedClassifierLink::try_from(old).ok().map(|link| program.attach_to_link(link));
            if let Some(Ok(id)) = link {
                program.take_link(id)?;
                return Ok(false);
            }
            // The interface it was on is gone, and another has its index.
            fs::remove_file(&pin).with_context(|| format!("remove {}", pin.display()))?;
        }
        let order = match hook {
            TcAttachType::Ingress => LinkOrder::first(),
            _ => LinkOrder::last(),
        };
        let id = program
            .attach_with_options(name, hook, TcAttachOptions::TcxOrder(order))
            .with_context(|| format!("attach to {name}"))?;
        let link: FdLink = program.take_link(id)?.try_into()?;
        link.pin(&pin).with_context(|| format!("pin {}", pin.display()))?;
        Ok(true)
    }

    /// Attaches a program to an interface's driver, or puts it into the link that is pinned.
    ///
    /// # Errors
    ///
    /// If the kernel or the driver refuses.
    pub fn attach_xdp(&mut self, program: &str, index: u32) -> Result<bool> {
        let pin = self.pin(program, &index.to_string());
        let old = pinned(&pin);
        let program: &mut Xdp = self.program(program)?.try_into()?;
        if let Some(old) = old {
            let link = XdpLink::try_from(old).ok().map(|link| program.attach_to_link(link));
            if let Some(Ok(id)) = link {
                program.take_link(id)?;
                return Ok(false);
            }
            fs::remove_file(&pin).with_context(|| format!("remove {}", pin.display()))?;
        }
        let id = program.attach_to_if_index(index, XdpMode::Driver).context("attach native XDP")?;
        let link: FdLink = program.take_link(id)?.try_into()?;
        link.pin(&pin).with_context(|| format!("pin {}", pin.display()))?;
        Ok(true)
    }

    /// Attaches the programs of sockets to a cgroup.
    ///
    /// A cgroup's link cannot be given another program, so the new one is attached before the
    /// old one goes; what the first has picked is no frontend to the second.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn attach_sockets(&mut self, cgroup: &Path) -> Result<()> {
        let file =
            fs::File::open(cgroup).with_context(|| format!("open cgroup {}", cgroup.display()))?;
        for name in SOCKET_PROGRAMS {
            let pin = self.pin(name, "cgroup");
            let link = attach_to_cgroup(self.program(name)?, &file)
                .with_context(|| format!("attach {name} to cgroup {}", cgroup.display()))?;
            if pin.exists() {
                fs::remove_file(&pin).with_context(|| format!("remove {}", pin.display()))?;
            }
            link.pin(&pin).with_context(|| format!("pin {}", pin.display()))?;
        }
        Ok(())
    }

    /// Attaches a program to a tracepoint. The new one is attached before the old one goes.
    ///
    /// # Errors
    ///
    /// If the kernel has no such tracepoint, or refuses.
    pub fn attach_tracepoint(&mut self, program: &str, [group, name]: [&str; 2]) -> Result<()> {
        let pin = self.pin(program, "tracepoint");
        let program: &mut TracePoint = self.program(program)?.try_into()?;
        let id =
            program.attach(group, name).with_context(|| format!("attach to {group}:{name}"))?;
        let link: FdLink = program.take_link(id)?.try_into()?;
        remove(&pin)?;
        link.pin(&pin).with_context(|| format!("pin {}", pin.display()))?;
        Ok(())
    }

    /// Detaches the programs that pick; what was picked is shown as before, and counted.
    ///
    /// # Errors
    ///
    /// If a pin cannot be removed.
    pub fn detach_sockets(&self) -> Result<()> {
        PICKING.iter().try_for_each(|name| remove(&self.pin(name, "cgroup")))
    }

    /// Detaches a program from an interface, if it is attached.
    ///
    /// # Errors
    ///
    /// If the pin cannot be removed.
    pub fn detach(&self, program: &str, index: u32) -> Result<()> {
        remove(&self.pin(program, &index.to_string()))
    }

    /// Every pinned link of an interface: program and interface index.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read.
    pub fn pinned(&self) -> Result<Vec<(String, u32)>> {
        let entries = fs::read_dir(&self.directory)
            .with_context(|| format!("read {}", self.directory.display()))?;
        let mut links = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let parts = name.to_str().and_then(|name| name.rsplit_once('-'));
            if let Some((program, index)) = parts
                && let Ok(index) = index.parse()
            {
                links.push((program.to_owned(), index));
            }
        }
        links.sort();
        Ok(links)
    }
}

/// Attaches a program of sockets, whatever it hooks.
fn attach_to_cgroup(program: &mut Program, cgroup: &fs::File) -> Result<FdLink> {
    if let Program::SockOps(program) = program {
        let id = program.attach(cgroup, CgroupAttachMode::Single)?;
        return Ok(program.take_link(id)?.try_into()?);
    }
    let program: &mut CgroupSockAddr = program.try_into()?;
    let id = program.attach(cgroup, CgroupAttachMode::Single)?;
    Ok(program.take_link(id)?.try_into()?)
}

fn pinned(path: &Path) -> Option<FdLink> {
    PinnedLink::from_pin(path).ok().map(FdLink::from)
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
