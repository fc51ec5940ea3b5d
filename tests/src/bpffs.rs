//! A bpffs that nobody else sees, for programs that load the object and attach it nowhere.

use std::path::Path;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// The usual place of bpffs; the private one is mounted over it.
const BPFFS: &str = "/sys/fs/bpf";

/// Gives this process mounts of its own, with an empty bpffs among them. It goes with the process.
///
/// # Errors
///
/// If the kernel refuses, as it does without root.
pub fn private() -> Result<&'static Path> {
    unshare(CloneFlags::CLONE_NEWNS).context("have mounts of one's own")?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).context("keep mounts private")?;
    mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
        .with_context(|| format!("mount bpffs at {BPFFS}"))?;
    Ok(Path::new(BPFFS))
}
