//! Everything that must hold before a commit.

use std::{fs, path::PathBuf, process::Command, time::Instant};

use anyhow::{Context, Result};

use crate::{
    build, check, packages, packages::Need, step, toolchain::Toolchain, tools, workspace::Workspace,
};

/// The client library for Python that drives the HTTP interface in one test.
const CONSUL_CLIENT: &str = "py-consul==1.8.0";
/// The client library for JavaScript that does so in another.
const NODE_CLIENT: &str = "consul@2.0.1";

/// Installs all that any verb needs.
pub(crate) fn setup(workspace: &Workspace) -> Result<Toolchain> {
    let toolchain = Toolchain::ensure(workspace)?;
    toolchain.cargo_clippy(workspace)?;
    packages::ensure(&packages::lab())?;
    python(workspace)?;
    node_modules(workspace)?;
    Ok(toolchain)
}

/// Checks and tests, quick ones first.
pub(crate) fn run(workspace: &Workspace, long: bool) -> Result<()> {
    step::ensure_root("test")?;
    let started = Instant::now();
    let toolchain = setup(workspace)?;
    build::with(workspace, &toolchain)?;
    check::with(workspace, &toolchain)?;
    let hint = "the failing test is named above";
    step::run_visibly("test: without root", &mut workspace.cargo("test"), hint)?;
    let mut rooted = workspace.cargo("test");
    rooted
        .args(["--package", "canary-tests"])
        .env("CANARY_BIN_DIR", workspace.release())
        .env("CANARY_PYTHON", python(workspace)?)
        .env("CANARY_NODE_MODULES", node_modules(workspace)?);
    if long {
        rooted.env("CANARY_LONG", "1");
    }
    step::run_visibly("test: with root", &mut rooted, hint)?;
    tools::run_verify(workspace, false)?;
    tools::run_docs(workspace, true)?;
    step::say(&format!("test: all passed in {} s", started.elapsed().as_secs()));
    Ok(())
}

/// A Python that has the client library.
fn python(workspace: &Workspace) -> Result<PathBuf> {
    let environment = workspace.tools().join("venv");
    let python = environment.join("bin/python");
    if step::output(Command::new(&python).args(["-c", "import consul"])).is_some() {
        return Ok(python);
    }
    // Debian splits `venv` from Python, and only the import tells.
    if step::output(Command::new("python3").args(["-c", "import ensurepip, venv"])).is_none() {
        packages::install(&["python3-venv"])?;
    }
    let mut create = Command::new("python3");
    create.args(["-m", "venv", "--clear"]).arg(&environment);
    step::run("setup: Python environment", &mut create, "python3-venv is needed")?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", CONSUL_CLIENT]);
    step::run(
        &format!("setup: {CONSUL_CLIENT}"),
        &mut install,
        "is Python's package index reachable?",
    )?;
    Ok(python)
}

/// The directory that has the client library for JavaScript.
fn node_modules(workspace: &Workspace) -> Result<PathBuf> {
    let directory = workspace.tools().join("npm");
    let modules = directory.join("node_modules");
    packages::ensure(&[Need::new("node", "nodejs")])?;
    let version = format!("\"version\": \"{}\"", NODE_CLIENT.rsplit('@').next().unwrap_or(""));
    let installed = fs::read_to_string(modules.join("consul/package.json")).unwrap_or_default();
    if installed.contains(&version) {
        return Ok(modules);
    }
    packages::ensure(&[Need::new("npm", "npm")])?;
    fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
    let mut install = Command::new("npm");
    install.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]);
    install.arg(&directory).arg(NODE_CLIENT);
    step::run(&format!("setup: {NODE_CLIENT}"), &mut install, "is npm's registry reachable?")?;
    Ok(modules)
}
