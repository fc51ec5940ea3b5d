//! The node agent: parses its arguments and runs the library's agent.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use canary_userspace::daemon;
use canary_userspace::datapath::Datapath;
use canary_userspace::kernel::{Kernel, doctor};
use canary_userspace::settings::{LogFormat, Settings, SettingsError};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let settings = match Settings::from_args(std::env::args_os()) {
        Ok(settings) => settings,
        Err(SettingsError::Usage(usage)) => usage.exit(),
        Err(SettingsError::File(error)) => return fail(&error.into()),
    };
    if let Err(error) = start_log(settings.log_format) {
        return fail(&error);
    }
    let open = |settings: &Settings| -> anyhow::Result<Box<dyn Datapath>> {
        Ok(Box::new(Kernel::open(settings)?))
    };
    // First, for without rights even the store cannot be opened, which says less.
    let ran = doctor::check_rights().and_then(|()| daemon::run(&settings, open));
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

#[expect(clippy::print_stderr, reason = "why it did not start is for whoever started it")]
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("canary-agent: {error:#}");
    ExitCode::FAILURE
}

fn start_log(format: LogFormat) -> anyhow::Result<()> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => {
            EnvFilter::try_new(&filter).with_context(|| format!("RUST_LOG {filter:?}"))?
        }
        _ => EnvFilter::new("info"),
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
