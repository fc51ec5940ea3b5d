//! Backends and frontends that nobody registers any more: they go with their last flow.

use std::collections::BTreeSet;
use std::mem;
use std::net::IpAddr;
use std::time::Instant;

use anyhow::Result;

use super::attach::Found;
use super::locals::Owner;
use super::{Kernel, LEAVING_AT_MOST, LEAVING_EVERY};
use crate::compile::socket;

impl Kernel {
    /// Lets go of backends and frontends that nobody registers any more and that have no flow.
    pub(super) fn let_go(&mut self) -> Result<()> {
        if let Some(alive) = self.sweep.take() {
            self.alive = alive;
            self.walked = Instant::now();
            self.tell_crowded()?;
            if self.is_somebody_leaving() {
                self.sockets.hurry();
            }
            self.forget()?;
        } else if self.is_somebody_leaving() && self.walked.elapsed() > LEAVING_EVERY {
            self.walked = Instant::now();
            self.sweep.hurry();
        }
        Ok(())
    }

    /// Tells the programs which interfaces hold more than half of the places.
    fn tell_crowded(&mut self) -> Result<()> {
        let half = self.alive.fill.capacity / 2;
        let places = self.alive.interfaces.iter().filter(|(_, places)| **places > half);
        let crowded: BTreeSet<u32> = places.map(|(index, _)| *index).collect();
        // Uplinks and tunnels are one: connections remember them as 0.
        self.attachments.crowded(&crowded)
    }

    fn is_somebody_leaving(&self) -> bool {
        let mut backends = self.published.leaving_backends();
        let mut frontends = self.published.leaving_frontends();
        backends.next().is_some() || frontends.next().is_some()
    }

    fn forget(&mut self) -> Result<()> {
        let backends: Vec<_> =
            self.published.leaving_backends().map(|leaving| (true, leaving)).collect();
        let frontends = self.published.leaving_frontends().map(|leaving| (false, leaving));
        let all: Vec<_> = backends.into_iter().chain(frontends).collect();
        let seen = mem::take(&mut self.leaving);
        for (is_backend, leaving) in all {
            let key = (is_backend, leaving.id);
            // One walk must have begun after it left: the first sight only notes it.
            let Some(since) = seen.get(&key).copied() else {
                self.leaving.insert(key, Instant::now());
                continue;
            };
            let flows = if is_backend { &self.alive.backends } else { &self.alive.frontends };
            let held = is_backend && self.sockets.may_hold(leaving.id, since);
            let idle = !held && !flows.contains_key(&leaving.id);
            if !idle && since.elapsed() < LEAVING_AT_MOST {
                self.leaving.insert(key, since);
                continue;
            }
            let writes = if is_backend {
                self.published.forget_backend(&leaving.endpoint)
            } else {
                self.published.forget_frontend(&leaving.endpoint)
            };
            self.perform(&writes)?;
            if is_backend {
                self.sockets.hurry();
            }
        }
        Ok(())
    }

    /// Notes by which interfaces the backends are reached that leave.
    pub(super) fn note_pods(&mut self) -> Result<()> {
        let leaving: Vec<_> = self.published.leaving_backends().collect();
        let ids: BTreeSet<u32> = leaving.iter().map(|leaving| leaving.id).collect();
        self.pods.retain(|id, _| ids.contains(id));
        for leaving in leaving {
            if !self.pods.contains_key(&leaving.id) {
                let address = socket(&leaving.endpoint).ip();
                self.pods.insert(leaving.id, self.attachments.pod_interface(address)?);
            }
        }
        Ok(())
    }

    /// Lets go of backends that leave and whose pods are gone with their interfaces: nobody is
    /// there to end what they served.
    pub(super) fn forget_pods(&mut self, interfaces: &BTreeSet<u32>) -> Result<()> {
        if interfaces.is_empty() {
            return Ok(());
        }
        let is_gone = |id: &u32| self.pods.get(id).is_some_and(|at| interfaces.contains(at));
        let gone: Vec<_> =
            self.published.leaving_backends().filter(|leaving| is_gone(&leaving.id)).collect();
        for leaving in &gone {
            let writes = self.published.forget_backend(&leaving.endpoint);
            self.perform(&writes)?;
        }
        if !gone.is_empty() {
            self.sockets.hurry();
        }
        Ok(())
    }
}

impl Kernel {
    /// Makes `LOCALS` what is wanted, with addresses and namespaces as they are.
    pub(super) fn settle_locals(&mut self) -> Result<()> {
        let attachments = &mut self.attachments;
        let owner = |address: IpAddr| {
            if address.is_loopback() || attachments.is_own(address)? {
                return Ok(Owner::Node);
            }
            // A pod that is a port of a bridge is reached by the bridge.
            let is_here = attachments.find(address)? == Found::Here;
            Ok(if is_here { Owner::Pod } else { Owner::Elsewhere })
        };
        let places = self.namespaces.places();
        self.locals.settle(&self.published, &places, &self.writer.settings, owner)
    }
}
