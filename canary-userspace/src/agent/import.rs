//! Export and import: everything that the store defines, as files.

use std::collections::BTreeSet;

use super::Agent;
use super::start::lines;
use super::transaction::Change;
use crate::audit::{Action, Altered, Intent};
use crate::catalog::{Origin, to_check_definition, to_definition, to_maintenance};
use crate::document::{Applied, Difference, Export};
use crate::engine::Edit;
use crate::entry;
use crate::refusal::Refusal;
use crate::source::files;
use crate::source::{Definitions, EntryKey, key_of};
use crate::store::SourceFile;

impl Agent {
    /// What the store defines; with `all`, what is in force from files too.
    #[must_use]
    pub fn export(&self, all: bool) -> Export {
        let wanted = |origin: &Origin| all || *origin == Origin::Store;
        let entries =
            self.engine.state().entries().into_iter().filter(|entry| wanted(&entry.origin));
        let instances = self.instances().iter().filter(|instance| wanted(&instance.origin));
        let checks = self.engine.state().checks.values().filter(|check| wanted(&check.origin));
        let (maintenance, checks): (Vec<_>, Vec<_>) =
            checks.map(|check| &check.value).partition(|lone| lone.is_maintenance());
        Export {
            entries: entries.map(|entry| entry::to_json(&entry.value)).collect(),
            services: instances.map(|registered| to_definition(&registered.instance)).collect(),
            checks: checks.into_iter().map(to_check_definition).collect(),
            maintenance: maintenance.into_iter().map(to_maintenance).collect(),
        }
    }

    /// Takes what `files` define into the store, as one change; with `replace`, what the store
    /// has and they do not is deleted.
    ///
    /// # Errors
    ///
    /// What is wrong with them, with file, line and column; nothing has changed then.
    pub fn import(
        &mut self,
        intent: &Intent,
        files: &[SourceFile],
        replace: bool,
    ) -> Result<Applied, Refusal> {
        let set = files::decode(files).map_err(|errors| Refusal::invalid(lines(&errors)))?;
        let origins = Origins::of(&set);
        let warnings = set.warnings;
        let mut edits = Vec::new();
        if replace {
            let of_store = |origin: &Origin| !origin.is_of_file();
            let entries = self.engine.state().entries().into_iter();
            let keys = entries.filter(|e| of_store(&e.origin)).map(|e| key_of(&e.value));
            let gone: BTreeSet<EntryKey> =
                keys.filter(|key| !set.entries.contains_key(key)).collect();
            edits.extend(gone.into_iter().map(|key| Edit::Entry(key, None)));
            let ids = self.instances().iter().filter(|i| of_store(&i.origin));
            let ids = ids.map(|registered| &registered.instance.id);
            let gone = ids.filter(|id| !set.instances.contains_key(*id));
            edits.extend(gone.map(|id| Edit::Instance(id.clone(), None)));
            let checks =
                self.engine.state().checks.iter().filter(|(_, check)| of_store(&check.origin));
            let gone = checks.map(|(id, _)| id).filter(|id| !set.checks.contains_key(*id));
            edits.extend(gone.map(|id| Edit::Check(id.clone(), None)));
        }
        let entries = set.entries.into_iter();
        edits.extend(entries.map(|(key, entry)| Edit::Entry(key, Some(Box::new(entry.value)))));
        let instances = set.instances.into_iter();
        edits.extend(
            instances.map(|(id, instance)| Edit::Instance(id, Some(Box::new(instance.value)))),
        );
        let checks = set.checks.into_iter();
        edits.extend(checks.map(|(id, check)| Edit::Check(id, Some(check.value))));
        let change = Change::new(Action::Import, intent, edits);
        let change = Change { places: set.splits, ..change };
        let mut applied = self.apply(change).map_err(|refusal| origins.place(refusal))?;
        applied.warnings.splice(0..0, warnings.into_iter().map(super::report::warning));
        Ok(applied)
    }

    /// Makes a change that is about any services, and says what is different.
    ///
    /// # Errors
    ///
    /// The [`Refusal`]; nothing has changed then.
    pub(super) fn apply(&mut self, change: Change) -> Result<Applied, Refusal> {
        let revision_before = self.engine.datapath().revision();
        let dry_run = change.intent.dry_run;
        self.change(change, |agent, altered| agent.applied(altered, revision_before, dry_run))
    }

    /// What a change about any services did.
    pub(super) fn applied(
        &self,
        altered: &[Altered],
        revision_before: u64,
        dry_run: bool,
    ) -> Applied {
        let mut changes: Vec<Difference> = altered.iter().map(difference).collect();
        changes.sort();
        let warnings = self.all_warnings().into_iter().map(super::report::warning);
        let revision = self.engine.datapath().revision();
        Applied { changes, revision_before, revision, dry_run, warnings: warnings.collect() }
    }
}

/// Where the definitions of an import are, for refusals that name only the definition.
struct Origins {
    /// By what refusals call checks, instances and services, in this order: one that names
    /// something is about it.
    by_name: Vec<(String, Origin)>,
    paths: BTreeSet<String>,
}

impl Origins {
    fn of(set: &Definitions) -> Self {
        let checks =
            set.checks.iter().map(|(id, c)| (format!("check id {id:?}"), c.origin.clone()));
        let instances = set.instances.iter().map(|(id, i)| (format!("{id:?}"), i.origin.clone()));
        let entries =
            set.entries.iter().map(|((_, name), e)| (format!("{name:?}"), e.origin.clone()));
        let by_name: Vec<_> = checks.chain(instances).chain(entries).collect();
        let path = |(_, origin): &(String, Origin)| match origin {
            Origin::File { path, .. } => Some(path.clone()),
            Origin::Store | Origin::Followed(_) => None,
        };
        Self { paths: by_name.iter().filter_map(path).collect(), by_name }
    }

    /// The refusal with the place of what it names, if it has none.
    fn place(&self, mut refusal: Refusal) -> Refusal {
        let text = &refusal.text;
        let placed = self.paths.iter().any(|path| text.starts_with(path));
        let named = |(name, _): &&(String, Origin)| text.contains(name);
        if let Some((_, origin)) = self.by_name.iter().find(named).filter(|_| !placed) {
            refusal.text = format!("{}: {text}", files::place(origin));
        }
        refusal
    }
}

fn difference(altered: &Altered) -> Difference {
    let how = match (altered.before.is_null(), altered.after.is_null()) {
        (true, _) => "new",
        (false, true) => "gone",
        (false, false) => "changed",
    };
    Difference {
        service: altered.service.clone(),
        kind: altered.kind.clone(),
        name: altered.name.clone(),
        how: how.to_owned(),
    }
}
