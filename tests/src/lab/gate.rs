//! Keeps labs that run side by side, also of several test programs, from starving each other.

use std::{fs::File, path::PathBuf};

use anyhow::{Context, Result};

/// Labs that run at once on the machine.
const PLACES: u32 = 2;

/// A place among the labs that run; given back when dropped.
#[derive(Debug)]
pub struct Gate {
    _locks: Vec<File>,
}

impl Gate {
    /// Waits for one place.
    ///
    /// # Errors
    ///
    /// If the lock's file cannot be opened.
    pub fn enter() -> Result<Self> {
        for place in 0..PLACES {
            let lock = open(place)?;
            if lock.try_lock().is_ok() {
                return Ok(Self { _locks: vec![lock] });
            }
        }
        let lock = open(std::process::id() % PLACES)?;
        lock.lock().context("wait for another lab")?;
        Ok(Self { _locks: vec![lock] })
    }

    /// Waits for all places: no other lab runs meanwhile.
    ///
    /// # Errors
    ///
    /// If the lock's file cannot be opened.
    pub fn alone() -> Result<Self> {
        let mut locks = Vec::new();
        for place in 0..PLACES {
            let lock = open(place)?;
            lock.lock().context("wait for another lab")?;
            locks.push(lock);
        }
        Ok(Self { _locks: locks })
    }
}

fn open(place: u32) -> Result<File> {
    let path: PathBuf = std::env::temp_dir().join(format!("canary-lab-{place}.lock"));
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))
}
