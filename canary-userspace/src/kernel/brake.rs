//! The brake on adopted tables: one record and one store, whatever else is in the way.

use anyhow::Context;

use super::Kernel;
use crate::compile::SplitKey;
use crate::datapath::{Braked, PublishError};
use crate::plan::{self, Published};

impl Kernel {
    /// See [`Datapath::brake`](crate::datapath::Datapath::brake).
    pub(super) fn brake_found(
        &mut self,
        service: &str,
        split: &SplitKey,
    ) -> Result<Option<Braked>, PublishError> {
        let Some(before) = self.published.found_shares(service) else { return Ok(None) };
        let plan = |published: &mut Published| plan::brake(published, service, split);
        let (writes, _) = self.planned(plan)?;
        self.perform(&writes).context("write the tables")?;
        if !writes.is_empty() {
            self.stamp()?;
        }
        Ok(Some(Braked { before, revision: self.revision }))
    }
}
