//! Verbs that are programs of the tests' crate: built here, run with their paths filled in.

use std::process::Command;

use anyhow::Result;

use crate::{build, packages, step, toolchain::Toolchain, workspace::Workspace};

/// Compares the verifier's costs with their budgets.
pub(crate) fn verify(workspace: &Workspace, bless: bool) -> Result<()> {
    step::ensure_root("verify")?;
    build::run(workspace)?;
    run_verify(workspace, bless)
}

/// The same on what is built already.
pub(crate) fn run_verify(workspace: &Workspace, bless: bool) -> Result<()> {
    let mut measure = Command::new(build::tool(workspace, "measure")?);
    measure.current_dir(&workspace.root).arg("verify");
    measure.arg("--object").arg(workspace.bpf_object());
    measure.args(["--budgets", "canary-ebpf/budgets.txt"]);
    if bless {
        measure.arg("--bless");
    }
    step::run_visibly("verify: instructions per program", &mut measure, "see above")
}

/// Measures what `args` name.
pub(crate) fn bench(workspace: &Workspace, args: &[String]) -> Result<()> {
    step::ensure_root("bench")?;
    packages::ensure(&packages::lab())?;
    let toolchain = Toolchain::ensure(workspace)?;
    build::with(workspace, &toolchain)?;
    build::bench_object(workspace, &toolchain)?;
    let mut measure = Command::new(build::tool(workspace, "measure")?);
    measure.args(args).current_dir(&workspace.root);
    measure.env("CANARY_BIN_DIR", workspace.release());
    measure.env("CANARY_BPF_OBJECT", workspace.bpf_object());
    measure.env("CANARY_BENCH_OBJECT", workspace.bench_object());
    step::become_command("bench", &mut measure)
}

/// Tells the story of a release.
pub(crate) fn demo(workspace: &Workspace, json: bool, keep: bool) -> Result<()> {
    step::ensure_root("demo")?;
    packages::ensure(&packages::lab())?;
    build::run(workspace)?;
    let mut demo = Command::new(build::tool(workspace, "demo")?);
    demo.current_dir(&workspace.root).arg("--bin-dir").arg(workspace.release());
    if json {
        demo.arg("--json");
    }
    if keep {
        demo.arg("--keep");
    }
    step::become_command("demo", &mut demo)
}

/// Writes the generated pages, or compares them.
pub(crate) fn docs(workspace: &Workspace, check: bool) -> Result<()> {
    build::run(workspace)?;
    run_docs(workspace, check)
}

/// The same on what is built already.
pub(crate) fn run_docs(workspace: &Workspace, check: bool) -> Result<()> {
    let mut measure = Command::new(build::tool(workspace, "measure")?);
    measure.current_dir(&workspace.root).args(["docs", "--directory", "docs"]);
    measure.args(["--maps", "canary-ebpf/src/maps.rs", "--object"]).arg(workspace.bpf_object());
    if check {
        measure.arg("--check");
    }
    step::run_visibly(
        "docs: tables and reasons",
        &mut measure,
        "run `cargo xtask docs` and commit what it wrote",
    )
}
