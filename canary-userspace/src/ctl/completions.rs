//! `completions`: shells complete by asking this program, and this program the running agent.

mod names;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;

use clap::{Arg, Command, CommandFactory};
use clap_complete::CompletionCandidate;
use clap_complete::engine::ArgValueCompleter;
use clap_complete::env::{CompleteEnv, Shells};

use super::args::{Completions, Options};
use super::argv;
use super::console::Console;
use super::failure::Failure;
use names::Words;

/// Variable by which a shell asks for completions.
const ASK: &str = "COMPLETE";
/// What stands between this program's name and the words that a shell completes.
const SEPARATOR: &str = "--";

/// Prints the script that makes a shell ask.
///
/// # Errors
///
/// [`Failure::Output`]
pub fn run(options: &Completions, console: &mut Console<'_>) -> Result<(), Failure> {
    let shells = Shells::builtins();
    let name = options.shell.to_string();
    let shell = shells
        .completer(&name)
        .ok_or_else(|| Failure::Usage(format!("{name} is no shell that is known here")))?;
    let mut script = Vec::new();
    shell.write_registration(ASK, "canaryctl", "canaryctl", "canaryctl", &mut script)?;
    console.raw(&String::from_utf8_lossy(&script))
}

/// Answers a shell, if it is one that calls; `true` if so.
///
/// Whatever goes wrong is silence: a person is typing.
#[must_use]
pub fn answer(arguments: &[OsString], directory: Option<&Path>) -> bool {
    let arguments = normalise(arguments);
    let words = Arc::new(Words::new(after_separator(&arguments)));
    CompleteEnv::with_factory(|| command(&words))
        .var(ASK)
        .try_complete(arguments, directory)
        .unwrap_or(true)
}

/// The words as they are meant: `-kind` is `--kind`.
fn normalise(arguments: &[OsString]) -> Vec<OsString> {
    let at = arguments.iter().position(|word| word == SEPARATOR);
    let Some((own, words)) = at.and_then(|at| arguments.split_at_checked(at.saturating_add(1)))
    else {
        return arguments.to_vec();
    };
    own.iter().cloned().chain(argv::normalise(words.iter().cloned())).collect()
}

fn after_separator(arguments: &[OsString]) -> Vec<String> {
    let words = arguments.iter().skip_while(|word| *word != SEPARATOR).skip(1);
    words.map(|word| word.to_string_lossy().into_owned()).collect()
}

/// The command line, where names are those that the agent knows.
fn command(words: &Arc<Words>) -> Command {
    with_names(Options::command(), words)
}

fn with_names(command: Command, words: &Arc<Words>) -> Command {
    let verb = command.get_name().to_owned();
    let own = |arg: Arg| match names::of(&verb, arg.get_id().as_str()) {
        Some(ask) => {
            let words = Arc::clone(words);
            let complete = move |current: &OsStr| candidates(&ask(&words), current);
            arg.add(ArgValueCompleter::new(complete))
        }
        None => arg,
    };
    command.mut_args(own).mut_subcommands(|inner| with_names(inner, words))
}

fn candidates(names: &[String], current: &OsStr) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let begun = names.iter().filter(|name| name.starts_with(current.as_ref()));
    begun.map(CompletionCandidate::new).collect()
}

#[cfg(test)]
mod tests;
