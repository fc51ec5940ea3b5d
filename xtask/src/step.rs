//! Running other programs: one line says what, a failure says which command and what to do.

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::Uid;

/// Says what comes next.
pub(crate) fn say(title: &str) {
    eprintln!("==> {title}");
}

/// Runs `command` under a title; its output goes to stderr, since stdout is for results.
pub(crate) fn run(title: &str, command: &mut Command, hint: &str) -> Result<()> {
    run_visibly(title, command.stdout(Stdio::from(io::stderr())), hint)
}

/// Runs `command` under a title and lets it write where it wants.
pub(crate) fn run_visibly(title: &str, command: &mut Command, hint: &str) -> Result<()> {
    say(title);
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(status.success(), "{title} failed ({status}): {command:?}\n{hint}");
    Ok(())
}

/// Becomes `command`: signals reach it and its exit code is ours.
pub(crate) fn become_command(title: &str, command: &mut Command) -> Result<()> {
    say(title);
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start {command:?}"))
}

/// What `command` printed.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot start {command:?}"))?;
    ensure!(output.status.success(), "it failed ({}): {command:?}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What `command` printed without its complaints, or `None` if it cannot be run or fails.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Refuses to go on without root.
pub(crate) fn ensure_root(what: &str) -> Result<()> {
    if Uid::effective().is_root() {
        return Ok(());
    }
    bail!(
        "{what} needs root (BPF programs, network namespaces): run it as root, such as with sudo -E"
    )
}
