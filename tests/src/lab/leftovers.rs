//! What the machine holds, compared before and after: nothing may be left.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use aya::{
    maps::loaded_maps,
    programs::{loaded_links, loaded_programs},
};

use super::{cgroup, wait_for};

/// How long the kernel may take to free what nothing refers to any more.
const GRACE: Duration = Duration::from_secs(60);

/// Everything that a lab or an agent could leave behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftovers {
    things: BTreeSet<String>,
}

impl Leftovers {
    /// Lists namespaces, links, mounts of bpffs, BPF programs, maps and links by id, cgroups
    /// and directories.
    ///
    /// # Errors
    ///
    /// Without root.
    pub fn snapshot() -> Result<Self> {
        let mut things = BTreeSet::new();
        list(&mut things, "namespace", Path::new("/run/netns"))?;
        list(&mut things, "link", Path::new("/sys/class/net"))?;
        list(&mut things, "cgroup", &cgroup::root()?)?;
        list(&mut things, "file", &std::env::temp_dir())?;
        let mounts = fs::read_to_string("/proc/mounts").context("read the mounts")?;
        for line in mounts.lines().filter(|line| line.contains(" bpf ")) {
            things.insert(format!("mount {line}"));
        }
        things.extend(bpf_objects()?);
        Ok(Self { things })
    }

    /// What there is that was not there at `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Vec<String> {
        self.things.difference(&before.things).cloned().collect()
    }

    /// Waits until nothing is left that was not there at `self`; `ours` says what counts.
    ///
    /// # Errors
    ///
    /// If something stays, naming it.
    pub fn wait_gone(&self, ours: impl Fn(&str) -> bool) -> Result<()> {
        let mut left = Vec::new();
        let gone = wait_for("nothing to be left", GRACE, || {
            left = Self::snapshot()?.since(self);
            left.retain(|thing| ours(thing));
            Ok(left.is_empty())
        });
        match gone {
            Ok(_) => Ok(()),
            Err(error) => bail!("{error}; there is\n{}", left.join("\n")),
        }
    }
}

/// BPF programs, maps and links of the whole machine, as `program 7 from_pod`.
///
/// # Errors
///
/// Without root.
pub fn bpf_objects() -> Result<BTreeSet<String>> {
    let mut objects = BTreeSet::new();
    // An object that goes while the list is walked is not there.
    for program in loaded_programs().flatten() {
        let name = program.name_as_str().unwrap_or_default();
        objects.insert(format!("program {} {name}", program.id()));
    }
    for map in loaded_maps().flatten() {
        let name = map.name_as_str().unwrap_or_default();
        objects.insert(format!("map {} {name}", map.id()));
    }
    for link in loaded_links().flatten() {
        objects.insert(format!("bpf-link {} of program {}", link.id(), link.program_id()));
    }
    Ok(objects)
}

fn list(things: &mut BTreeSet<String>, kind: &str, directory: &Path) -> Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("list {}", directory.display()))?,
    };
    for entry in entries {
        let name = entry?.file_name();
        things.insert(format!("{kind} {}", name.display()));
    }
    Ok(())
}
