//! Which frontends may be served from the network: those whose every backend is on this node,
//! for only then does each answer come by this node's hooks.

use std::collections::BTreeMap;
use std::mem::offset_of;
use std::net::IpAddr;

use anyhow::Result;
use canary_common::backend::Frontend;

use super::attach::Attachments;
use super::writer::Writer;
use crate::compile::{Desired, DesiredService, DesiredSplit, Warning, socket};
use crate::plan::Published;

/// What is known of addresses until routes or interfaces change.
#[derive(Debug, Default)]
pub struct Locality {
    addresses: BTreeMap<IpAddr, bool>,
    warnings: Vec<Warning>,
}

impl Locality {
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
    fn backend_elsewhere<'s>(
        &mut self,
        service: &'s DesiredService,
        attachments: &mut Attachments,
    ) -> Result<Option<IpAddr>> {
        let of_split = |split: &'s DesiredSplit| {
            split.backends.iter().map(|backend| &backend.endpoint).chain(&split.standby)
        };
        for endpoint in service.splits.iter().flat_map(of_split) {
            let address = socket(endpoint).ip();
            let is_here = match self.addresses.get(&address) {
                Some(is_here) => *is_here,
                None => attachments.is_here(address)?,
            };
            self.addresses.insert(address, is_here);
            if !is_here {
                return Ok(Some(address));
            }
        }
        Ok(None)
    }
}
