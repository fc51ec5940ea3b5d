//! Waiting for a stated condition, with a deadline.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use super::undo;

/// How often a condition is looked at.
const PERIOD: Duration = Duration::from_millis(5);

/// Waits until `holds` says so and tells how long that took.
///
/// # Errors
///
/// If the condition fails, does not hold after `timeout`, or the process is interrupted; the
/// text names `condition`.
pub fn wait_for(
    condition: &str,
    timeout: Duration,
    mut holds: impl FnMut() -> Result<bool>,
) -> Result<Duration> {
    let start = Instant::now();
    while !holds()? {
        if start.elapsed() > timeout {
            bail!("waited {timeout:?} in vain for {condition}");
        }
        if undo::interrupted() {
            bail!("interrupted while waiting for {condition}");
        }
        thread::sleep(PERIOD);
    }
    Ok(start.elapsed())
}
