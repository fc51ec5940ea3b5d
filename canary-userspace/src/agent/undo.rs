//! Undo: entries of a service as they were.

use serde_json::Value;

use super::Agent;
use super::transaction::Change;
use super::verbs::of_file;
use crate::audit::{Action, Intent};
use crate::document::Changed;
use crate::engine::Edit;
use crate::entry;
use crate::refusal::Refusal;
use crate::source::{EntryKey, KINDS};
use crate::store::Past;

impl Agent {
    /// Puts back the entries that were in force before the service's last change or, with `to`,
    /// after the change with that number.
    ///
    /// # Errors
    ///
    /// The [`Refusal`]; nothing has changed then.
    pub fn undo(
        &mut self,
        intent: &Intent,
        service: &str,
        to: Option<u64>,
    ) -> Result<Changed, Refusal> {
        if to.is_none() && self.engine.state().brake(service).is_some() {
            return self.undo_brake(intent, service);
        }
        let past = match to {
            Some(number) => self.entries_after(service, number)?,
            None => self.books.past.get(service).cloned().ok_or_else(|| {
                Refusal::not_found(format!(
                    "no change of service {service:?} is known that could be undone"
                ))
            })?,
        };
        let edits = self.edits_back_to(service, &past)?;
        self.change_of(service, Change::new(Action::Undo, intent, edits))
    }

    /// The entries of a service as they were after a change: those of today without what every
    /// later change did, the last one first.
    fn entries_after(&self, service: &str, number: u64) -> Result<Past, Refusal> {
        let log = self.store.log();
        if !log.knows(service, number)? {
            return Err(Refusal::not_found(format!(
                "no change {number} of service {service:?} is known"
            )));
        }
        let mut past = Past::new();
        for kind in KINDS {
            let entry = self.engine.state().entry(&(kind.to_owned(), service.to_owned()));
            let json = entry.map_or(Value::Null, |entry| entry::to_json(&entry.value));
            past.insert(kind.to_owned(), json);
        }
        for record in log.of_service(service, number, usize::MAX)? {
            for altered in record.changes {
                if KINDS.contains(&altered.kind.as_str()) {
                    past.insert(altered.kind, altered.before);
                }
            }
        }
        Ok(past)
    }

    fn edits_back_to(&self, service: &str, past: &Past) -> Result<Vec<Edit>, Refusal> {
        let mut edits = Vec::new();
        for kind in KINDS {
            let key = (kind.to_owned(), service.to_owned());
            let wanted = past.get(kind).unwrap_or(&Value::Null);
            edits.extend(self.edit_back_to(key, wanted)?);
        }
        Ok(edits)
    }

    /// The edit that puts `wanted` in force; `None` if it is.
    fn edit_back_to(&self, key: EntryKey, wanted: &Value) -> Result<Option<Edit>, Refusal> {
        let current = self.engine.state().entry(&key);
        if current.as_ref().map_or(Value::Null, |entry| entry::to_json(&entry.value)) == *wanted {
            return Ok(None);
        }
        let below = self.engine.state().hidden_entry(&key);
        if below.is_some_and(|entry| entry::to_json(&entry.value) == *wanted) {
            return Ok(Some(Edit::Entry(key, None)));
        }
        if !wanted.is_null() {
            let decoded = entry::parse(wanted.to_string().as_bytes())
                .map_err(|error| Refusal::failed(error.to_string()))?;
            return Ok(Some(Edit::Entry(key, Some(Box::new(decoded.entry)))));
        }
        let of_a_file = below.or(current.as_ref()).filter(|entry| entry.origin.is_of_file());
        match of_a_file {
            Some(entry) => Err(of_file(&format!("{}/{}", key.0, key.1), &entry.origin)),
            None => Ok(Some(Edit::Entry(key, None))),
        }
    }
}
