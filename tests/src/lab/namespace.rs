//! A network namespace and the ways into it.

use std::{
    fs::{self, File},
    io::Write,
    panic,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};

use super::undo::{Step, Undo};

/// A named network namespace, as `ip netns` lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace with its loopback up, and registers its removal.
    ///
    /// # Errors
    ///
    /// If `ip` fails, which needs root.
    pub fn create(undo: &Undo, name: &str) -> Result<Self> {
        let namespace = undo.make(|| {
            run(Command::new("ip").args(["netns", "add", name]), "")?;
            let namespace = Self { name: name.to_owned() };
            let undone = namespace.clone();
            let step: Step = Box::new(move || {
                if undone.path().exists() {
                    let _ = undone.delete();
                }
            });
            Ok((namespace, step))
        })?;
        // An address that is still being probed for duplicates cannot be connected from.
        namespace.sysctl("net/ipv6/conf/all/accept_dad", "0")?;
        namespace.sysctl("net/ipv6/conf/default/accept_dad", "0")?;
        namespace.ip(&["link set lo up"])?;
        Ok(namespace)
    }

    /// Removes its name; it goes with the last process in it.
    ///
    /// # Errors
    ///
    /// If it is gone already.
    pub fn delete(&self) -> Result<()> {
        run(Command::new("ip").args(["netns", "delete", &self.name]), "")
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// Runs `work` on a thread of its own inside the namespace.
    ///
    /// A thread, since entering a namespace changes the calling thread for good.
    ///
    /// # Errors
    ///
    /// If the namespace cannot be entered.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let handle = File::open(self.path()).with_context(|| format!("open namespace {self}"))?;
        thread::scope(|scope| {
            let thread = scope.spawn(move || -> Result<T> {
                setns(&handle, CloneFlags::CLONE_NEWNET).context("enter namespace")?;
                Ok(work())
            });
            thread.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked))
        })
    }

    /// Starts a program inside the namespace; mounts, among them bpffs and cgroups, stay the host's.
    ///
    /// # Errors
    ///
    /// If the namespace cannot be entered or the program cannot be started.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        // A child starts in the namespaces of the thread that forks it.
        self.enter(|| command.spawn())?
            .with_context(|| format!("start {}", command.get_program().display()))
    }

    /// Runs a program inside the namespace to its end.
    ///
    /// # Errors
    ///
    /// If the namespace cannot be entered or the program cannot be started.
    pub fn output(&self, command: &mut Command) -> Result<Output> {
        self.enter(|| command.output())?
            .with_context(|| format!("run {}", command.get_program().display()))
    }

    /// Sets a kernel parameter, named by its path below `/proc/sys`.
    ///
    /// # Errors
    ///
    /// If the kernel has no such parameter or refuses the value.
    pub fn sysctl(&self, parameter: &str, value: &str) -> Result<()> {
        // The kernel shows each thread the parameters of its own namespace.
        self.enter(|| fs::write(Path::new("/proc/sys").join(parameter), value))?
            .with_context(|| format!("set {parameter} to {value} in {self}"))
    }

    /// Runs commands of `ip` inside the namespace, all in one process.
    ///
    /// # Errors
    ///
    /// If one fails, with what `ip` says.
    pub fn ip(&self, lines: &[impl AsRef<str>]) -> Result<()> {
        let batch: Vec<&str> = lines.iter().map(AsRef::as_ref).collect();
        let input = batch.join("\n") + "\n";
        run(Command::new("ip").args(["-n", &self.name, "-batch", "-"]), &input)
            .with_context(|| format!("in {self}: ip {}", batch.join("; ip ")))
    }
}

impl std::fmt::Display for Namespace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

/// Runs a program to its end with `input` and wants success.
fn run(command: &mut Command, input: &str) -> Result<()> {
    let program = command.get_program().display().to_string();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {program}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).with_context(|| format!("write to {program}"))?;
    }
    let output = child.wait_with_output().with_context(|| format!("wait for {program}"))?;
    if !output.status.success() {
        bail!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
