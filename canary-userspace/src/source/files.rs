//! The files source: directories of entries and services, read as one set.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Place;
use std::path::PathBuf;

use super::directory::{Content, Directory, read_each};
use super::{Definitions, SplitPlace, key_of};
use crate::catalog::{Origin, Sourced};
use crate::compile::Warning;
use crate::content::{FileContent, parse_file};
use crate::entry::Decoded;
use crate::error::{ConfigError, Position};
use crate::store::SourceFile;

/// Reads `*.hcl` and `*.json` of `directories`, in name order; a missing directory is empty.
///
/// # Errors
///
/// [`ConfigError`] naming what could not be read.
pub fn read(directories: &[PathBuf]) -> Result<Vec<SourceFile>, ConfigError> {
    let mut all = Vec::new();
    for Directory { path, content } in read_each(directories)? {
        match content {
            Content::Files(files) => all.extend(files),
            Content::Missing => {}
            Content::Unreadable(error) => {
                let text = format!("cannot be read: {error}");
                return Err(ConfigError::new(text).in_file(path.display().to_string()));
            }
        }
    }
    Ok(all)
}

/// Decodes `files` as one set.
///
/// # Errors
///
/// What is wrong with each file, in their order: nothing of the set may be used.
pub fn decode(files: &[SourceFile]) -> Result<Definitions, Vec<ConfigError>> {
    let mut set = Definitions::default();
    let mut errors = Vec::new();
    for file in files {
        if let Err(error) = decode_one(&mut set, file) {
            errors.push(error.in_file(file.path.clone()));
        }
    }
    if errors.is_empty() { Ok(set) } else { Err(errors) }
}

/// Adds what `file` defines to `set`.
fn decode_one(set: &mut Definitions, file: &SourceFile) -> Result<(), ConfigError> {
    parse_file(&file.content)?.parts().into_iter().try_for_each(|part| add_part(set, file, part))
}

fn add_part(
    set: &mut Definitions,
    file: &SourceFile,
    part: FileContent,
) -> Result<(), ConfigError> {
    match part {
        FileContent::Entry(decoded) => add_entry(set, file, *decoded)?,
        FileContent::Services(services) => {
            for (instance, position) in services.instances {
                let id = instance.id.clone();
                let what = format!("service id {id:?}");
                add(&mut set.instances, (id, instance), &what, (file, position))?;
            }
            for (check, position) in services.checks {
                let id = check.check.id.to_string();
                let what = format!("check id {id:?}");
                add(&mut set.checks, (id, check), &what, (file, position))?;
            }
        }
        FileContent::Skipped(reason) => set.warnings.push(warning("", file, reason)),
        FileContent::Many(_) | FileContent::Nothing => {}
    }
    Ok(())
}

fn add_entry(
    set: &mut Definitions,
    file: &SourceFile,
    decoded: Decoded,
) -> Result<(), ConfigError> {
    let Decoded { entry, places, warnings } = decoded;
    match set.entries.entry(key_of(&entry)) {
        Place::Occupied(place) => {
            let (kind, name) = place.key();
            let text = twice(&format!("{kind}/{name}"), &place.get().origin);
            Err(ConfigError::at(places.name, text))
        }
        Place::Vacant(place) => {
            let name = entry.name().to_owned();
            set.warnings.extend(warnings.into_iter().map(|text| warning(&name, file, text)));
            if !places.splits.is_empty() {
                let place = SplitPlace { path: file.path.clone(), splits: places.splits };
                set.splits.insert(name, place);
            }
            place.insert(Sourced { value: entry, origin: origin(file, places.name) });
            Ok(())
        }
    }
}

/// Adds what `file` defines under a name of its own; `what` is what messages call it.
fn add<T>(
    known: &mut BTreeMap<String, Sourced<T>>,
    (id, value): (String, T),
    what: &str,
    (file, position): (&SourceFile, Position),
) -> Result<(), ConfigError> {
    match known.entry(id) {
        Place::Occupied(place) => Err(ConfigError::at(position, twice(what, &place.get().origin))),
        Place::Vacant(place) => {
            place.insert(Sourced { value, origin: origin(file, position) });
            Ok(())
        }
    }
}

fn origin(file: &SourceFile, position: Position) -> Origin {
    Origin::File { path: file.path.clone(), position }
}

fn warning(service: &str, file: &SourceFile, reason: ConfigError) -> Warning {
    Warning { service: service.to_owned(), text: reason.in_file(file.path.clone()).to_string() }
}

fn twice(what: &str, first: &Origin) -> String {
    format!("{what} is defined twice, first in {}", place(first))
}

/// Where something was defined, as people look it up: `FILE:LINE:COL`, or the store.
#[must_use]
pub fn place(origin: &Origin) -> String {
    match origin {
        Origin::File { path, position: Position { line, column } } => {
            format!("{path}:{line}:{column}")
        }
        Origin::Store => "the store".to_owned(),
        Origin::Followed(kind) => (*kind).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn file(path: &str, content: &str) -> SourceFile {
        SourceFile { path: path.to_owned(), content: content.into() }
    }

    #[test]
    fn directories_are_read_flat_in_name_order_and_may_be_absent() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.hcl", "a.json", "c.hcl~", ".d.hcl", "README.md"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        fs::create_dir(dir.path().join("e.hcl")).unwrap();
        std::os::unix::fs::symlink("b.hcl", dir.path().join("link.hcl")).unwrap();

        let files = read(&[dir.path().join("absent"), dir.path().to_owned()]).unwrap();

        let names = files.iter().map(|file| file.path.rsplit('/').next().unwrap());
        assert_eq!(names.collect::<Vec<_>>(), ["a.json", "b.hcl", "link.hcl"]);
        assert_eq!(files[2].content, b"b.hcl");
    }

    #[test]
    fn every_bad_file_is_named_with_its_place() {
        let files = [
            file("a.hcl", "kind = \"service-resolver\"\nname ="),
            file("b.hcl", "kind = \"service-resolver\"\nname = \"web\"\n"),
            file("c.json", "{\"Kind\": \"service-resolver\", \"Name\": \"web\"}"),
            file("d.hcl", "# nothing\n"),
        ];

        let errors = decode(&files).unwrap_err();

        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 2, "{texts:?}");
        assert!(texts[0].starts_with("a.hcl:2:"), "{texts:?}");
        let twice = "service-resolver/web is defined twice, first in b.hcl:2:8";
        assert!(texts[1].starts_with("c.json:1:") && texts[1].ends_with(twice), "{texts:?}");
    }
}
