//! Names for what the tables have by number, for threads other than the agent's own.

use std::mem::offset_of;

use anyhow::Result;
use aya::Ebpf;
use canary_common::backend::{Backend, Frontend};
use canary_common::endpoint::{Address, Endpoint};
use canary_common::label::{Label, ServiceLabel, SplitLabel};
use nix::net::if_::if_indextoname;

use super::listing::Names;
use super::mapped::Mapped;
use crate::compile::SplitKey;

/// The rows that hold names, and what has them.
///
/// A row stays what it is for as long as an entry names it. What is looked up for an entry that
/// goes meanwhile may be wrong, or nothing.
#[derive(Debug)]
pub(super) struct TableNames {
    frontends: Mapped<Frontend>,
    backends: Mapped<Backend>,
    services: Mapped<ServiceLabel>,
    splits: Mapped<SplitLabel>,
}

impl TableNames {
    /// Maps the tables once more.
    pub(super) fn of(ebpf: &Ebpf) -> Result<Self> {
        Ok(Self {
            frontends: Mapped::from_ebpf(ebpf, "FRONTENDS")?,
            backends: Mapped::from_ebpf(ebpf, "BACKENDS")?,
            services: Mapped::from_ebpf(ebpf, "NAMES")?,
            splits: Mapped::from_ebpf(ebpf, "LABELS")?,
        })
    }
}

/// The endpoint at the start of a row, of a backend or a frontend alike; `None` for an empty one.
fn endpoint<R>(rows: &Mapped<R>, id: u32) -> Option<Endpoint> {
    const PORT: usize = offset_of!(Backend, port);
    const PROTOCOL: usize = offset_of!(Backend, protocol);
    const _: () = assert!(PORT == offset_of!(Frontend, port));
    const _: () = assert!(PROTOCOL == offset_of!(Frontend, protocol));
    let address = rows.read(id, 0).ok()?;
    let port = rows.read(id, PORT).ok()?;
    let [protocol] = rows.read(id, PROTOCOL).ok()?;
    (protocol != 0).then_some(Endpoint { address: Address(address), port, protocol })
}

fn label<const L: usize>(rows: &Mapped<Label<L>>, id: u32) -> Option<Label<L>> {
    let lengths = rows.read(id, offset_of!(Label<L>, lengths)).ok()?;
    let text = rows.read(id, offset_of!(Label<L>, text)).ok()?;
    Some(Label { lengths, text }).filter(|label| !label.is_free())
}

impl Names for TableNames {
    fn backend(&self, id: u32) -> Option<Endpoint> {
        endpoint(&self.backends, id)
    }

    fn frontend(&self, id: u32) -> Option<(Endpoint, String)> {
        let at = endpoint(&self.frontends, id)?;
        let service = self.frontends.load(id, offset_of!(Frontend, service)).ok()?;
        let label = label(&self.services, service);
        let name = label.as_ref().and_then(|label| label.name(0)).unwrap_or_default();
        Some((at, name.to_owned()))
    }

    fn service(&self, id: u32) -> Option<String> {
        // The first has no name: nothing is behind it.
        let label = label(&self.services, id)?;
        label.name(0).filter(|name| !name.is_empty()).map(str::to_owned)
    }

    fn split(&self, statistics: u16) -> Option<SplitKey> {
        let label = label(&self.splits, u32::from(statistics))?;
        let [service, target, subset] = [0, 1, 2].map(|index| label.name(index));
        Some(SplitKey {
            service: service?.to_owned(),
            target: target?.to_owned(),
            subset: subset?.to_owned(),
        })
    }

    fn interface(&self, index: u32) -> Option<String> {
        let name = if_indextoname(index).ok()?;
        Some(name.to_string_lossy().into_owned())
    }
}
