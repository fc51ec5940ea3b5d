//! The emergency brake with real connections: a full disk, kills, tables that nobody can read.

use std::{
    fs,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use canary_tests::{
    lab::{Lab, wait_for},
    scenario::{Scenario, Subset, TCP4, TIMEOUT},
    workload::connect_many,
};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

const SUBSETS: [Subset; 2] = [Subset { name: "blue", pods: 2 }, Subset { name: "green", pods: 1 }];
const SOON: Duration = Duration::from_secs(30);

/// A small disk of its own for the agent's data.
struct Disk(PathBuf);

impl Disk {
    fn mount(lab: &Lab) -> Result<Self> {
        let at = lab.directory().join("data");
        fs::create_dir_all(&at)?;
        let size = Some("size=8m,mode=0700");
        mount(Some("tmpfs"), &at, Some("tmpfs"), MsFlags::empty(), size).context("mount tmpfs")?;
        Ok(Self(at))
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Leaves no byte.
    fn fill(&self) -> Result<()> {
        let mut file = fs::File::create(self.ballast())?;
        for block in [vec![0; 4096], vec![0; 1]] {
            loop {
                match file.write_all(&block) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// Changes weights until the store has used what was left of its file, and ends at 50 to 50.
fn use_up(lab: &Lab) -> Result<()> {
    for round in 0..2000 {
        let [blue, green] =
            if round % 2 == 0 { ["blue=40", "green=60"] } else { ["blue=50", "green=50"] };
        let set = lab.ctl_output(&["split", "set", TCP4.service, blue, green])?;
        if !set.status.success() {
            let text = String::from_utf8_lossy(&set.stderr);
            ensure!(text.contains("the store cannot be"), "{text}");
            let splits = lab.service(TCP4.service)?.splits;
            if splits.iter().all(|split| (split.weight - 50.0).abs() < 0.01) {
                return Ok(());
            }
        }
    }
    bail!("the disk is never full")
}

/// Whether all of some new connections go to `subset`.
fn all_go_to(scenario: &Scenario<'_>, subset: &str) -> Result<()> {
    let client = &scenario.client.namespace;
    let answers = connect_many(client, TCP4.protocol, TCP4.frontend(), 200, TIMEOUT)?;
    ensure!(answers.of(subset) == 200, "{answers:?}");
    Ok(())
}

fn braked(lab: &Lab) -> Result<bool> {
    Ok(lab.service(TCP4.service)?.brake.is_some())
}

#[test]
fn a_full_disk_a_kill_and_a_reload_do_not_bring_the_canary_back() -> Result<()> {
    Lab::run("brake", |lab| {
        let disk = Disk::mount(lab)?;
        let scenario = Scenario::start(lab, &SUBSETS)?;
        scenario.split(TCP4.service, &[("blue", 50.0), ("green", 50.0)])?;
        disk.fill()?;
        use_up(lab)?;

        let back = lab.ctl_output(&["rollback", TCP4.service])?;

        ensure!(back.status.success(), "{back:?}");
        let [said, warned] =
            [&back.stdout, &back.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
        let moved = format!("Rolled back: {} blue 50 -> 100, green 50 -> 0 (", TCP4.service);
        ensure!(said.starts_with(&moved), "{said}");
        ensure!(warned.contains("not stored: "), "{warned}");
        ensure!(warned.contains("a reboot before it is stored goes back to 50/50"), "{warned}");
        all_go_to(&scenario, "blue")?;

        // What would be published anew asks the brake, too.
        lab.ctl(&["reload"])?;
        all_go_to(&scenario, "blue")?;
        scenario.agent.kill9()?;
        scenario.agent.process().wait(SOON)?;
        all_go_to(&scenario, "blue")?;
        scenario.agent.restart()?;
        // Only the tables could tell it.
        let log = fs::read_to_string(lab.agent_log())?;
        ensure!(log.contains("the service stands by its brake"), "{log}");
        all_go_to(&scenario, "blue")?;

        fs::remove_file(disk.ballast())?;
        wait_for("the rollback to be stored", SOON, || Ok(!braked(lab)?))?;
        all_go_to(&scenario, "blue")?;
        let service = lab.service(TCP4.service)?;
        ensure!(service.splits.iter().all(|split| split.written.is_none()), "{service:?}");
        scenario.agent.kill9()?;
        scenario.agent.process().wait(SOON)?;
        scenario.agent.restart()?;
        ensure!(!braked(lab)?);
        all_go_to(&scenario, "blue")
    })
}

#[test]
fn tables_that_the_agent_cannot_read_are_rolled_back_by_their_labels() -> Result<()> {
    Lab::run("frozenbrake", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;
        scenario.split(TCP4.service, &[("blue", 50.0), ("green", 50.0)])?;
        scenario.agent.kill9()?;
        scenario.agent.process().wait(SOON)?;
        // Neither the store nor a set of files that can be used.
        lose(&lab.directory().join("data"))?;
        fs::write(lab.config_directory().join("broken.hcl"), "service {")?;
        scenario.agent.restart()?;
        ensure!(!lab.status()?.source.ok, "the tables are not frozen");

        let bare = lab.ctl_output(&["rollback", TCP4.service])?;
        ensure!(bare.status.code() == Some(1), "{bare:?}");
        let said = lab.ctl(&["rollback", TCP4.service, "--to", "green"])?;

        ensure!(said.contains("blue 50 -> 0, green 50 -> 100"), "{said}");
        all_go_to(&scenario, "green")?;
        scenario.agent.kill9()?;
        scenario.agent.process().wait(SOON)?;
        all_go_to(&scenario, "green")
    })
}

fn lose(data: &Path) -> Result<()> {
    fs::remove_dir_all(data).with_context(|| format!("remove {}", data.display()))
}
