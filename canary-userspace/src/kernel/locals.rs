//! `LOCALS`: services at loopback addresses of one network namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::offset_of;
use std::net::IpAddr;

use anyhow::{Context, Result};
use aya::maps::{HashMap, MapData};
use canary_common::namespace::Local;
use canary_common::settings::Settings as Row;

use super::mapped::Mapped;
use super::namespaces::Place;
use super::node;
use crate::compile::{Desired, DesiredLocal, Warning};
use crate::entry::TrafficPolicy;
use crate::plan::Published;
use crate::settings::SocketLb;

/// Owners that are named in a warning.
const NAMED: usize = 3;

/// Who has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// This node itself.
    Node,
    /// A pod of this node.
    Pod,
    /// Somebody elsewhere.
    Elsewhere,
}

/// The table, and what it is to hold.
pub(super) struct Locals {
    table: HashMap<MapData, Local, u32>,
    wanted: Vec<DesiredLocal>,
    whose: SocketLb,
    node: u64,
    /// Owners by address, until interfaces change.
    owners: BTreeMap<IpAddr, Owner>,
    /// Pods whose upstreams are not served.
    unserved: BTreeSet<IpAddr>,
}

impl Locals {
    /// Over the table as it is.
    ///
    /// # Errors
    ///
    /// If the kernel does not tell which network namespace this is.
    pub(super) fn new(table: HashMap<MapData, Local, u32>, whose: SocketLb) -> Result<Self> {
        Ok(Self {
            table,
            wanted: Vec::new(),
            whose,
            node: node::netns_cookie()?,
            owners: BTreeMap::new(),
            unserved: BTreeSet::new(),
        })
    }

    /// Forgets who has which address: interfaces changed.
    pub(super) fn forget(&mut self) {
        self.owners.clear();
    }

    /// Takes away what is not wanted any more, before the services behind it go.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub(super) fn withdraw(&mut self, desired: &Desired, published: &Published) -> Result<()> {
        self.wanted.clone_from(&desired.locals);
        let behind = self.wanted.iter().filter_map(|local| desired.service(&local.service));
        let stays: BTreeSet<u32> = behind
            .flat_map(|service| [service.name.clone(), service.local_name()])
            .filter(|name| desired.service(name).is_some())
            .filter_map(|name| published.service(&name))
            .collect();
        let rows = self.rows()?;
        for (key, service) in rows.iter().filter(|(_, service)| !stays.contains(service)) {
            tracing::debug!("service {service} is not reached at {key:?} any more");
            self.table.remove(key).context("write LOCALS")?;
        }
        Ok(())
    }

    /// Makes the table what is wanted, with the namespaces of pods as they are.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub(super) fn settle(
        &mut self,
        published: &Published,
        places: &[Place],
        settings: &Mapped<Row>,
        mut owner: impl FnMut(IpAddr) -> Result<Owner>,
    ) -> Result<()> {
        let rows = self.rows()?;
        if rows.is_empty() && self.wanted.is_empty() {
            self.unserved.clear();
            return Ok(());
        }
        let mut wanted = BTreeMap::new();
        self.unserved.clear();
        for local in &self.wanted {
            let Some(service) = behind(published, &local.service) else { continue };
            let known = self.owners.get(&local.owner).copied();
            let whose = match known {
                Some(owner) => owner,
                None => owner(local.owner)?,
            };
            self.owners.insert(local.owner, whose);
            let scopes = self.scopes(local.owner, whose, places);
            if scopes.is_empty() && whose != Owner::Elsewhere {
                self.unserved.insert(local.owner);
            }
            wanted.extend(scopes.iter().map(|scope| (Local::new(*scope, local.at), service)));
        }
        for key in rows.keys().filter(|key| !wanted.contains_key(key)) {
            self.table.remove(key).context("write LOCALS")?;
        }
        for (key, service) in wanted.iter().filter(|(key, service)| rows.get(key) != Some(service))
        {
            self.table.insert(key, service, 0).context("write LOCALS")?;
        }
        let offset = offset_of!(Row, sockets);
        let flags = settings.load(0, offset)? & !Row::LOCALS;
        settings.store(0, offset, flags | if wanted.is_empty() { 0 } else { Row::LOCALS })
    }

    /// The namespaces in which an owner's sockets are.
    fn scopes(&self, owner: IpAddr, whose: Owner, places: &[Place]) -> Vec<u64> {
        match (whose, self.whose) {
            (_, SocketLb::Off) | (Owner::Elsewhere, _) | (Owner::Pod, SocketLb::Host) => Vec::new(),
            (Owner::Node, _) => vec![self.node],
            (Owner::Pod, SocketLb::All) => {
                let has = |place: &&Place| {
                    let addresses = &place.addresses;
                    addresses.v4.map(IpAddr::V4) == Some(owner)
                        || addresses.v6.map(IpAddr::V6) == Some(owner)
                };
                places.iter().filter(has).map(|place| place.cookie).collect()
            }
        }
    }

    fn rows(&self) -> Result<BTreeMap<Local, u32>> {
        self.table.iter().collect::<Result<_, _>>().context("read LOCALS")
    }

    /// What people should know of it.
    pub(super) fn warning(&self) -> Option<Warning> {
        let first = self.unserved.first()?;
        let why = match self.whose {
            SocketLb::Off => "sockets are not served: start the agent with --socket-lb host or all",
            SocketLb::Host => {
                "sockets of pods are not served: start the agent with --socket-lb all"
            }
            SocketLb::All => "no network namespace with that address was found",
        };
        let names: Vec<String> =
            self.unserved.iter().take(NAMED).map(ToString::to_string).collect();
        let more = if self.unserved.len() > NAMED { ", ..." } else { "" };
        let of = if self.unserved.len() == 1 { first.to_string() } else { names.join(", ") + more };
        let text = format!("upstreams of {of} are not reached at their loopback addresses: {why}");
        Some(Warning { service: String::new(), text })
    }
}

/// The id of the service that sockets of this node are given where they reach this one.
fn behind(published: &Published, name: &str) -> Option<u32> {
    let service = published.desired().service(name)?;
    match service.internal {
        TrafficPolicy::Cluster => published.service(name),
        TrafficPolicy::Local => published.service(&service.local_name()),
    }
}
