//! A program of the node whose sockets are told step by step what to do.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::Path,
    process::{ChildStdin, ChildStdout, Command, Stdio},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, bail};

use crate::lab::{Lab, Namespace, Process, binaries};

/// The running program.
#[derive(Debug)]
pub struct Script {
    _process: Process,
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Lab {
    /// Starts one in a namespace, in the lab's cgroup.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn script(&self, namespace: &Namespace) -> Result<Script> {
        self.script_in(namespace, self.cgroup())
    }

    /// The same in another cgroup.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn script_in(&self, namespace: &Namespace, cgroup: &Path) -> Result<Script> {
        let mut command = Command::new(binaries::helper("sockets")?);
        command.arg("--cgroup").arg(cgroup);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let process = Process::start(self.undo(), namespace, &mut command)?;
        let (stdin, stdout) = process.pipes()?;
        Ok(Script { _process: process, pipes: Mutex::new((stdin, BufReader::new(stdout))) })
    }
}

impl Script {
    /// Has one thing done; what there is to say of it.
    ///
    /// # Errors
    ///
    /// What the system says, or if the program has ended.
    pub fn run(&self, line: &str) -> Result<String> {
        let mut pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        let (stdin, stdout) = &mut *pipes;
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).context("tell a program")?;
        let mut said = String::new();
        stdout.read_line(&mut said).context("listen to a program")?;
        match said.trim_end().split_once(' ') {
            Some(("ok", said)) => Ok(said.to_owned()),
            Some(("error", error)) => bail!("{line}: {error}"),
            _ if said.trim_end() == "ok" => Ok(String::new()),
            _ => bail!("{line}: the program has ended"),
        }
    }

    /// Opens a socket; a name that is in use gets another.
    ///
    /// # Errors
    ///
    /// As [`Script::run`].
    pub fn open(&self, name: &str, kind: &str) -> Result<()> {
        self.run(&format!("open {name} {kind}")).map(drop)
    }

    /// Connects a socket.
    ///
    /// # Errors
    ///
    /// As [`Script::run`].
    pub fn connect(&self, name: &str, to: SocketAddr) -> Result<()> {
        self.run(&format!("connect {name} {to}")).map(drop)
    }

    /// Dissolves a socket's connection, as `connect` with `AF_UNSPEC` does.
    ///
    /// # Errors
    ///
    /// As [`Script::run`].
    pub fn disconnect(&self, name: &str) -> Result<()> {
        self.run(&format!("disconnect {name}")).map(drop)
    }

    /// Whom a socket believes to be connected to.
    ///
    /// # Errors
    ///
    /// As [`Script::run`].
    pub fn peer(&self, name: &str) -> Result<SocketAddr> {
        Ok(self.run(&format!("peer {name}"))?.parse()?)
    }

    /// Asks by a connected socket; whom the answer comes from, and the answer.
    ///
    /// # Errors
    ///
    /// As [`Script::run`].
    pub fn ask(&self, name: &str) -> Result<(SocketAddr, String)> {
        self.run(&format!("send {name} who?"))?;
        self.receive(name)
    }

    /// Asks `to` by a socket; as [`Script::ask`].
    ///
    /// # Errors
    ///
    /// As [`Script::run`].
    pub fn ask_of(&self, name: &str, to: SocketAddr) -> Result<(SocketAddr, String)> {
        self.run(&format!("sendto {name} {to} who?"))?;
        self.receive(name)
    }

    /// Waits for a datagram; whom it comes from, and its text.
    ///
    /// # Errors
    ///
    /// As [`Script::run`], or if none comes.
    pub fn receive(&self, name: &str) -> Result<(SocketAddr, String)> {
        let said = self.run(&format!("receive {name}"))?;
        let (from, text) = said.split_once(' ').context("no address")?;
        Ok((from.parse()?, text.to_owned()))
    }
}
