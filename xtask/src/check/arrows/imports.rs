//! The imports between the modules of a crate, read from its sources.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};
use syn::{
    Attribute, Item, ItemMod, Macro, UseTree,
    visit::{self, Visit},
};

/// Module and import, with a file that has it.
pub(super) type Found = BTreeMap<(String, String), String>;

/// Files that belong to no module: they put the crate together.
const ROOTS: [&str; 2] = ["lib.rs", "main.rs"];

/// Reads all sources below a directory but tests and programs.
pub(super) fn of(sources: &Path) -> Result<Found> {
    let mut found = Found::new();
    for entry in read(sources)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "bin" {
            below(&path, &name, 1, &mut found)?;
        } else if let Some(module) = name.strip_suffix(".rs")
            && !ROOTS.contains(&&*name)
        {
            file(&path, module, 1, &mut found)?;
        }
    }
    Ok(found)
}

fn read(directory: &Path) -> Result<fs::ReadDir> {
    fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))
}

fn below(directory: &Path, module: &str, depth: usize, found: &mut Found) -> Result<()> {
    let depth = depth.saturating_add(1);
    for entry in read(directory)? {
        let path = entry?.path();
        let stem = path.file_stem().unwrap_or_default();
        if stem == "tests" {
            continue;
        }
        if path.is_dir() {
            below(&path, module, depth, found)?;
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            file(&path, module, depth, found)?;
        }
    }
    Ok(())
}

/// Reads a file; `depth` is the number of modules that it is in.
fn file(path: &Path, module: &str, depth: usize, found: &mut Found) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let names = names(&text, depth).with_context(|| format!("parse {}", path.display()))?;
    for name in names {
        if name != module {
            found.entry((module.to_owned(), name)).or_insert_with(|| path.display().to_string());
        }
    }
    Ok(())
}

/// The crate's modules that a source text imports.
fn names(text: &str, depth: usize) -> syn::Result<Vec<String>> {
    let mut imports = Imports { depth, names: Vec::new() };
    imports.visit_file(&syn::parse_file(text)?);
    Ok(imports.names)
}

/// Collects the crate's modules that paths begin with.
struct Imports {
    depth: usize,
    names: Vec<String>,
}

impl Imports {
    /// Notes the module that a path of these names leads to, if it begins at the crate.
    fn note(&mut self, names: &[String]) {
        let supers = names.iter().take_while(|name| *name == "super").count();
        let start = match names.first().map(String::as_str) {
            Some("crate") => 1,
            Some("super") if supers == self.depth => supers,
            _ => return,
        };
        self.names.extend(names.get(start).cloned());
    }

    fn tree(&mut self, before: &[String], tree: &UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.tree(&with(&path.ident), &path.tree),
            UseTree::Name(name) => self.note(&with(&name.ident)),
            UseTree::Rename(rename) => self.note(&with(&rename.ident)),
            UseTree::Group(group) => group.items.iter().for_each(|item| self.tree(before, item)),
            UseTree::Glob(_) => self.note(before),
        }
    }
}

/// Whether an item is there for tests alone.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|name| name == "test")
    })
}

impl<'ast> Visit<'ast> for Imports {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Mod(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_test(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        self.depth = self.depth.saturating_add(1);
        visit::visit_item_mod(self, module);
        self.depth = self.depth.saturating_sub(1);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        self.note(&names);
        visit::visit_path(self, path);
    }

    /// What a macro is given is not parsed: its words are looked through.
    fn visit_macro(&mut self, called: &'ast Macro) {
        let text = called.tokens.to_string();
        let words: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
        for (place, word) in words.iter().enumerate() {
            if word == "crate"
                && let Some([colons, name]) =
                    words.get(place.saturating_add(1)..).and_then(|rest| rest.first_chunk())
                && colons == "::"
            {
                self.names.push(name.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, depth: usize, wanted: &[&str]) {
        assert_eq!(names(text, depth).unwrap(), wanted, "{text}");
    }

    #[test]
    fn imports_and_paths_count_alike() {
        check(
            "use crate::a::{B, c::D}; use crate::{e, f::G as H}; pub use crate::i::*;",
            1,
            &["a", "a", "e", "f", "i"],
        );
        check("fn f(x: crate::a::B) -> C { crate::d::e(x); D::f(); self::g() }", 1, &["a", "d"]);
        check("fn f() { println!(\"{}\", crate::a::b()) }", 1, &["a"]);
        check("use std::fmt; use super::b; // use crate::c\nconst D: &str = \"crate::e\";", 2, &[]);
    }

    #[test]
    fn super_leads_to_the_crate_from_its_own_modules_alone() {
        check("use super::a::B;", 1, &["a"]);
        check("use super::super::a; use super::b;", 2, &["a"]);
        check("mod inner { use super::super::a; use super::b; }", 1, &["a"]);
    }

    #[test]
    fn what_is_there_for_tests_alone_does_not_count() {
        check("#[cfg(test)] mod tests { use crate::a; } #[cfg(test)] use crate::b;", 1, &[]);
        check("#[cfg(any(test, feature = \"fuzz\"))] use crate::a;", 1, &["a"]);
    }
}
