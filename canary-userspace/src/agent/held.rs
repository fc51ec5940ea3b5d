//! Inputs that cannot be believed: their last content stays, everything else goes on.
//!
//! What is judged is the input, not how much it would take away. A configuration directory that is
//! gone, cannot be listed or became empty where it was not is held; a file that is deleted is not.

mod removals;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ring::digest::{SHA256, digest};

use self::removals::Removals;
use super::source::Destination;
use super::start::decode;
use super::transaction::Change;
use super::{Agent, Handle};
use crate::audit::{Action, Altered, Author, Intent};
use crate::document::{self, Applied};
use crate::engine::Edit;
use crate::refusal::Refusal;
use crate::settings::CONFIG_DIR;
use crate::source::SplitPlaces;
use crate::source::directory::{Content, Directory, STILL_WITHIN, read_each, read_still};
use crate::store::SourceFile;

/// Time between two looks at inputs that are held.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Inputs that are held, by name.
#[derive(Debug, Default)]
pub(super) struct Holds {
    held: BTreeMap<String, Held>,
    looked: Option<Instant>,
    /// Of a followed source.
    removals: Removals,
}

/// An input that cannot be believed.
#[derive(Debug)]
struct Held {
    reason: String,
    since: Instant,
    /// What would go if it were believed.
    removals: Vec<String>,
}

/// A set of files, and the directories of it that cannot be believed.
#[derive(Debug, Default)]
pub(super) struct Believed {
    /// What is to be in force: of a directory that is held, its last content.
    pub(super) files: Vec<SourceFile>,
    /// Directories that are held, and why.
    pub(super) held: Vec<(PathBuf, String)>,
}

impl Holds {
    fn is_held(&self, input: &str) -> bool {
        self.held.contains_key(input)
    }

    /// What is said of it in the source's status.
    pub(super) fn reports(&self) -> Vec<document::Held> {
        let report = |(input, held): (&String, &Held)| document::Held {
            input: input.clone(),
            seconds: held.since.elapsed().as_secs(),
            reason: held.reason.clone(),
            removals: held.removals.clone(),
            digest: digest_of(input, &held.removals),
        };
        self.held.iter().map(report).collect()
    }

    /// What stands for all that goes with `input`, or with every input that is held.
    fn digest(&self, input: Option<&str>) -> String {
        let chosen = |held: &document::Held| input.is_none_or(|input| input == held.input);
        let held = self.reports().into_iter().filter(chosen);
        joined(held.map(|held| held.digest))
    }

    /// Why the source is not well, and since when.
    pub(super) fn fault(&self) -> Option<(String, Instant)> {
        let since = self.held.values().map(|held| held.since).min()?;
        let texts = self.held.iter().map(|(input, held)| sentence(input, &held.reason));
        Some((texts.collect::<Vec<_>>().join("; "), since))
    }
}

impl Handle {
    /// Reads the files again, once they stand still, and says what differs.
    ///
    /// # Errors
    ///
    /// What is wrong with them; the set before stays in force.
    pub async fn reload(&self, intent: Intent) -> Result<Applied, Refusal> {
        let directories = self.call(|agent| agent.directories()).await?;
        let read = tokio::task::spawn_blocking(move || read_still(&directories, STILL_WITHIN));
        let read = read.await.map_err(|error| Refusal::failed(error.to_string()))?;
        let read = read.map_err(|error| Refusal::invalid(error.to_string()));
        self.call(move |agent| agent.reload_with(&intent, read)).await?
    }
}

impl Agent {
    /// The configuration directories; none where another source is followed.
    fn directories(&self) -> Vec<PathBuf> {
        self.source.directories().unwrap_or_default().to_vec()
    }

    /// What of a set that was read can be believed, beside what was in force last.
    ///
    /// # Errors
    ///
    /// A directory that was named and is not there, where nothing of it was ever in force.
    pub(super) fn believe(&self, read: Vec<Directory>) -> Result<Believed, Refusal> {
        let last = self.store.last_good().unwrap_or_default();
        let is_first = last.is_none();
        let last = last.unwrap_or_default();
        let mut believed = Believed::default();
        for Directory { path, content } in read {
            let before: Vec<SourceFile> =
                last.iter().filter(|file| is_in(file, &path)).cloned().collect();
            let reason = match content {
                Content::Files(files) if !files.is_empty() || before.is_empty() => {
                    believed.files.extend(files);
                    continue;
                }
                Content::Missing if before.is_empty() => {
                    if is_first && path != Path::new(CONFIG_DIR) {
                        let path = path.display();
                        let text = format!("{path}: cannot be read: there is no such directory");
                        return Err(Refusal::invalid(text));
                    }
                    continue;
                }
                Content::Unreadable(error) if before.is_empty() => {
                    let text = format!("{}: cannot be read: {error}", path.display());
                    return Err(Refusal::invalid(text));
                }
                Content::Files(_) => "it is empty".to_owned(),
                Content::Missing => "it is gone".to_owned(),
                Content::Unreadable(error) => format!("it cannot be read: {error}"),
            };
            let reason = format!("{reason}, and had {} files in force", before.len());
            believed.files.extend(before);
            believed.held.push((path, reason));
        }
        Ok(believed)
    }

    /// Takes note of which inputs are held; those of before that are not any more are believed.
    pub(super) fn note_held(&mut self, held: &[(PathBuf, String)]) {
        let names: Vec<String> = held.iter().map(|(path, _)| path.display().to_string()).collect();
        self.holds.held.retain(|input, _| {
            let stays = names.contains(input);
            if !stays {
                tracing::info!(%input, "the input is believed again");
            }
            stays
        });
        for ((path, reason), input) in held.iter().zip(names) {
            let removals = self.removals_without(path).unwrap_or_default();
            let since = self.holds.held.get(&input).map_or_else(Instant::now, |held| held.since);
            if !self.holds.is_held(&input) {
                tracing::error!(%input, %reason, "the input is held: its last content stays in force");
            }
            self.holds.held.insert(input, Held { reason: reason.clone(), since, removals });
        }
        self.holds.looked = Some(Instant::now());
    }

    /// The refusal to go on with a set of which a part is held.
    pub(super) fn refusal_of(held: &[(PathBuf, String)]) -> Option<Refusal> {
        let texts = held.iter().map(|(path, reason)| {
            let input = path.display().to_string();
            sentence(&input, reason)
        });
        let texts: Vec<String> = texts.collect();
        (!texts.is_empty()).then(|| Refusal::invalid(texts.join("\n")))
    }

    /// Looks again at what is held, where that is due; what came back is in force then.
    pub(super) fn look_at_held(&mut self, now: Instant) {
        if self.source.destination() == Destination::Source {
            return self.judge_removals(now);
        }
        let due = self.holds.looked.is_none_or(|looked| now >= looked + LOOK_EVERY);
        if self.holds.held.is_empty() || !due {
            return;
        }
        self.holds.looked = Some(now);
        let read = match read_each(&self.directories()) {
            Ok(read) => read,
            Err(error) => return tracing::warn!(%error, "what is held cannot be looked at"),
        };
        match self.believe(read.clone()) {
            Ok(believed) if believed.held.is_empty() => {
                // A refusal is in the log and in status; there is nobody to answer.
                _ = self.reload_with(&Intent::of(Author::Agent), Ok(read));
            }
            Ok(believed) => self.note_held(&believed.held),
            Err(error) => tracing::warn!(%error, "what is held cannot be believed"),
        }
    }

    /// Believes inputs that are held: what they take away goes. Without the right `wanted` digest
    /// nothing changes.
    ///
    /// # Errors
    ///
    /// [`Kind::Conflict`](crate::refusal::Kind::Conflict) if something else would go by now; what
    /// else is wrong with the set.
    pub fn accept(
        &mut self,
        intent: &Intent,
        input: Option<&str>,
        wanted: Option<&str>,
    ) -> Result<Applied, Refusal> {
        let revision = self.engine.datapath().revision();
        if self.holds.held.is_empty() {
            return Ok(self.applied(&[], revision, intent.dry_run));
        }
        if let Some(input) = input.filter(|input| !self.holds.is_held(input)) {
            return Err(Refusal::not_found(format!("the input {input:?} is not held")));
        }
        if self.source.destination() == Destination::Source {
            let digest = self.holds.digest(None);
            check_digest(intent, &digest, wanted)?;
            if !intent.dry_run {
                self.believe_removals(Instant::now());
            }
            return Ok(self.applied(&[], revision, intent.dry_run));
        }
        let read = read_each(&self.directories());
        let read = read.map_err(|error| Refusal::invalid(error.to_string()))?;
        let believed = self.believe(read)?;
        self.note_held(&believed.held);
        let chosen = |path: &Path| input.is_none_or(|input| path == Path::new(input));
        let (accepted, left): (Vec<_>, Vec<_>) =
            believed.held.into_iter().partition(|(path, _)| chosen(path));
        let is_left = |file: &SourceFile| !accepted.iter().any(|(path, _)| is_in(file, path));
        let files: Vec<SourceFile> = believed.files.into_iter().filter(is_left).collect();
        check_digest(intent, &self.holds.digest(input), wanted)?;
        let (set, places) = decode(&files)?;
        let change = Change::new(Action::Accept, intent, vec![Edit::Files(set)]);
        let applied = self.apply(Change { places, files: Some(files), ..change })?;
        if !intent.dry_run {
            self.note_held(&left);
        }
        Ok(applied)
    }

    /// What would go if a directory had nothing.
    fn removals_without(&self, directory: &Path) -> Result<Vec<String>, Refusal> {
        let last = self.store.last_good()?.unwrap_or_default();
        let files: Vec<SourceFile> =
            last.into_iter().filter(|file| !is_in(file, directory)).collect();
        let (set, _) = decode(&files)?;
        let edits = vec![Edit::Files(set)];
        let transaction = self.prepare(edits, SplitPlaces::default())?;
        let altered = transaction.ledger.altered.iter().filter(|altered| !altered.before.is_null());
        Ok(altered.map(name_of).collect())
    }
}

/// Whether the list that goes now is the one that was looked at.
///
/// # Errors
///
/// [`Kind::Conflict`](crate::refusal::Kind::Conflict) with the digest of the list that goes now.
fn check_digest(intent: &Intent, digest: &str, wanted: Option<&str>) -> Result<(), Refusal> {
    if intent.dry_run || wanted == Some(digest) {
        return Ok(());
    }
    let said = if wanted.is_some() { "other or more goes by now" } else { "say which list" };
    Err(Refusal::conflict(format!("{said}: its digest is {digest}")))
}

/// What a definition is called.
fn name_of(Altered { kind, name, .. }: &Altered) -> String {
    format!("{kind}/{name}")
}

fn sentence(input: &str, reason: &str) -> String {
    format!(
        "{input}: held: {reason}: they stay; if that is meant, `canaryctl accept` takes it, by name"
    )
}

/// Whether `file` is one of `directory`.
fn is_in(file: &SourceFile, directory: &Path) -> bool {
    Path::new(&file.path).parent() == Some(directory)
}

/// What stands for a list of removals.
fn digest_of(input: &str, removals: &[String]) -> String {
    let text = [input].into_iter().chain(removals.iter().map(String::as_str));
    let digest = digest(&SHA256, joined(text).as_bytes());
    let first = digest.as_ref().iter().take(6);
    let number = first.fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    format!("{number:012x}")
}

fn joined(texts: impl Iterator<Item = impl AsRef<str>>) -> String {
    let texts = texts.map(|text| text.as_ref().to_owned());
    texts.collect::<Vec<_>>().join("+")
}
