//! Chains as documents, with what only the agent knows.

use super::{Agent, Refusal, report};
use crate::compile;
use crate::document::chain::DiscoveryChain;
use crate::document::explain::Explain;

impl Agent {
    /// The chain of `service` in Consul's shape.
    ///
    /// # Errors
    ///
    /// Why it cannot be compiled, in Consul's words.
    pub fn discovery_chain(&self, service: &str) -> Result<DiscoveryChain, Refusal> {
        compile::discovery_chain(&self.engine.state().snapshot, service).map_err(Refusal::invalid)
    }

    /// Where connections of `service` go, and why.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`](super::Kind::NotFound) if nobody knows the service.
    pub fn explain(&self, service: &str) -> Result<Explain, Refusal> {
        self.weights(service)?;
        let compiled = self.engine.now().compiled();
        let in_force = compiled.desired.service(service);
        Ok(Explain {
            frontends: in_force
                .map(|service| report::frontends(service, self.engine.datapath()))
                .unwrap_or_default(),
            warnings: self.warnings_of(service).into_iter().map(report::warning).collect(),
            revision: self.engine.datapath().revision(),
            ..compile::explain(&self.engine.state().snapshot, service)
        })
    }
}
