//! Pages that are drawn from the code: every table, and every reason.

mod tables;

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use canary_common::reason::{Action, Reason};

/// What the pages are drawn from, and where they go.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The BPF object
    #[arg(long)]
    object: PathBuf,
    /// The source that declares its maps
    #[arg(long)]
    maps: PathBuf,
    /// Directory of the pages
    #[arg(long)]
    directory: PathBuf,
    /// Compare instead of writing
    #[arg(long)]
    check: bool,
}

/// Writes the pages, or compares them.
pub(crate) fn run(options: &Options) -> Result<()> {
    let source = fs::read_to_string(&options.maps)
        .with_context(|| format!("read {}", options.maps.display()))?;
    let object =
        fs::read(&options.object).with_context(|| format!("read {}", options.object.display()))?;
    let pages = [("tables.md", tables::page(&source, &object)?), ("reasons.md", reasons()?)];
    for (name, text) in pages {
        settle(&options.directory.join(name), &text, options.check)?;
    }
    Ok(())
}

/// Writes one page, or compares it.
fn settle(path: &Path, text: &str, check: bool) -> Result<()> {
    if !check {
        return fs::write(path, text).with_context(|| format!("write {}", path.display()));
    }
    let found = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let Some((number, (is, wanted))) = difference(&found, text) else { return Ok(()) };
    bail!("{}:{number}: it says\n{is}\nand the code\n{wanted}", path.display());
}

/// The first line in which two texts differ, from 1, as both have it.
fn difference<'a>(found: &'a str, wanted: &'a str) -> Option<(usize, (&'a str, &'a str))> {
    let longest = found.lines().count().max(wanted.lines().count());
    let padded = |text: &'a str| text.lines().chain(std::iter::repeat("(nothing)")).take(longest);
    let mut lines = (1..).zip(padded(found).zip(padded(wanted)));
    lines.find(|(_, (is, wanted))| is != wanted)
}

/// The page of reasons.
fn reasons() -> Result<String> {
    let mut text = String::from(
        "# Why a packet is not forwarded\n\nDrawn from `canary-common/src/reason.rs` by `cargo xtask docs`.\n\n\
         The number is the slot in `REASONS` and never changes; the word is what `status`, the\n\
         metric `canary_packets_not_forwarded_total` and `canaryctl` say.\n\n\
         | number | word | action | meaning |\n|---:|---|---|---|\n",
    );
    for reason in Reason::ALL {
        let action = match reason.action() {
            Action::Pass => "pass",
            Action::Refuse => "refuse",
            Action::Drop => "drop",
        };
        let meaning = reason.text().trim();
        writeln!(text, "| {} | `{}` | {action} | {meaning} |", reason.slot(), reason.word())?;
    }
    text.push_str(
        "\n- **pass**: the packet goes on untouched, for the node's own stack to judge.\n\
         - **refuse**: its sender is told at once, by a TCP reset or an ICMP error.\n\
         - **drop**: it ends here.\n",
    );
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_line() {
        let page = reasons().unwrap();

        for reason in Reason::ALL {
            assert!(page.contains(&format!("| `{}` |", reason.word())), "{page}");
        }
        assert!(page.contains(
            "| 9 | `no-backend` | refuse | The picked split has no healthy backend of the \
                 client's family. |"
        ));
    }

    #[test]
    fn the_first_line_that_differs_is_told() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(difference("a\nb\n", "a\nc\n"), Some((2, ("b", "c"))));
        assert_eq!(difference("a\n", "a\nc\n"), Some((2, ("(nothing)", "c"))));
        assert_eq!(difference("a\nb\n", "a\n"), Some((2, ("b", "(nothing)"))));
    }
}
