//! Backends that come to this node or leave it.

use std::time::Instant;

use anyhow::Result;

use super::Kernel;
use crate::compile::Names;
use crate::plan::plan_some;

impl Kernel {
    pub(super) fn settle(&mut self) -> Result<()> {
        self.locality.settle(&self.published, &mut self.writer, &mut self.attachments)
    }

    /// Follows backends that came to this node or left it: services with those of this node alone
    /// are others then.
    pub(super) fn relocate(&mut self) -> Result<()> {
        let before = self.published.desired().clone();
        if !before.services.iter().any(|service| service.has_local()) {
            return Ok(());
        }
        let now = self.locality.with_local(&before, &mut self.attachments)?.into_owned();
        let local = now.services.iter().filter(|service| service.is_local());
        let names: Names = local
            .filter(|service| before.service(&service.name) != Some(service))
            .map(|service| service.name.clone())
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        let start = Instant::now();
        let planned = self.planned(|published| plan_some(published, &now, &names))?;
        self.carry_out(&now, planned, start)?;
        self.settle()
    }
}
