//! The embedded store: what the API wrote, and what must outlive a restart.
//!
//! One redb file. Every commit is on disk before it is acknowledged. Values are JSON text, so that
//! another version of the agent reads them with its own parser.

mod tables;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use redb::{Builder, Database, DatabaseError, StorageError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Name of the store's file in the data directory.
pub const FILE_NAME: &str = "store.redb";

/// Pages kept in memory: the agent reads the store once, at its start.
const CACHE_BYTES: usize = 1 << 20;

/// A config entry as it was written, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredEntry {
    /// The entry in Consul's JSON.
    pub json: Value,
    /// Index of the write that made it.
    pub create_index: u64,
    /// Index of the last write to it.
    pub modify_index: u64,
}

/// A file of the configuration directory, as it was when it was last in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Path of the file.
    pub path: String,
    /// Its content.
    pub content: Vec<u8>,
}

/// Entries of a service by kind; `null` where there was none.
pub type Past = BTreeMap<String, Value>;

/// One thing to change in the store.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Puts or, with `None`, deletes a config entry.
    Entry(String, String, Option<StoredEntry>),
    /// Puts or, with `None`, deletes a registration by its id.
    Registration(String, Option<Value>),
    /// The entries of a service that were in force before its last change; `None` forgets them.
    Past(String, Option<Past>),
    /// The files in force.
    LastGood(Vec<SourceFile>),
    /// Puts or, with `None`, deletes a check on its own, or a maintenance mode, by the check's id.
    Check(String, Option<Value>),
    /// Last known states of checks by their ids; `None` forgets one.
    CheckStates(Vec<(String, Option<Value>)>),
}

/// Everything that the agent reads at its start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contents {
    /// Index of the last write.
    pub index: u64,
    /// Config entries by (kind, name).
    pub entries: BTreeMap<(String, String), StoredEntry>,
    /// Registrations by id.
    pub registrations: BTreeMap<String, Value>,
    /// Entries before each service's last change.
    pub past: BTreeMap<String, Past>,
    /// Checks on their own, and maintenance modes, by the check's id.
    pub checks: BTreeMap<String, Value>,
    /// Last known states of checks by their ids.
    pub check_states: BTreeMap<String, Value>,
}

/// Why the store could not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another agent has it open.
    #[error("{}: the store is in use: another agent runs with this data directory", .0.display())]
    InUse(PathBuf),
    /// Its content cannot be trusted.
    #[error("{}: the store is corrupt: {text}", .path.display())]
    Corrupt {
        /// The store's file.
        path: PathBuf,
        /// What is wrong with it.
        text: String,
    },
    /// The machine refused.
    #[error("{}: the store cannot be {what}: {text}", .path.display())]
    Failed {
        /// The store's file.
        path: PathBuf,
        /// `opened`, `read` or `written`.
        what: &'static str,
        /// Why.
        text: String,
    },
}

/// The open store; nobody else can open it meanwhile.
#[derive(Debug)]
pub struct Store {
    database: Database,
    path: PathBuf,
}

/// An opened store and what was found in it.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: Store,
    /// What it holds.
    pub contents: Contents,
    /// What people should know: a corrupt file that was moved aside.
    pub warning: Option<String>,
}

impl Store {
    /// Opens the store in `data_dir`, making both where they are missing.
    ///
    /// A corrupt file is moved aside, and a new one begun.
    ///
    /// # Errors
    ///
    /// [`StoreError::InUse`] and [`StoreError::Failed`].
    pub fn open(data_dir: &Path) -> Result<Opened, StoreError> {
        let path = data_dir.join(FILE_NAME);
        fs::create_dir_all(data_dir).map_err(|error| failed(&path, "opened", &error))?;
        match Self::try_open(&path) {
            Err(StoreError::Corrupt { text, .. }) => {
                let aside = move_aside(&path).map_err(|error| failed(&path, "opened", &error))?;
                let (store, contents) = Self::try_open(&path)?;
                let warning = format!(
                    "{}: the store was corrupt ({text}): it was moved to {} and a new one begun; \
                     what the API wrote is gone",
                    path.display(),
                    aside.display(),
                );
                Ok(Opened { store, contents, warning: Some(warning) })
            }
            opened => opened.map(|(store, contents)| Opened { store, contents, warning: None }),
        }
    }

    fn try_open(path: &Path) -> Result<(Self, Contents), StoreError> {
        let database = Builder::new()
            .set_cache_size(CACHE_BYTES)
            .set_check_integrity_on_open(true)
            .create(path)
            .map_err(|error| open_error(path, error))?;
        let contents = tables::read_all(&database).map_err(|error| match error {
            redb::Error::Corrupted(text) => StoreError::Corrupt { path: path.to_owned(), text },
            other => failed(path, "read", &other),
        })?;
        Ok((Self { database, path: path.to_owned() }, contents))
    }

    /// Performs `writes` as one, and remembers `index`; they are on disk when this returns.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`]; nothing has changed then.
    pub fn commit(&self, index: u64, writes: &[Write]) -> Result<(), StoreError> {
        tables::write_all(&self.database, index, writes)
            .map_err(|error| failed(&self.path, "written", &error))
    }

    /// A registration as it was written.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`].
    pub fn registration(&self, id: &str) -> Result<Option<Value>, StoreError> {
        tables::registration(&self.database, id).map_err(|error| failed(&self.path, "read", &error))
    }

    /// A check on its own as it was written.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`].
    pub fn check(&self, id: &str) -> Result<Option<Value>, StoreError> {
        tables::check(&self.database, id).map_err(|error| failed(&self.path, "read", &error))
    }

    /// The files that were in force last; `None` if there never were any.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`].
    pub fn last_good(&self) -> Result<Option<Vec<SourceFile>>, StoreError> {
        tables::last_good(&self.database).map_err(|error| failed(&self.path, "read", &error))
    }
}

fn open_error(path: &Path, error: DatabaseError) -> StoreError {
    let corrupt = |text| StoreError::Corrupt { path: path.to_owned(), text };
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse(path.to_owned()),
        DatabaseError::Storage(StorageError::Corrupted(text)) => corrupt(text),
        // A file that is no database at all, or ends early.
        DatabaseError::Storage(StorageError::Io(error))
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            corrupt(error.to_string())
        }
        other => failed(path, "opened", &other),
    }
}

fn failed(path: &Path, what: &'static str, error: &dyn std::error::Error) -> StoreError {
    StoreError::Failed { path: path.to_owned(), what, text: error.to_string() }
}

fn move_aside(path: &Path) -> io::Result<PathBuf> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let aside = path.with_extension(format!("redb.corrupt-{seconds}"));
    fs::rename(path, &aside)?;
    Ok(aside)
}

#[cfg(test)]
mod tests;
