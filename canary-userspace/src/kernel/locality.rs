//! Which frontends may be served from the network, and how.
//!
//! A backend on this node answers by this node's hooks, and sees its client. One elsewhere would
//! answer past them: it is asked from an address of this node's own, if there is one that it can
//! answer, by an interface whose packets are looked at. A frontend whose backends are neither is
//! left to others.

pub(super) mod policy;
mod source;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::mem::offset_of;
use std::net::IpAddr;

use anyhow::Result;
use canary_common::backend::{Backend, Frontend};
use canary_common::endpoint::{Endpoint, Version};

use self::source::Sources;
use super::attach::{Attachments, Found};
use super::interfaces::Moved;
use super::virtuals::Virtuals;
use super::writer::Writer;
use crate::compile::{Desired, DesiredService, Warning, socket};
use crate::datapath::Outside;
use crate::entry::TrafficPolicy;
use crate::plan::Published;
use crate::settings::{OutsideReturn, SourceAddress};

/// What is known of addresses until routes or interfaces change.
#[derive(Debug)]
pub struct Locality {
    /// Addresses of backends.
    addresses: BTreeMap<IpAddr, Found>,
    /// Addresses of frontends.
    names: BTreeMap<IpAddr, Found>,
    virtuals: Virtuals,
    sources: Sources,
    warnings: Vec<Warning>,
    /// Frontends with backends that are asked from an own address.
    masked: BTreeMap<Endpoint, IpAddr>,
}

impl Locality {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(virtuals: Virtuals, setting: SourceAddress, returns: OutsideReturn) -> Self {
        Self {
            addresses: BTreeMap::new(),
            names: BTreeMap::new(),
            virtuals,
            sources: Sources::new(setting, returns),
            warnings: Vec::new(),
            masked: BTreeMap::new(),
        }
    }

    /// Forgets what was known: interfaces changed.
    pub fn forget(&mut self) {
        self.addresses.clear();
        self.names.clear();
    }

    /// Forgets what was known of addresses whose routes changed; whether that was anything.
    pub fn forget_moved(&mut self, moved: &Moved) -> bool {
        let before = (self.addresses.len(), self.names.len());
        let stays = |address: &IpAddr| match moved {
            Moved::Within(prefixes) => !prefixes.iter().any(|prefix| prefix.contains(*address)),
            Moved::Any => false,
        };
        self.addresses.retain(|address, _| stays(address));
        self.names.retain(|address, _| stays(address));
        let sources_stay = self.sources.iter().all(|source| stays(&source));
        (self.addresses.len(), self.names.len()) != before || !sources_stay
    }

    /// Why some frontends are not served from the network.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// How backends of a frontend elsewhere are asked, if it has some that are.
    #[must_use]
    pub fn outside_of(&self, frontend: &Endpoint) -> Option<Outside> {
        let source = *self.masked.get(frontend)?;
        Some(Outside { source, returns: self.sources.returns() })
    }

    /// Withdraws from the network the frontends that cannot be served with what `desired` leaves
    /// them, and says of the addresses of backends that are still to be written where they are.
    ///
    /// # Errors
    ///
    /// If routes cannot be read or a row is missing.
    pub fn withdraw(
        &mut self,
        desired: &Desired,
        published: &Published,
        writer: &mut Writer,
        attachments: &mut Attachments,
    ) -> Result<()> {
        self.mark(desired, published, writer, attachments, false)
    }

    /// Serves from the network the frontends that can be, and no others.
    ///
    /// # Errors
    ///
    /// If routes cannot be read or a row is missing.
    pub fn settle(
        &mut self,
        published: &Published,
        writer: &mut Writer,
        attachments: &mut Attachments,
    ) -> Result<()> {
        self.mark(published.desired(), published, writer, attachments, true)
    }

    fn mark(
        &mut self,
        desired: &Desired,
        published: &Published,
        writer: &mut Writer,
        attachments: &mut Attachments,
        may_grant: bool,
    ) -> Result<()> {
        self.warnings.clear();
        self.masked.clear();
        let known = &mut self.names;
        let is_here = |address| Ok(known_place(known, attachments, address)? == Found::Here);
        self.virtuals.settle(desired, is_here, may_grant)?;
        let plain = || desired.services.iter().filter(|service| !service.is_local());
        self.warnings.extend(plain().filter_map(|service| at_loopback(service)));
        for service in plain().filter(|service| service.has_local()) {
            let local = desired.service(&service.local_name());
            self.warnings.extend(local.into_iter().flat_map(|own| policy::warnings(service, own)));
        }
        if !attachments.has_uplink() {
            let service = plain().filter(|service| service.has_local());
            return service.into_iter().try_for_each(|service| {
                let flags = policy::flags(service) & Frontend::INTERNAL_LOCAL;
                set_flags(service, None, flags, published, writer, may_grant)
            });
        }
        self.learn(desired, attachments)?;
        self.sources.adopt(writer)?;
        self.sources.choose(&self.addresses, attachments)?;
        self.sources.tell(writer)?;
        self.warnings.extend(self.sources.warnings());
        writer.elsewhere = self.elsewhere();
        for service in &desired.services {
            mark_backends(service, published, writer)?;
            for version in [Version::V4, Version::V6] {
                self.mark_frontends(service, version, published, writer, may_grant)?;
            }
        }
        Ok(())
    }

    /// Finds the addresses of all backends that are not known.
    fn learn(&mut self, desired: &Desired, attachments: &mut Attachments) -> Result<()> {
        for address in
            desired.services.iter().flat_map(|service| backends(service)).map(|at| socket(at).ip())
        {
            known_place(&mut self.addresses, attachments, address)?;
        }
        Ok(())
    }

    /// The addresses that are not on this node.
    fn elsewhere(&self) -> BTreeSet<IpAddr> {
        let away = self.addresses.iter().filter(|(_, found)| **found != Found::Here);
        away.map(|(address, _)| *address).collect()
    }

    /// Grants or withdraws the frontends of one family.
    fn mark_frontends(
        &mut self,
        service: &DesiredService,
        version: Version,
        published: &Published,
        writer: &Writer,
        may_grant: bool,
    ) -> Result<()> {
        let source = self.sources.of(version);
        let is_of = |endpoint: &&Endpoint| endpoint.address.version() == version;
        let mut frontends = service.frontends.iter().filter(is_of).peekable();
        if frontends.peek().is_none() {
            return Ok(());
        }
        let is_local = service.external == TrafficPolicy::Local;
        let addresses = backends(service).filter(is_of).map(|at| socket(at).ip());
        let mut is_masked = false;
        let mut trouble = None;
        for address in addresses {
            match self.addresses.get(&address) {
                Some(Found::Here) => {}
                // Nobody outside is given it.
                Some(_) if is_local => {}
                Some(found) => {
                    is_masked = true;
                    trouble = trouble.or_else(|| why_not(address, found, source));
                }
                None => {}
            }
        }
        let external = if trouble.is_none() { Frontend::EXTERNAL } else { 0 };
        for frontend in frontends {
            if let (true, true, Some(source)) = (is_masked, trouble.is_none(), source) {
                self.masked.insert(*frontend, source);
            }
        }
        let flags = external | policy::flags(service);
        set_flags(service, Some(version), flags, published, writer, may_grant)?;
        self.warnings.extend(trouble.map(|text| Warning { service: service.name.clone(), text }));
        Ok(())
    }
}

/// Writes the flags of a service's frontends, of a family or of both; or takes from them alone.
fn set_flags(
    service: &DesiredService,
    version: Option<Version>,
    flags: u32,
    published: &Published,
    writer: &Writer,
    may_grant: bool,
) -> Result<()> {
    let rows = &writer.frontends;
    let is_of = |at: &&Endpoint| version.is_none_or(|version| at.address.version() == version);
    for id in service.frontends.iter().filter(is_of).filter_map(|at| published.frontend(at)) {
        let before = rows.load(id, offset_of!(Frontend, flags))?;
        let local = published.service(&service.local_name());
        let policy = Frontend::INTERNAL_LOCAL | Frontend::EXTERNAL_LOCAL;
        let flags = if local.is_some() { flags } else { flags & !policy };
        let flags = if may_grant { flags } else { flags & before };
        if flags & policy != 0
            && let Some(local) = local
        {
            rows.store(id, offset_of!(Frontend, local), local)?;
        }
        if flags != before {
            rows.store(id, offset_of!(Frontend, flags), flags)?;
        }
    }
    Ok(())
}

/// Where an address is, asked once.
fn known_place(
    known: &mut BTreeMap<IpAddr, Found>,
    attachments: &mut Attachments,
    address: IpAddr,
) -> Result<Found> {
    match known.entry(address) {
        Entry::Occupied(place) => Ok(place.get().clone()),
        Entry::Vacant(place) => Ok(place.insert(attachments.find(address)?).clone()),
    }
}

/// Every backend that a service's clients may get.
fn backends(service: &DesiredService) -> impl Iterator<Item = &Endpoint> {
    service.splits.iter().flat_map(|split| {
        split.backends.iter().map(|backend| &backend.endpoint).chain(&split.standby)
    })
}

/// What people are told of a service with a backend that only the node's own processes reach.
fn at_loopback(service: &DesiredService) -> Option<Warning> {
    let address = backends(service).map(|at| socket(at).ip()).find(IpAddr::is_loopback)?;
    let text = format!(
        "backend {address} is reached by the node's own processes alone: pods and the network \
         are refused where it is drawn"
    );
    Some(Warning { service: service.name.clone(), text })
}

/// Says of the backends of a service whether they are elsewhere.
fn mark_backends(service: &DesiredService, published: &Published, writer: &Writer) -> Result<()> {
    for endpoint in backends(service) {
        let Some(id) = published.backend(endpoint) else { continue };
        let flags = writer.backend_flags(endpoint);
        let offset = offset_of!(Backend, flags);
        if writer.backends.load(id, offset)? != flags {
            writer.backends.store(id, offset, flags)?;
        }
    }
    Ok(())
}

/// Why clients outside cannot be given a backend that is not on this node, if so.
fn why_not(address: IpAddr, found: &Found, source: Option<IpAddr>) -> Option<String> {
    let why = match (found, source) {
        (Found::Here, _) | (Found::Elsewhere(_), Some(_)) => return None,
        (Found::Elsewhere(_), None) => format!("backend {address} is not on this node"),
        (Found::Unseen(interface), _) => format!(
            "backend {address} is reached by {interface}, which is no uplink: name it with \
             --uplink-interface"
        ),
        (Found::Nowhere, _) => format!("there is no route to backend {address}"),
    };
    Some(format!("not served from the network: {why}"))
}
