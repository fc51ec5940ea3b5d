//! The steps of the story, in order.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{
    cluster::{CURRENCY, Cluster, PAYMENTS, UPSTREAM_TIMEOUT},
    document::{Document, LongDownload},
    measure::{Measured, measure},
    narrator::Narrator,
    rollback,
};
use crate::{
    lab::{Lab, wait_for},
    workload::{download::Download, http},
};

/// Requests of a step.
const REQUESTS: u64 = 200;

/// Requests of a step of the ramp, enough for 1 % to show.
const RAMP_REQUESTS: u64 = 2_000;

/// Bytes of the long download.
const DOWNLOAD: u64 = 100 << 20;

/// How soon a new pod is served.
const SERVED_WITHIN: Duration = Duration::from_secs(1);

/// How long connections that a client gave up may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// A story under way.
#[derive(Debug)]
pub struct Story<'a> {
    cluster: Cluster<'a>,
    narrator: Narrator,
    document: Document,
    download: Download,
}

impl<'a> Story<'a> {
    /// Starts the pods but green, the agent and the long download.
    ///
    /// # Errors
    ///
    /// If one of them does not start.
    pub fn begin(lab: &'a Lab, narrator: Narrator) -> Result<Self> {
        let cluster = Cluster::start(lab, narrator)?;
        let web = &cluster.pod_of("web")?.pod.namespace;
        let download = Download::start(web, PAYMENTS, DOWNLOAD)?;
        narrator.measured(&format!(
            "a download of {} MiB through {PAYMENTS} begins at blue and runs to the end",
            DOWNLOAD >> 20
        ))?;
        Ok(Self { cluster, narrator, document: Document::default(), download })
    }

    /// Blue and green without any entry: as the tutorial warns, users meet the fault.
    ///
    /// # Errors
    ///
    /// If nobody meets it, or the counts disagree.
    pub fn without_entries(&mut self) -> Result<()> {
        self.narrator
            .step("no-entries", "version 3 is deployed, and nothing says who may meet it")?;
        self.cluster.start_green(1, true)?;
        self.cluster.register("services/payments_green_1.hcl")?;
        self.cluster.lab().wait_healthy("payments", 3)?;
        let measured = self.measure("no-entries", REQUESTS)?;
        ensure!(measured.step.failed > 0, "no request met the fault of version 3");
        self.keep(measured);
        self.narrator.measured("so green is taken away:")?;
        self.cluster.stop_green()?;
        self.cluster.lab().wait_healthy("payments", 2).map(drop)
    }

    /// The tutorial's resolver.
    ///
    /// # Errors
    ///
    /// If a request fails, or the counts disagree.
    pub fn resolver(&mut self) -> Result<()> {
        self.narrator.step("resolver", "two subsets by version, blue the default")?;
        self.cluster.consul(&["config", "write", "payments_resolver.hcl"])?;
        let measured = self.measure("resolver", REQUESTS)?;
        only_blue(&measured)?;
        self.keep(measured);
        Ok(())
    }

    /// Green's pod starts and is served, and gets nothing.
    ///
    /// # Errors
    ///
    /// If it takes too long, or green gets something.
    pub fn green_deployed(&mut self) -> Result<()> {
        self.narrator.step("green-deployed", "version 3 again, safe this time")?;
        self.cluster.start_green(1, true)?;
        self.cluster.register("services/payments_green_1.hcl")?;
        let pod = &self.cluster.pod_of("green")?.pod;
        let served = wait_for("green's pod to be served", SERVED_WITHIN, || {
            let attached = self.cluster.lab().status()?.interfaces;
            let answer = pod.namespace.enter(|| http::get(CURRENCY, "/", UPSTREAM_TIMEOUT))?;
            Ok(attached.iter().any(|interface| interface.name == pod.interface)
                && answer.is_ok_and(|answer| answer.status == 200))
        })?;
        self.narrator.measured(&format!(
            "{:.0} ms after it was registered, green's pod reaches {CURRENCY} through the datapath",
            served.as_secs_f64() * 1000.0
        ))?;
        let measured = self.measure("green-deployed", REQUESTS)?;
        only_blue(&measured)?;
        self.keep(measured);
        Ok(())
    }

    /// The tutorial's splitter: half of the users meet the fault, and the kernel sees it.
    ///
    /// # Errors
    ///
    /// If the shares are wrong, or the status does not show which subset is unwell.
    pub fn split(&mut self) -> Result<()> {
        self.narrator.step("split-50-50", "half of the connections to each")?;
        let lab = self.cluster.lab();
        self.cluster.consul(&["config", "write", "3_canary/payments_splitter.hcl"])?;
        lab.wait_healthy("payments", 3)?;
        let before = unanswered(lab)?;
        let measured = self.measure("split-50-50", REQUESTS)?;
        measured.expect_share("green", 50)?;
        ensure!(measured.step.failed > 0, "no request met the fault of version 3");
        // A pod that sleeps ends its side of a connection only when it wakes.
        wait_for("green's connections to end", END_TIMEOUT, || {
            let service = lab.service("payments")?;
            let mut green = service.splits.iter().filter(|split| split.subset == "green");
            Ok(green.all(|split| split.connections.active == 0))
        })?;
        self.cluster.canaryctl(&["status", "payments"])?;
        let after = unanswered(lab)?;
        let [blue, green] = [after.0 - before.0, after.1 - before.1];
        ensure!(green > 0 && blue == 0, "unanswered: {blue} of blue, {green} of green");
        self.narrator.measured(&format!(
            "without looking into any pod: {green} of green's {} connections got no answer, \
             {blue} of blue's {}",
            measured.subset("green"),
            measured.subset("blue")
        ))?;
        self.keep(measured);
        Ok(())
    }

    /// The emergency brake, under load.
    ///
    /// # Errors
    ///
    /// If green still gets something, or a request fails.
    pub fn rollback(&mut self) -> Result<()> {
        self.narrator.step("rollback", "everything to blue, at once, under load")?;
        let cluster = &self.cluster;
        let took =
            rollback::time(cluster, || cluster.canaryctl(&["rollback", "payments"]).map(drop))?;
        self.document.rollback_ms = (took * 1000.0).round() / 1000.0;
        self.narrator
            .measured(&format!("{took:.1} ms from the start of the command to green's last SYN"))?;
        let measured = self.measure("rollback", REQUESTS)?;
        only_blue(&measured)?;
        self.keep(measured);
        Ok(())
    }

    /// Green is repaired by a new pod and ramped up.
    ///
    /// # Errors
    ///
    /// If a request fails, or a share is wrong.
    pub fn ramp(&mut self) -> Result<()> {
        self.narrator
            .say("\ngreen is repaired: a new pod of version 3 takes the place of the old")?;
        self.cluster.stop_green()?;
        self.cluster.start_green(2, false)?;
        self.cluster.register("services/payments_green_2.hcl")?;
        self.cluster.lab().wait_healthy("payments", 3)?;
        for percent in [1, 5, 25] {
            let name = format!("ramp-{percent}");
            self.narrator.step(&name, &format!("{percent} % of the connections to green"))?;
            let weights = [format!("blue={}", 100 - percent), format!("green={percent}")];
            let [blue, green] = &weights;
            self.cluster.canaryctl(&["split", "set", "payments", blue, green])?;
            let measured = self.measure(&name, RAMP_REQUESTS)?;
            ensure!(measured.step.failed == 0, "{name}: {} requests failed", measured.step.failed);
            measured.expect_share("green", percent)?;
            self.keep(measured);
        }
        Ok(())
    }

    /// Ends the download and gives what was measured, and the services, which run on until they
    /// are dropped.
    ///
    /// # Errors
    ///
    /// If the download was interrupted.
    pub fn end(mut self) -> Result<(Document, Cluster<'a>)> {
        let paced = self.download.received();
        let done = self.download.finish()?;
        self.narrator.say(&format!(
            "\nThe download through blue: {} bytes over one connection, {} MiB of them during \
             the steps, hashes {}.",
            done.bytes,
            paced >> 20,
            if done.interrupted { "differ" } else { "agree" }
        ))?;
        ensure!(!done.interrupted, "the long download was interrupted after {} bytes", done.bytes);
        self.document.long_download =
            LongDownload { bytes: done.bytes, interrupted: done.interrupted };
        Ok((self.document, self.cluster))
    }

    fn measure(&self, name: &str, count: u64) -> Result<Measured> {
        ensure!(
            self.download.received() < DOWNLOAD,
            "the download ended before step {name}: it has to run through all of them"
        );
        measure(&self.cluster, self.narrator, name, count)
    }

    fn keep(&mut self, measured: Measured) {
        self.document.steps.push(measured.step);
    }
}

fn only_blue(measured: &Measured) -> Result<()> {
    let (name, green) = (&measured.step.name, measured.subset("green"));
    ensure!(green == 0, "{name}: green got {green} connections");
    ensure!(measured.step.failed == 0, "{name}: {} requests failed", measured.step.failed);
    Ok(())
}

/// Connections that got no answer, of blue and of green.
fn unanswered(lab: &Lab) -> Result<(u64, u64)> {
    let service = lab.service("payments")?;
    let of = |subset: &str| {
        let split = service.splits.iter().find(|split| split.subset == subset);
        split
            .map(|split| split.connections.unanswered)
            .with_context(|| format!("the status has no split of {subset}"))
    };
    Ok((of("blue")?, of("green")?))
}
