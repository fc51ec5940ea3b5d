//! The BPF object, then the two binaries that carry it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{elf, step, toolchain::Toolchain, workspace::Workspace};

const BINARIES: [&str; 2] = ["canary-agent", "canaryctl"];

/// Leaves both binaries in `target/release`.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    with(workspace, &Toolchain::ensure(workspace)?)
}

/// The same with a toolchain at hand.
pub(crate) fn with(workspace: &Workspace, toolchain: &Toolchain) -> Result<()> {
    bpf_object(workspace, toolchain)?;
    let mut cargo = cargo_static(workspace);
    cargo.args(["--package", "canary-userspace", "--bins"]);
    step::run("build: canary-agent, canaryctl", &mut cargo, "the compiler's message is above")?;
    for binary in BINARIES {
        let built = static_directory(workspace).join(binary);
        elf::ensure_static(&built)?;
        install(&built, &workspace.release().join(binary))?;
    }
    Ok(())
}

/// Builds a program of the tests' crate the way the agent is built, so that they share libraries.
pub(crate) fn tool(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    let mut cargo = cargo_static(workspace);
    // All of them: the demo and the labs run the others.
    cargo.args(["--package", "canary-tests", "--bins"]);
    step::run(&format!("build: {name}"), &mut cargo, "the compiler's message is above")?;
    Ok(static_directory(workspace).join(name))
}

fn bpf_object(workspace: &Workspace, toolchain: &Toolchain) -> Result<()> {
    let hint =
        "if the linker speaks of LLVM versions, remove target/tools and run `cargo xtask setup`";
    step::run("build: BPF object", &mut toolchain.cargo_build(workspace), hint)?;
    elf::ensure_bpf(&workspace.bpf_object())
}

/// Builds the programs that only the benchmark loads.
pub(crate) fn bench_object(workspace: &Workspace, toolchain: &Toolchain) -> Result<()> {
    let mut cargo = toolchain.cargo_build(workspace);
    cargo.args(["--bin", "canary-bench", "--features", "bench"]);
    step::run("build: the benchmark's BPF object", &mut cargo, "the compiler's message is above")?;
    elf::ensure_bpf(&workspace.bench_object())
}

/// Cargo for a program without a dynamic loader.
///
/// The target is named even though it is the host's: so build scripts and procedural macros,
/// which must be dynamic, are built without the flag.
fn cargo_static(workspace: &Workspace) -> Command {
    let host = &workspace.host;
    let variable = format!("CARGO_TARGET_{}_RUSTFLAGS", host.to_uppercase().replace('-', "_"));
    let mut cargo = workspace.cargo("build");
    cargo.args(["--release", "--target", host]);
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo.env(variable, "-C target-feature=+crt-static");
    cargo
}

fn static_directory(workspace: &Workspace) -> PathBuf {
    workspace.target.join(&workspace.host).join("release")
}

/// Puts a file in place by renaming: an agent that runs from it is not disturbed.
fn install(from: &Path, to: &Path) -> Result<()> {
    let directory = to.parent().context("a file stands in a directory")?;
    fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    let fresh = to.with_extension("new");
    fs::copy(from, &fresh).with_context(|| format!("copy {}", from.display()))?;
    fs::rename(&fresh, to).with_context(|| format!("write {}", to.display()))
}
