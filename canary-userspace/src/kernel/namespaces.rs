//! Network namespaces of pods: which there are, so that their sockets are served when they connect.
//!
//! A namespace is found by a file that stands for it, and is a pod's if an end of a pod's interface
//! is in it. None is held open: it would outlive its pod. One that is not known yet is no loss, for
//! then packets are served.

mod enter;
mod find;
mod finder;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::HashMap;

pub(super) use self::enter::enter;
pub(super) use self::find::{Candidates, Place};
use self::finder::Finder;
use super::load;
use crate::compile::Warning;
use crate::datapath::SocketsStatus;
use crate::settings::{Settings, SocketLb};

/// Interfaces that are named in a warning.
const NAMED: usize = 3;

/// What there is to look for.
#[derive(Debug)]
enum Ask {
    /// Pods have these interfaces now, by index.
    Pods(BTreeMap<u32, String>),
    /// A namespace could not be entered.
    Again,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Namespaces of pods.
    pub(super) places: Vec<Place>,
    /// They are others than when somebody last asked.
    changed: bool,
    /// Interfaces of pods whose namespace was not found.
    missing: Vec<String>,
    /// Cgroups that are left out.
    excepted: usize,
    /// Those of the setting that are not there.
    absent: Vec<String>,
    /// Why nothing can be found.
    error: Option<String>,
}

/// The thread that looks for namespaces, from outside.
#[derive(Clone, Debug)]
pub(super) struct Namespaces {
    ask: Sender<Ask>,
    known: Arc<Mutex<Known>>,
    whose: SocketLb,
    /// Whether namespaces are looked for at all.
    looks: bool,
}

impl Namespaces {
    /// Starts the thread, in the network namespace of this one; cgroups that are left out are known
    /// when this returns.
    ///
    /// # Errors
    ///
    /// If tables are missing, or the system has no thread for it.
    pub(super) fn start(ebpf: &mut Ebpf, settings: &Settings) -> Result<Self> {
        let table = HashMap::try_from(load::take(ebpf, "NAMESPACES")?).context("NAMESPACES")?;
        let excepted = HashMap::try_from(load::take(ebpf, "EXCEPTED")?).context("EXCEPTED")?;
        let serves = settings.socket_lb == SocketLb::All;
        // Sockets that an earlier agent served still end with their backends.
        let looks = serves || table.keys().next().is_some();
        let (ask, asked) = channel();
        let known = Arc::default();
        let mut finder = Finder {
            table,
            excepted,
            candidates: Candidates::new(settings.netns_dirs.clone()),
            except: settings.socket_lb_except.clone(),
            serves,
            idle: !looks && settings.socket_lb_except.is_empty(),
            known: Arc::clone(&known),
        };
        finder.leave_out()?;
        let own = Self { ask, known, whose: settings.socket_lb, looks };
        // It holds the tables open for programs that are loaded later, whatever there is to do.
        thread::Builder::new()
            .name("namespaces".to_owned())
            .spawn(move || finder.run(&asked))
            .context("start the thread that looks for pods' namespaces")?;
        Ok(own)
    }

    /// Says which interfaces pods have.
    pub(super) fn look(&self, pods: BTreeMap<u32, String>) {
        if self.looks {
            // Without a thread nobody wants to know.
            _ = self.ask.send(Ask::Pods(pods));
        }
    }

    /// Has namespaces looked for once more.
    pub(super) fn look_again(&self) {
        _ = self.ask.send(Ask::Again);
    }

    /// The namespaces of pods.
    pub(super) fn places(&self) -> Vec<Place> {
        self.known().places
    }

    /// Whether they are others than at the last call.
    pub(super) fn have_changed(&self) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut known.changed)
    }

    fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whose sockets are served.
    pub(super) fn status(&self) -> SocketsStatus {
        let known = self.known();
        let serves = self.whose == SocketLb::All;
        SocketsStatus {
            whose: self.whose.word(),
            namespaces: serves.then_some(known.places.len()),
            excepted: known.excepted,
        }
    }

    /// What people should know of it.
    pub(super) fn warnings(&self) -> Vec<Warning> {
        let known = self.known();
        let mut texts = Vec::new();
        if self.whose == SocketLb::All {
            if let Some(error) = known.error {
                texts.push(format!("pods' sockets are served by packets alone: {error}"));
            }
            if let [first, ..] = known.missing.as_slice() {
                let count = known.missing.len();
                let more = if count > NAMED { ", ..." } else { "" };
                let named = match known.missing.get(..NAMED.min(count)) {
                    Some(named) => named.join(", "),
                    None => first.clone(),
                };
                texts.push(format!(
                    "no network namespace was found for {count} of the pods' interfaces ({named}\
                     {more}): their sockets are served by packets; name the directory of the \
                     namespaces' files with --netns-dir, or run the agent with the host's processes \
                     (hostPID)"
                ));
            }
        }
        texts.extend(known.absent.iter().map(|path| {
            format!("--socket-lb-except {path}: no such cgroup, so no socket is left out for it")
        }));
        texts.into_iter().map(|text| Warning { service: String::new(), text }).collect()
    }
}

/// How many namespaces are found for interfaces of pods, and those for which none is.
///
/// # Errors
///
/// If no namespace can be entered.
pub(super) fn count(
    directories: Vec<PathBuf>,
    pods: &BTreeMap<u32, String>,
) -> Result<(usize, Vec<String>)> {
    let found = Candidates::new(directories).find()?;
    let of_pods: Vec<_> = found.iter().filter(|found| found.is_of(pods)).collect();
    let missing = find::missing(pods, &of_pods);
    Ok((of_pods.len(), missing))
}
