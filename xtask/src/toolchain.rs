//! The compiler and the linker for BPF.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    packages::{self, Need},
    step,
    workspace::{Workspace, cargo_program, version_field},
};

const TARGET: &str = "bpfel-unknown-none";
const LINKER_VERSION: &str = "0.13.0";
const PACKAGED_RUSTC: &str = "/usr/bin/rustc";
const PACKAGED_CORE: &str = "libstd-rust-web-dev-bpf";

/// Who compiles for BPF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compiler {
    /// The distribution's compiler with its prebuilt `core`.
    Packaged,
    /// Rustup's nightly, which builds `core` itself.
    Nightly,
}

/// A compiler and a linker of the same LLVM.
pub(crate) struct Toolchain {
    compiler: Compiler,
    linker: PathBuf,
}

impl Toolchain {
    /// Finds the toolchain, or installs it, and says which it is.
    pub(crate) fn ensure(workspace: &Workspace) -> Result<Self> {
        let compiler = Compiler::ensure()?;
        let version = compiler.version().context("the BPF compiler does not run")?;
        let llvm = version_field(&version, "LLVM version")
            .and_then(|llvm| llvm.split('.').next())
            .context("the BPF compiler names no LLVM version")?;
        let linker = ensure_linker(workspace, llvm)?;
        let rustc = version.lines().next().unwrap_or_default();
        let name = match compiler {
            Compiler::Packaged => "the packaged",
            Compiler::Nightly => "nightly",
        };
        step::say(&format!(
            "setup: BPF by {name} {rustc}, bpf-linker {LINKER_VERSION}, LLVM {llvm}"
        ));
        Ok(Self { compiler, linker })
    }

    /// Cargo that builds for BPF.
    pub(crate) fn cargo_build(&self, workspace: &Workspace) -> Command {
        let mut cargo = match self.compiler {
            Compiler::Packaged => cargo_program(),
            Compiler::Nightly => nightly("cargo"),
        };
        cargo.arg("build");
        self.for_bpf(workspace, cargo)
    }

    /// Cargo that lints for BPF.
    pub(crate) fn cargo_clippy(&self, workspace: &Workspace) -> Result<Command> {
        let mut cargo = match self.compiler {
            Compiler::Packaged => {
                packages::ensure(&[Need::new("/usr/bin/cargo-clippy", "rust-web-clippy")])?;
                let mut clippy = Command::new("/usr/bin/cargo-clippy");
                clippy.env("CARGO", cargo_program().get_program());
                clippy
            }
            Compiler::Nightly => nightly("cargo"),
        };
        cargo.arg("clippy");
        Ok(self.for_bpf(workspace, cargo))
    }

    fn for_bpf(&self, workspace: &Workspace, mut cargo: Command) -> Command {
        let linker = self.linker.display();
        cargo
            .args(["--package", "canary-ebpf", "--release", "--target", TARGET, "--target-dir"])
            .arg(workspace.bpf_target())
            .current_dir(&workspace.root)
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env(
                "CARGO_TARGET_BPFEL_UNKNOWN_NONE_RUSTFLAGS",
                format!("-C linker={linker} -C target-cpu=v3 -C debuginfo=2 -C link-arg=--btf"),
            );
        match self.compiler {
            // Unstable features are what any compiler needs for BPF, nightly or not.
            Compiler::Packaged => {
                cargo.env("RUSTC", PACKAGED_RUSTC).env("RUSTC_BOOTSTRAP", "1");
            }
            Compiler::Nightly => {
                cargo.arg("-Zbuild-std=core");
            }
        }
        cargo
    }
}

impl Compiler {
    fn ensure() -> Result<Self> {
        if Self::Packaged.is_ready() {
            return Ok(Self::Packaged);
        }
        if packages::find_program("apt-get").is_some() {
            if !packages::is_available(PACKAGED_CORE) {
                // A fresh image has no lists at all.
                packages::refresh()?;
            }
            if packages::is_available(PACKAGED_CORE) {
                packages::install(&["rustc-web", PACKAGED_CORE])?;
            }
            if Self::Packaged.is_ready() {
                return Ok(Self::Packaged);
            }
        }
        if !Self::Nightly.is_ready() {
            let mut install = Command::new("rustup");
            install.args(["toolchain", "install", "nightly", "--profile", "minimal"]);
            install.args(["--component", "rust-src,clippy"]);
            let hint = "neither a packaged BPF compiler (rustc-web and libstd-rust-web-dev-bpf) \
                        nor a nightly with rust-src could be had";
            step::run("setup: nightly with rust-src", &mut install, hint)?;
        }
        Ok(Self::Nightly)
    }

    fn rustc(self) -> Command {
        match self {
            Self::Packaged => Command::new(PACKAGED_RUSTC),
            Self::Nightly => nightly("rustc"),
        }
    }

    fn version(self) -> Option<String> {
        step::output(self.rustc().arg("-vV"))
    }

    /// Whether the compiler is here and has, or can build, `core` for BPF.
    fn is_ready(self) -> bool {
        let Some(sysroot) = step::output(self.rustc().args(["--print", "sysroot"])) else {
            return false;
        };
        let core = match self {
            Self::Packaged => format!("lib/rustlib/{TARGET}/lib"),
            Self::Nightly => "lib/rustlib/src/rust/library/core".to_owned(),
        };
        Path::new(sysroot.trim()).join(core).is_dir()
    }
}

fn nightly(program: &str) -> Command {
    let mut rustup = Command::new("rustup");
    rustup.args(["run", "nightly", program]);
    rustup
}

/// The linker, built against the compiler's own LLVM: bitcode of one is not read by another.
fn ensure_linker(workspace: &Workspace, llvm: &str) -> Result<PathBuf> {
    let tools = workspace.tools();
    let linker = tools.join("bin/bpf-linker");
    let stamp = tools.join("bpf-linker.stamp");
    let wanted = format!("bpf-linker {LINKER_VERSION} llvm-{llvm}\n");
    let is_current = fs::read_to_string(&stamp).is_ok_and(|found| found == wanted);
    if is_current && step::output(Command::new(&linker).arg("--version")).is_some() {
        return Ok(linker);
    }
    let prefix = format!("/usr/lib/llvm-{llvm}");
    packages::ensure(&[Need::new(
        format!("{prefix}/bin/llvm-config"),
        format!("llvm-{llvm}-dev"),
    )])?;
    let mut install = cargo_program();
    install
        .args(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked", "--force"])
        .args(["--no-default-features", "--features", &format!("llvm-{llvm}"), "--root"])
        .arg(&tools)
        .env("LLVM_PREFIX", &prefix)
        .env_remove("RUSTFLAGS");
    let hint = "it needs a C++ compiler, and LLVM's libraries of the BPF compiler's version";
    step::run("setup: bpf-linker (about two minutes)", &mut install, hint)?;
    fs::write(&stamp, wanted).with_context(|| format!("write {}", stamp.display()))?;
    Ok(linker)
}
