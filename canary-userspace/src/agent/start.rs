//! The start: what the store and the files say, or else what was in force last.

use std::collections::BTreeMap;
use std::fs;
use std::net::UdpSocket;
use std::time::Instant;

use anyhow::Context;
use ring::digest::{SHA256, digest};
use tokio::sync::mpsc;

use super::change::Entries;
use super::checks::{Unsaved, stored_check};
use super::follow::Followed;
use super::state::{Edit, State};
use super::{Agent, SourceState, Topics};
use crate::audit::{Action, Author};
use crate::catalog::{DATACENTER, Node, Origin, Pairs, Sourced, parse_registration};
use crate::compile::Compiler;
use crate::datapath::Datapath;
use crate::entry;
use crate::error::{ConfigError, Position};
use crate::health::{Change as HealthChange, Checks, Remembered};
use crate::settings::{Settings, Source};
use crate::source::{Definitions, Following, Indices, News, consul, files};
use crate::store::{Contents, Opened, SourceFile, Stored, Write};

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
        let store_lost = warning.is_some();
        if let Some(warning) = &warning {
            tracing::error!("{warning}");
        }
        // Only traffic that is already flowing must not be judged anew.
        let adopted = datapath.revision() > 0;
        let (checks, changes) = Checks::new(remembered(&contents, adopted));
        let layer = match &settings.source {
            Source::Files => Origin::Store,
            Source::Consul(_) => Origin::Followed(consul::KIND),
        };
        let mut agent = Self {
            config_dirs: settings.config_dirs.clone(),
            state: State::new(node(settings), layer),
            store,
            datapath,
            checks,
            compiler: Compiler::default(),
            remarks: warning.into_iter().collect(),
            indices: BTreeMap::new(),
            past: contents.past.clone(),
            instance_indices: BTreeMap::new(),
            check_indices: BTreeMap::new(),
            index_at_start: 1,
            // One further: nobody knows what changed while no agent ran.
            index: contents.index.saturating_add(1),
            reserved: 0,
            topics: Topics::new(contents.index.saturating_add(1)),
            last_change: contents.last_change,
            source: SourceState::default(),
            frozen: None,
            store_lost,
            late: None,
            unsaved: Unsaved::default(),
            followed: None,
        };
        agent.move_index(agent.index);
        let news = match &settings.source {
            Source::Files => {
                agent.load_store(&contents)?;
                agent.first_revision(&contents, adopted)?;
                None
            }
            Source::Consul(consul) => {
                let kept = agent.store.followed(consul::KIND)?;
                let (following, news) = consul::follow(consul, kept.as_ref())?;
                agent.begin_to_follow(following, &contents);
                Some(news)
            }
        };
        agent.index_at_start = agent.index;
        // What was there at the start has not changed since.
        agent.topics.compare(None, &agent.state.snapshot.instances);
        Ok(Started { agent, changes, news })
    }

    /// Takes what the source said before as what is in force, and leaves the store's layer out.
    fn begin_to_follow(&mut self, following: Following, contents: &Contents) {
        let unused = [
            (contents.entries.len(), "config entries"),
            (contents.registrations.len(), "registrations"),
        ];
        for (count, what) in unused.into_iter().filter(|(count, _)| *count > 0) {
            let kind = following.kind;
            self.remarks
                .push(format!("{count} {what} in the store are not used: {kind} is followed"));
        }
        self.followed = Some(Followed::new(following));
        self.remember_followed();
    }

    /// Fills the store's layer.
    fn load_store(&mut self, contents: &Contents) -> anyhow::Result<()> {
        for ((kind, name), stored) in &contents.entries {
            let decoded = entry::parse(stored.json.to_string().as_bytes())
                .with_context(|| format!("the store's {kind}/{name} cannot be used"))?;
            let key = (kind.clone(), name.clone());
            self.indices.insert(key.clone(), indices(stored));
            self.state.apply(Edit::Entry(key, Some(Box::new(decoded.entry))));
        }
        for (id, stored) in &contents.registrations {
            let instance = parse_registration(stored.json.to_string().as_bytes())
                .with_context(|| format!("the store's registration {id:?} cannot be used"))?;
            self.instance_indices.insert(id.clone(), indices(stored));
            self.state.apply(Edit::Instance(id.clone(), Some(Box::new(instance))));
        }
        for (id, stored) in &contents.checks {
            let check = stored_check(id, &stored.json)
                .with_context(|| format!("the store's check {id:?} cannot be used"))?;
            self.check_indices.insert(id.clone(), indices(stored));
            self.state.apply(Edit::Check(id.clone(), Some(check)));
        }
        Ok(())
    }

    /// Publishes what files and store say; if that cannot be, what they said last.
    fn first_revision(&mut self, contents: &Contents, adopted: bool) -> anyhow::Result<()> {
        if adopted && self.store_lost && self.load_files().is_ok() {
            tracing::warn!("{UNTIL_IMPORT}");
            self.frozen = Some(UNTIL_IMPORT.to_owned());
            self.remarks.push(UNTIL_IMPORT.to_owned());
            return Ok(());
        }
        let Err(error) = self.try_files(contents) else { return Ok(()) };
        tracing::error!(error = %error, "the configuration cannot be used");
        self.source.error = Some((error.clone(), Instant::now()));
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
        self.frozen = Some(error);
        Ok(())
    }

    /// Takes note of what files define, and publishes nothing.
    fn load_files(&mut self) -> Result<(), String> {
        let files = files::read(&self.config_dirs).map_err(|error| error.to_string())?;
        let mut set = files::decode(&files).map_err(|errors| lines(&errors))?;
        set.splits.clear();
        self.state.apply(Edit::Files(set));
        self.watch_checks(None);
        self.refresh_health(None);
        Ok(())
    }

    fn try_files(&mut self, contents: &Contents) -> Result<(), String> {
        let files = files::read(&self.config_dirs).map_err(|error| error.to_string())?;
        self.try_set(&files)?;
        let last_good = self.store.last_good().unwrap_or_default();
        self.note_start(contents, last_good.is_some_and(|kept| kept != files));
        self.keep_last_good(files);
        Ok(())
    }

    fn try_set(&mut self, files: &[SourceFile]) -> Result<(), String> {
        let mut set = files::decode(files).map_err(|errors| lines(&errors))?;
        let mut places = std::mem::take(&mut set.splits);
        self.state.apply(Edit::Files(set));
        self.state.retain_of_files(&mut places);
        self.refresh_health(None);
        let published = self
            .check_new_files()
            .and_then(|()| self.check_checks())
            .and_then(|()| self.check(None, &places))
            .and_then(|()| self.compile(None))
            .and_then(|next| self.publish(next));
        if let Err(refusal) = published {
            self.state.apply(Edit::Files(Definitions::default()));
            return Err(refusal.text);
        }
        self.watch_checks(None);
        Ok(())
    }

    /// Writes down what is different since the agent ran last. What files say as before keeps its
    /// indices; where a file is another, the index moves, for something may be different.
    fn note_start(&mut self, contents: &Contents, files_differ: bool) {
        let after = self.entries_in(&None);
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
            self.indices.insert(key.clone(), indices(stored));
            before.insert(key.clone(), Sourced { value: decoded.entry, origin });
        }
        let mut ledger = self.ledger(&before, &after, &[]);
        if contents.index == 0 {
            ledger.forget_before();
        }
        ledger.sign(Action::Start, Author::Agent, self.datapath.revision());
        if ledger.writes.is_empty() && !files_differ {
            return;
        }
        if let Err(error) = self.store.commit(ledger.index, &ledger.writes) {
            tracing::error!(%error, "{NOT_KEPT}");
            self.remarks.push(format!("{NOT_KEPT}: {error}"));
        }
        self.index = ledger.index;
        self.record(ledger);
    }

    /// Keeps the files in force for a start at which they cannot be used.
    pub(super) fn keep_last_good(&mut self, files: Vec<SourceFile>) {
        self.remarks.retain(|remark| !remark.starts_with(NOT_KEPT));
        let kept = match self.store.last_good() {
            Ok(Some(kept)) if kept == files => Ok(()),
            Ok(_) => self.store.commit(self.index, &[Write::LastGood(files)]),
            Err(error) => Err(error),
        };
        if let Err(error) = kept {
            tracing::error!(%error, "{NOT_KEPT}");
            self.remarks.push(format!("{NOT_KEPT}: {error}"));
        }
    }
}

/// What is said while the tables hold what the lost store said.
pub(super) const UNTIL_IMPORT: &str = "the tables stay as they are, for the store is lost: `canaryctl \
                                       import` brings a backup of it, `canaryctl reload` goes on \
                                       with the files alone";
/// What is said when the files in force could not be copied.
const NOT_KEPT: &str = "the files in force are not kept for a restart";

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
