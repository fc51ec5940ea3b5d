//! The start: what the store and the files say, or else what was in force last.

use std::collections::BTreeMap;
use std::fs;
use std::net::UdpSocket;
use std::path::Path;

use anyhow::Context;
use ring::digest::{SHA256, digest};
use tokio::sync::mpsc;

use super::Agent;
use super::checks::{Unsaved, stored_check};
use super::follow::Followed;
use super::held::{Believed, Holds};
use super::ledger::Books;
use super::notice::{Notice, UNTIL_IMPORT};
use super::source::{Files, Source};
use crate::audit::{Action, Author};
use crate::catalog::{DATACENTER, Node, Origin, Pairs, Sourced, parse_registration};
use crate::datapath::Datapath;
use crate::engine::{Edit, Engine, Entries, State};
use crate::entry;
use crate::error::{ConfigError, Position};
use crate::health::{Change as HealthChange, Checks, Remembered};
use crate::refusal::Refusal;
use crate::settings::{self, Settings};
use crate::source::directory::{STILL_WITHIN, read_each, read_still};
use crate::source::{Definitions, Indices, News, SplitPlaces, consul, files};
use crate::store::{self, Contents, Opened, SourceFile, StoreError, Stored, Write};

/// An agent, and what it is to listen to.
pub(crate) struct Started {
    pub(crate) agent: Agent,
    /// Of its checks.
    pub(crate) changes: mpsc::Receiver<HealthChange>,
    /// Of the source it follows.
    pub(crate) news: Option<mpsc::Receiver<News>>,
}

impl Agent {
    /// An agent whose first revision is in force, or is once the source it follows has answered.
    ///
    /// # Errors
    ///
    /// Why no revision can be in force: the configuration cannot be used, and there is none of
    /// before.
    pub(crate) fn start(
        settings: &Settings,
        opened: Opened,
        datapath: Box<dyn Datapath>,
    ) -> anyhow::Result<Started> {
        let Opened { store, contents, warning } = opened;
        // Only traffic that is already flowing must not be judged anew.
        let adopted = datapath.revision() > 0;
        let is_new = contents == Contents::default() && store.last_good()?.is_none();
        let warning = warning.or_else(|| (adopted && is_new).then(|| missing(&settings.data_dir)));
        let store_lost = warning.is_some();
        if let Some(warning) = &warning {
            tracing::error!("{warning}");
        }
        let (checks, changes) = Checks::new(remembered(&contents, adopted));
        let mut books = Books::new(&contents);
        let (source, state, news): (Box<dyn Source>, _, _) = match &settings.source {
            settings::Source::Files => {
                let state =
                    of_store(State::new(node(settings), Origin::Store), &contents, &mut books)?;
                (Box::new(Files::new(settings.config_dirs.clone())), state, None)
            }
            settings::Source::Consul(consul) => {
                let kept = store.followed(consul::KIND)?;
                let (following, news) = consul::follow(consul, kept.as_ref())?;
                let state = State::new(node(settings), Origin::Followed(consul::KIND));
                (Box::new(Followed::new(following)), state, Some(news))
            }
        };
        let mut agent = Self {
            engine: Engine::new(state, datapath),
            source,
            store,
            books,
            checks,
            notices: warning.into_iter().map(Notice::Store).collect(),
            store_lost,
            unsaved: Unsaved::default(),
            debts: BTreeMap::new(),
            holds: Holds::default(),
            planned: None,
        };
        agent.move_index(agent.books.index);
        if news.is_some() {
            agent.note_unused(&contents);
            agent.remember_followed(&contents)?;
        } else {
            agent.first_revision(&contents, adopted)?;
        }
        agent.remember_debts();
        agent.books.index_at_start = agent.books.index;
        // What was there at the start has not changed since.
        agent.books.topics.compare(None, &agent.engine.state().snapshot.instances);
        Ok(Started { agent, changes, news })
    }

    /// Says of what is written in the store that the source which is followed is used instead.
    fn note_unused(&mut self, contents: &Contents) {
        let unused = [
            (contents.entries.len(), "config entries"),
            (contents.registrations.len(), "registrations"),
        ];
        let followed = self.source.kind();
        let unused = unused.into_iter().filter(|(count, _)| *count > 0);
        self.notices.extend(unused.map(|(count, what)| Notice::Unused { count, what, followed }));
    }

    /// Publishes what files and store say; if that cannot be, what they said last.
    fn first_revision(&mut self, contents: &Contents, adopted: bool) -> anyhow::Result<()> {
        if adopted
            && self.store_lost
            && let Ok(Some(difference)) = self.want_files()
        {
            tracing::warn!(%difference, "{UNTIL_IMPORT}");
            self.engine.freeze(UNTIL_IMPORT.to_owned());
            self.notices.push(Notice::UntilImport);
            return Ok(());
        }
        let Err(error) = self.try_files(contents) else { return Ok(()) };
        tracing::error!(error = %error, "the configuration cannot be used");
        self.source.note_files(Some(error.text.clone()));
        let last_good = self.store.last_good()?;
        let fallback = match last_good.map(|files| self.try_set(&files)) {
            Some(Ok(())) => {
                tracing::warn!("the last good configuration stays in force");
                self.note_start(contents, false);
                return Ok(());
            }
            Some(Err(error)) => format!("the last good configuration cannot be used: {error}"),
            None => "no earlier configuration is known".to_owned(),
        };
        anyhow::ensure!(adopted, "{error}");
        tracing::warn!(%fallback, "the tables stay as they are");
        self.engine.freeze(error.text);
        Ok(())
    }

    /// Takes what files define as what is wanted where the tables hold something else, and
    /// publishes nothing; says what differs.
    fn want_files(&mut self) -> Result<Option<String>, Refusal> {
        let (set, _) = decode(&self.read_files()?.files)?;
        let transaction = self.prepare(vec![Edit::Files(set)], SplitPlaces::default())?;
        let difference = self.engine.differs_from_tables(&transaction.prepared);
        if difference.is_some() {
            self.engine.want(transaction.prepared);
            self.watch_checks(None);
        }
        Ok(difference)
    }

    fn try_files(&mut self, contents: &Contents) -> Result<(), Refusal> {
        let Believed { files, held } = self.read_files()?;
        self.try_set(&files)?;
        let last_good = self.store.last_good().unwrap_or_default();
        self.note_start(contents, last_good.is_some_and(|kept| kept != files));
        self.keep_last_good(files);
        self.note_held(&held);
        Ok(())
    }

    fn try_set(&mut self, files: &[SourceFile]) -> Result<(), Refusal> {
        let (set, places) = decode(files)?;
        let transaction = self.prepare(vec![Edit::Files(set)], places)?;
        self.engine.verify(&transaction.prepared)?;
        self.put_in_force(transaction.prepared, &None, true);
        // Nothing is in force yet that could stay until the kernel takes it.
        match self.engine.late() {
            Some(error) if self.engine.datapath().revision() == 0 => Err(Refusal::failed(error)),
            _ => Ok(()),
        }
    }

    /// The files of the configuration directories, with the last content of those that are held.
    ///
    /// # Errors
    ///
    /// What of them cannot be read.
    fn read_files(&self) -> Result<Believed, Refusal> {
        let directories = self.source.directories().unwrap_or_default();
        let read = read_still(directories, STILL_WITHIN).or_else(|error| {
            // A lock that git left behind must not keep the agent from starting.
            tracing::warn!(%error, "the files are read as they are");
            read_each(directories)
        });
        self.believe(read.map_err(|error| Refusal::invalid(error.to_string()))?)
    }

    /// Writes down what is different since the agent ran last. What files say as before keeps its
    /// indices; where a file is another, the index moves, for something may be different.
    fn note_start(&mut self, contents: &Contents, files_differ: bool) {
        let after = self.engine.state().entries_in(&None);
        let of_store = after.iter().filter(|(_, entry)| entry.origin == Origin::Store);
        let mut before: Entries =
            of_store.map(|(key, entry)| (key.clone(), entry.clone())).collect();
        for (key, stored) in &contents.file_entries {
            // What this version cannot read any more counts as gone.
            let Ok(decoded) = entry::parse(stored.json.to_string().as_bytes()) else { continue };
            let origin = match after.get(key) {
                Some(entry) => entry.origin.clone(),
                None => Origin::File { path: String::new(), position: Position::default() },
            };
            self.books.indices.insert(key.clone(), indices(stored));
            before.insert(key.clone(), Sourced { value: decoded.entry, origin });
        }
        let mut ledger = self.books.compare_entries(&[before, after]);
        if contents.index == 0 {
            ledger.forget_before();
        }
        ledger.sign(Action::Start, Author::Agent, self.engine.datapath().revision());
        if ledger.writes.is_empty() && !files_differ {
            return;
        }
        if let Err(error) = self.store.commit(ledger.index, &ledger.writes) {
            self.note_not_kept(&error);
        }
        self.books.index = ledger.index;
        self.record(ledger);
    }

    /// Keeps the files in force for a start at which they cannot be used.
    fn keep_last_good(&mut self, files: Vec<SourceFile>) {
        if self.keeps(&files) {
            return;
        }
        if let Err(error) = self.store.commit(self.books.index, &[Write::LastGood(files)]) {
            self.note_not_kept(&error);
        }
    }

    /// Whether the store has these files as those that were in force last.
    pub(super) fn keeps(&self, files: &[SourceFile]) -> bool {
        self.store.last_good().is_ok_and(|kept| kept.is_some_and(|kept| kept == files))
    }

    pub(super) fn note_not_kept(&mut self, error: &StoreError) {
        let notice = Notice::FilesNotKept(error.to_string());
        tracing::error!("{notice}");
        self.notices.retain(|notice| !matches!(notice, Notice::FilesNotKept(_)));
        self.notices.push(notice);
    }
}

/// The definitions of a set of files, and where its splits are.
///
/// # Errors
///
/// What is wrong with them, one file a line.
pub(super) fn decode(files: &[SourceFile]) -> Result<(Definitions, SplitPlaces), Refusal> {
    let mut set = files::decode(files).map_err(|errors| Refusal::invalid(lines(&errors)))?;
    let places = std::mem::take(&mut set.splits);
    Ok((set, places))
}

/// What the store has, as what is wanted.
fn of_store(mut state: State, contents: &Contents, books: &mut Books) -> anyhow::Result<State> {
    for ((kind, name), stored) in &contents.entries {
        let decoded = entry::parse(stored.json.to_string().as_bytes())
            .with_context(|| format!("the store's {kind}/{name} cannot be used"))?;
        let key = (kind.clone(), name.clone());
        books.indices.insert(key.clone(), indices(stored));
        state.apply(Edit::Entry(key, Some(Box::new(decoded.entry))));
    }
    for (id, stored) in &contents.registrations {
        let instance = parse_registration(stored.json.to_string().as_bytes())
            .with_context(|| format!("the store's registration {id:?} cannot be used"))?;
        books.instances.insert(id.clone(), indices(stored));
        state.apply(Edit::Instance(id.clone(), Some(Box::new(instance))));
    }
    for (id, stored) in &contents.checks {
        let check = stored_check(id, &stored.json)
            .with_context(|| format!("the store's check {id:?} cannot be used"))?;
        books.checks.insert(id.clone(), indices(stored));
        state.apply(Edit::Check(id.clone(), Some(check)));
    }
    Ok(state)
}

/// What is said of a store that was not there where tables are in force.
fn missing(data_dir: &Path) -> String {
    format!(
        "{}: the store was missing or empty while the tables are in force: a new one was begun, and \
         what the API wrote is gone",
        data_dir.join(store::FILE_NAME).display()
    )
}

/// Errors of several files, one a line.
pub(super) fn lines(errors: &[ConfigError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn indices(stored: &Stored) -> Indices {
    Indices { create: stored.create_index, modify: stored.modify_index }
}

/// States of checks to begin with. A probe judges anew where no traffic flows that this could
/// harm; what a client said of a `ttl` check holds until it lapses.
fn remembered(contents: &Contents, adopted: bool) -> BTreeMap<String, Remembered> {
    let known = contents.check_states.iter().filter_map(|(id, json)| {
        let known: Remembered = serde_json::from_value(json.clone()).ok()?;
        (adopted || known.is_ttl()).then(|| (id.clone(), known))
    });
    known.collect()
}

fn node(settings: &Settings) -> Node {
    let host = || fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = settings.node_name.clone().unwrap_or_else(|| host().trim().to_owned());
    let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let address = default_address().unwrap_or_default();
    let tagged = ["lan", "wan"].map(|tag| (tag.to_owned(), address.clone()));
    Node {
        id: node_id(machine.trim(), &name),
        datacenter: DATACENTER.to_owned(),
        tagged_addresses: if address.is_empty() { Pairs::default() } else { tagged.into() },
        name,
        address,
        meta: settings.node_meta.clone().into(),
    }
}

/// A UUID of the application's own making (RFC 9562, version 8): the same for the same node on the
/// same machine, and as that document asks, nothing that gives the machine's own id away.
fn node_id(machine: &str, name: &str) -> String {
    let digest = digest(&SHA256, format!("canary node\0{machine}\0{name}").as_bytes());
    let mut bytes = [0_u8; 16];
    bytes.iter_mut().zip(digest.as_ref()).for_each(|(byte, digest)| *byte = *digest);
    let number = u128::from_be_bytes(bytes);
    let number = number & !(0xf << 76) & !(0b11 << 62) | 8 << 76 | 0b10 << 62;
    let hex = format!("{number:032x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| hex.get(range).unwrap_or(""));
    parts.join("-")
}

/// The address that the default route is used with. Nothing is sent: connecting only looks it up.
fn default_address() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // An address of TEST-NET-1 (RFC 5737): on no network, so behind the default route.
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_one_id_for_ever_and_no_other_has_it() {
        let id = node_id("4c1e", "node-1");

        assert_eq!(id, node_id("4c1e", "node-1"));
        assert_ne!(id, node_id("4c1e", "node-2"));
        assert_ne!(id, node_id("4c1f", "node-1"));
        let shape: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(shape, [8, 4, 4, 4, 12]);
        assert_eq!(&id[14..15], "8");
        assert!("89ab".contains(&id[19..20]), "{id}");
    }
}
