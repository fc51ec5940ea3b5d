//! Source ports that sockets get and translated connections too, and what conntrack can tell.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};

use super::super::node;
use super::{Finding, Verdict};
use crate::settings::SourcePorts;

/// Network namespaces that are looked into at most.
const MOST: usize = 1_000;

/// Compares the ports of translated connections with those that sockets get, on the node and in
/// the network namespaces that can be seen.
pub(super) fn examine(ports: SourcePorts) -> Vec<Finding> {
    vec![own(ports, node::local_ports()), pods(ports, &others()), conntrack()]
}

fn own(ports: SourcePorts, local: Result<SourcePorts>) -> Finding {
    let finding = |verdict, text| Finding::new("network", "node's ports", verdict, text);
    match local {
        Ok(local) if ports.overlaps(local) => finding(
            Verdict::Fail,
            format!("sockets get {local}, and {ports} are for translated connections"),
        )
        .hint("lower net.ipv4.ip_local_port_range, or start the agent with other --source-ports"),
        Ok(local) => finding(Verdict::Pass, format!("sockets get {local}, none of {ports}")),
        Err(error) => finding(Verdict::Warn, format!("{error:#}")),
    }
}

/// Namespaces that could be looked into, with the ports that sockets get there, and how many could
/// not.
struct Seen {
    ranges: BTreeMap<PathBuf, SourcePorts>,
    unseen: usize,
}

fn pods(ports: SourcePorts, seen: &Seen) -> Finding {
    let Seen { ranges, unseen } = seen;
    let finding = |verdict, text| Finding::new("network", "pods' ports", verdict, text);
    let wrong: Vec<_> = ranges.iter().filter(|(_, range)| ports.overlaps(**range)).collect();
    let rest =
        if *unseen == 0 { String::new() } else { format!(" ({unseen} more cannot be seen)") };
    if let Some((path, range)) = wrong.first() {
        let text = format!(
            "in {} of {} network namespaces{rest} sockets get ports of {ports}, as in {}: {range}",
            wrong.len(),
            ranges.len(),
            path.display()
        );
        return finding(Verdict::Warn, text).hint(
            "a connection from such a port is often translated itself: lower \
             net.ipv4.ip_local_port_range there",
        );
    }
    let text = format!("in {} network namespaces{rest} none of {ports}", ranges.len());
    finding(if *unseen == 0 { Verdict::Pass } else { Verdict::Warn }, text)
}

/// Every other network namespace that a process or a name holds.
fn others() -> Seen {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let held = processes.map(|entry| entry.path().join("ns/net"));
    let named = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let all = held.chain(named.map(|entry| entry.path()));
    let own = inode(Path::new("/proc/self/ns/net"));
    let mut paths = BTreeMap::new();
    for path in all {
        if let Some(inode) = inode(&path).filter(|inode| Some(*inode) != own) {
            paths.entry(inode).or_insert(path);
        }
    }
    let mut seen = Seen { ranges: BTreeMap::new(), unseen: paths.len().saturating_sub(MOST) };
    for path in paths.into_values().take(MOST) {
        match ports_in(&path) {
            Ok(range) => {
                seen.ranges.insert(path, range);
            }
            // A process that has ended meanwhile, or a namespace that must not be entered.
            Err(_) => seen.unseen = seen.unseen.saturating_add(1),
        }
    }
    seen
}

fn inode(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// The ports that sockets get in a network namespace.
fn ports_in(path: &Path) -> Result<SourcePorts> {
    let namespace = File::open(path)?;
    // A thread of its own: entering a namespace changes the thread for good.
    let read = thread::spawn(move || {
        setns(&namespace, CloneFlags::CLONE_NEWNET).context("enter the namespace")?;
        node::local_ports()
    });
    read.join().ok().context("the thread has ended")?
}

fn conntrack() -> Finding {
    let finding = |verdict, text: &str| Finding::new("network", "conntrack", verdict, text);
    let count = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count");
    match count.as_deref().map(str::trim) {
        Ok("0") => finding(Verdict::Warn, "tracks nothing here").hint(UNKNOWN),
        Ok(count) => finding(Verdict::Pass, &format!("knows {count} connections")),
        Err(_) => finding(Verdict::Warn, "absent").hint(UNKNOWN),
    }
}

const UNKNOWN: &str = "connections that are older than the agent are not known: for the first ten \
                       minutes of an interface new ones get other source ports";

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u16, last: u16) -> SourcePorts {
        SourcePorts::new(first, last).unwrap()
    }

    #[test]
    fn ports_of_the_nodes_own_sockets_must_be_others() {
        let ports = SourcePorts::default();

        assert_eq!(own(ports, Ok(range(32_768, 60_999))).verdict, Verdict::Pass);
        let both = own(ports, Ok(range(1_024, 65_535)));

        assert_eq!(both.verdict, Verdict::Fail);
        assert_eq!(
            both.text,
            "sockets get 1024-65535, and 61000-65535 are for translated connections"
        );
    }

    #[test]
    fn a_pod_whose_sockets_get_translated_ports_is_named() {
        let ports = SourcePorts::default();
        let mut seen = Seen { ranges: BTreeMap::new(), unseen: 0 };
        seen.ranges.insert("/run/netns/a".into(), range(32_768, 60_999));
        assert_eq!(pods(ports, &seen).verdict, Verdict::Pass);
        seen.unseen = 2;
        let some = pods(ports, &seen);
        assert_eq!(some.verdict, Verdict::Warn);
        assert_eq!(
            some.text,
            "in 1 network namespaces (2 more cannot be seen) none of 61000-65535"
        );

        seen.ranges.insert("/run/netns/b".into(), range(10_000, 65_000));

        let wrong = pods(ports, &seen);
        assert_eq!(wrong.verdict, Verdict::Warn);
        assert_eq!(
            wrong.text,
            "in 1 of 2 network namespaces (2 more cannot be seen) sockets get ports of 61000-65535, as \
             in /run/netns/b: 10000-65000"
        );
    }
}
