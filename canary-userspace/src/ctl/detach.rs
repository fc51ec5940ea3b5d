//! `detach`: this node as if the agent had never run.

use std::path::Path;
use std::time::Duration;

use super::args;
use super::console::Console;
use super::failure::Failure;
use crate::kernel::pins::{LockError, Pins, Removed};

/// How long a stopped agent may take to let go.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// Removes programs, maps and pins; nothing there is no failure.
///
/// # Errors
///
/// [`Failure::Error`] if an agent runs and shall not be stopped, or the kernel refuses.
pub fn run(options: &args::Detach, console: &mut Console<'_>) -> Result<(), Failure> {
    // Held to the end, so that no agent starts in the middle.
    let _lock = match Pins::lock(&options.bpffs) {
        Err(LockError::Held { pid: Some(pid), .. }) if options.stop => {
            console.say(format_args!("stopping canary-agent (pid {pid})"))?;
            Pins::stop_owner(&options.bpffs, STOP_TIMEOUT).map_err(|error| failure(&error))?
        }
        outcome => outcome.map_err(|error| failure(&error))?,
    };
    let removed = Pins::remove_all(&options.bpffs)?;
    report(&options.bpffs, removed, console)
}

fn failure(error: &LockError) -> Failure {
    match error {
        LockError::Held { .. } => Failure::Error(format!(
            "{error}; stop it first, or let `canaryctl detach --stop` do it"
        )),
        LockError::Io { .. } => Failure::Error(error.to_string()),
    }
}

fn report(bpffs: &Path, removed: Removed, console: &mut Console<'_>) -> Result<(), Failure> {
    if removed == Removed::default() {
        return console.say(format_args!("nothing to detach under {}", bpffs.display()));
    }
    console.data(format_args!(
        "Detached: links {}, programs {}, maps {}",
        removed.links, removed.programs, removed.maps
    ))
}
