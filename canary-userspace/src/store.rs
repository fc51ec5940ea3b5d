//! The embedded store: what the API wrote, and what must outlive a restart.
//!
//! One redb file. Every commit is on disk before it is acknowledged. Values are JSON text, so that
//! another version of the agent reads them with its own parser.

#[cfg(test)]
pub(crate) mod disk;
mod log;
mod tables;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use redb::{Builder, Database, DatabaseError, StorageError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::log::{Log, MAX_LOG_BYTES, MAX_RECORDS};
use crate::audit::Record;

/// Name of the store's file in the data directory.
pub const FILE_NAME: &str = "store.redb";

/// Pages kept in memory: the agent reads the store once, at its start.
const CACHE_BYTES: usize = 1 << 20;

/// A config entry or a registration as it was written, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// The entry in Consul's JSON, or the body of the registration.
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
    /// Promises that no later start finds an index below this one.
    Reserve(u64),
    /// Puts or, with `None`, deletes a config entry.
    Entry(String, String, Option<Stored>),
    /// Remembers or, with `None`, forgets the entry of a file that is in force: at the next start
    /// it keeps its indices if it says the same.
    FileEntry(String, String, Option<Stored>),
    /// Puts or, with `None`, deletes a registration by its id.
    Registration(String, Option<Stored>),
    /// Adds a change to the log or replaces it; the oldest go where there are too many.
    Record(Box<Record>),
    /// The entries of a service that were in force before its last change; `None` forgets them.
    Past(String, Option<Past>),
    /// The files in force.
    LastGood(Vec<SourceFile>),
    /// Puts or, with `None`, deletes a check on its own, or a maintenance mode, by the check's id.
    Check(String, Option<Stored>),
    /// Last known states of checks by their ids; `None` forgets one.
    CheckStates(Vec<(String, Option<Value>)>),
    /// A brake that the source does not say, by its service; `None` forgets it.
    Brake(String, Option<Value>),
    /// What the followed source of this kind said last, piece by piece; `None` forgets one.
    Followed(&'static str, Vec<(String, Option<Vec<u8>>)>),
}

/// Everything that the agent reads at its start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contents {
    /// Index of the last write, or the one up to which indices were reserved.
    pub index: u64,
    /// Number of the last change.
    pub last_change: u64,
    /// Config entries by (kind, name).
    pub entries: BTreeMap<(String, String), Stored>,
    /// Entries of files that were in force, by (kind, name).
    pub file_entries: BTreeMap<(String, String), Stored>,
    /// Registrations by id.
    pub registrations: BTreeMap<String, Stored>,
    /// Entries before each service's last change.
    pub past: BTreeMap<String, Past>,
    /// Checks on their own, and maintenance modes, by the check's id.
    pub checks: BTreeMap<String, Stored>,
    /// Last known states of checks by their ids.
    pub check_states: BTreeMap<String, Value>,
    /// Brakes that the source does not say, by service.
    pub brakes: BTreeMap<String, Value>,
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

/// Opens the database, which need not be a file: a test's may be a disk that fails.
type Open = Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

/// The open store; nobody else can open it meanwhile.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    bounds: log::Bounds,
}

/// What the log's readers have in common with the store.
struct Shared {
    /// `None` after a failure that the database does not work on after.
    database: RwLock<Option<Database>>,
    open_again: Open,
    path: PathBuf,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("path", &self.path).finish_non_exhaustive()
    }
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
        match Self::open_file(&path) {
            Err(StoreError::Corrupt { text, .. }) => {
                let aside = move_aside(&path).map_err(|error| failed(&path, "opened", &error))?;
                let (store, contents) = Self::open_file(&path)?;
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

    fn open_file(path: &Path) -> Result<(Self, Contents), StoreError> {
        let file = path.to_owned();
        // Never made anew: that would lose what a file holds that somebody has moved.
        let open_again = Box::new(move || builder().open(&file));
        Self::open_database(path, builder().create(path), open_again)
    }

    fn open_database(
        path: &Path,
        opened: Result<Database, DatabaseError>,
        open_again: Open,
    ) -> Result<(Self, Contents), StoreError> {
        let database = opened.map_err(|error| open_error(path, error))?;
        let contents = tables::read_all(&database).map_err(|error| match error {
            redb::Error::Corrupted(text) => StoreError::Corrupt { path: path.to_owned(), text },
            other => failed(path, "read", &other),
        })?;
        let database = RwLock::new(Some(database));
        let shared = Arc::new(Shared { database, open_again, path: path.to_owned() });
        Ok((Self { shared, bounds: log::Bounds::default() }, contents))
    }

    /// Performs `writes` as one, and remembers `index`; they are on disk when this returns.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`]; nothing has changed then.
    pub fn commit(&self, index: u64, writes: &[Write]) -> Result<(), StoreError> {
        self.shared.commit(index, writes, self.bounds)
    }

    /// A reader of the log, which other threads may use.
    #[must_use]
    pub fn log(&self) -> Log {
        Log::new(Arc::clone(&self.shared))
    }

    /// What the followed source of this kind said last, by its own keys; `None` if it never did.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`].
    pub fn followed(&self, kind: &str) -> Result<Option<BTreeMap<String, Vec<u8>>>, StoreError> {
        self.shared.read(|database| tables::followed(database, kind))
    }

    /// The files that were in force last; `None` if there never were any.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`].
    pub fn last_good(&self) -> Result<Option<Vec<SourceFile>>, StoreError> {
        self.shared.read(tables::last_good)
    }
}

impl Shared {
    /// After a failure redb refuses everything: the database is closed, and opened again at once
    /// or at the next use. What had reached the disk when it failed is found then, and is done.
    fn commit(&self, index: u64, writes: &[Write], bounds: log::Bounds) -> Result<(), StoreError> {
        let before = self.with(tables::index)?;
        let written = self.with(|database| tables::write_all(database, index, writes, bounds))?;
        let error = match written {
            Ok(()) => return Ok(()),
            Err(error) => failed(&self.path, "written", &error),
        };
        drop(self.database.write().unwrap_or_else(PoisonError::into_inner).take());
        if let Err(error) = self.reopen() {
            tracing::warn!(%error, "the store stays closed until its next use");
        }
        let Ok(now) = self.with(tables::index) else { return Err(error) };
        let is_done =
            matches!((before, now), (Ok(before), Ok(now)) if before != now && now == index);
        if is_done { Ok(()) } else { Err(error) }
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        self.with(read)?.map_err(|error| failed(&self.path, "read", &error))
    }

    /// Runs `work` on the open database.
    fn with<T>(&self, work: impl FnOnce(&Database) -> T) -> Result<T, StoreError> {
        self.reopen()?;
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let closed = || StoreError::Failed {
            path: self.path.clone(),
            what: "opened",
            text: "it was closed after a failure".to_owned(),
        };
        Ok(work(database.as_ref().ok_or_else(closed)?))
    }

    /// Opens the database if it is closed.
    fn reopen(&self) -> Result<(), StoreError> {
        if self.database.read().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Ok(());
        }
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if database.is_none() {
            let opened = (self.open_again)().map_err(|error| open_error(&self.path, error))?;
            *database = Some(opened);
        }
        Ok(())
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

fn open_error(path: &Path, error: DatabaseError) -> StoreError {
    let corrupt = |text| StoreError::Corrupt { path: path.to_owned(), text };
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse(path.to_owned()),
        DatabaseError::Storage(StorageError::Corrupted(text)) => corrupt(text),
        // No agent ever wrote another version of the format.
        error @ DatabaseError::UpgradeRequired(_) => corrupt(error.to_string()),
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
