//! The way into another network namespace.

use std::fs::File;
use std::path::Path;
use std::{panic, thread};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};

/// Does something in the network namespace that a file stands for: on a thread of its own, since
/// entering one changes the calling thread for good.
///
/// # Errors
///
/// If the namespace cannot be entered, and what `work` says.
pub(in crate::kernel) fn enter<T: Send>(
    path: &Path,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            setns(&file, CloneFlags::CLONE_NEWNET)
                .with_context(|| format!("enter {} (CAP_SYS_ADMIN)", path.display()))?;
            work()
        });
        thread.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked))
    })
}
