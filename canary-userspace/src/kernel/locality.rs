//! Which frontends may be served from the network: those whose every backend is on this node,
//! for only then does each answer come by this node's hooks.

use std::collections::BTreeMap;
use std::mem::offset_of;
use std::net::IpAddr;

use anyhow::Result;
use canary_common::backend::Frontend;

use super::attach::Attachments;
use super::virtuals::Virtuals;
use super::writer::Writer;
use crate::compile::{Desired, DesiredService, DesiredSplit, Warning, socket};
use crate::plan::Published;

/// What is known of addresses until routes or interfaces change.
#[derive(Debug)]
pub struct Locality {
    addresses: BTreeMap<IpAddr, bool>,
    virtuals: Virtuals,
    warnings: Vec<Warning>,
}

impl Locality {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(virtuals: Virtuals) -> Self {
        Self { addresses: BTreeMap::new(), virtuals, warnings: Vec::new() }
    }

    /// Forgets what was known: interfaces changed.
    pub fn forget(&mut self) {
        self.addresses.clear();
    }

    /// Why some frontends are not served from the network.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Withdraws from the network the frontends that `desired` does not leave all on this node.
    ///
    /// # Errors
    ///
    /// If routes cannot be read or a row is missing.
    pub fn withdraw(
        &mut self,
        desired: &Desired,
        published: &Published,
        writer: &Writer,
        attachments: &mut Attachments,
    ) -> Result<()> {
        self.mark(desired, published, writer, attachments, false)
    }

    /// Serves from the network the frontends that are all on this node, and no others.
    ///
    /// # Errors
    ///
    /// If routes cannot be read or a row is missing.
    pub fn settle(
        &mut self,
        published: &Published,
        writer: &Writer,
        attachments: &mut Attachments,
    ) -> Result<()> {
        self.mark(published.desired(), published, writer, attachments, true)
    }

    fn mark(
        &mut self,
        desired: &Desired,
        published: &Published,
        writer: &Writer,
        attachments: &mut Attachments,
        may_grant: bool,
    ) -> Result<()> {
        self.warnings.clear();
        let known = &mut self.addresses;
        let is_here = |address| is_known_here(known, attachments, address);
        self.virtuals.settle(desired, is_here, may_grant)?;
        self.warnings.extend(desired.services.iter().filter_map(at_loopback));
        if !attachments.has_uplink() {
            return Ok(());
        }
        for service in &desired.services {
            let elsewhere = self.backend_elsewhere(service, attachments)?;
            if let Some(address) = elsewhere {
                self.warnings.push(Warning {
                    service: service.name.clone(),
                    text: format!(
                        "not served from the network: backend {address} is not on this node"
                    ),
                });
            }
            let flags = if elsewhere.is_none() { Frontend::EXTERNAL } else { 0 };
            if flags != 0 && !may_grant {
                continue;
            }
            for id in service.frontends.iter().filter_map(|frontend| published.frontend(frontend)) {
                writer.frontends.store(id, offset_of!(Frontend, flags), flags)?;
            }
        }
        Ok(())
    }

    /// The first backend of a service that is not on this node.
    fn backend_elsewhere(
        &mut self,
        service: &DesiredService,
        attachments: &mut Attachments,
    ) -> Result<Option<IpAddr>> {
        for address in addresses_of(service) {
            if !is_known_here(&mut self.addresses, attachments, address)? {
                return Ok(Some(address));
            }
        }
        Ok(None)
    }
}

/// Whether an address is on this node, asked once.
fn is_known_here(
    known: &mut BTreeMap<IpAddr, bool>,
    attachments: &mut Attachments,
    address: IpAddr,
) -> Result<bool> {
    if let Some(is_here) = known.get(&address) {
        return Ok(*is_here);
    }
    let is_here = attachments.is_here(address)?;
    known.insert(address, is_here);
    Ok(is_here)
}

/// Addresses of all backends of a service.
fn addresses_of(service: &DesiredService) -> impl Iterator<Item = IpAddr> {
    let of_split = |split: &'_ DesiredSplit| -> Vec<IpAddr> {
        let backends = split.backends.iter().map(|backend| &backend.endpoint);
        backends.chain(&split.standby).map(|endpoint| socket(endpoint).ip()).collect()
    };
    service.splits.iter().flat_map(of_split)
}

/// What people are told of a service with a backend that only the node's own processes reach.
fn at_loopback(service: &DesiredService) -> Option<Warning> {
    let address = addresses_of(service).find(IpAddr::is_loopback)?;
    let text = format!(
        "backend {address} is reached by the node's own processes alone: pods and the network \
         are refused where it is drawn"
    );
    Some(Warning { service: service.name.clone(), text })
}
