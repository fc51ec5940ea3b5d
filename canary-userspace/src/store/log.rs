//! The log of changes: bounded, by number, and by the services that each change is about.

use std::sync::Arc;

use redb::{
    Error, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    TableDefinition, WriteTransaction,
};

use super::tables::{NUMBERS, decode, encode};
use super::{Shared, StoreError};
use crate::audit::Record;

/// Changes that are kept; older ones go.
pub const MAX_RECORDS: u64 = 10_000;
/// Bytes of changes that are kept; the last change is kept in any case.
pub const MAX_LOG_BYTES: u64 = 16 << 20;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) records: u64,
    pub(super) bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { records: MAX_RECORDS, bytes: MAX_LOG_BYTES }
    }
}

/// Changes: number to the JSON of a [`Record`].
const CHANGES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("changes");
/// The changes that a service's history has.
pub(super) const OF_SERVICE: TableDefinition<'_, (&str, u64), ()> =
    TableDefinition::new("changes_of_service");
/// Bytes of all of `CHANGES`, in `NUMBERS`.
const BYTES: &str = "log-bytes";

pub(super) fn make(write: &WriteTransaction) -> Result<(), Error> {
    write.open_table(CHANGES)?;
    write.open_table(OF_SERVICE)?;
    Ok(())
}

/// Number of the last change; 0 if there is none.
pub(super) fn last(read: &ReadTransaction) -> Result<u64, Error> {
    let changes = read.open_table(CHANGES)?;
    Ok(changes.last()?.map_or(0, |(number, _)| number.value()))
}

/// Adds `record`, or puts it in the place of the one with its number.
pub(super) fn append(
    write: &WriteTransaction,
    record: &Record,
    bounds: Bounds,
) -> Result<(), Error> {
    remove(write, record.number)?;
    let json = encode(record)?;
    let mut bytes = bytes(write)?.saturating_add(length(&json));
    let mut of_service = write.open_table(OF_SERVICE)?;
    for service in record.services() {
        of_service.insert((service, record.number), ())?;
    }
    let mut changes = write.open_table(CHANGES)?;
    changes.insert(record.number, json.as_slice())?;
    loop {
        let count = changes.len()?;
        if count <= 1 || (count <= bounds.records && bytes <= bounds.bytes) {
            break;
        }
        let Some((number, oldest)) = changes.pop_first()? else { break };
        bytes = bytes.saturating_sub(length(oldest.value()));
        let oldest: Record = decode(oldest.value())?;
        for service in oldest.services() {
            of_service.remove((service, number.value()))?;
        }
    }
    write.open_table(NUMBERS)?.insert(BYTES, bytes)?;
    Ok(())
}

/// Takes the change with `number` out, if it is there.
fn remove(write: &WriteTransaction, number: u64) -> Result<(), Error> {
    let mut changes = write.open_table(CHANGES)?;
    let Some(json) = changes.remove(number)? else { return Ok(()) };
    let record: Record = decode(json.value())?;
    let mut of_service = write.open_table(OF_SERVICE)?;
    for service in record.services() {
        of_service.remove((service, number))?;
    }
    let bytes = bytes(write)?.saturating_sub(length(json.value()));
    write.open_table(NUMBERS)?.insert(BYTES, bytes)?;
    Ok(())
}

fn bytes(write: &WriteTransaction) -> Result<u64, Error> {
    Ok(write.open_table(NUMBERS)?.get(BYTES)?.map_or(0, |bytes| bytes.value()))
}

fn length(json: &[u8]) -> u64 {
    u64::try_from(json.len()).unwrap_or(u64::MAX)
}

/// Reads the log, from any thread.
#[derive(Clone, Debug)]
pub struct Log {
    shared: Arc<Shared>,
}

impl Log {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The last `limit` changes, newest first.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`].
    pub fn all(&self, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.shared.read(|database| {
            let changes = database.begin_read()?.open_table(CHANGES)?;
            let newest = changes.iter()?.rev().take(limit);
            newest.map(|row| decode(row?.1.value())).collect()
        })
    }

    /// The last `limit` changes of `service` with a number above `above`, newest first: the part
    /// of each that is about the service.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`].
    pub fn of_service(
        &self,
        service: &str,
        above: u64,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        self.shared.read(|database| {
            let read = database.begin_read()?;
            let (of_service, changes) = (read.open_table(OF_SERVICE)?, read.open_table(CHANGES)?);
            let numbers = (service, above.saturating_add(1))..=(service, u64::MAX);
            let mut records = Vec::new();
            for row in of_service.range(numbers)?.rev().take(limit) {
                let (_, number) = row?.0.value();
                if let Some(json) = changes.get(number)? {
                    records.push(decode::<Record>(json.value())?.of_service(service));
                }
            }
            Ok(records)
        })
    }

    /// Whether the history of `service` has the change with `number`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`].
    pub fn knows(&self, service: &str, number: u64) -> Result<bool, StoreError> {
        self.shared.read(|database| {
            let of_service = database.begin_read()?.open_table(OF_SERVICE)?;
            Ok(of_service.get((service, number))?.is_some())
        })
    }
}
