//! `VIRTUALS`: addresses of frontends that are no pod's of this node and not the node's own.
//!
//! Where nobody else can answer, the programs do: echo requests, ports at which nothing is served,
//! and fragments whose first was not seen.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context, Result};
use aya::maps::{HashMap, MapData};
use canary_common::endpoint::Address;

use crate::compile::{Desired, socket};

/// An address as the programs know it.
type Bytes = [u8; 16];

/// The table, and what it holds.
#[derive(Debug)]
pub struct Virtuals {
    map: HashMap<MapData, Bytes, u32>,
    /// What it holds; unknown before it was first looked at.
    holds: Option<BTreeSet<Bytes>>,
}

impl Virtuals {
    /// The table, which an earlier agent may have filled.
    #[must_use]
    pub fn new(map: HashMap<MapData, Bytes, u32>) -> Self {
        Self { map, holds: None }
    }

    /// Makes it hold the addresses of the frontends of `desired` that exist only virtually; with
    /// `may_add` not, only those go that are none.
    ///
    /// # Errors
    ///
    /// If a route cannot be read, or the kernel refuses.
    pub fn settle(
        &mut self,
        desired: &Desired,
        mut is_here: impl FnMut(IpAddr) -> Result<bool>,
        may_add: bool,
    ) -> Result<()> {
        let mut wanted = BTreeSet::new();
        let frontends = desired.services.iter().flat_map(|service| &service.frontends);
        for frontend in frontends {
            let address = socket(frontend).ip();
            if is_of_one_host(address) && !is_here(address)? {
                let Address(bytes) = frontend.address;
                wanted.insert(bytes);
            }
        }
        let mut holds = match self.holds.take() {
            Some(holds) => holds,
            None => self.map.keys().collect::<Result<_, _>>().context("read VIRTUALS")?,
        };
        for gone in holds.difference(&wanted) {
            self.map.remove(gone).context("delete from VIRTUALS")?;
        }
        holds.retain(|address| wanted.contains(address));
        if may_add {
            for new in wanted.difference(&holds) {
                self.map.insert(new, 1, 0).context("insert into VIRTUALS")?;
            }
            holds = wanted;
        }
        self.holds = Some(holds);
        Ok(())
    }
}

/// Whether an address may be that of one host beyond this node.
fn is_of_one_host(address: IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !(address.is_loopback() || address.is_multicast() || address.is_unspecified() || is_broadcast)
}
