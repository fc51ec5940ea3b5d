//! Go's flags among ours: `-kind x` is what Consul's users type.

use std::ffi::OsString;

/// Rewrites single-dash long flags to the form with two dashes, after the verb `config`.
///
/// Only there, and only for words that cannot be a group of short flags: one letter stays as
/// it is. What follows `--` is left alone, and so is `-`, which means standard input.
pub fn normalise(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut place = Place::Program;
    arguments
        .into_iter()
        .map(|argument| {
            let Some(text) = argument.to_str() else { return argument };
            let here = place;
            place = here.after(text);
            if here == Place::Config && is_long(text) {
                format!("-{text}").into()
            } else {
                argument
            }
        })
        .collect()
}

/// What the next argument is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The program's own name.
    Program,
    /// The verb, or a flag before it.
    Verb,
    /// The value of `--agent`.
    Value,
    /// Something of `config`.
    Config,
    /// Nothing to rewrite.
    Rest,
}

impl Place {
    fn after(self, text: &str) -> Self {
        match (self, text) {
            (Self::Program | Self::Value, _) => Self::Verb,
            (Self::Verb, "--agent") => Self::Value,
            (Self::Verb, "config") => Self::Config,
            (Self::Verb, flag) if flag.starts_with('-') => Self::Verb,
            (Self::Config, "--") => Self::Rest,
            (Self::Config, _) => Self::Config,
            _ => Self::Rest,
        }
    }
}

/// `-kind` or `-kind=x`: one dash, then a name of at least two letters.
fn is_long(text: &str) -> bool {
    let Some(name) = text.strip_prefix('-') else { return false };
    let name = name.split_once('=').map_or(name, |(name, _)| name);
    name.len() > 1
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalised(line: &str) -> String {
        let words = normalise(line.split(' ').map(OsString::from));
        let words: Vec<_> = words.iter().map(|word| word.to_str().unwrap()).collect();
        words.join(" ")
    }

    #[test]
    fn single_dash_flags_of_config_become_double() {
        for (typed, meant) in [
            ("x config read -kind a -name b", "x config read --kind a --name b"),
            ("x config read -kind=a --name=b", "x config read --kind=a --name=b"),
            ("x config write -cas -modify-index 3 -", "x config write --cas --modify-index 3 -"),
            ("x config write -h", "x config write -h"),
            ("x config write -- -file.hcl", "x config write -- -file.hcl"),
            ("x config write -modify-index -1", "x config write --modify-index -1"),
        ] {
            assert_eq!(normalised(typed), meant);
        }
    }

    #[test]
    fn other_verbs_are_left_alone() {
        for typed in ["x status -wait", "x split set config -wait", "x --agent config status -wait"]
        {
            assert_eq!(normalised(typed), typed);
        }
        assert_eq!(
            normalised("x --agent a config list -kind k"),
            "x --agent a config list --kind k"
        );
    }
}
