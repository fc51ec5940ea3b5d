//! What can be asked of the agent: entries, registrations, files.

use std::sync::Arc;

use super::held::Believed;
use super::source::Destination;
use super::start::decode;
use super::transaction::Change;
use super::{Agent, heap};
use crate::audit::{Action, Intent};
use crate::catalog::{Origin, Registered, Sourced};
use crate::compile::Warning;
use crate::document::{Applied, Changed};
use crate::engine::Edit;
use crate::entry::Entry;
use crate::refusal::Refusal;
use crate::source::directory::Directory;
use crate::source::files::place;
use crate::source::{EntryKey, Indices, key_of};

impl Agent {
    /// Writes a config entry and says what moved; `None` if `cas` names another state than the
    /// one in force.
    ///
    /// # Errors
    ///
    /// The [`Refusal`]; nothing has changed then.
    pub fn write_entry(
        &mut self,
        intent: &Intent,
        entry: Entry,
        cas: Option<u64>,
    ) -> Result<Option<Changed>, Refusal> {
        let key = key_of(&entry);
        if !self.is_at(&key, cas) {
            return Ok(None);
        }
        let service = key.1.clone();
        let edits = vec![Edit::Entry(key, Some(Box::new(entry)))];
        self.change_of(&service, Change::new(Action::Write, intent, edits)).map(Some)
    }

    /// Deletes a config entry and says what moved; `None` if `cas` names another state than the
    /// one in force.
    ///
    /// # Errors
    ///
    /// The [`Refusal`]: a file defines it, or something in force needs it.
    pub fn delete_entry(
        &mut self,
        intent: &Intent,
        key: EntryKey,
        cas: Option<u64>,
    ) -> Result<Option<Changed>, Refusal> {
        if !self.is_at(&key, cas) {
            return Ok(None);
        }
        let service = key.1.clone();
        let edits = match self.engine.state().entry(&key) {
            // What cannot be served is not here, and may be deleted at the source.
            None if self.source.destination() == Destination::Source => {
                vec![Edit::Entry(key, None)]
            }
            // Deleting what is not there is done already.
            None => Vec::new(),
            Some(entry) if !entry.origin.is_of_file() => vec![Edit::Entry(key, None)],
            Some(entry) => {
                let (kind, name) = key;
                return Err(of_file(&format!("{kind}/{name}"), &entry.origin));
            }
        };
        self.change_of(&service, Change::new(Action::Delete, intent, edits)).map(Some)
    }

    /// Consul's check-and-set: 0 is the index of what is not there.
    fn is_at(&self, key: &EntryKey, cas: Option<u64>) -> bool {
        let modify = self.books.indices.get(key).map_or(0, |indices| indices.modify);
        // A followed source may be ahead of what is known of it here: it judges.
        self.source.destination() == Destination::Source || cas.is_none_or(|cas| cas == modify)
    }

    /// The config entry in force, and its indices.
    #[must_use]
    pub fn entry(&self, key: &EntryKey) -> Option<(Entry, Indices)> {
        let indices = self.books.indices.get(key).copied().unwrap_or_default();
        self.engine.state().entry(key).map(|entry| (entry.value, indices))
    }

    /// The config entries in force of one kind, by name, and their indices.
    #[must_use]
    pub fn entries(&self, kind: &str) -> Vec<(Entry, Indices)> {
        let keyed =
            self.engine.state().entries().into_iter().map(|entry| (key_of(&entry.value), entry));
        keyed
            .filter(|(key, _)| key.0 == kind)
            .map(|(key, entry)| {
                (entry.value, self.books.indices.get(&key).copied().unwrap_or_default())
            })
            .collect()
    }

    /// The instances in force, by service and id.
    #[must_use]
    pub fn instances(&self) -> &[Arc<Registered>] {
        &self.engine.state().snapshot.instances
    }

    /// The instance in force.
    #[must_use]
    pub fn instance(&self, id: &str) -> Option<&Registered> {
        self.engine.state().instance(id).map(|registered| &**registered)
    }

    /// The instances in force of one service, by id.
    #[must_use]
    pub fn instances_of(&self, service: &str) -> &[Arc<Registered>] {
        self.engine.state().snapshot.instances_of(service)
    }

    /// Takes a set of files that was read as what is wanted, and says what differs.
    ///
    /// # Errors
    ///
    /// What is wrong with it, or which part of it cannot be believed; the set before stays in force.
    pub fn reload_with(
        &mut self,
        intent: &Intent,
        read: Result<Vec<Directory>, Refusal>,
    ) -> Result<Applied, Refusal> {
        if let Some(followed) = self.source.followed() {
            if !intent.dry_run {
                followed.read_again();
            }
            return Ok(self.applied(&[], self.engine.datapath().revision(), intent.dry_run));
        }
        let result = read.and_then(|read| self.try_reload(intent, read));
        heap::give_back();
        if intent.dry_run {
            return result;
        }
        match &result {
            Ok(_) => {
                self.source.note_files(None);
                tracing::info!(revision = self.engine.datapath().revision(), "reloaded");
            }
            Err(refusal) => {
                tracing::error!(error = %refusal, "the files are refused");
                self.source.note_files(Some(refusal.text.clone()));
            }
        }
        result
    }

    fn try_reload(&mut self, intent: &Intent, read: Vec<Directory>) -> Result<Applied, Refusal> {
        let Believed { files, held } = self.believe(read)?;
        if let Some(refusal) = Self::refusal_of(&held) {
            if !intent.dry_run {
                self.note_held(&held);
            }
            return Err(refusal);
        }
        let (set, places) = decode(&files)?;
        let edits = vec![Edit::Files(set)];
        let change = Change::new(Action::Reload, intent, edits);
        let applied = self.apply(Change { places, files: Some(files), ..change })?;
        if !intent.dry_run {
            self.note_held(&[]);
        }
        Ok(applied)
    }

    /// What people should know of one service.
    #[must_use]
    pub fn warnings_of(&self, service: &str) -> Vec<Warning> {
        self.all_warnings().into_iter().filter(|warning| warning.service == service).collect()
    }

    /// Where the entry in force was defined.
    pub(super) fn origin(&self, key: &EntryKey) -> Option<Origin> {
        self.engine.state().entry(key).map(|Sourced { origin, .. }| origin)
    }
}

/// The refusal to delete what a file defines.
pub(super) fn of_file(what: &str, origin: &Origin) -> Refusal {
    Refusal::invalid(format!("{what} is defined in {}: delete it there and reload", place(origin)))
}
