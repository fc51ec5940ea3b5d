//! A node that is not as it should be: interfaces, mounts, rights.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    process::{Command, Output},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use canary_tests::{
    lab::{Lab, binaries, wait_for},
    scenario::{Backend, Scenario, TCP4, TIMEOUT},
    workload::connect_many,
};
use canary_userspace::document::Status;
use nix::{
    mount::{MntFlags, umount2},
    net::if_::if_nametoindex,
};

use super::{SUBSETS, all_blue, log};

/// The ids of `nobody`.
const NOBODY: u32 = 65_534;

#[test]
fn an_interface_that_vanishes_takes_only_its_pod_away() -> Result<()> {
    Lab::run("vanish", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;
        let gone = scenario.backend("green-1")?.pod.clone();
        let index = lab.node().enter(|| if_nametoindex(gone.interface.as_str()))??;
        let pins = || pins_of(lab, index);
        let serves = |status: &Status| {
            status.interfaces.iter().any(|interface| interface.name == gone.interface)
        };
        assert!(serves(&lab.status()?));
        assert!(!pins()?.is_empty(), "no pin names {}", gone.interface);

        lab.unplug(&gone)?;

        wait_for("the interface to be gone from status", TIMEOUT, || Ok(!serves(&lab.status()?)))?;
        assert_eq!(pins()?, [""; 0], "pins of an interface that is gone");
        all_blue(&scenario)?;
        // The next pod with the same addresses is served as if nothing had been.
        let pod = lab.pod_at("green-1", gone.v4, gone.v6)?;
        let _next = Backend::start(lab, pod, "green")?;
        lab.set_split(TCP4.service, &["blue=0", "green=100"])?;
        let client = &scenario.client.namespace;
        wait_for("the new pod to be served", TIMEOUT, || {
            let answers = connect_many(client, TCP4.protocol, TCP4.frontend(), 1, TIMEOUT)?;
            Ok(answers.of("green") == 1)
        })?;
        let answers = connect_many(client, TCP4.protocol, TCP4.frontend(), 200, TIMEOUT)?;
        assert_eq!(answers.of("green"), 200, "{answers:?}");
        assert!(!log(lab)?.contains(" ERROR "), "{}", log(lab)?);
        Ok(())
    })
}

/// Names of the pins that belong to an interface, by its index.
fn pins_of(lab: &Lab, index: u32) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut open = vec![lab.bpffs()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            } else if name.ends_with(&format!("-{index}")) {
                found.push(name);
            }
        }
    }
    Ok(found)
}

#[test]
fn bpffs_is_mounted_where_it_is_missing() -> Result<()> {
    Lab::run("mount", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;
        scenario.agent.detach()?;
        let point = lab.directory().join("none/such");
        let _unmount = Unmount(&point);
        let bpffs = point.display().to_string();
        let process = lab.start_agent(&["--bpffs".to_owned(), bpffs.clone()])?;

        lab.ctl(&["status", "--wait", "--timeout", "15s"])?;

        all_blue(&scenario)?;
        assert!(point.join("v1").exists() || fs::read_dir(&point)?.next().is_some());
        process.signal(nix::sys::signal::Signal::SIGTERM)?;
        process.wait(Duration::from_secs(10))?;
        lab.ctl(&["detach", "--bpffs", &bpffs])?;
        Ok(())
    })
}

/// Unmounts what the agent has mounted.
struct Unmount<'a>(&'a std::path::Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = umount2(self.0, MntFlags::MNT_DETACH);
    }
}

#[test]
fn where_bpffs_cannot_be_the_agent_says_so_and_ends() -> Result<()> {
    Lab::run("nowhere", |lab| {
        let bpffs = "/proc/none/such";
        let process = lab.start_agent(&["--bpffs".to_owned(), bpffs.to_owned()])?;

        let status = process.wait(Duration::from_secs(10))?;

        assert_eq!(status.code(), Some(1));
        let log = log(lab)?;
        assert!(
            log.lines().any(|line| line.starts_with("canary-agent: ") && line.contains(bpffs)),
            "{log}"
        );
        Ok(())
    })
}

#[test]
fn a_kernel_that_does_not_describe_its_types_is_warned_of() -> Result<()> {
    Lab::run("btf", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;
        scenario.agent.detach()?;
        let empty = lab.directory().join("empty");
        fs::create_dir(&empty)?;
        // A mount of its own, which goes with the process.
        let mut hidden = Command::new("unshare");
        hidden
            .args(["--mount", "sh", "-c", "mount --bind \"$0\" /sys/kernel/btf && exec \"$@\""])
            .arg(&empty)
            .arg(binaries::product("canary-agent")?);
        let _agent = lab.start_agent_with(hidden, &[])?;

        lab.ctl(&["status", "--wait", "--timeout", "15s"])?;

        let warnings = lab.status()?.warnings;
        let text = "/sys/kernel/btf/vmlinux is missing";
        assert!(warnings.iter().any(|warning| warning.text.contains(text)), "{warnings:?}");
        all_blue(&scenario)?;
        lab.detach(&["--stop"]).map(drop)
    })
}

#[test]
fn without_rights_the_agent_names_them_and_ends() -> Result<()> {
    Lab::run("nobody", |lab| {
        // A copy: the program may lie where nobody can get.
        let program = lab.directory().join("canary-agent");
        fs::copy(binaries::product("canary-agent")?, &program).context("copy the agent")?;
        let data = lab.directory().join("data");

        let output = as_nobody(lab, Command::new(&program).arg("--data-dir").arg(&data))?;

        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            said,
            "canary-agent: missing CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF: run as root, or with these \
             capabilities\n"
        );
        assert!(!data.exists(), "it made {}", data.display());
        Ok(())
    })
}

#[test]
fn without_rights_nobody_detaches_anything() -> Result<()> {
    Lab::run("detacher", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;
        scenario.agent.terminate()?;
        let program = lab.directory().join("canaryctl");
        fs::copy(binaries::product("canaryctl")?, &program).context("copy canaryctl")?;

        let mut detach = Command::new(&program);
        detach.args(["detach", "--bpffs"]).arg(lab.bpffs());
        let output = as_nobody(lab, &mut detach)?;

        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1), "{}: {said}", output.status);
        assert!(said.contains("ermission denied"), "{said}");
        all_blue(&scenario)
    })
}

fn as_nobody(lab: &Lab, command: &mut Command) -> Result<Output> {
    lab.node().output(command.uid(NOBODY).gid(NOBODY))
}
