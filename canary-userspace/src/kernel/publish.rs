//! Carrying out a plan: its stores in order, and what goes with them.

use std::mem::{self, offset_of};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use canary_common::backend::{Backend, State};
use canary_common::settings::Settings as Row;

use super::{Kernel, Took};
use crate::compile::Desired;
use crate::datapath::PublishError;
use crate::plan::Write;

impl Kernel {
    /// Carries out what was planned at `start`. Whatever fails, the plan stands: what it lacks is
    /// done first by the next.
    pub(super) fn carry_out(
        &mut self,
        desired: &Desired,
        (writes, planning): (Vec<Write>, Duration),
        start: Instant,
    ) -> Result<u64, PublishError> {
        self.owed.extend(writes);
        let writes = mem::take(&mut self.owed);
        let done = self.try_carry_out(desired, &writes, planning, start);
        let done =
            done.and_then(|revision| self.settle_locals().map(|()| revision).map_err(Into::into));
        if done.is_err() {
            // A store that was done already may be done again.
            self.owed = writes;
        }
        done
    }

    fn try_carry_out(
        &mut self,
        desired: &Desired,
        writes: &[Write],
        planning: Duration,
        start: Instant,
    ) -> Result<u64, PublishError> {
        if writes.is_empty() && self.revision > 0 {
            return Ok(self.revision);
        }
        // New weights alone do not move anybody.
        let moves = |write: &Write| !matches!(write, Write::Record { .. } | Write::Current { .. });
        let somebody_moves = writes.iter().any(moves);
        if somebody_moves {
            self.locality.withdraw(
                desired,
                &self.published,
                &mut self.writer,
                &mut self.attachments,
            )?;
        }
        let is_new = writes.iter().any(|write| matches!(write, Write::Frontend { .. }));
        if is_new {
            // What began before the frontend is found must not be taken for ours.
            self.attachments.table().rejuvenate()?;
        }
        match self.upgrade.take() {
            None => self.perform(writes).context("write the tables")?,
            Some(upgrade) => {
                let taken = self.take_over(&upgrade, writes);
                self.upgrade = taken.is_err().then_some(upgrade);
                taken.context("take over from tables of another layout")?;
            }
        }
        if is_new {
            self.ask_conntrack()?;
            self.heed_conntrack(self.revision == 0)?;
        }
        if writes.iter().any(ends_datagrams) {
            self.sweep.hurry();
            self.note_pods()?;
            self.sockets.hurry();
        }
        if somebody_moves {
            self.locality.settle(&self.published, &mut self.writer, &mut self.attachments)?;
        }
        self.stamp()?;
        self.took = Took { planning, tables: start.elapsed().saturating_sub(planning) };
        Ok(self.revision)
    }

    /// Counts what is in force as another revision.
    pub(super) fn stamp(&mut self) -> Result<()> {
        self.revision = self.revision.saturating_add(1);
        self.writer.settings.store_wide(0, offset_of!(Row, revision), self.revision)
    }

    pub(super) fn perform(&mut self, writes: &[Write]) -> Result<()> {
        writes.iter().try_for_each(|write| self.writer.perform(write))
    }
}

/// Whether a store says that a backend takes no datagrams any more.
fn ends_datagrams(write: &Write) -> bool {
    let alive = Backend::word_of(State::Alive);
    matches!(write, Write::BackendState { state, .. } if *state != alive)
}
