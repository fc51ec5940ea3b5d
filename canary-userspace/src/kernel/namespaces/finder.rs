//! The thread that looks for pods' namespaces and for cgroups that are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use aya::maps::{HashMap, MapData};
use canary_common::namespace::Namespace;

use super::find::{Candidates, Found, missing};
use super::{Ask, Known};
use crate::kernel::node;

/// Time until another look where something is missing: a pod's interface comes before its address.
const SOON: Duration = Duration::from_millis(100);
/// It doubles up to this, which is also the time between looks where nothing is: nobody tells of
/// addresses in other namespaces.
const LATER: Duration = Duration::from_secs(25);

pub(super) struct Finder {
    pub(super) table: HashMap<MapData, u64, Namespace>,
    pub(super) excepted: HashMap<MapData, u64, u32>,
    pub(super) candidates: Candidates,
    pub(super) except: Vec<PathBuf>,
    pub(super) serves: bool,
    /// There is nothing to look for.
    pub(super) idle: bool,
    pub(super) known: Arc<Mutex<Known>>,
}

impl Finder {
    /// Looks whenever that is asked for, and from time to time.
    pub(super) fn run(mut self, asked: &Receiver<Ask>) {
        if self.idle {
            while asked.recv().is_ok() {}
            return;
        }
        let mut pods = BTreeMap::new();
        let mut wait = SOON;
        loop {
            match asked.recv_timeout(wait) {
                Ok(Ask::Pods(new)) => (pods, wait) = (new, SOON),
                Ok(Ask::Again) => wait = SOON,
                Err(RecvTimeoutError::Timeout) => wait = wait.saturating_mul(2).min(LATER),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // Of several sets of interfaces the last one counts.
            while let Ok(ask) = asked.try_recv() {
                if let Ask::Pods(new) = ask {
                    pods = new;
                }
            }
            let (found, left_out) = (self.look(&pods), self.leave_out());
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.error = found.and(left_out).err().map(|error| format!("{error:#}"));
            if known.error.is_none() && known.missing.is_empty() && known.absent.is_empty() {
                wait = LATER;
            }
        }
    }

    /// Looks for the namespaces of pods, and has their sockets served.
    fn look(&mut self, pods: &BTreeMap<u32, String>) -> Result<()> {
        let found = if pods.is_empty() { Vec::new() } else { self.candidates.find()? };
        let of_pods: Vec<&Found> = found.iter().filter(|found| found.is_of(pods)).collect();
        let before: BTreeSet<u64> =
            self.table.keys().collect::<Result<_, _>>().context("read NAMESPACES")?;
        let is_wanted = |found: &&&Found| self.serves || before.contains(&found.place.cookie);
        let of_pods: Vec<&Found> = of_pods.iter().filter(is_wanted).copied().collect();
        for found in &of_pods {
            let (cookie, row) = (found.place.cookie, found.row());
            if self.table.get(&cookie, 0).ok() != Some(row) {
                self.table.insert(cookie, row, 0).context("write NAMESPACES")?;
            }
        }
        let stays: BTreeSet<u64> = of_pods.iter().map(|found| found.place.cookie).collect();
        for cookie in before.difference(&stays) {
            self.table.remove(cookie).context("write NAMESPACES")?;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.missing = missing(pods, &of_pods);
        let places = of_pods.iter().map(|found| found.place.clone()).collect();
        known.changed |= known.places != places;
        known.places = places;
        Ok(())
    }

    /// Looks for the cgroups that are left out.
    ///
    /// # Errors
    ///
    /// If cgroup v2 is not mounted, or the kernel refuses.
    pub(super) fn leave_out(&mut self) -> Result<()> {
        let (mut ids, mut absent) = (BTreeSet::new(), Vec::new());
        if !self.except.is_empty() {
            let root = node::cgroup_root()?;
            for path in &self.except {
                match id_of(&root, path) {
                    Some(id) => _ = ids.insert(id),
                    None => absent.push(path.display().to_string()),
                }
            }
        }
        let before: BTreeSet<u64> =
            self.excepted.keys().collect::<Result<_, _>>().context("read EXCEPTED")?;
        for id in ids.difference(&before) {
            self.excepted.insert(id, 1, 0).context("write EXCEPTED")?;
        }
        for id in before.difference(&ids) {
            self.excepted.remove(id).context("write EXCEPTED")?;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        (known.excepted, known.absent) = (ids.len(), absent);
        Ok(())
    }
}

/// The id of a cgroup: the number of its directory, below the mount or named whole.
fn id_of(root: &Path, path: &Path) -> Option<u64> {
    let below = path.strip_prefix(root).or_else(|_| path.strip_prefix("/")).unwrap_or(path);
    let metadata = fs::metadata(root.join(below)).ok().filter(fs::Metadata::is_dir)?;
    Some(metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_is_named_below_the_mount_or_whole() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("mesh.slice/sidecar");
        fs::create_dir_all(&path).unwrap();
        let id = fs::metadata(&path).unwrap().ino();

        for named in ["mesh.slice/sidecar", "/mesh.slice/sidecar", path.to_str().unwrap()] {
            assert_eq!(id_of(root.path(), Path::new(named)), Some(id), "{named}");
        }
        assert_eq!(id_of(root.path(), Path::new("mesh.slice/other")), None);
    }
}
