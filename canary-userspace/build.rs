//! Names the BPF object that the library embeds.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

/// Set by `cargo xtask`; without it the library is built with an empty object.
const VARIABLE: &str = "CANARY_BPF_OBJECT";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    println!("cargo::rerun-if-changed=build.rs");
    let object = match env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        Some(path) => built(&PathBuf::from(path))?,
        None => empty()?,
    };
    println!("cargo::rustc-env=CANARY_EMBEDDED_OBJECT={}", object.display());
    Ok(())
}

fn built(path: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let path = fs::canonicalize(path)
        .map_err(|error| format!("{VARIABLE} names {}: {error}", path.display()))?;
    println!("cargo::rerun-if-changed={}", path.display());
    Ok(path)
}

fn empty() -> Result<PathBuf, Box<dyn Error>> {
    let out = env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    let path = PathBuf::from(out).join("no-bpf-object");
    fs::write(&path, [])?;
    Ok(path)
}
