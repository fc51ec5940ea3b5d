//! What a node needs to run the datapath, checked without changing anything.

mod interfaces;
mod ports;
mod sockets;

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use nix::sys::utsname::uname;
use serde::Serialize;

use crate::settings::SourcePorts;

/// The oldest kernel with tcx.
const FLOOR: (u32, u32) = (6, 6);

/// Bits of a capability set (`capabilities(7)`).
const CAPABILITIES: [(u32, &str); 4] =
    [(12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN"), (38, "CAP_PERFMON"), (39, "CAP_BPF")];

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Pass,
    /// The agent runs, with less than it could have.
    Warn,
    /// The agent does not run, or traffic breaks.
    Fail,
}

/// One check's outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What part of the node it is about.
    pub group: &'static str,
    /// What was checked.
    pub check: &'static str,
    /// How it went.
    pub verdict: Verdict,
    /// What was found.
    pub text: String,
    /// What would help.
    pub hint: Option<String>,
}

impl Finding {
    fn new(
        group: &'static str,
        check: &'static str,
        verdict: Verdict,
        text: impl Into<String>,
    ) -> Self {
        Self { group, check, verdict, text: text.into(), hint: None }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// What the agent would be told.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// Globs of pods' interfaces.
    pub pod_globs: &'a [String],
    /// Globs of uplinks; the interfaces of the default routes if empty.
    pub uplink_globs: &'a [String],
    /// Directories of files that stand for network namespaces.
    pub netns_dirs: &'a [PathBuf],
    /// Directory of the pins.
    pub bpffs: &'a Path,
}

/// Examines this node.
#[must_use]
pub fn examine(scope: &Scope<'_>) -> Vec<Finding> {
    let mut findings = vec![kernel(), btf(), jit(), rights(), bpffs(scope.bpffs), cgroup()];
    findings.extend(interfaces::examine(scope));
    findings.extend(ports::examine(SourcePorts::default()));
    findings.extend(sockets::examine(scope));
    findings
}

fn kernel() -> Finding {
    let finding = |verdict, text: String| Finding::new("kernel", "version", verdict, text);
    let release =
        uname().map(|names| names.release().to_string_lossy().into_owned()).unwrap_or_default();
    let Some(version) = major_minor(&release) else {
        return finding(Verdict::Warn, format!("{release:?} is not understood"));
    };
    let (major, minor) = FLOOR;
    if version >= FLOOR {
        finding(Verdict::Pass, format!("{release}, at least {major}.{minor}"))
    } else {
        finding(
            Verdict::Fail,
            format!("{release} has no tcx hooks: at least {major}.{minor} is needed"),
        )
    }
}

fn major_minor(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn btf() -> Finding {
    let path = super::node::BTF;
    if Path::new(path).exists() {
        return Finding::new("kernel", "btf", Verdict::Pass, "the kernel describes its types");
    }
    Finding::new("kernel", "btf", Verdict::Fail, format!("{path} is missing"))
        .hint("use a kernel built with CONFIG_DEBUG_INFO_BTF=y")
}

fn jit() -> Finding {
    let finding = |verdict, text: &str| Finding::new("kernel", "jit", verdict, text);
    match fs::read_to_string("/proc/sys/net/core/bpf_jit_enable").as_deref().map(str::trim) {
        Ok("0") => finding(Verdict::Warn, "off: programs are interpreted, many times slower")
            .hint("sysctl net.core.bpf_jit_enable=1"),
        Ok(_) => finding(Verdict::Pass, "on"),
        Err(_) => finding(Verdict::Warn, "net.core.bpf_jit_enable cannot be read"),
    }
}

fn rights() -> Finding {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let finding = |verdict, text: String| Finding::new("rights", "capabilities", verdict, text);
    let Some(held) = effective(&status) else {
        return finding(Verdict::Warn, "/proc/self/status names no capabilities".to_owned());
    };
    let missing = missing(&held);
    if missing.is_empty() {
        return finding(Verdict::Pass, held.join(", "));
    }
    finding(Verdict::Fail, format!("missing {}", missing.join(", ")))
        .hint("run as root, or with these capabilities")
}

/// Checks that this process may do what an agent does.
///
/// # Errors
///
/// The capabilities that it lacks.
pub fn check_rights() -> anyhow::Result<()> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    // What cannot be told is left to the kernel to refuse.
    let missing = effective(&status).map(|held| missing(&held)).unwrap_or_default();
    anyhow::ensure!(
        missing.is_empty(),
        "missing {}: run as root, or with these capabilities",
        missing.join(", ")
    );
    Ok(())
}

/// Capabilities that an agent needs and does not have.
fn missing(held: &[&str]) -> Vec<&'static str> {
    let has = |wanted: &str| held.contains(&wanted);
    CAPABILITIES
        .iter()
        .map(|(_, name)| *name)
        .filter(|name| *name != "CAP_SYS_ADMIN" && !has(name))
        // The rights that were split off are part of it.
        .filter(|name| *name == "CAP_NET_ADMIN" || !has("CAP_SYS_ADMIN"))
        .collect()
}

/// Names of the capabilities in effect, of those that matter.
fn effective(status: &str) -> Option<Vec<&'static str>> {
    let hex = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    let bits = u64::from_str_radix(hex.trim(), 16).ok()?;
    Some(
        CAPABILITIES
            .iter()
            .filter(|(bit, _)| bits >> bit & 1 == 1)
            .map(|(_, name)| *name)
            .collect(),
    )
}

fn bpffs(directory: &Path) -> Finding {
    let finding = |verdict, text: String| Finding::new("mounts", "bpffs", verdict, text);
    let shown = directory.display();
    let Some(Ok(found)) = directory.ancestors().map(statfs).find(Result::is_ok) else {
        return finding(Verdict::Fail, format!("{shown} cannot be reached"));
    };
    if found.filesystem_type() == BPF_FS_MAGIC {
        return finding(Verdict::Pass, format!("mounted at {shown}"));
    }
    finding(Verdict::Warn, format!("not mounted at {shown}: the agent mounts it"))
        .hint("mount -t bpf bpf /sys/fs/bpf")
}

fn cgroup() -> Finding {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let finding = |verdict, text: String| Finding::new("mounts", "cgroup v2", verdict, text);
    match mount_of(&mounts, "cgroup2") {
        Some(point) => finding(Verdict::Pass, format!("mounted at {point}")),
        None => finding(
            Verdict::Fail,
            "not mounted: connections of this host's own sockets are not split".to_owned(),
        )
        .hint("mount -t cgroup2 none /sys/fs/cgroup"),
    }
}

/// Where the first file system of a kind is mounted.
fn mount_of<'a>(mounts: &'a str, kind: &str) -> Option<&'a str> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let point = fields.next()?;
        (fields.next()? == kind).then_some(point)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_distributions_are_understood() {
        assert_eq!(major_minor("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(major_minor("5.15.0-105-generic"), Some((5, 15)));
        assert_eq!(major_minor("6.6-rc1"), Some((6, 6)));
        assert_eq!(major_minor("unknown"), None);
    }

    #[test]
    fn capabilities_are_read_from_their_bits() {
        assert_eq!(
            effective("Name:\tx\nCapEff:\t000001ffffffffff\n").unwrap(),
            ["CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_PERFMON", "CAP_BPF"]
        );
        assert_eq!(effective("CapEff:\t0000000000001000\n").unwrap(), ["CAP_NET_ADMIN"]);
        assert_eq!(effective("CapEff:\t0\n").unwrap(), [""; 0]);
        assert_eq!(effective("Name:\tx\n"), None);
    }

    #[test]
    fn a_mount_is_found_by_its_kind() {
        let mounts = "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";

        assert_eq!(mount_of(mounts, "cgroup2"), Some("/sys/fs/cgroup"));
        assert_eq!(mount_of(mounts, "bpf"), None);
    }

    #[test]
    fn every_node_gets_a_finding_of_each_kind() {
        let globs = ["lo".to_owned()];
        let none = ["there-is-none*".to_owned()];
        let scope = Scope {
            pod_globs: &globs,
            uplink_globs: &none,
            netns_dirs: &[],
            bpffs: Path::new("/sys/fs/bpf/x"),
        };

        let findings = examine(&scope);

        for check in [
            "version",
            "btf",
            "jit",
            "capabilities",
            "bpffs",
            "cgroup v2",
            "pod interfaces",
            "uplinks",
            "node's ports",
            "pods' ports",
            "conntrack",
            "hooks",
            "end",
            "namespaces",
            "mptcp",
        ] {
            assert_eq!(
                findings.iter().filter(|finding| finding.check == check).count(),
                1,
                "{check}"
            );
        }
        let uplinks = findings.iter().find(|finding| finding.check == "uplinks").unwrap();
        assert_eq!(uplinks.verdict, Verdict::Warn);
        assert!(uplinks.text.contains("there-is-none*"), "{}", uplinks.text);
    }
}
