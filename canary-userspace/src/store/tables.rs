//! The store's tables, and how values are laid down in them.

use std::collections::BTreeMap;

use redb::{
    Database, Error, ReadTransaction, ReadableDatabase, ReadableTable, Table, TableDefinition,
    TableError, TableHandle, WriteTransaction,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Contents, SourceFile, Stored, Write, log};

/// A table of entries: (kind, name) to the JSON of a [`Stored`].
type Entries = TableDefinition<'static, (&'static str, &'static str), &'static [u8]>;

/// Config entries of the store.
const ENTRIES: Entries = TableDefinition::new("entries");
/// Config entries of files, as they were in force last.
const FILE_ENTRIES: Entries = TableDefinition::new("file_entries");
/// Registrations: id to the JSON of a [`Stored`].
const REGISTRATIONS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("registrations");
/// Entries before a service's last change: service to the JSON of a `Past`.
const PAST: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("past");
/// Checks on their own: id to the JSON of a [`Stored`].
const CHECKS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("lone_checks");
/// Last known states of checks: id to JSON.
const CHECK_STATES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("check_states");
/// Files in force: their place in the order, then path, to content.
const LAST_GOOD: TableDefinition<'_, (u32, &str), &[u8]> = TableDefinition::new("last_good");
/// What a followed source said last: its kind and its own key, to content. The empty key is there
/// once it has said anything.
const FOLLOWED: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("followed");
/// Brakes that the source does not say: service to JSON. It is made with the first.
const BRAKES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("brakes");
/// Single numbers by name.
pub(super) const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");

/// Index of the last write, in `NUMBERS`.
const INDEX: &str = "index";
/// No index above it was shown to anybody, in `NUMBERS`.
const RESERVED: &str = "reserved";
/// Present in `NUMBERS` once `LAST_GOOD` was written: a set of no files is known too.
const LAST_GOOD_KNOWN: &str = "last-good";

pub(super) fn read_all(database: &Database) -> Result<Contents, Error> {
    make_tables(database)?;
    let read = database.begin_read()?;
    let mut contents = Contents {
        last_change: log::last(&read)?,
        entries: entries(&read, ENTRIES)?,
        file_entries: entries(&read, FILE_ENTRIES)?,
        ..Contents::default()
    };
    for name in [INDEX, RESERVED] {
        let number = read.open_table(NUMBERS)?.get(name)?.map_or(0, |number| number.value());
        contents.index = contents.index.max(number);
    }
    for row in read.open_table(REGISTRATIONS)?.iter()? {
        let (id, value) = row?;
        contents.registrations.insert(id.value().to_owned(), decode(value.value())?);
    }
    for row in read.open_table(PAST)?.iter()? {
        let (service, value) = row?;
        contents.past.insert(service.value().to_owned(), decode(value.value())?);
    }
    for row in read.open_table(CHECKS)?.iter()? {
        let (id, value) = row?;
        contents.checks.insert(id.value().to_owned(), decode(value.value())?);
    }
    for row in read.open_table(CHECK_STATES)?.iter()? {
        let (id, value) = row?;
        contents.check_states.insert(id.value().to_owned(), decode(value.value())?);
    }
    match read.open_table(BRAKES) {
        Err(TableError::TableDoesNotExist(_)) => {}
        table => {
            for row in table?.iter()? {
                let (service, value) = row?;
                contents.brakes.insert(service.value().to_owned(), decode(value.value())?);
            }
        }
    }
    Ok(contents)
}

fn entries(
    read: &ReadTransaction,
    table: Entries,
) -> Result<BTreeMap<(String, String), Stored>, Error> {
    let mut entries = BTreeMap::new();
    for row in read.open_table(table)?.iter()? {
        let (key, value) = row?;
        let (kind, name) = key.value();
        entries.insert((kind.to_owned(), name.to_owned()), decode(value.value())?);
    }
    Ok(entries)
}

/// Reading a table that was never written is an error, so all are made at once.
fn make_tables(database: &Database) -> Result<(), Error> {
    // The one that is made last.
    let newest = CHECK_STATES.name();
    if database.begin_read()?.list_tables()?.any(|table| table.name() == newest) {
        return Ok(());
    }
    let write = database.begin_write()?;
    write.open_table(ENTRIES)?;
    write.open_table(FILE_ENTRIES)?;
    write.open_table(REGISTRATIONS)?;
    write.open_table(PAST)?;
    write.open_table(LAST_GOOD)?;
    write.open_table(NUMBERS)?;
    log::make(&write)?;
    write.open_table(CHECKS)?;
    write.open_table(CHECK_STATES)?;
    write.commit()?;
    Ok(())
}

pub(super) fn followed(
    database: &Database,
    kind: &str,
) -> Result<Option<BTreeMap<String, Vec<u8>>>, Error> {
    let table = match database.begin_read()?.open_table(FOLLOWED) {
        // It is made with the first row.
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        table => table?,
    };
    let mut rows = BTreeMap::new();
    for row in table.range((kind, "")..)? {
        let (key, content) = row?;
        let (of, key) = key.value();
        if of != kind {
            break;
        }
        rows.insert(key.to_owned(), content.value().to_vec());
    }
    Ok(rows.remove("").map(|_| rows))
}

/// Index of the last write; 0 before the first.
pub(super) fn index(database: &Database) -> Result<u64, Error> {
    let numbers = match database.begin_read()?.open_table(NUMBERS) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(0),
        numbers => numbers?,
    };
    Ok(numbers.get(INDEX)?.map_or(0, |index| index.value()))
}

pub(super) fn last_good(database: &Database) -> Result<Option<Vec<SourceFile>>, Error> {
    let read = database.begin_read()?;
    if read.open_table(NUMBERS)?.get(LAST_GOOD_KNOWN)?.is_none() {
        return Ok(None);
    }
    let mut files = Vec::new();
    for row in read.open_table(LAST_GOOD)?.iter()? {
        let (key, content) = row?;
        let (_, path) = key.value();
        files.push(SourceFile { path: path.to_owned(), content: content.value().to_vec() });
    }
    Ok(Some(files))
}

pub(super) fn write_all(
    database: &Database,
    index: u64,
    writes: &[Write],
    bounds: log::Bounds,
) -> Result<(), Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(NUMBERS)?.insert(INDEX, index)?;
    for write in writes {
        perform(&transaction, write, bounds)?;
    }
    transaction.commit()?;
    Ok(())
}

fn perform(
    transaction: &WriteTransaction,
    write: &Write,
    bounds: log::Bounds,
) -> Result<(), Error> {
    match write {
        Write::Reserve(index) => {
            transaction.open_table(NUMBERS)?.insert(RESERVED, index)?;
            Ok(())
        }
        Write::Entry(kind, name, entry) => {
            let value = entry.as_ref().map(encode).transpose()?;
            set(&mut transaction.open_table(ENTRIES)?, (kind.as_str(), name.as_str()), value)
        }
        Write::FileEntry(kind, name, entry) => {
            let value = entry.as_ref().map(encode).transpose()?;
            set(&mut transaction.open_table(FILE_ENTRIES)?, (kind.as_str(), name.as_str()), value)
        }
        Write::Record(record) => log::append(transaction, record, bounds),
        Write::Registration(id, registration) => {
            let value = registration.as_ref().map(encode).transpose()?;
            set(&mut transaction.open_table(REGISTRATIONS)?, id.as_str(), value)
        }
        Write::Past(service, past) => {
            let value = past.as_ref().map(encode).transpose()?;
            set(&mut transaction.open_table(PAST)?, service.as_str(), value)
        }
        Write::LastGood(files) => {
            transaction.open_table(NUMBERS)?.insert(LAST_GOOD_KNOWN, 1)?;
            replace_files(&mut transaction.open_table(LAST_GOOD)?, files)
        }
        Write::Check(id, check) => {
            let value = check.as_ref().map(encode).transpose()?;
            set(&mut transaction.open_table(CHECKS)?, id.as_str(), value)
        }
        Write::CheckStates(states) => {
            let mut table = transaction.open_table(CHECK_STATES)?;
            states.iter().try_for_each(|(id, state)| {
                set(&mut table, id.as_str(), state.as_ref().map(encode).transpose()?)
            })
        }
        Write::Brake(service, brake) => {
            let value = brake.as_ref().map(encode).transpose()?;
            set(&mut transaction.open_table(BRAKES)?, service.as_str(), value)
        }
        Write::Followed(kind, rows) => {
            let mut table = transaction.open_table(FOLLOWED)?;
            table.insert((*kind, ""), [].as_slice())?;
            for (key, content) in rows {
                set(&mut table, (*kind, key.as_str()), content.clone())?;
            }
            Ok(())
        }
    }
}

/// Puts or, with `None`, deletes one row.
fn set<K: redb::Key>(
    table: &mut Table<'_, K, &'static [u8]>,
    key: K::SelfType<'_>,
    value: Option<Vec<u8>>,
) -> Result<(), Error> {
    match value {
        Some(value) => table.insert(key, value.as_slice())?,
        None => table.remove(key)?,
    };
    Ok(())
}

fn replace_files(
    table: &mut Table<'_, (u32, &'static str), &'static [u8]>,
    files: &[SourceFile],
) -> Result<(), Error> {
    table.retain(|_, _| false)?;
    for (place, file) in (0..).zip(files) {
        table.insert((place, file.path.as_str()), file.content.as_slice())?;
    }
    Ok(())
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::Corrupted(error.to_string()))
}

pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|error| Error::Io(error.into()))
}
