//! The files of `examples/payments`, carried along so that the demo needs no checkout.

use std::{fs, path::Path};

use anyhow::{Context, Result};

macro_rules! example {
    ($($path:literal),+ $(,)?) => {
        &[$(($path, include_str!(concat!("../../../examples/payments/", $path)))),+]
    };
}

/// Path within `examples/payments`, and content.
pub const EXAMPLE: &[(&str, &str)] = example![
    "payments_resolver.hcl",
    "3_canary/payments_splitter.hcl",
    "services/web.hcl",
    "services/api.hcl",
    "services/currency.hcl",
    "services/payments_blue_1.hcl",
    "services/payments_blue_2.hcl",
    "services/payments_green_1.hcl",
    "services/payments_green_2.hcl",
];

/// The content of one of the files.
///
/// # Errors
///
/// If there is none of that name.
pub fn content(path: &str) -> Result<&'static str> {
    let found = EXAMPLE.iter().find(|(name, _)| *name == path);
    found.map(|(_, content)| *content).with_context(|| format!("no example {path}"))
}

/// Writes all of them below `directory`.
///
/// # Errors
///
/// If one cannot be written.
pub fn copy_to(directory: &Path) -> Result<()> {
    for (path, content) in EXAMPLE {
        let target = directory.join(path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        }
        fs::write(&target, content).with_context(|| format!("write {}", target.display()))?;
    }
    Ok(())
}
