//! What a step needs beside the packet.

use crate::addresses;
use crate::directory::{self, Occupant};
use crate::endpoint::{Address, Endpoint};
use crate::flows::{self, Client, Entry, Hash, Key};
use crate::reason::Reason;
use crate::settings::Settings;
use crate::tables::Tables;

/// The tables, the settings in them, and the second it is.
pub struct Node<'t, T: ?Sized> {
    /// The tables.
    pub tables: &'t T,
    /// The settings in them.
    pub settings: &'t Settings,
    /// Now, in seconds.
    pub now: u32,
}

impl<T: ?Sized> Clone for Node<'_, T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Node<'_, T> {}

impl<'t, T: Tables + ?Sized> Node<'t, T> {
    /// Looks at the clock and the settings once.
    ///
    /// # Errors
    ///
    /// [`Reason::NotReady`] before the settings are written.
    #[inline(always)]
    pub fn new(tables: &'t T) -> Result<Self, Reason> {
        let settings = tables.settings().ok_or(Reason::NotReady)?;
        Ok(Self { tables, settings, now: tables.now(settings) })
    }

    /// What is at an endpoint.
    #[inline(always)]
    #[must_use]
    pub fn find(&self, endpoint: Endpoint) -> Option<Occupant> {
        directory::find(self.tables, self.settings.bucket_mask.load(), endpoint)
    }

    /// The bits of an address: see [`addresses`].
    #[inline(always)]
    #[must_use]
    pub fn bits(&self, address: Address) -> u64 {
        bits(self.tables, address)
    }

    /// The entry of a tuple, where the whole logic looks: by its place, which is the same code
    /// whatever the place, where [`Self::flow`] is as many as there are places.
    #[inline(always)]
    #[must_use]
    pub fn entry(&self, key: &Key, client: Client) -> Option<Entry<'t>> {
        let (head, place) = self.tables.find_flow(key, client, self.settings.flows())?;
        flows::find_at(self.tables, place).filter(|entry| entry.head.is_of_same(head))
    }

    /// The same for a packet that begins a connection: most likely there is none yet.
    #[inline(always)]
    #[must_use]
    pub fn entry_of_first(&self, key: &Key, client: Client) -> Option<Entry<'t>> {
        let (head, place) = self.tables.find_new(key, client, self.settings.flows())?;
        flows::find_at(self.tables, place).filter(|entry| entry.head.is_of_same(head))
    }

    /// The entry of a tuple, where the plain case looks.
    #[inline(always)]
    #[must_use]
    pub fn flow(&self, key: &Key, client: Client) -> Option<Entry<'t>> {
        flows::find(self.tables, key, Hash::of(key, client, self.settings.flows()), client)
    }
}

/// The bits of an address.
#[inline(always)]
#[must_use]
pub fn bits<T: Tables + ?Sized>(tables: &T, address: Address) -> u64 {
    bits_of(tables, address.words())
}

/// The bits of an address of these words.
#[inline(always)]
#[must_use]
pub fn bits_of<T: Tables + ?Sized>(tables: &T, words: [u64; 2]) -> u64 {
    let place = addresses::place_of(words);
    tables.addresses(place.row) >> place.shift
}
