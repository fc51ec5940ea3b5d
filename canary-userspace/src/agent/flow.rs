//! Where one flow goes, by the tables in force.

use std::sync::Arc;

use canary_common::endpoint::Endpoint;

use super::Agent;
use crate::compile::{DesiredService, DesiredSplit, protocol_name, socket};
use crate::datapath::Look;
use crate::document::flow::{Bounds, ExplainFlow, Known, Slot};
use crate::foresee::Foreseen;
use crate::refusal::Refusal;

impl Agent {
    /// What can be looked at beside the loop, for who asks about `service`, where one is named.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`](super::Kind::NotFound) if nothing is known by that name.
    pub fn look(&self, service: Option<&str>) -> Result<Arc<dyn Look>, Refusal> {
        if let Some(name) = service.filter(|name| !self.knows(name)) {
            return Err(Refusal::not_found(format!("no service is known as {name:?}")));
        }
        self.engine
            .datapath()
            .look()
            .ok_or_else(|| Refusal::failed("this datapath cannot be looked at"))
    }

    /// Whether a service is in force, or may still have connections.
    fn knows(&self, name: &str) -> bool {
        let is_target = |split: &DesiredSplit| split.key.target == name;
        let in_force =
            |service: &DesiredService| service.name == name || service.splits.iter().any(is_target);
        self.services().any(in_force)
            || self
                .engine
                .datapath()
                .counters()
                .keys()
                .any(|key| key.service == name || key.target == name)
    }

    /// What a flow from `client` to `frontend` gets and has.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`](super::Kind::NotFound) if no frontend is there.
    pub fn explain_flow(
        &self,
        client: Endpoint,
        frontend: Endpoint,
    ) -> Result<ExplainFlow, Refusal> {
        let shown = |endpoint: &Endpoint| socket(endpoint).to_string();
        let protocol = protocol_name(frontend.protocol);
        let found = self.engine.datapath().foresee(client, frontend);
        let found = found.map_err(|error| Refusal::failed(format!("{error:#}")))?;
        let Some(foreseen) = found else {
            let text = format!("no frontend is at {}/{protocol}", shown(&frontend));
            return Err(Refusal::not_found(text));
        };
        let service = self.engine.datapath().claims().remove(&frontend).unwrap_or_default();
        let Foreseen { hash, by_address, .. } = foreseen;
        Ok(ExplainFlow {
            client: shown(&client),
            frontend: shown(&frontend),
            protocol: protocol.to_owned(),
            service,
            affinity: if by_address { "source_ip" } else { "connection" }.to_owned(),
            hash: format!("{hash:016x}"),
            position: percent(hash >> 32),
            splits: bounds(&foreseen),
            slot: foreseen.slot.map(|(index, of)| Slot { index, of }),
            backend: foreseen.backend.as_ref().map(shown),
            known: foreseen.known.map(|known| Known {
                state: known.state.to_owned(),
                backend: known.backend.as_ref().map(shown),
                service: known.split.target,
                subset: known.split.subset,
                idle_seconds: known.idle.into(),
            }),
            revision: self.engine.datapath().revision(),
        })
    }
}

fn bounds(foreseen: &Foreseen) -> Vec<Bounds> {
    let mut from = 0.0;
    let part = |(place, (key, last)): (usize, &(crate::compile::SplitKey, u32))| {
        let to = percent(u64::from(*last).saturating_add(1));
        let drawn = place == foreseen.drawn;
        let (service, subset) = (key.target.clone(), key.subset.clone());
        Bounds { service, subset, from: std::mem::replace(&mut from, to), to, drawn }
    };
    foreseen.splits.iter().enumerate().map(part).collect()
}

/// A part of the upper half of a hash in percent, to 0.0001.
fn percent(part: u64) -> f64 {
    let scaled = (u128::from(part) * 1_000_000 + (1 << 31)) >> 32;
    f64::from(u32::try_from(scaled).unwrap_or(u32::MAX)) / 10_000.0
}
