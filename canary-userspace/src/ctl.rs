//! The command line: a verb a file, over the agent's HTTP API.
//!
//! Data goes to standard output and words to standard error; the exit code says what kind of
//! outcome it was ([`failure::Failure`]).

pub mod accept;
pub mod access;
pub mod address;
pub mod applied;
pub mod args;
pub mod argv;
pub mod checks;
pub mod client;
pub mod completions;
pub mod config;
pub mod console;
pub mod consul;
pub mod detach;
pub mod diff;
pub mod doctor;
mod ends;
mod examples;
pub mod excerpt;
pub mod explain;
pub mod export;
pub mod failure;
pub mod flows;
mod frontend;
pub mod history;
pub mod import;
pub mod input;
pub mod maintenance;
pub mod maps;
pub mod moved;
mod near;
pub mod observe;
pub mod paint;
pub mod reload;
pub mod rollback;
mod screen;
pub mod service;
pub mod sever;
pub mod split;
pub mod status;
pub mod table;
pub mod tls;
pub mod top;
pub mod undo;
pub mod validate;
pub mod version;

#[cfg(test)]
mod server;

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::FromArgMatches;

use args::{Config, Options, Service, Split, Verb};
use console::Console;
use failure::Failure;

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().collect();
    if !is_consul(&arguments) && completions::answer(&arguments, env::current_dir().ok().as_deref())
    {
        return ExitCode::SUCCESS;
    }
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let mut console = Console::new(&mut out, &mut err).detect();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return finish(Err(Failure::from(anyhow::Error::from(error))), &mut console).into();
        }
    };
    let code = if is_consul(&arguments) {
        let environment = |name: &str| env::var(name).ok();
        let outcome = runtime.block_on(consul::run(arguments, &environment, &mut console));
        finish(outcome, &mut console).min(1)
    } else {
        runtime.block_on(run(arguments, &mut console))
    };
    // A thread may still wait for a lock.
    runtime.shutdown_background();
    code.into()
}

/// Whether the program was called by Consul's name.
fn is_consul(arguments: &[OsString]) -> bool {
    let name = arguments.first().and_then(|program| Path::new(program).file_name());
    name.is_some_and(|name| name == "consul")
}

/// Runs `canaryctl` and returns its exit code.
pub async fn run(arguments: Vec<OsString>, console: &mut Console<'_>) -> u8 {
    let parsed = examples::command()
        .try_get_matches_from(argv::normalise(arguments))
        .and_then(|matches| Options::from_arg_matches(&matches));
    let outcome = match parsed {
        Ok(options) => {
            console.choose(options.color);
            dispatch(&options, console).await
        }
        Err(error) if error.use_stderr() => Err(Failure::Usage(error.render().to_string())),
        Err(help) => console.raw(&help.render().to_string()),
    };
    finish(outcome, console)
}

async fn dispatch(options: &Options, console: &mut Console<'_>) -> Result<(), Failure> {
    let client = &options.access.client(&options.agent, env::var("CANARY_TOKEN").ok())?;
    match &options.verb {
        Verb::Config(Config::Write(options)) => config::write(options, client, console).await,
        Verb::Config(Config::Read(options)) => config::read(options, client, console).await,
        Verb::Config(Config::List(options)) => config::list(options, client, console).await,
        Verb::Config(Config::Delete(options)) => config::delete(options, client, console).await,
        Verb::Config(Config::Validate(options)) => validate::run(options, console),
        Verb::Config(Config::Diff(options)) => diff::run(options, client, console).await,
        Verb::Service(Service::Register { file, dry_run }) => {
            service::register(file, *dry_run, client, console).await
        }
        Verb::Service(Service::Deregister { id, dry_run }) => {
            service::deregister(id, *dry_run, client, console).await
        }
        Verb::Service(Service::List(options)) => service::list(options, client, console).await,
        Verb::Service(Service::Checks(options)) => checks::run(options, client, console).await,
        Verb::Service(Service::Maintenance(options)) => {
            maintenance::run(options, client, console).await
        }
        Verb::Split(Split::Show(options)) => split::show(options, client, console).await,
        Verb::Split(Split::Set(options)) => split::set(options, client, console).await,
        Verb::Rollback(options) => rollback::run(options, client, console).await,
        Verb::Sever(options) => sever::run(options, client, console).await,
        Verb::Undo(options) => undo::run(options, client, console).await,
        Verb::Status(options) => status::run(options, client, console).await,
        Verb::Explain(options) => explain::run(options, client, console).await,
        Verb::History(options) => history::run(options, client, console).await,
        Verb::Export(options) => export::run(options, client, console).await,
        Verb::Import(options) => import::run(options, client, console).await,
        Verb::Flows(options) => flows::run(options, client, console).await,
        Verb::Observe(options) => observe::run(options, client, console).await,
        Verb::Top(options) => top::run(options, client, console).await,
        Verb::Reload(options) => reload::run(*options, client, console).await,
        Verb::Accept(options) => accept::run(options, client, console).await,
        Verb::Maps(options) => maps::run(*options, client, console).await,
        Verb::Doctor(options) => doctor::run(options, client, console).await,
        Verb::Detach(options) => detach::run(options, console),
        Verb::Version(options) => version::run(*options, client, console).await,
        Verb::Completions(options) => completions::run(options, console),
    }
}

/// Says why it failed, and returns the exit code.
fn finish(outcome: Result<(), Failure>, console: &mut Console<'_>) -> u8 {
    let Err(failure) = outcome else { return 0 };
    let code = failure.exit_code();
    if code == 0 {
        return 0;
    }
    let text = failure.to_string();
    if !text.is_empty() {
        // Without a standard error the exit code still says it.
        _ = console.say(text.trim_end());
    }
    code
}

#[cfg(test)]
pub(crate) mod tests;
