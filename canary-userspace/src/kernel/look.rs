//! What others than the loop may look at, on threads of their own.

use std::sync::Arc;

use anyhow::Result;

use super::events::Events;
use super::flows::FlowTable;
use super::names::TableNames;
use super::{listing, node};
use crate::datapath::Look;
use crate::document::flows as document;
use crate::observe;
use crate::seen::Wanted;

/// The tables, as somebody looks at them who changes nothing.
pub(super) struct Looker {
    pub(super) flows: Arc<FlowTable>,
    pub(super) names: Arc<TableNames>,
    pub(super) events: Events,
    pub(super) hertz: u64,
}

impl Look for Looker {
    fn flows(&self, wanted: &Wanted, from: u32, limit: usize) -> Result<document::Flows> {
        let now = node::now(self.hertz)?;
        Ok(listing::list(&*self.flows, &*self.names, wanted, now, from, limit))
    }

    fn observe(&self, wanted: observe::Wanted) -> Result<observe::Subscription> {
        self.events.observe(wanted)
    }
}
