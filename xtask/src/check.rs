//! Format, lints and the rules of the house that a program can see.

mod arrows;
mod house;

use std::{fs, process::Command};

use anyhow::{Context, Result, bail};

use crate::{step, toolchain::Toolchain, workspace::Workspace};

/// Optional cargo programs, what they are asked, and what a finding means.
const OPTIONAL: [(&str, &[&str], &str); 2] = [
    ("deny", &["check", "licenses", "bans", "sources"], "see deny.toml"),
    ("machete", &[], "a dependency is not used: remove it"),
];

/// Runs all checks.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let toolchain = Toolchain::ensure(workspace)?;
    with(workspace, &toolchain)
}

/// The same with a toolchain at hand.
pub(crate) fn with(workspace: &Workspace, toolchain: &Toolchain) -> Result<()> {
    step::say("check: rules of the house");
    house_rules(workspace)?;
    let mut fmt = workspace.cargo("fmt");
    step::run("check: format", fmt.args(["--all", "--check"]), "run `cargo fmt --all`")?;
    let hint = "each finding is named above";
    let mut clippy = workspace.cargo("clippy");
    clippy.args(["--workspace", "--exclude", "canary-ebpf", "--all-targets"]);
    step::run("check: lints", clippy.args(["--", "-D", "warnings"]), hint)?;
    let mut clippy = toolchain.cargo_clippy(workspace)?;
    clippy.args(["--features", "bench", "--", "-D", "warnings"]);
    step::run("check: lints of the BPF programs", &mut clippy, hint)?;
    OPTIONAL
        .iter()
        .try_for_each(|(name, arguments, hint)| optional(workspace, name, arguments, hint))
}

fn optional(workspace: &Workspace, name: &str, arguments: &[&str], hint: &str) -> Result<()> {
    if step::output(workspace.cargo(name).arg("--version")).is_none() {
        step::say(&format!("check: skipped cargo-{name}, it is not installed"));
        return Ok(());
    }
    step::run(&format!("check: cargo-{name}"), workspace.cargo(name).args(arguments), hint)
}

fn house_rules(workspace: &Workspace) -> Result<()> {
    let mut faults = Vec::new();
    for manifest in &workspace.manifests {
        let text =
            fs::read_to_string(manifest).with_context(|| format!("read {}", manifest.display()))?;
        if !house::inherits_lints(&text) {
            faults.push(format!("{}: add `[lints]` with `workspace = true`", manifest.display()));
        }
    }
    let mut list = Command::new("git");
    list.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let files = step::read(list.current_dir(&workspace.root))?;
    for file in files.split('\0').filter(|file| !file.is_empty()) {
        // A file may be gone from the tree and not yet from the index; pictures are no text.
        if let Ok(text) = fs::read_to_string(workspace.root.join(file)) {
            faults.extend(house::faults(file, &text));
        }
    }
    faults.extend(arrows::faults(workspace)?);
    if faults.is_empty() {
        return Ok(());
    }
    bail!("rules of the house are broken:\n{}", faults.join("\n"))
}
