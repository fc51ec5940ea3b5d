//! What connect-time balancing needs.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use super::{Finding, Scope, Verdict};
use crate::kernel::interfaces::{Choice, Role, Watcher};
use crate::kernel::links::{PICKING, SOCKET_PROGRAMS};
use crate::kernel::load::Places;
use crate::kernel::resent;
use crate::kernel::sock_diag::SockDiag;
use crate::kernel::{namespaces, node};

/// Examines the hooks of sockets.
pub(super) fn examine(scope: &Scope<'_>) -> Vec<Finding> {
    let links = Places::of(scope.bpffs).links;
    vec![hooks(&links), end(), namespaces(scope), mptcp(), segments()]
}

/// Whether the programs are attached.
fn hooks(links: &Path) -> Finding {
    let finding = |verdict, text: String| Finding::new("sockets", "hooks", verdict, text);
    let is_missing = |name: &&&str| !links.join(format!("{name}-cgroup")).exists();
    let missing: Vec<&str> = SOCKET_PROGRAMS.iter().filter(is_missing).copied().collect();
    if missing.is_empty() {
        return finding(Verdict::Pass, format!("{} programs are attached", SOCKET_PROGRAMS.len()));
    }
    if missing.len() == SOCKET_PROGRAMS.len() {
        let text = "not attached: no agent has run, or one with --socket-lb off".to_owned();
        return finding(Verdict::Warn, text);
    }
    if missing.iter().all(|name| PICKING.contains(name)) && missing.len() == PICKING.len() {
        let text = "show what was picked, and pick nothing: --socket-lb off".to_owned();
        return finding(Verdict::Warn, text);
    }
    finding(Verdict::Fail, format!("{} are not attached", missing.join(", ")))
        .hint("start the agent anew, with the same --cgroup")
}

/// Whether sockets can be ended whose backend is gone.
fn end() -> Finding {
    let finding = |verdict, text: String| Finding::new("sockets", "end", verdict, text);
    match SockDiag::open().and_then(|mut diag| diag.can_end()) {
        Ok(true) => finding(Verdict::Pass, "sockets whose backend is gone are ended".to_owned()),
        Ok(false) => finding(
            Verdict::Warn,
            "this kernel ends no sockets: those of this host whose backend is gone wait for their \
             own time limits"
                .to_owned(),
        )
        .hint("use a kernel built with CONFIG_INET_DIAG_DESTROY=y"),
        Err(error) => finding(Verdict::Warn, format!("{error:#}")),
    }
}

/// Whether the namespaces of pods can be found, as `--socket-lb all` needs.
fn namespaces(scope: &Scope<'_>) -> Finding {
    let finding = |verdict, text: String| Finding::new("sockets", "namespaces", verdict, text);
    let hint = "--socket-lb all needs CAP_SYS_ADMIN, and the namespaces' files (--netns-dir) or the \
                host's processes (hostPID)";
    let counted = pods(scope).and_then(|pods| {
        let (found, missing) = namespaces::count(scope.netns_dirs.to_vec(), &pods)?;
        Ok((pods.len(), found, missing))
    });
    match counted {
        Ok((0, ..)) => finding(Verdict::Pass, "no pod's interface is there".to_owned()),
        Ok((pods, found, missing)) => match missing.first() {
            None => finding(Verdict::Pass, format!("{found} of pods can be entered")),
            Some(first) => finding(
                Verdict::Warn,
                format!("none is found for {} of {pods} pods' interfaces ({first})", missing.len()),
            )
            .hint(hint),
        },
        Err(error) => finding(Verdict::Warn, format!("{error:#}")).hint(hint),
    }
}

/// Interfaces of pods, by index.
fn pods(scope: &Scope<'_>) -> Result<BTreeMap<u32, String>> {
    let watcher = Watcher::new(Choice::new(scope.pod_globs, scope.uplink_globs)?)?;
    let pods = watcher.links().filter(|link| link.role == Role::Pod);
    Ok(pods.map(|link| (link.index, link.name.clone())).collect())
}

fn mptcp() -> Finding {
    let text = if node::has_mptcp() { "the kernel has it" } else { "the kernel has none" };
    Finding::new("sockets", "mptcp", Verdict::Pass, text)
}

/// Whether the kernel tells of segments that are sent again.
fn segments() -> Finding {
    let finding = |verdict, text: String| Finding::new("sockets", "retransmits", verdict, text);
    match resent::available() {
        Ok(()) => finding(Verdict::Pass, "segments that are sent again are counted".to_owned()),
        Err(error) => finding(Verdict::Warn, format!("not counted: {error:#}"))
            .hint("mount -t tracefs tracefs /sys/kernel/tracing"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_are_all_there_or_none_or_some() {
        let links = std::env::temp_dir().join(format!("canary-doctor-{}", std::process::id()));
        std::fs::create_dir_all(&links).unwrap();
        assert_eq!(hooks(&links).verdict, Verdict::Warn);
        std::fs::write(links.join("connect4-cgroup"), "").unwrap();

        let some = hooks(&links);

        assert_eq!(some.verdict, Verdict::Fail);
        assert!(some.text.contains("sendmsg6") && !some.text.contains("connect4"), "{}", some.text);
        for name in SOCKET_PROGRAMS {
            std::fs::write(links.join(format!("{name}-cgroup")), "").unwrap();
        }
        assert_eq!(hooks(&links).verdict, Verdict::Pass);
        for name in PICKING {
            std::fs::remove_file(links.join(format!("{name}-cgroup"))).unwrap();
        }
        let off = hooks(&links);
        assert_eq!(off.verdict, Verdict::Warn);
        assert!(off.text.contains("--socket-lb off"), "{}", off.text);
        std::fs::remove_dir_all(links).unwrap();
    }
}
