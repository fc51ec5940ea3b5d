//! What comes from the distribution: looked for by file, installed by apt only when missing.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Result, bail};
use nix::unistd::Uid;

use crate::step;

/// Something that must be on the machine, and the Debian package that has it.
pub(crate) struct Need {
    /// A program's name, or a file's path if it starts with `/`.
    pub(crate) file: String,
    /// The package.
    pub(crate) package: String,
}

impl Need {
    /// `file` comes with `package`.
    pub(crate) fn new(file: impl Into<String>, package: impl Into<String>) -> Self {
        Self { file: file.into(), package: package.into() }
    }

    fn is_met(&self) -> bool {
        find_program(&self.file).is_some()
    }
}

/// What the demo's and the tests' labs call.
pub(crate) fn lab() -> Vec<Need> {
    let programs = [
        ("ip", "iproute2"),
        ("nft", "nftables"),
        ("iptables", "iptables"),
        ("ethtool", "ethtool"),
        ("curl", "curl"),
    ];
    programs.map(|(file, package)| Need::new(file, package)).into()
}

/// Installs what is missing.
///
/// # Errors
///
/// Without root or apt, naming the packages.
pub(crate) fn ensure(needs: &[Need]) -> Result<()> {
    let mut missing: Vec<&str> =
        needs.iter().filter(|need| !need.is_met()).map(|need| need.package.as_str()).collect();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    install(&missing)?;
    let absent = needs.iter().find(|need| !need.is_met());
    if let Some(Need { file, package }) = absent {
        bail!(
            "{package} is installed but {file} is not there: another version of the distribution?"
        );
    }
    Ok(())
}

/// Installs `packages` by apt.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let names = packages.join(" ");
    if find_program("apt-get").is_none() {
        bail!("missing, and there is no apt-get to install it: {names} (Debian's names)");
    }
    if !Uid::effective().is_root() {
        bail!("missing: {names}\nas root: apt-get install --no-install-recommends {names}");
    }
    refresh()?;
    let mut install = apt();
    install.args(["install", "-y", "-q", "--no-install-recommends"]).args(packages);
    step::run(
        &format!("setup: apt-get install {names}"),
        &mut install,
        "is apt able to reach its sources?",
    )
}

/// Brings apt's lists up to date, once a run; leaves them as they are without root.
pub(crate) fn refresh() -> Result<()> {
    static DONE: AtomicBool = AtomicBool::new(false);
    if !Uid::effective().is_root() || DONE.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    let hint = "is apt able to reach its sources?";
    step::run("setup: apt-get update", apt().args(["update", "-q"]), hint)
}

/// Whether apt knows `package`.
pub(crate) fn is_available(package: &str) -> bool {
    let shown = step::output(Command::new("apt-cache").args(["show", package]));
    shown.is_some_and(|text| !text.trim().is_empty())
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

/// A program on the path or where only root's path leads; a path that starts with `/` as it is.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    places.map(|place| place.join(name)).find(|file| Path::new(file).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_name_and_files_by_path() {
        assert!(Need::new("sh", "dash").is_met());
        assert!(Need::new("/bin/sh", "dash").is_met());
        assert!(!Need::new("no-such-program-anywhere", "x").is_met());
        assert!(!Need::new("/no/such/file", "x").is_met());
    }
}
