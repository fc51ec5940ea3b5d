//! The own addresses from which backends elsewhere are asked, one a family.

use std::collections::BTreeMap;
use std::mem::offset_of;
use std::net::IpAddr;

use anyhow::Result;
use canary_common::addresses::{NODE, Place, place};
use canary_common::endpoint::{Address, Version};
use canary_common::settings::Settings as Row;

use crate::compile::Warning;
use crate::kernel::attach::{Attachments, Found};
use crate::kernel::writer::Writer;
use crate::plan::Write;
use crate::settings::{OutsideReturn, SourceAddress};

/// The addresses, and where they come from.
#[derive(Debug)]
pub(super) struct Sources {
    setting: SourceAddress,
    /// How answers of backends elsewhere come back.
    returns: OutsideReturn,
    /// IPv4, IPv6.
    chosen: [Option<IpAddr>; 2],
    /// What the programs were told last; `None` before.
    told: Option<[Option<IpAddr>; 2]>,
    /// Of those that were given: no address of this node.
    strangers: Vec<IpAddr>,
}

impl Sources {
    pub(super) fn new(setting: SourceAddress, returns: OutsideReturn) -> Self {
        Self { setting, returns, chosen: [None; 2], told: None, strangers: Vec::new() }
    }

    pub(super) const fn returns(&self) -> OutsideReturn {
        self.returns
    }

    /// The address of a family.
    pub(super) fn of(&self, version: Version) -> Option<IpAddr> {
        let [v4, v6] = self.chosen;
        match version {
            Version::V4 => v4,
            Version::V6 => v6,
        }
    }

    /// Each address that is, or would be, in use.
    pub(super) fn iter(&self) -> impl Iterator<Item = IpAddr> {
        self.chosen.into_iter().flatten().chain(self.strangers.iter().copied())
    }

    pub(super) fn warnings(&self) -> impl Iterator<Item = Warning> {
        self.strangers.iter().map(|address| Warning {
            service: String::new(),
            text: format!(
                "source address {address} is not this node's own: backends elsewhere are not \
                 asked from it until it is"
            ),
        })
    }

    /// Chooses anew, for what is known of the addresses of backends.
    ///
    /// # Errors
    ///
    /// If routes cannot be read.
    pub(super) fn choose(
        &mut self,
        known: &BTreeMap<IpAddr, Found>,
        attachments: &mut Attachments,
    ) -> Result<()> {
        self.strangers.clear();
        let given = match self.setting {
            SourceAddress::None => {
                self.chosen = [None; 2];
                return Ok(());
            }
            SourceAddress::Auto => {
                return self.follow(known, attachments);
            }
            SourceAddress::These { v4, v6 } => [v4.map(IpAddr::V4), v6.map(IpAddr::V6)],
        };
        for (chosen, given) in self.chosen.iter_mut().zip(given) {
            *chosen = None;
            if let Some(address) = given {
                if attachments.is_own(address)? {
                    *chosen = given;
                } else {
                    self.strangers.push(address);
                }
            }
        }
        Ok(())
    }

    /// Takes the own address that the first route to a backend elsewhere gives, and keeps it as
    /// long as it is the node's: flows live by it.
    fn follow(
        &mut self,
        known: &BTreeMap<IpAddr, Found>,
        attachments: &mut Attachments,
    ) -> Result<()> {
        for (chosen, is_v4) in self.chosen.iter_mut().zip([true, false]) {
            if let Some(address) = *chosen
                && attachments.is_own(address)?
            {
                continue;
            }
            let mut routes = known.iter().filter(|(address, _)| address.is_ipv4() == is_v4);
            *chosen = routes.find_map(|(_, found)| match found {
                Found::Elsewhere(source) => *source,
                Found::Here | Found::Unseen(_) | Found::Nowhere => None,
            });
        }
        Ok(())
    }

    /// Keeps what an earlier agent told the programs, where the setting allows it.
    ///
    /// # Errors
    ///
    /// If the row cannot be read.
    pub(super) fn adopt(&mut self, writer: &Writer) -> Result<()> {
        if self.told.is_some() {
            return Ok(());
        }
        let settings = &writer.settings;
        let v4: [u8; 4] = settings.read(0, offset_of!(Row, source_v4))?;
        let v6: [u8; 16] = settings.read(0, offset_of!(Row, source_v6))?;
        let found = [IpAddr::from(v4), IpAddr::from(v6)];
        let found = found.map(|address| (!address.is_unspecified()).then_some(address));
        self.told = Some(found);
        if self.setting == SourceAddress::Auto {
            self.chosen = found;
        }
        Ok(())
    }

    /// Tells the programs, if they were told otherwise: first that answers come there.
    ///
    /// The bit of an address that was told before stays: flows may live by it, and it costs what
    /// comes to that address a look at its port.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub(super) fn tell(&mut self, writer: &mut Writer) -> Result<()> {
        // Before there is an address for it.
        let word = match self.returns {
            OutsideReturn::Masquerade => 0,
            OutsideReturn::Ipip => Row::WRAPS,
        };
        writer.settings.store(0, offset_of!(Row, outside), word)?;
        if self.told == Some(self.chosen) {
            return Ok(());
        }
        for address in self.chosen.into_iter().flatten() {
            let Place { row, shift } = place(mapped(address));
            writer.perform(&Write::Addresses { row, set: NODE << shift, clear: 0 })?;
        }
        let [v4, v6] = self.chosen;
        let settings = &writer.settings;
        let v4 = v4.map_or(0, |address| last_word(mapped(address)));
        settings.store(0, offset_of!(Row, source_v4), v4)?;
        let bytes = v6.map_or([0; 16], |address| mapped(address).0);
        let at = offset_of!(Row, source_v6);
        // None while the others change.
        settings.store(0, at, 0)?;
        let (words, _) = bytes.as_chunks::<4>();
        for (word, bytes) in words.iter().enumerate().rev() {
            let offset = at.saturating_add(word.saturating_mul(4));
            settings.store(0, offset, u32::from_ne_bytes(*bytes))?;
        }
        self.told = Some(self.chosen);
        Ok(())
    }
}

/// An address as the tables have it.
fn mapped(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(address) => Address::v4(address.octets()),
        IpAddr::V6(address) => Address(address.octets()),
    }
}

fn last_word(address: Address) -> u32 {
    u32::from_ne_bytes(address.last_four())
}
