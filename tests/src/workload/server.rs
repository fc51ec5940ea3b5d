//! A pod's program, seen from the lab.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{ChildStdin, ChildStdout, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::control::{READY, REPORT, Report};
use crate::lab::{Lab, Namespace, Process, binaries};

/// What a pod serves.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// What it calls itself.
    pub name: String,
    /// Port of the tutorial's HTTP service.
    pub http: Option<u16>,
    /// Ports that answer with the name, over TCP and UDP.
    pub echo: Vec<u16>,
    /// Ports that send back what they get for as long as the client likes.
    pub hold: Vec<u16>,
    /// What the HTTP service calls, each over a new connection.
    pub upstreams: Vec<SocketAddr>,
    /// How long it waits for an upstream.
    pub timeout: Duration,
    /// The fault: how long an HTTP answer takes.
    pub delay: Duration,
}

impl ServerOptions {
    /// A server that answers with its name on `port`.
    #[must_use]
    pub fn echo(name: &str, port: u16) -> Self {
        Self { name: name.to_owned(), echo: vec![port], ..Self::default() }
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(binaries::helper("pod")?);
        command.args(["--name", &self.name]);
        if let Some(port) = self.http {
            command.args(["--http", &port.to_string()]);
        }
        for (flag, ports) in [("--echo", &self.echo), ("--hold", &self.hold)] {
            for port in ports {
                command.args([flag, &port.to_string()]);
            }
        }
        for upstream in &self.upstreams {
            command.args(["--upstream", &upstream.to_string()]);
        }
        command
            .args(["--timeout-ms", &self.timeout.as_millis().to_string()])
            .args(["--delay-ms", &self.delay.as_millis().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        Ok(command)
    }
}

/// A running pod's program.
#[derive(Debug)]
pub struct Server {
    name: String,
    process: Process,
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Lab {
    /// Starts a pod's program in `namespace` and waits until its ports are open.
    ///
    /// # Errors
    ///
    /// If the program is missing, or a port is taken.
    pub fn serve(&self, namespace: &Namespace, options: &ServerOptions) -> Result<Server> {
        let process = Process::start(self.undo(), namespace, &mut options.command()?)?;
        let (stdin, stdout) = process.pipes()?;
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        stdout.read_line(&mut line).context("wait for a pod")?;
        ensure!(line.trim_end() == READY, "pod {} did not start", options.name);
        Ok(Server { name: options.name.clone(), process, pipes: Mutex::new((stdin, stdout)) })
    }
}

impl Server {
    /// What it calls itself.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it saw so far.
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub fn report(&self) -> Result<Report> {
        let mut pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        let (stdin, stdout) = &mut *pipes;
        writeln!(stdin, "{REPORT}").with_context(|| format!("ask pod {}", self.name))?;
        let mut line = String::new();
        stdout.read_line(&mut line).with_context(|| format!("hear pod {}", self.name))?;
        serde_json::from_str(&line).with_context(|| format!("pod {} said {line:?}", self.name))
    }

    /// Lets it serve nobody, and what comes wait, until it is resumed.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn pause(&self) -> Result<()> {
        self.process.signal(Signal::SIGSTOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn resume(&self) -> Result<()> {
        self.process.signal(Signal::SIGCONT)
    }

    /// Ends it without warning.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn kill(&self) -> Result<()> {
        self.process.kill()
    }
}
