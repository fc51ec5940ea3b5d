//! Which module of a crate may import which: its `arrows.txt`, held against the sources.

mod imports;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// Crates with such a list.
const CRATES: [&str; 1] = ["canary-userspace"];

/// What a crate's list says.
#[derive(Debug, Default)]
struct Arrows {
    /// What each module may import.
    allowed: BTreeMap<String, BTreeSet<String>>,
    /// What some import all the same, and are to import no longer.
    breaches: BTreeSet<(String, String)>,
}

/// The arrows of all crates that break their lists.
pub(crate) fn faults(workspace: &Workspace) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for name in CRATES {
        let list = workspace.root.join(name).join("arrows.txt");
        let text = fs::read_to_string(&list).with_context(|| format!("read {}", list.display()))?;
        let arrows = parse(&text).with_context(|| format!("{name}/arrows.txt"))?;
        let found = imports::of(&workspace.root.join(name).join("src"))?;
        let own = compare(&arrows, &found);
        faults.extend(own.into_iter().map(|fault| format!("{name}/arrows.txt: {fault}")));
    }
    Ok(faults)
}

/// Lines `MODULE: MODULE MODULE`; a `!` marks a breach.
fn parse(text: &str) -> Result<Arrows> {
    let mut arrows = Arrows::default();
    for (line, number) in text.lines().zip(1..) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let Some((module, imports)) = line.split_once(':') else {
            bail!("line {number}: a module and a colon are wanted");
        };
        let (module, own) = (module.trim().to_owned(), &mut arrows.allowed);
        if own.contains_key(&module) {
            bail!("line {number}: {module} is there already");
        }
        let allowed = own.entry(module.clone()).or_default();
        for import in imports.split_whitespace() {
            match import.strip_prefix('!') {
                Some(breach) => _ = arrows.breaches.insert((module.clone(), breach.to_owned())),
                None => _ = allowed.insert(import.to_owned()),
            }
        }
    }
    match circle(&arrows.allowed) {
        Some(module) => bail!("what is allowed leads from {module} back to it"),
        None => Ok(arrows),
    }
}

/// A module that imports itself by way of others, if there is one.
fn circle(allowed: &BTreeMap<String, BTreeSet<String>>) -> Option<&String> {
    let mut left: BTreeSet<&String> = allowed.keys().collect();
    loop {
        let is_done = |module: &&String| {
            allowed.get(*module).is_none_or(|all| all.iter().all(|import| !left.contains(import)))
        };
        let done: Vec<_> = left.iter().copied().filter(is_done).collect();
        if done.is_empty() {
            return left.first().copied();
        }
        left.retain(|module| !done.contains(module));
    }
}

/// What differs between the list and what was found, by file.
fn compare(arrows: &Arrows, found: &imports::Found) -> Vec<String> {
    let mut faults = Vec::new();
    let mut used = BTreeSet::new();
    for ((module, import), file) in found {
        let Some(allowed) = arrows.allowed.get(module) else {
            faults.push(format!("{module} has no line"));
            continue;
        };
        if allowed.contains(import) {
            continue;
        }
        let breach = (module.clone(), import.clone());
        if arrows.breaches.contains(&breach) {
            used.insert(breach);
        } else {
            faults.push(format!("{module} may not import {import}, and {file} does"));
        }
    }
    let unused = arrows.breaches.difference(&used);
    faults.extend(
        unused.map(|(module, import)| format!("{module} imports {import} no longer: remove it")),
    );
    faults.dedup();
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pairs: &[(&str, &str)]) -> imports::Found {
        pairs.iter().map(|(a, b)| ((a.to_string(), b.to_string()), format!("{a}.rs"))).collect()
    }

    #[test]
    fn what_is_not_allowed_is_named_with_its_file() {
        let arrows = parse("a:\nb: a # all of it\n").unwrap();

        assert_eq!(compare(&arrows, &found(&[("b", "a")])), [""; 0]);
        assert_eq!(
            compare(&arrows, &found(&[("a", "b"), ("c", "a")])),
            ["a may not import b, and a.rs does", "c has no line"]
        );
    }

    #[test]
    fn a_breach_is_allowed_as_long_as_it_is_one() {
        let arrows = parse("a: !b\nb: a\n").unwrap();

        assert_eq!(compare(&arrows, &found(&[("a", "b")])), [""; 0]);
        assert_eq!(compare(&arrows, &found(&[])), ["a imports b no longer: remove it"]);
    }

    #[test]
    fn a_list_that_allows_a_circle_is_refused() {
        let error = parse("a: b\nb: c\nc: a\nd: a\n").unwrap_err();
        assert!(error.to_string().contains("leads from a back"), "{error}");
        parse("a: b\na: c\n").unwrap_err();
        parse("a b\n").unwrap_err();
    }
}
