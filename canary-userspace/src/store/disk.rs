//! A disk of memory that loses power or space at any operation, for tests.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

use super::*;

/// What becomes of writes that were not synced when the power goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    /// None of them is on disk.
    Lost,
    /// All of them are.
    Kept,
    /// Every other one is.
    Mixed,
    /// All but the last, of which half is.
    Torn,
}

pub(crate) const FATES: [Fate; 4] = [Fate::Lost, Fate::Kept, Fate::Mixed, Fate::Torn];

#[derive(Debug)]
enum Step {
    Length(usize),
    Write(usize, Vec<u8>),
}

impl Step {
    fn perform(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Length(length) => bytes.resize(*length, 0),
            Self::Write(at, data) => {
                bytes.resize(bytes.len().max(at + data.len()), 0);
                bytes[*at..at + data.len()].copy_from_slice(data);
            }
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Inner {
    /// What is read.
    seen: Vec<u8>,
    /// What outlives a loss of power.
    synced: Vec<u8>,
    unsynced: Vec<Step>,
    /// Operations so far.
    pub(crate) operations: usize,
    /// From this operation on the power is gone.
    pub(crate) dies_at: Option<usize>,
    /// This operation alone finds no space.
    pub(crate) fails_at: Option<usize>,
    /// Bytes that fit.
    pub(crate) room: Option<usize>,
}

/// Shared with the test, which says what goes wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Mutex<Inner>>);

impl Disk {
    /// A disk that holds `bytes`.
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        let inner = Inner { seen: bytes.clone(), synced: bytes, ..Inner::default() };
        Self(Arc::new(Mutex::new(inner)))
    }

    pub(crate) fn get(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// Opens the store on it.
    pub(crate) fn store(&self) -> Result<(Store, Contents), StoreError> {
        let again = self.clone();
        let open_again = Box::new(move || builder().create_with_backend(again.clone()));
        Store::open_database(
            Path::new("disk"),
            builder().create_with_backend(self.clone()),
            open_again,
        )
    }

    /// What is on it after the power went.
    pub(crate) fn survivors(&self, fate: Fate) -> Self {
        let inner = self.get();
        let mut bytes = inner.synced.clone();
        let last = inner.unsynced.len().saturating_sub(1);
        for (number, step) in inner.unsynced.iter().enumerate() {
            match (fate, step) {
                (Fate::Lost, _) => {}
                (Fate::Mixed, _) if number % 2 == 1 => {}
                (Fate::Torn, Step::Write(at, data)) if number == last => {
                    Step::Write(*at, data[..data.len() / 2].to_vec()).perform(&mut bytes);
                }
                _ => step.perform(&mut bytes),
            }
        }
        Self::of(bytes)
    }

    fn change(&self, step: Step) -> io::Result<()> {
        let mut inner = self.get();
        inner.begin()?;
        let end = match &step {
            Step::Length(length) => *length,
            Step::Write(at, data) => at + data.len(),
        };
        if inner.room.is_some_and(|room| end > room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        step.perform(&mut inner.seen);
        inner.unsynced.push(step);
        Ok(())
    }
}

impl Inner {
    /// Bytes that are on disk.
    pub(crate) fn synced_bytes(&self) -> usize {
        self.synced.len()
    }

    /// An operation that changes the disk.
    fn begin(&mut self) -> io::Result<()> {
        self.operations += 1;
        if self.dies_at.is_some_and(|at| self.operations >= at) {
            return Err(io::Error::other("the power is gone"));
        }
        if self.fails_at == Some(self.operations) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.get().seen.len().try_into().unwrap())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let inner = self.get();
        let offset = usize::try_from(offset).unwrap();
        let found = inner.seen.get(offset..offset + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Step::Length(len.try_into().unwrap()))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut inner = self.get();
        inner.begin()?;
        inner.synced = inner.seen.clone();
        inner.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Step::Write(offset.try_into().unwrap(), data.to_vec()))
    }
}
