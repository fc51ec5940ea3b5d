//! `completions`: a shell's script.

use clap::CommandFactory;

use super::args::{Completions, Options};
use super::console::Console;
use super::failure::Failure;

/// Prints the script.
///
/// # Errors
///
/// [`Failure::Output`]
pub fn run(options: &Completions, console: &mut Console<'_>) -> Result<(), Failure> {
    // Made in memory: the generator panics where its writer fails.
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Options::command(), "canaryctl", &mut script);
    console.raw(&String::from_utf8_lossy(&script))
}
