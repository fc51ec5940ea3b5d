//! What others than the loop may look at, on threads of their own.

use std::sync::Arc;

use anyhow::Result;

use super::flows::FlowTable;
use super::names::TableNames;
use super::{listing, node};
use crate::api::document::flows as document;
use crate::datapath::Look;
use crate::seen::Wanted;

/// The tables, as somebody looks at them who changes nothing.
#[derive(Debug)]
pub(super) struct Looker {
    pub(super) flows: Arc<FlowTable>,
    pub(super) names: Arc<TableNames>,
    pub(super) hertz: u64,
}

impl Look for Looker {
    fn flows(&self, wanted: &Wanted, from: u32, limit: usize) -> Result<document::Flows> {
        let now = node::now(self.hertz)?;
        Ok(listing::list(&*self.flows, &*self.names, wanted, now, from, limit))
    }
}
