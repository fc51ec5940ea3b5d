//! A cgroup of the lab's own, for the programs that hook sockets.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::undo::{Step, Undo};

/// Makes a cgroup named `name` and registers its removal.
///
/// # Errors
///
/// Without cgroup v2, or without the right to make one.
pub fn create(undo: &Undo, name: &str) -> Result<PathBuf> {
    let root = root()?;
    undo.make(|| {
        let cgroup = root.join(name);
        fs::create_dir(&cgroup).with_context(|| format!("make cgroup {}", cgroup.display()))?;
        let undone = cgroup.clone();
        let step: Step = Box::new(move || {
            let _ = fs::remove_dir(undone);
        });
        Ok((cgroup, step))
    })
}

/// Puts a process into a cgroup; 0 is the caller.
///
/// # Errors
///
/// If the kernel refuses.
pub fn join(cgroup: &Path, process: u32) -> Result<()> {
    let members = cgroup.join("cgroup.procs");
    fs::write(&members, process.to_string())
        .with_context(|| format!("put process {process} into {}", members.display()))
}

/// Where cgroup v2 is mounted.
///
/// # Errors
///
/// If it is not.
pub fn root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").context("read the mounts")?;
    mounts
        .lines()
        .find_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
            [_, target, "cgroup2", ..] => Some(PathBuf::from(target)),
            _ => None,
        })
        .context("cgroup v2 is not mounted")
}
