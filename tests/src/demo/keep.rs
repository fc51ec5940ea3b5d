//! The lab stays up for a person to try the tutorial's commands by hand.

use std::{fs, thread};

use anyhow::{Context, Result};

use super::{cluster::program_directory, narrator::Narrator};
use crate::lab::Lab;

/// Prints the command that opens a shell in web's pod, and waits to be interrupted.
///
/// # Errors
///
/// If the shell's script cannot be written.
pub fn wait(lab: &Lab, narrator: Narrator) -> Result<()> {
    let path = lab.directory().join("shell");
    fs::write(&path, script(lab)?).with_context(|| format!("write {}", path.display()))?;
    narrator.say("\nThe lab stays up until Ctrl-C. This command opens a shell in web's pod:\n")?;
    narrator.say(&format!("    sh {}\n", path.display()))?;
    narrator.say("There, try:")?;
    for line in [
        "curl localhost:9090",
        "consul config write payments_resolver.hcl",
        "consul config write 3_canary/payments_splitter.hcl",
        "canaryctl status --watch",
    ] {
        narrator.command(line)?;
    }
    // Ctrl-C ends the process, on a thread of its own.
    loop {
        thread::park();
    }
}

/// A script that runs a shell, or what its arguments tell the shell to do.
fn script(lab: &Lab) -> Result<String> {
    let web = lab.pods().into_iter().find(|pod| pod.name == "web").context("web has no pod")?;
    let address = lab.agent_address();
    Ok(format!(
        "#!/bin/sh\n\
         cd '{files}' || exit\n\
         PATH='{programs}':$PATH CONSUL_HTTP_ADDR='{address}' CANARY_AGENT='{address}' PS1='web $ '\n\
         export PATH CONSUL_HTTP_ADDR CANARY_AGENT PS1\n\
         exec nsenter --net='{namespace}' -- /bin/sh \"$@\"\n",
        files = lab.directory().join("payments").display(),
        programs = program_directory(lab).display(),
        namespace = web.namespace.path().display(),
    ))
}
