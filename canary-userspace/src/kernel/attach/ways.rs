//! Where addresses are: on this node, or behind which interface.

use std::net::IpAddr;

use anyhow::Result;

use super::Attachments;
use crate::kernel::interfaces::{Moved, Role};
use crate::settings::UplinkMode;

/// Index of the loopback interface, in every network namespace.
const LOOPBACK: u32 = 1;

/// Where an address is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is a pod's of this node, or the node's own.
    Here,
    /// It is reached by an uplink, on which packets of this node bear an own address.
    Elsewhere(Option<IpAddr>),
    /// It is reached by another interface, whose packets are not looked at when they come in.
    Unseen(String),
    /// There is no route.
    Nowhere,
}

impl Attachments {
    /// Where an address is.
    ///
    /// # Errors
    ///
    /// If the route cannot be read.
    pub fn find(&mut self, address: IpAddr) -> Result<Found> {
        let Some(way) = self.watcher.way(address)? else { return Ok(Found::Nowhere) };
        let index = way.interface;
        if index == LOOPBACK {
            let is_own = !address.is_loopback();
            return Ok(if is_own { Found::Here } else { Found::Unseen("lo".to_owned()) });
        }
        let mut pods = self.watcher.links().filter(|link| link.role == Role::Pod);
        if pods.any(|pod| pod.index == index || pod.controller == Some(index)) {
            return Ok(Found::Here);
        }
        let link = self.watcher.links().find(|link| link.index == index);
        let is_seen = self.mode != UplinkMode::Off;
        Ok(match link {
            Some(link) if link.role == Role::Uplink && is_seen => Found::Elsewhere(way.source),
            Some(link) => Found::Unseen(link.name.clone()),
            None => Found::Nowhere,
        })
    }

    /// Whether an address is the node's own.
    ///
    /// # Errors
    ///
    /// If the route cannot be read.
    pub fn is_own(&mut self, address: IpAddr) -> Result<bool> {
        Ok(self.watcher.way(address)?.is_some_and(|way| way.interface == LOOPBACK))
    }

    /// The pod's interface that leads to an address; 0 if none does.
    ///
    /// # Errors
    ///
    /// If the route cannot be read.
    pub fn pod_interface(&mut self, address: IpAddr) -> Result<u32> {
        let index = self.watcher.way(address)?.map_or(0, |way| way.interface);
        let mut pods = self.watcher.links().filter(|link| link.role == Role::Pod);
        Ok(if pods.any(|pod| pod.index == index) { index } else { 0 })
    }

    /// The addresses whose routes changed since the last call.
    pub fn take_moved(&mut self) -> Moved {
        self.watcher.take_moved()
    }
}
