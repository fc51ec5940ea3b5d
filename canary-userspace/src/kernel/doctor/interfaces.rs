//! The interfaces the agent would serve, and who else works on them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use aya::programs::tc::{SchedClassifier, TcAttachType};
use glob::Pattern;
use nix::net::if_::if_nameindex;

use super::{Finding, Scope, Verdict};

/// Names of our own programs on interfaces.
const OURS: [&str; 4] = ["from_pod", "to_pod", "from_net", "to_net"];

/// Switches that make bridges show their packets to netfilter.
const BRIDGE_SWITCHES: [&str; 2] = ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"];

/// Examines the interfaces of this network namespace.
pub(super) fn examine(scope: &Scope<'_>) -> Vec<Finding> {
    let names = match names() {
        Ok(names) => names,
        Err(error) => {
            return vec![Finding::new("network", "interfaces", Verdict::Fail, error)];
        }
    };
    let pods = select(scope.pod_globs, &names);
    let uplinks = if scope.uplink_globs.is_empty() {
        let routes = |path| fs::read_to_string(path).unwrap_or_default();
        Ok(default_routes(&routes("/proc/net/route"), &routes("/proc/net/ipv6_route")))
    } else {
        select(scope.uplink_globs, &names)
    };
    let mut served = BTreeSet::new();
    let mut findings = Vec::new();
    for (check, globs, chosen) in
        [("pod interfaces", scope.pod_globs, &pods), ("uplinks", scope.uplink_globs, &uplinks)]
    {
        findings.push(match chosen {
            Ok(chosen) => {
                served.extend(chosen.iter().cloned());
                found(check, globs, chosen)
            }
            Err(error) => Finding::new("network", check, Verdict::Fail, error.clone()),
        });
    }
    findings.extend(bridges(&pods.unwrap_or_default()));
    findings.extend(others(&served));
    findings
}

fn names() -> Result<Vec<String>, String> {
    let interfaces =
        if_nameindex().map_err(|errno| format!("interfaces cannot be listed: {errno}"))?;
    let names = interfaces.iter().map(|interface| interface.name().to_string_lossy().into_owned());
    Ok(names.collect())
}

/// The names that any of the globs matches.
fn select(globs: &[String], names: &[String]) -> Result<BTreeSet<String>, String> {
    let patterns = globs
        .iter()
        .map(|glob| Pattern::new(glob).map_err(|error| format!("{glob:?} is no glob: {error}")))
        .collect::<Result<Vec<_>, _>>()?;
    let matched = |name: &&String| patterns.iter().any(|pattern| pattern.matches(name));
    Ok(names.iter().filter(matched).cloned().collect())
}

fn found(check: &'static str, globs: &[String], chosen: &BTreeSet<String>) -> Finding {
    if !chosen.is_empty() {
        let names: Vec<_> = chosen.iter().map(String::as_str).collect();
        return Finding::new("network", check, Verdict::Pass, names.join(", "));
    }
    let text = if globs.is_empty() {
        "none: there is no default route".to_owned()
    } else {
        format!("no interface matches {}", globs.join(", "))
    };
    let flag = if check == "uplinks" { "--uplink-interface" } else { "--pod-interface" };
    Finding::new("network", check, Verdict::Warn, text)
        .hint(format!("it is served once it appears; other names are given with {flag}"))
}

/// Interfaces of the default routes, as the two files of `/proc/net` list routes.
fn default_routes(v4: &str, v6: &str) -> BTreeSet<String> {
    let v4 = v4.lines().skip(1).filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        match fields.as_slice() {
            [name, "00000000", _, _, _, _, _, "00000000", ..] => Some(*name),
            _ => None,
        }
    });
    let v6 = v6.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        match fields.as_slice() {
            // The route that refuses what no other takes stands on the loopback.
            [destination, "00", .., name]
                if *name != "lo" && destination.trim_matches('0').is_empty() =>
            {
                Some(*name)
            }
            _ => None,
        }
    });
    v4.chain(v6).map(str::to_owned).collect()
}

/// Pods behind a bridge need netfilter to see both directions of a connection alike.
fn bridges(pods: &BTreeSet<String>) -> Option<Finding> {
    let port = |name: &&String| Path::new("/sys/class/net").join(name).join("brport").exists();
    let ports: Vec<_> = pods.iter().filter(port).map(String::as_str).collect();
    if ports.is_empty() {
        return None;
    }
    let off: Vec<_> = BRIDGE_SWITCHES
        .into_iter()
        .filter(|switch| {
            let value = fs::read_to_string(Path::new("/proc/sys/net/bridge").join(switch));
            value.map_or(true, |value| value.trim() == "0")
        })
        .collect();
    if off.is_empty() {
        let text = format!("on for the ports {}", ports.join(", "));
        return Some(Finding::new("network", "bridge netfilter", Verdict::Pass, text));
    }
    let text = format!(
        "{} are ports of a bridge, and net.bridge.{} is off: netfilter would see half of each connection",
        ports.join(", "),
        off.join(" and net.bridge.")
    );
    let switches: Vec<_> = off.iter().map(|switch| format!("net.bridge.{switch}=1")).collect();
    let hint = format!("modprobe br_netfilter && sysctl -w {}", switches.join(" "));
    Some(Finding::new("network", "bridge netfilter", Verdict::Fail, text).hint(hint))
}

/// Programs of others on the interfaces' tcx hooks.
fn others(served: &BTreeSet<String>) -> Option<Finding> {
    let mut others = Vec::new();
    for name in served {
        for (hook, place) in [(TcAttachType::Ingress, "ingress"), (TcAttachType::Egress, "egress")]
        {
            match SchedClassifier::query_tcx(name, hook) {
                Ok((_, programs)) => others.extend(programs.iter().filter_map(|program| {
                    let theirs = program.name_as_str().unwrap_or("a program without a name");
                    let ours = OURS.iter().any(|ours| theirs.starts_with(ours));
                    (!ours).then(|| format!("{theirs} on {name} {place}"))
                })),
                Err(error) => {
                    let text = format!("tcx of {name} cannot be read: {error}");
                    return Some(Finding::new("network", "other programs", Verdict::Warn, text));
                }
            }
        }
    }
    if served.is_empty() {
        return None;
    }
    if others.is_empty() {
        let text = "no one else's program is on tcx";
        return Some(Finding::new("network", "other programs", Verdict::Pass, text));
    }
    let finding = Finding::new("network", "other programs", Verdict::Warn, others.join(", "));
    let routing = others.iter().any(|program| program.starts_with("cil_"));
    let hint = if routing {
        "Cilium's host routing skips the egress of pods' interfaces: set bpf.hostLegacyRouting=true"
    } else {
        "ours run before them on ingress and after them on egress"
    };
    Some(finding.hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_choose_interfaces_by_name() {
        let names = ["lo", "eth0", "veth1", "veth22", "cali9"].map(str::to_owned);
        let globs = ["veth*", "cali?"].map(str::to_owned);

        let chosen = select(&globs, &names).unwrap();

        assert_eq!(Vec::from_iter(chosen), ["cali9", "veth1", "veth22"]);
        assert!(select(&["[".to_owned()], &names).unwrap_err().contains("is no glob"));
    }

    #[test]
    fn uplinks_are_those_of_the_default_routes() {
        let v4 = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                  eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                  eth1\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let zeros = "0".repeat(32);
        let v6 = format!(
            "{zeros} 00 {zeros} 00 fe800000000000000000000000000001 00000400 1 0 00000003 eth2\n\
             fe80{z} 40 {zeros} 00 {zeros} 00000100 1 0 00000001 eth3\n\
             {zeros} 00 {zeros} 00 {zeros} ffffffff 1 0 00200200 lo\n",
            z = "0".repeat(28)
        );

        assert_eq!(Vec::from_iter(default_routes(v4, &v6)), ["eth0", "eth2"]);
    }

    #[test]
    fn a_glob_that_matches_nothing_is_a_warning_with_the_flag() {
        let finding = found("pod interfaces", &["veth*".to_owned()], &BTreeSet::new());

        assert_eq!(finding.verdict, Verdict::Warn);
        assert_eq!(finding.text, "no interface matches veth*");
        assert!(finding.hint.unwrap().contains("--pod-interface"));
    }
}
