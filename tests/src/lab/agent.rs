//! The real agent in a lab, and the real command line that speaks to it.

use std::{
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use canary_userspace::document::{Service, Status};
use nix::sys::signal::Signal;
use serde::de::DeserializeOwned;

use super::{Lab, Pod, Process, binaries};

/// How long a start or an end may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the agent starts with.
#[derive(Clone, Debug, Default)]
pub struct AgentOptions {
    /// Files of its configuration directory: name and content.
    pub files: Vec<(String, String)>,
    /// Arguments beyond those that every lab passes.
    pub args: Vec<String>,
}

impl AgentOptions {
    /// Adds a file to the configuration directory.
    #[must_use]
    pub fn file(mut self, name: impl Into<String>, content: impl Into<String>) -> Self {
        self.files.push((name.into(), content.into()));
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<T: Into<String>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }
}

/// An agent of a lab, running or not; what it did to the kernel lives on without it.
#[derive(Debug)]
pub struct Agent<'lab> {
    lab: &'lab Lab,
    args: Vec<String>,
    process: Mutex<Process>,
}

impl Lab {
    /// Where the agent reads its files.
    #[must_use]
    pub fn config_directory(&self) -> PathBuf {
        self.directory().join("config")
    }

    /// Where the agent logs.
    #[must_use]
    pub fn agent_log(&self) -> PathBuf {
        self.directory().join("agent.log")
    }

    /// Starts the agent on the node and waits until it is ready.
    ///
    /// # Errors
    ///
    /// If it does not start, or is not ready in time.
    pub fn agent(&self, options: AgentOptions) -> Result<Agent<'_>> {
        let config = self.config_directory();
        fs::create_dir_all(&config).context("make the configuration directory")?;
        for (name, content) in &options.files {
            fs::write(config.join(name), content).with_context(|| format!("write {name}"))?;
        }
        let process = self.start_agent(&options.args)?;
        let agent = Agent { lab: self, args: options.args, process: Mutex::new(process) };
        agent.wait_ready()?;
        Ok(agent)
    }

    /// Starts the agent with this lab's directories, without waiting for it.
    ///
    /// # Errors
    ///
    /// If the program is missing or cannot be started.
    pub fn start_agent(&self, args: &[String]) -> Result<Process> {
        self.start_agent_at(self.socket(), args)
    }

    /// The same with its socket elsewhere.
    ///
    /// # Errors
    ///
    /// If the program is missing or cannot be started.
    pub fn start_agent_at(&self, socket: &Path, args: &[String]) -> Result<Process> {
        self.start_command(Command::new(binaries::product("canary-agent")?), socket, args)
    }

    /// The same by way of `command`, which runs what its arguments name.
    ///
    /// # Errors
    ///
    /// If the program cannot be started.
    pub fn start_agent_with(&self, command: Command, args: &[String]) -> Result<Process> {
        self.start_command(command, self.socket(), args)
    }

    fn start_command(
        &self,
        mut command: Command,
        socket: &Path,
        args: &[String],
    ) -> Result<Process> {
        let log = File::options().create(true).append(true).open(self.agent_log())?;
        command
            .arg("--config-dir")
            .arg(self.config_directory())
            .arg("--data-dir")
            .arg(self.directory().join("data"))
            .arg("--socket")
            .arg(socket)
            .arg("--bpffs")
            .arg(self.bpffs())
            .arg("--cgroup")
            .arg(self.cgroup())
            .args(args)
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Process::start(self.undo(), self.node(), &mut command)
    }

    /// The form of the agent's address that its clients take.
    #[must_use]
    pub fn agent_address(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Runs `canaryctl` against this lab's agent, on the node.
    ///
    /// # Errors
    ///
    /// If the program is missing or cannot be started; its own failure is in the output.
    pub fn ctl_output(&self, args: &[impl AsRef<OsStr>]) -> Result<Output> {
        let mut command = Command::new(binaries::product("canaryctl")?);
        command.env("CANARY_AGENT", self.agent_address()).args(args).stdin(Stdio::null());
        self.node().output(&mut command)
    }

    /// Runs `canaryctl`, wants success and gives what it printed.
    ///
    /// # Errors
    ///
    /// If it fails, with what it said.
    pub fn ctl(&self, args: &[impl AsRef<OsStr>]) -> Result<String> {
        let output = self.ctl_output(args)?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let words: Vec<_> = args.iter().map(|arg| arg.as_ref().to_string_lossy()).collect();
            let stderr = String::from_utf8_lossy(&output.stderr);
            bail!("canaryctl {}: {}: {stdout}{stderr}", words.join(" "), output.status);
        }
        Ok(stdout.into_owned())
    }

    /// Runs a reading verb with `--json` and reads its document.
    ///
    /// # Errors
    ///
    /// If it fails or prints something else.
    pub fn ctl_json<T: DeserializeOwned>(&self, args: &[&str]) -> Result<T> {
        let mut args = args.to_vec();
        args.push("--json");
        let text = self.ctl(&args)?;
        serde_json::from_str(&text).with_context(|| format!("canaryctl {args:?} printed {text}"))
    }

    /// The agent's status.
    ///
    /// # Errors
    ///
    /// If the agent cannot be asked.
    pub fn status(&self) -> Result<Status> {
        self.ctl_json(&["status"])
    }

    /// A service's part of the status.
    ///
    /// # Errors
    ///
    /// If the agent cannot be asked, or has no such service.
    pub fn service(&self, name: &str) -> Result<Service> {
        self.ctl_json(&["status", name])
    }

    /// Sets weights, such as `blue=90`.
    ///
    /// # Errors
    ///
    /// If the change is refused.
    pub fn set_split(&self, service: &str, weights: &[&str]) -> Result<String> {
        self.ctl(&[&["split", "set", service], weights].concat())
    }

    /// Writes a file into the lab's directory and gives its path.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn file(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.directory().join(name);
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    /// Writes a config entry through the agent.
    ///
    /// # Errors
    ///
    /// If it is refused.
    pub fn write_entry(&self, name: &str, content: &str) -> Result<String> {
        let path = self.file(name, content)?;
        self.ctl(&["config".as_ref(), "write".as_ref(), path.as_os_str()])
    }

    /// Registers the service of a definition through the agent.
    ///
    /// # Errors
    ///
    /// If it is refused.
    pub fn register(&self, name: &str, content: &str) -> Result<String> {
        let path = self.file(name, content)?;
        self.ctl(&["service".as_ref(), "register".as_ref(), path.as_os_str()])
    }

    /// Waits until the agent serves a pod's interface.
    ///
    /// # Errors
    ///
    /// If that does not come about in time.
    pub fn wait_served(&self, pod: &Pod) -> Result<Duration> {
        super::wait_for(&format!("{} to be served", pod.name), PATIENCE, || {
            let interfaces = self.status()?.interfaces;
            Ok(interfaces.iter().any(|interface| interface.name == pod.interface))
        })
    }

    /// Waits until the agent holds `healthy` backends of a service well, over all its splits.
    ///
    /// # Errors
    ///
    /// If that does not come about in time.
    pub fn wait_healthy(&self, service: &str, healthy: u64) -> Result<Duration> {
        let condition = format!("{healthy} healthy backends of {service}");
        super::wait_for(&condition, PATIENCE, || {
            let service = self.service(service)?;
            Ok(service.splits.iter().map(|split| split.backends.healthy).sum::<u64>() == healthy)
        })
    }
}

impl Agent<'_> {
    /// The running process.
    #[must_use]
    pub fn process(&self) -> Process {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends it without warning.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn kill9(&self) -> Result<()> {
        self.process().kill()
    }

    /// Asks it to stop and waits for it; the datapath stays.
    ///
    /// # Errors
    ///
    /// If it does not end in time, or not with success.
    pub fn terminate(&self) -> Result<()> {
        let process = self.process();
        process.signal(Signal::SIGTERM)?;
        let status = process.wait(PATIENCE)?;
        if !status.success() {
            bail!("the agent ended with {status} on SIGTERM");
        }
        Ok(())
    }

    /// Starts it again with the same arguments, without waiting.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn start(&self) -> Result<()> {
        let process = self.lab.start_agent(&self.args)?;
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = process;
        Ok(())
    }

    /// Starts it again and waits until it is ready.
    ///
    /// # Errors
    ///
    /// If it does not start, or is not ready in time.
    pub fn restart(&self) -> Result<()> {
        self.start()?;
        self.wait_ready()
    }

    /// Waits until the first revision is in force.
    ///
    /// # Errors
    ///
    /// If the agent ends instead, or is not ready in time.
    pub fn wait_ready(&self) -> Result<()> {
        // The socket comes first; `status --wait` may be told to wait for it or not.
        let process = self.process();
        super::wait_for("the agent's socket to answer", PATIENCE, || {
            if let Some(status) = process.ended()? {
                bail!(
                    "the agent ended with {status}:\n{}",
                    super::show::tail(self.lab.agent_log())
                );
            }
            Ok(std::os::unix::net::UnixStream::connect(self.lab.socket()).is_ok())
        })?;
        self.lab.ctl(&["status", "--wait", "--timeout", "30s"]).map(drop)
    }

    /// Removes everything from the kernel, stopping the agent if it runs.
    ///
    /// # Errors
    ///
    /// If `canaryctl detach` fails.
    pub fn detach(&self) -> Result<String> {
        self.lab.detach(&["--stop"])
    }
}

impl Lab {
    /// Runs `canaryctl detach` for this lab's pins and cgroup.
    ///
    /// # Errors
    ///
    /// If it fails, with what it said.
    pub fn detach(&self, args: &[&str]) -> Result<String> {
        let bpffs = self.bpffs();
        let mut all = vec!["detach".as_ref(), "--bpffs".as_ref(), bpffs.as_os_str()];
        all.extend(args.iter().map(OsStr::new));
        self.ctl(&all)
    }
}
