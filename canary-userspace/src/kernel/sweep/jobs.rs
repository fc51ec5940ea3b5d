//! Orders to end connections, between two passes.

use std::collections::BTreeMap;
use std::mem::offset_of;
use std::time::Instant;

use anyhow::Result;
use canary_common::backend::State;
use canary_common::stats::SplitRow;

use super::Walker;
use super::sever::{Choice, Job, Place};
use crate::kernel::flows::FlowTable;
use crate::sever::Progress;

impl Walker {
    /// Looks for connections, and begins to end them unless they are only to be counted.
    pub(super) fn sever(&mut self, choice: Choice) -> Result<Progress> {
        let states = self.states()?;
        let (dry_run, service) = (choice.dry_run, choice.service.clone());
        let turns = self.place(&states).collect(&choice);
        let job = Job::new(choice, turns, Instant::now());
        let progress = job.progress().clone();
        if !dry_run {
            self.jobs.insert(service, job);
            self.tell_progress();
        }
        Ok(progress)
    }

    /// Ends as many connections as it is time for.
    pub(super) fn step(&mut self) {
        if self.jobs.is_empty() {
            return;
        }
        let mut jobs = std::mem::take(&mut self.jobs);
        let result = self.step_all(&mut jobs);
        self.jobs = jobs;
        if let Err(error) = result {
            tracing::warn!("sever connections: {error:#}");
        }
        self.tell_progress();
        self.jobs.retain(|_, job| job.is_running());
    }

    fn step_all(&self, jobs: &mut BTreeMap<String, Job>) -> Result<()> {
        let mut expired = BTreeMap::new();
        for job in jobs.values_mut().filter(|job| job.is_running()) {
            let now = Instant::now();
            job.step(&self.place(&[]), now, &mut expired);
            if job.wants_to_look_again(now) {
                job.look_again(&self.place(&self.states()?));
            }
        }
        for (statistics, ended) in expired {
            self.add(statistics, offset_of!(SplitRow, expired), ended)?;
        }
        Ok(())
    }

    fn tell_progress(&self) {
        if let Ok(mut latest) = self.latest.lock() {
            for (service, job) in &self.jobs {
                latest.severing.insert(service.clone(), job.progress().clone());
            }
        }
    }

    fn place<'a>(&'a self, states: &'a [State]) -> Place<'a, FlowTable> {
        Place { tables: &self.tables.table, seed: self.tables.table.seed(), states }
    }
}
