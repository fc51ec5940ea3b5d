//! An example for each verb's help.

use clap::{Command, CommandFactory};

use super::args::Options;

/// Verbs with an example each.
const EXAMPLES: [(&str, &str); 31] = [
    ("config write", "config write payments_splitter.hcl"),
    ("config read", "config read --kind service-splitter --name payments"),
    ("config list", "config list --kind service-resolver"),
    ("config delete", "config delete --kind service-splitter --name payments"),
    ("config validate", "config validate /etc/canary"),
    ("config diff", "config diff desired/"),
    ("service register", "service register payments.hcl"),
    ("service deregister", "service deregister payments-green-1"),
    ("service list", "service list"),
    ("service checks", "service checks payments-green-1"),
    ("service maintenance", "service maintenance payments-green-1 --enable --reason upgrade"),
    ("split show", "split show payments"),
    ("split set", "split set payments blue=90 green=10"),
    ("rollback", "rollback payments --to blue"),
    ("sever", "sever payments --subset green --rate 50/s --wait"),
    ("undo", "undo payments"),
    ("history", "history payments"),
    ("export", "export backup/"),
    ("import", "import backup/ --dry-run"),
    ("status", "status payments --watch"),
    ("explain", "explain 10.244.1.7:51234 10.96.0.10:80"),
    ("flows", "flows payments --subset green --state opening"),
    ("observe", "observe payments --reason no-backend --reason no-port"),
    ("top", "top --sort failures"),
    ("reload", "reload"),
    ("accept", "accept /etc/canary"),
    ("maps", "maps"),
    ("doctor", "doctor"),
    ("detach", "detach --stop"),
    ("version", "version"),
    ("completions", "completions bash > /etc/bash_completion.d/canaryctl"),
];

/// The command line with its examples.
#[must_use]
pub(super) fn command() -> Command {
    with_examples(Options::command(), "")
}

fn with_examples(command: Command, path: &str) -> Command {
    let example = EXAMPLES.iter().find(|(verb, _)| *verb == path);
    let command = match example {
        Some((_, example)) => command.after_help(format!("Example:\n  canaryctl {example}")),
        None => command,
    };
    command.mut_subcommands(|inner| {
        let path = format!("{path} {}", inner.get_name());
        with_examples(inner, path.trim_start())
    })
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;

    fn verbs(command: &Command, path: &str, found: &mut Vec<String>) {
        let mut leaf = true;
        for inner in command.get_subcommands() {
            leaf = false;
            verbs(inner, format!("{path} {}", inner.get_name()).trim_start(), found);
        }
        if leaf {
            found.push(path.to_owned());
        }
    }

    #[test]
    fn every_verb_has_an_example_that_works() {
        let mut found = Vec::new();
        verbs(&Options::command(), "", &mut found);

        for verb in found {
            let example = EXAMPLES.iter().find(|(of, _)| *of == verb);
            let Some((_, example)) = example else { panic!("{verb} has no example") };
            let line = example.split(" > ").next().unwrap();
            let words = ["canaryctl"].into_iter().chain(line.split(' '));
            let matches = command().try_get_matches_from(words);
            let matches = matches.unwrap_or_else(|error| panic!("{example}: {error}"));
            Options::from_arg_matches(&matches).unwrap();
        }
    }

    #[test]
    fn help_shows_the_example() {
        let help = command().try_get_matches_from(["canaryctl", "split", "set", "-h"]).unwrap_err();

        assert!(
            help.to_string()
                .ends_with("Example:\n  canaryctl split set payments blue=90 green=10\n"),
            "{help}"
        );
    }
}
