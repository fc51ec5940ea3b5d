//! Rules about files, as functions of their text.

use std::path::Path;

/// Lines of a source file without its tests; more is two ideas in one file.
const MAX_LINES: usize = 400;

/// What holds on one machine only: home directories, and hosts that a mirror replaces.
const LOCAL: [&str; 9] = [
    "/home/",
    "/root/",
    "/Users/",
    "index.crates.io",
    "static.crates.io",
    "pypi.org/simple",
    "files.pythonhosted.org",
    "deb.debian.org",
    "registry.npmjs.org",
];

/// Where those words are meant.
const LOCAL_ALLOWED: [&str; 2] = ["Cargo.lock", "xtask/src/check/house.rs"];

/// Whether a manifest takes the workspace's lints.
pub(crate) fn inherits_lints(manifest: &str) -> bool {
    let mut lines = manifest.lines().map(str::trim);
    lines.any(|line| line == "[lints]")
        && lines.take_while(|line| !line.starts_with('[')).any(|line| line == "workspace = true")
}

/// The rules that `text` in `file` breaks, as `FILE:LINE: TEXT`.
pub(crate) fn faults(file: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let lines = lines_without_tests(text);
    if Path::new(file).extension().is_some_and(|kind| kind == "rs")
        && !is_test(file)
        && lines > MAX_LINES
    {
        faults
            .push(format!("{file}:{lines}: {lines} lines without tests, {MAX_LINES} is the limit"));
    }
    if !LOCAL_ALLOWED.contains(&file) {
        for (line, number) in text.lines().zip(1..) {
            let words = LOCAL.iter().filter(|word| line.contains(**word));
            faults.extend(words.map(|word| {
                format!("{file}:{number}: `{word}` holds on some machines only: say it without")
            }));
        }
    }
    faults
}

fn lines_without_tests(text: &str) -> usize {
    text.lines().take_while(|line| *line != "#[cfg(test)]").count()
}

fn is_test(file: &str) -> bool {
    file.split('/').skip(1).any(|part| part == "tests" || part == "tests.rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lints_are_inherited_in_their_own_section_only() {
        assert!(inherits_lints("[package]\nname = \"x\"\n\n[lints]\nworkspace = true\n"));
        assert!(!inherits_lints("[package]\nname = \"x\"\n"));
        assert!(!inherits_lints("[lints]\n[dependencies.x]\nworkspace = true\n"));
        assert!(!inherits_lints("[dependencies.x]\nworkspace = true\n[lints]\n"));
    }

    #[test]
    fn only_lines_before_the_tests_count() {
        let code = "fn f() {}\n".repeat(MAX_LINES);
        let tests = format!("{code}#[cfg(test)]\nmod tests {{\n{code}}}\n");

        assert_eq!(faults("a/src/lib.rs", &tests), Vec::<String>::new());
        assert_eq!(faults("a/src/lib.rs", &format!("{code}{tests}")).len(), 1);
        assert_eq!(faults("tests/src/lib.rs", &format!("{code}{tests}")).len(), 1);
        assert_eq!(faults("tests/tests/lab.rs", &format!("{code}{tests}")).len(), 0);
        assert_eq!(faults("README.md", &format!("{code}{tests}")).len(), 0);
    }

    #[test]
    fn a_machines_own_words_are_found_with_their_line() {
        let text = "fine\nsee /home/me/canary\n";

        let found = faults("README.md", text);

        assert_eq!(found, ["README.md:2: `/home/` holds on some machines only: say it without"]);
        assert!(faults("Cargo.lock", text).is_empty());
    }
}
