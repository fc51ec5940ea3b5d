//! A program that a lab started, and that ends with it.

use std::{
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    namespace::Namespace,
    undo::{Step, Undo},
    wait::wait_for,
};

/// A running program; killed and reaped when its lab ends.
#[derive(Clone, Debug)]
pub struct Process {
    child: Arc<Mutex<Child>>,
    id: u32,
}

impl Process {
    /// Starts `command` in `namespace`.
    ///
    /// # Errors
    ///
    /// If the program cannot be started.
    pub fn start(undo: &Undo, namespace: &Namespace, command: &mut Command) -> Result<Self> {
        // Its own group: Ctrl-C in a terminal must reach the lab alone, which then ends
        // everything in order.
        std::os::unix::process::CommandExt::process_group(command, 0);
        undo.make(|| {
            let child = namespace.spawn(command)?;
            let process = Self { id: child.id(), child: Arc::new(Mutex::new(child)) };
            let undone = process.clone();
            let step: Step = Box::new(move || {
                let _ = undone.kill();
            });
            Ok((process, step))
        })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Takes the pipes to its standard input and output.
    ///
    /// # Errors
    ///
    /// If it was started without them, or they were taken before.
    pub fn pipes(&self) -> Result<(ChildStdin, ChildStdout)> {
        let mut child = self.child();
        let stdin = child.stdin.take().context("no pipe to the program's input")?;
        let stdout = child.stdout.take().context("no pipe from the program's output")?;
        Ok((stdin, stdout))
    }

    /// Sends a signal, unless it has ended.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let mut child = self.child();
        // Not reaped yet, so the id cannot be another program's.
        if child.try_wait().context("look after a program")?.is_none() {
            let id = i32::try_from(child.id()).context("process id")?;
            kill(Pid::from_raw(id), signal).with_context(|| format!("send {signal} to {id}"))?;
        }
        Ok(())
    }

    /// Ends it at once and reaps it.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn kill(&self) -> Result<()> {
        let mut child = self.child();
        child.kill().context("kill a program")?;
        child.wait().context("wait for a killed program")?;
        Ok(())
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn ended(&self) -> Result<Option<ExitStatus>> {
        self.child().try_wait().context("look after a program")
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    ///
    /// If it still runs after `timeout`.
    pub fn wait(&self, timeout: Duration) -> Result<ExitStatus> {
        let mut status = None;
        wait_for(&format!("the end of process {}", self.id), timeout, || {
            status = self.ended()?;
            Ok(status.is_some())
        })?;
        let Some(status) = status else { bail!("process {} has no status", self.id) };
        Ok(status)
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
