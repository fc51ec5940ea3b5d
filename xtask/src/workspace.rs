//! Where things are.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::step;

/// The checkout and its build directory.
pub(crate) struct Workspace {
    /// Directory of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's target directory.
    pub(crate) target: PathBuf,
    /// Target triple of this machine.
    pub(crate) host: String,
    /// The members' manifests.
    pub(crate) manifests: Vec<PathBuf>,
}

impl Workspace {
    /// Asks cargo and rustc.
    pub(crate) fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask stands in no workspace")?
            .to_owned();
        let mut metadata = cargo_program();
        metadata.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(&root);
        let metadata = step::read(&mut metadata)?;
        let metadata: Value = serde_json::from_str(&metadata).context("read cargo's metadata")?;
        let target = metadata.get("target_directory").and_then(Value::as_str);
        let packages = metadata.get("packages").and_then(Value::as_array);
        let manifests = packages
            .into_iter()
            .flatten()
            .filter_map(|package| package.get("manifest_path").and_then(Value::as_str))
            .map(PathBuf::from)
            .collect();
        let version = step::read(Command::new("rustc").arg("-vV"));
        let version = version.context("install Rust with rustup")?;
        Ok(Self {
            target: target.context("cargo names no target directory")?.into(),
            host: version_field(&version, "host").context("rustc names no host")?.to_owned(),
            root,
            manifests,
        })
    }

    /// What setup installs, kept apart from the system.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// Cargo's own directory for the BPF programs: another compiler, other fingerprints.
    pub(crate) fn bpf_target(&self) -> PathBuf {
        self.target.join("bpf")
    }

    /// The BPF programs as one ELF object.
    pub(crate) fn bpf_object(&self) -> PathBuf {
        self.bpf_target().join("bpfel-unknown-none/release/canary")
    }

    /// The programs that only the benchmark loads.
    pub(crate) fn bench_object(&self) -> PathBuf {
        self.bpf_target().join("bpfel-unknown-none/release/canary-bench")
    }

    /// Where the finished binaries are.
    pub(crate) fn release(&self) -> PathBuf {
        self.target.join("release")
    }

    /// Cargo in the workspace.
    ///
    /// The BPF object is named to every call once it exists, so that no two of them disagree
    /// and build the agent's library again.
    pub(crate) fn cargo(&self, verb: &str) -> Command {
        let mut cargo = cargo_program();
        cargo.arg(verb).current_dir(&self.root);
        let object = self.bpf_object();
        if object.exists() {
            cargo.env("CANARY_BPF_OBJECT", object);
        }
        cargo
    }
}

/// The cargo that runs us, else the one on the path.
pub(crate) fn cargo_program() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// A field of `rustc -vV`, such as `host`.
pub(crate) fn version_field<'a>(version: &'a str, field: &str) -> Option<&'a str> {
    let mut fields = version.lines().filter_map(|line| line.split_once(": "));
    fields.find(|(name, _)| *name == field).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_version_are_found_by_their_whole_name() {
        let version =
            "rustc 1.96.0\nbinary: rustc\nhost: x86_64-unknown-linux-gnu\nLLVM version: 22.1.8\n";

        assert_eq!(version_field(version, "host"), Some("x86_64-unknown-linux-gnu"));
        assert_eq!(version_field(version, "LLVM version"), Some("22.1.8"));
        assert_eq!(version_field(version, "version"), None);
    }
}
