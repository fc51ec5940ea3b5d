//! What takes time before rows are written anew: grace periods, passes over `FLOWS`, and what
//! conntrack knows.
//!
//! A row that flows name is free after grace, a pass that begins after it, and grace again: see
//! [`Published::begin_grace`]. Nothing here waits but a publication that needs what is not free.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use canary_common::backend::State;
use canary_common::endpoint::Endpoint;

use super::foreign::Known;
use super::sweep::{Rows, Task};
use super::writer::Writer;
use super::{Kernel, node};
use crate::compile::{Desired, DesiredService, Names};
use crate::datapath::PublishError;
use crate::plan::{Blocked, Published, Write};

/// Time between two passes for rows that nobody waits for: one reads all of the table.
const PASS_EVERY: Duration = Duration::from_secs(5);
/// How long the first publication waits for what conntrack knows.
const CONNTRACK_AT_MOST: Duration = Duration::from_secs(2);

impl Kernel {
    /// The stores that `plan` wants, after what they need, and the time that planning them took.
    pub(super) fn planned(
        &mut self,
        mut plan: impl FnMut(&mut Published) -> Result<Vec<Write>, Blocked>,
    ) -> Result<(Vec<Write>, Duration), PublishError> {
        let mut planning = Duration::ZERO;
        loop {
            let start = Instant::now();
            let writes = plan(&mut self.published);
            planning = planning.saturating_add(start.elapsed());
            match writes {
                Ok(writes) => return Ok((writes, planning)),
                Err(Blocked::Full(error)) => return Err(error),
                Err(Blocked::Grace) => self.wait_for_grace()?,
                Err(Blocked::Pass) => self.wait_for_pass()?,
            }
        }
    }

    /// Waits until all that was freed before this call has had a grace period.
    pub(super) fn wait_for_grace(&mut self) -> Result<()> {
        // One that is on may have begun before something was freed: take another.
        self.grace.wait()?;
        self.end_grace();
        self.published.begin_grace();
        self.grace.begin();
        self.grace.wait()?;
        self.end_grace();
        Ok(())
    }

    /// Waits until all rows that were let go of before this call are free.
    fn wait_for_pass(&mut self) -> Result<()> {
        self.wait_for_grace()?;
        // As with grace.
        let before = self.sweep.wait();
        self.end_pass(before);
        self.begin_pass();
        let result = self.sweep.wait();
        let is_whole = result.is_ok();
        self.published.end_pass(is_whole);
        result.context("free the flows of rows that are needed")?;
        self.wait_for_grace()
    }

    /// Has datagrams and SYNs on their way leave the backends that nobody registers and that
    /// services of `desired` have again, those of `names` alone if it is given: it may not be for
    /// the service that sent them there.
    pub(super) fn settle_returning(
        &mut self,
        desired: &Desired,
        names: Option<&Names>,
    ) -> Result<()> {
        let leaving = self.published.leaving_backends();
        let leaving: BTreeMap<_, _> =
            leaving.map(|leaving| (leaving.endpoint, leaving.id)).collect();
        if leaving.is_empty() {
            return Ok(());
        }
        let is_meant = |service: &&Arc<DesiredService>| {
            names.is_none_or(|names| names.contains(&service.name))
        };
        let services = desired.services.iter().filter(is_meant);
        let returning: BTreeSet<u32> = services
            .flat_map(|service| service.endpoints())
            .filter_map(|endpoint| leaving.get(&endpoint).copied())
            .collect();
        if returning.is_empty() {
            return Ok(());
        }
        self.pay()?;
        // Ends the runs that saw one alive and could still store a flow to it.
        self.wait_for_grace()?;
        let before = self.sweep.wait();
        self.end_pass(before);
        self.sweep.begin(Task { returning, ..Task::default() });
        self.sweep.wait().context("free the datagrams of backends that come back")
    }

    fn end_grace(&mut self) {
        // Performed with what else is owed, before the stores of any later plan.
        let writes = self.published.end_grace();
        self.owed.extend(writes);
    }

    fn begin_pass(&mut self) {
        let (backends, frontends) = self.published.rows_to_end();
        let task = Task { free: Rows { backends, frontends }, ..Task::default() };
        if self.sweep.begin(task) {
            self.published.begin_pass();
            self.passed = Instant::now();
        }
    }

    fn end_pass(&mut self, result: Result<()>) {
        let is_whole = result.is_ok();
        if let Err(error) = result {
            tracing::warn!("rows are not free yet: {error:#}");
        }
        self.published.end_pass(is_whole);
    }

    /// Goes on with grace periods and passes as far as nobody has to wait.
    pub(super) fn go_round(&mut self) -> Result<()> {
        if self.grace.is_over()? {
            self.end_grace();
        }
        match self.sweep.is_over() {
            Ok(false) => {}
            over => self.end_pass(over.map(drop)),
        }
        self.pay()?;
        if self.published.waits_for_grace() && self.grace.begin() {
            self.published.begin_grace();
        }
        if self.published.needs_pass() && self.passed.elapsed() >= PASS_EVERY {
            self.begin_pass();
        }
        Ok(())
    }

    /// Does the stores that are owed; those that fail are owed still.
    fn pay(&mut self) -> Result<()> {
        if self.owed.is_empty() {
            return Ok(());
        }
        let writes = std::mem::take(&mut self.owed);
        let done = self.perform(&writes);
        if done.is_err() {
            self.owed = writes;
        }
        done.context("write the tables")
    }

    /// Asks for what conntrack has, from here on.
    pub(super) fn ask_conntrack(&mut self) -> Result<()> {
        let backends: HashSet<Endpoint> = backends(&self.writer)?.into_keys().collect();
        let question = self.foreign.ask(backends);
        self.attachments.table().asked(question);
        Ok(())
    }

    /// Heeds what conntrack has, waiting for it where that is the first publication.
    pub(super) fn heed_conntrack(&mut self, waits: bool) -> Result<()> {
        if self.attachments.table().wants_question() && self.revision > 0 {
            self.ask_conntrack()?;
        }
        if !self.foreign.waits() {
            return Ok(());
        }
        let known = Endpoints { published: &self.published, writer: &self.writer };
        let now = node::now(self.hertz)?;
        let limit = if waits { CONNTRACK_AT_MOST } else { Duration::ZERO };
        let answer = match self.foreign.wait(&known, now, limit)? {
            None => self.foreign.note(&known, now)?,
            answer => answer,
        };
        if let Some(answer) = answer {
            self.attachments.table().answered(answer)?;
        }
        Ok(())
    }
}

/// The endpoints that the tables know.
struct Endpoints<'a> {
    published: &'a Published,
    writer: &'a Writer,
}

impl Known for Endpoints<'_> {
    fn frontend(&self, endpoint: &Endpoint) -> Option<u32> {
        self.published.frontend(endpoint)
    }

    fn backends(&self) -> Result<BTreeMap<Endpoint, u32>> {
        backends(self.writer)
    }
}

/// The backends there are, with their rows.
fn backends(writer: &Writer) -> Result<BTreeMap<Endpoint, u32>> {
    let rows = (0..).zip(writer.backends.rows_as_they_are()?);
    let there = rows.filter(|(_, row)| row.state() != State::Gone);
    Ok(there.map(|(id, row)| (row.endpoint(), id)).collect())
}
