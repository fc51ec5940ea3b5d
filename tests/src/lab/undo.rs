//! What a lab made and how it is undone: on drop, on panic, on SIGINT and SIGTERM.
//!
//! Things are made under a lock that an interrupted process takes first, so that nothing is
//! ever made and not known.

use std::{
    collections::BTreeMap,
    process,
    sync::{
        Mutex, MutexGuard, Once, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use anyhow::{Result, bail};
use tokio::signal::unix::{SignalKind, signal};

/// Undoes one thing; does nothing if it is gone already.
pub type Step = Box<dyn FnOnce() + Send>;

/// Everything made and not yet undone, by owner.
static STACKS: Mutex<BTreeMap<u64, Vec<Step>>> = Mutex::new(BTreeMap::new());

/// `true` once the process is ending: nothing more is made.
static ENDING: RwLock<bool> = RwLock::new(false);

/// Held while steps run, so that the process does not exit between two of them.
static UNDOING: Mutex<()> = Mutex::new(());

/// The things one owner made, undone last first when it is dropped.
#[derive(Debug)]
pub struct Undo {
    id: u64,
}

impl Undo {
    /// An empty stack; the first one of the process starts to watch for SIGINT and SIGTERM.
    #[must_use]
    pub fn new() -> Self {
        static WATCH: Once = Once::new();
        static NEXT: AtomicU64 = AtomicU64::new(0);
        WATCH.call_once(|| {
            thread::spawn(undo_on_signal);
        });
        Self { id: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    /// Makes something together with the step that undoes it.
    ///
    /// # Errors
    ///
    /// What `create` fails with, or that the process was interrupted.
    pub fn make<T>(&self, create: impl FnOnce() -> Result<(T, Step)>) -> Result<T> {
        let ending = ENDING.read().unwrap_or_else(PoisonError::into_inner);
        if *ending {
            bail!("interrupted");
        }
        let (made, step) = create()?;
        stacks().entry(self.id).or_default().push(step);
        Ok(made)
    }

    /// Undoes everything made so far, last first.
    pub fn run(&self) {
        let _undoing = UNDOING.lock().unwrap_or_else(PoisonError::into_inner);
        let steps = stacks().remove(&self.id);
        for step in steps.into_iter().flatten().rev() {
            step();
        }
    }
}

impl Default for Undo {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        self.run();
    }
}

/// Undoes what every owner made and lets nothing more be made.
pub fn run_all() {
    *ENDING.write().unwrap_or_else(PoisonError::into_inner) = true;
    let _undoing = UNDOING.lock().unwrap_or_else(PoisonError::into_inner);
    let all = std::mem::take(&mut *stacks());
    for step in all.into_values().rev().flat_map(|steps| steps.into_iter().rev()) {
        step();
    }
}

/// `true` once the process is ending because it was interrupted.
#[must_use]
pub fn interrupted() -> bool {
    *ENDING.read().unwrap_or_else(PoisonError::into_inner)
}

fn stacks() -> MutexGuard<'static, BTreeMap<u64, Vec<Step>>> {
    STACKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for SIGINT or SIGTERM, undoes everything and exits as a shell expects.
fn undo_on_signal() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return;
    };
    let code = runtime.block_on(async {
        let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return None;
        };
        tokio::select! {
            _ = interrupt.recv() => Some(130),
            _ = terminate.recv() => Some(143),
        }
    });
    if let Some(code) = code {
        run_all();
        process::exit(code);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn things_are_undone_last_first_and_once() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let undo = Undo::new();
        for number in 0..3 {
            let order = Arc::clone(&order);
            let step: Step = Box::new(move || order.lock().unwrap().push(number));
            undo.make(|| Ok(((), step))).unwrap();
        }

        undo.run();
        drop(undo);

        assert_eq!(*order.lock().unwrap(), [2, 1, 0]);
    }

    #[test]
    fn what_could_not_be_made_is_not_undone() {
        let undo = Undo::new();
        let made: Result<()> = undo.make(|| bail!("no room"));

        assert_eq!(made.unwrap_err().to_string(), "no room");
        assert!(!stacks().contains_key(&undo.id));
    }
}
