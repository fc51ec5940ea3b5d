//! Consul's client library for Python speaks to the agent as to Consul.

use std::{env, ffi::OsString, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use canary_tests::lab::{AgentOptions, Lab};

/// Where the agent offers its API over TCP, in the lab's own namespace.
const PORT: &str = "8501";

#[test]
fn the_python_client_drives_the_agent() -> Result<()> {
    let python = python()?;
    Lab::run("python", |lab| {
        let options = AgentOptions::default().args(["--http", &format!("127.0.0.1:{PORT}")]);
        let _agent = lab.agent(options)?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/consul_client.py");

        let output = lab.node().output(Command::new(&python).arg(script).arg(PORT))?;

        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {said}", output.status);
        assert_eq!(output.stdout, b"passed\n", "{said}");
        // What it left behind is nothing.
        let status = lab.status()?;
        assert!(status.services.is_empty(), "{:?}", status.services);
        Ok(())
    })
}

/// A Python that has the library. Without one nothing is shown, so that is a failure.
fn python() -> Result<OsString> {
    env::var_os("CANARY_PYTHON").context(
        "CANARY_PYTHON is not set: it names a Python with the package py-consul; \
         `cargo xtask test` makes one and sets it",
    )
}
