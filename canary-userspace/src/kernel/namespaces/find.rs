//! Files that stand for network namespaces, and what is in those.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use canary_common::endpoint::Address;
use canary_common::namespace::Namespace;

use super::enter::enter;
use crate::kernel::netlink::{Netlink, OwnAddresses};
use crate::kernel::node;

/// The namespace of the thread that asks.
const OWN: &str = "/proc/thread-self/ns/net";

/// A network namespace of a pod, and a file that stands for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::kernel) struct Place {
    /// The file; it may stand for another namespace by now.
    pub(in crate::kernel) path: PathBuf,
    /// The namespace's cookie, which no other ever has.
    pub(in crate::kernel) cookie: u64,
    /// The pod's addresses.
    pub(in crate::kernel) addresses: OwnAddresses,
}

/// A network namespace, and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::kernel) struct Found {
    pub(super) place: Place,
    /// Interfaces of this namespace whose other ends are there.
    peers: BTreeSet<u32>,
}

impl Found {
    /// Whether it is that of a pod with one of these interfaces, and has an address.
    pub(super) fn is_of(&self, pods: &BTreeMap<u32, String>) -> bool {
        let has_address = self.place.addresses != OwnAddresses::default();
        has_address && self.peers.iter().any(|index| pods.contains_key(index))
    }

    /// What the programs know of it.
    pub(super) fn row(&self) -> Namespace {
        let words = |address: Option<Address>| address.map_or([0; 2], Address::words);
        Namespace {
            v4: words(self.place.addresses.v4.map(|address| Address::v4(address.octets()))),
            v6: words(self.place.addresses.v6.map(|address| Address(address.octets()))),
        }
    }
}

/// Names of the interfaces whose other ends are in none of these.
pub(super) fn missing(pods: &BTreeMap<u32, String>, found: &[&Found]) -> Vec<String> {
    let there: BTreeSet<u32> = found.iter().flat_map(|found| found.peers.iter().copied()).collect();
    let missing = pods.iter().filter(|(index, _)| !there.contains(index));
    missing.map(|(_, name)| name.clone()).collect()
}

/// The files among which namespaces are looked for.
#[derive(Debug)]
pub(in crate::kernel) struct Candidates {
    directories: Vec<PathBuf>,
}

impl Candidates {
    /// Those of these directories, and of all processes that can be seen.
    pub(in crate::kernel) fn new(directories: Vec<PathBuf>) -> Self {
        Self { directories }
    }

    /// All namespaces but the thread's own.
    ///
    /// # Errors
    ///
    /// If there are some and none can be entered.
    pub(super) fn find(&self) -> Result<Vec<Found>> {
        let own = File::open(OWN).context("open this network namespace")?;
        let own_id = identity(&own.metadata().context("read this network namespace")?);
        let (mut found, mut first_error) = (Vec::new(), None);
        let mut seen = BTreeSet::from([own_id]);
        for path in self.files() {
            // What goes meanwhile is no namespace of a pod any more.
            let Ok(metadata) = fs::metadata(&path) else { continue };
            if !seen.insert(identity(&metadata)) {
                continue;
            }
            match inspect(&path, &own) {
                Ok(namespace) => found.push(namespace),
                Err(error) => {
                    tracing::debug!("{error:#}");
                    first_error = first_error.or(Some(error));
                }
            }
        }
        match first_error {
            Some(error) if found.is_empty() => Err(error),
            _ => Ok(found),
        }
    }

    /// Files of directories first: they do not go with a process.
    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> =
            self.directories.iter().flat_map(|own| entries(own)).collect();
        let processes = entries(Path::new("/proc")).into_iter().filter(|path| {
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            name.iter().all(u8::is_ascii_digit)
        });
        files.extend(processes.map(|process| process.join("ns/net")));
        files
    }
}

/// What is in a directory; nothing where it is not there.
fn entries(directory: &Path) -> Vec<PathBuf> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.filter_map(Result::ok).map(|entry| entry.path()).collect(),
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::debug!("read {}: {error}", directory.display());
            }
            Vec::new()
        }
    }
}

/// What tells one file from another.
fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn inspect(path: &Path, own: &File) -> Result<Found> {
    let (cookie, mut netlink) = enter(path, || Ok((node::netns_cookie()?, Netlink::open()?)))?;
    // The socket stays one of that namespace, and goes at the end of this.
    let peers = netlink.peers_in(own.as_fd())?;
    let addresses = netlink.own_addresses()?;
    Ok(Found { place: Place { path: path.to_owned(), cookie, addresses }, peers })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn found(peers: &[u32], v4: Option<Ipv4Addr>) -> Found {
        Found {
            place: Place {
                path: PathBuf::from("/run/netns/a"),
                cookie: 7,
                addresses: OwnAddresses { v4, v6: None },
            },
            peers: peers.iter().copied().collect(),
        }
    }

    #[test]
    fn a_pods_namespace_has_an_address_and_an_end_of_its_interface() {
        let pods = BTreeMap::from([(5, "veth5".to_owned()), (6, "veth6".to_owned())]);
        let address = Some(Ipv4Addr::new(10, 0, 0, 1));

        assert!(found(&[5], address).is_of(&pods));
        assert!(!found(&[5], None).is_of(&pods), "it is not set up yet");
        assert!(!found(&[7], address).is_of(&pods), "of an interface that is no pod's");
        assert_eq!(missing(&pods, &[&found(&[5, 7], address)]), ["veth6"]);
        assert_eq!(found(&[5], address).row().v6, [0, 0]);
    }

    #[test]
    fn files_that_stand_for_nothing_are_left_out() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("empty"), "").unwrap();
        let candidates = Candidates::new(vec![directory.path().to_owned(), "/no/such".into()]);

        let files = candidates.files();

        assert_eq!(files[0], directory.path().join("empty"));
        let own = format!("/proc/{}/ns/net", std::process::id());
        assert!(files.contains(&PathBuf::from(own)));
        let own = File::open(OWN).unwrap();
        let error = inspect(&directory.path().join("empty"), &own).unwrap_err();
        assert!(format!("{error:#}").contains("CAP_SYS_ADMIN"), "{error:#}");
    }
}
