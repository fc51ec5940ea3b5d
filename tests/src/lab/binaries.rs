//! Where the programs of a lab are.

use std::{
    env,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use anyhow::{Context, Result, bail};

/// The directory given on the command line, before the environment's.
static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();

/// Sets the directory of `canary-agent` and `canaryctl`; the first call counts.
pub fn set_directory(directory: PathBuf) {
    let _ = DIRECTORY.set(directory);
}

/// `canary-agent` or `canaryctl`: from the directory set, from `CANARY_BIN_DIR`, or from beside
/// this program.
///
/// # Errors
///
/// If it is not there, with how to build it.
pub fn product(name: &str) -> Result<PathBuf> {
    let given =
        DIRECTORY.get().cloned().or_else(|| env::var_os("CANARY_BIN_DIR").map(PathBuf::from));
    let found = match &given {
        Some(directory) => Some(directory.join(name)).filter(|path| path.is_file()),
        None => beside(name)?,
    };
    found.with_context(|| {
        let place = given.unwrap_or_else(|| "the directory of this program".into());
        format!(
            "{name} is not in {}: build it with `cargo xtask build` and set CANARY_BIN_DIR",
            place.display()
        )
    })
}

/// A program that is built with the tests.
///
/// # Errors
///
/// If it is not there.
pub fn helper(name: &str) -> Result<PathBuf> {
    match beside(name)? {
        Some(path) => Ok(path),
        None => bail!("the program {name} is missing: build it with `cargo build -p canary-tests`"),
    }
}

/// A program in the directory of this one, or above it: tests live in `deps` below.
fn beside(name: &str) -> Result<Option<PathBuf>> {
    let this = env::current_exe().context("find this program")?;
    Ok(this
        .ancestors()
        .skip(1)
        .take(2)
        .map(|directory: &Path| directory.join(name))
        .find(|path| path.is_file()))
}
