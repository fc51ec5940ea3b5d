//! Backends that come to this node or leave it, and what people are told of the flow table.

use std::time::Instant;

use anyhow::Result;

use super::Kernel;
use super::sweep::Fill;
use crate::compile::{DesiredService, Names, Warning};
use crate::plan::plan_some;

/// Percent of the places of the flow table in use from which people are told.
const NEARLY_FULL: u64 = 80;

impl Kernel {
    pub(super) fn settle(&mut self) -> Result<()> {
        self.locality.settle(&self.published, &mut self.writer, &mut self.attachments)
    }

    /// Follows backends that came to this node or left it: services with those of this node alone
    /// are others then.
    pub(super) fn relocate(&mut self) -> Result<()> {
        let before = self.published.desired().clone();
        if !before.services.iter().any(DesiredService::has_local) {
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

/// Says that the flow table is nearly full, if it is.
pub(super) fn nearly_full(fill: &Fill) -> Option<Warning> {
    let percent = fill.percent();
    (percent >= NEARLY_FULL).then(|| Warning {
        service: String::new(),
        text: format!(
            "FLOWS is {percent} % full with {} connections: what has ended, then what is half \
             open goes first, and from 100 % new ones are refused; raise `limits.flows`, stop \
             the agent, run `canaryctl detach` and start it anew",
            fill.connections
        ),
    })
}

/// Says that an interface gets no more of the flow table.
pub(super) fn is_crowded(interface: &str) -> Warning {
    let text = format!(
        "interface {interface} holds half of FLOWS with connections that are alive: its new ones \
         are refused until some of them end"
    );
    Warning { service: String::new(), text }
}
