//! Reading configuration directories: what is in them, once it stands still.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::error::ConfigError;
use crate::store::SourceFile;

/// File name extensions that are read.
const EXTENSIONS: [&str; 2] = ["hcl", "json"];
/// Time for which nothing of a directory may change before it is read.
const STILL: Duration = Duration::from_millis(250);
/// Time for which a reload waits for that.
pub const STILL_WITHIN: Duration = Duration::from_secs(2);
/// The link by which a mounted `ConfigMap` changes all its files at once.
const CONFIG_MAP: &str = "..data";
/// The file by which git says that a checkout is under way.
const GIT_LOCK: &str = ".git/index.lock";

/// A configuration directory as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Its path.
    pub path: PathBuf,
    /// Its files, in name order.
    pub content: Content,
}

/// What a directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// These files; none where it is there and empty.
    Files(Vec<SourceFile>),
    /// It is not there.
    Missing,
    /// It cannot be listed, and why.
    Unreadable(String),
}

/// Something of a directory that changes when its content does.
type Listing = Vec<(PathBuf, u64, u64, i64, i64)>;

/// Reads `*.hcl` and `*.json` of each of `directories`, as one set that stood still.
///
/// Waits `within` for that, so it is nothing for a thread that others wait for.
///
/// # Errors
///
/// [`ConfigError`] naming a file that cannot be read, or a directory that is being changed.
pub fn read_still(
    directories: &[PathBuf],
    within: Duration,
) -> Result<Vec<Directory>, ConfigError> {
    let deadline = Instant::now() + within;
    loop {
        let before = directories.iter().map(|path| look(path)).collect::<Vec<_>>();
        let moving = directories.iter().zip(&before).find_map(|(path, listing)| {
            is_locked(path)
                .then_some((path, STILL))
                .or_else(|| Some((path, changed(listing.as_ref())?)))
        });
        let Some((path, wait)) = moving else {
            let read = read_each(directories);
            let after = directories.iter().map(|path| look(path)).collect::<Vec<_>>();
            if before == after {
                return read;
            }
            if Instant::now() >= deadline {
                return Err(ConfigError::new("its files are being changed: try again")
                    .in_file(first_path(directories)));
            }
            continue;
        };
        if Instant::now() + wait > deadline {
            let reason =
                if is_locked(path) { "git is at work in it" } else { "it changed just now" };
            return Err(ConfigError::new(format!("{reason}: try again"))
                .in_file(path.display().to_string()));
        }
        std::thread::sleep(wait);
    }
}

/// Reads `*.hcl` and `*.json` of each of `directories`, as they are.
///
/// # Errors
///
/// [`ConfigError`] naming a file that cannot be read.
pub fn read_each(directories: &[PathBuf]) -> Result<Vec<Directory>, ConfigError> {
    directories.iter().map(|path| read_one(path)).collect()
}

fn read_one(path: &Path) -> Result<Directory, ConfigError> {
    let directory = |content| Ok(Directory { path: path.to_owned(), content });
    // All files of a `ConfigMap` are those of one moment: the link is followed once.
    let base = fs::canonicalize(path.join(CONFIG_MAP)).unwrap_or_else(|_| path.to_owned());
    let names = match list(&base) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return directory(Content::Missing);
        }
        Err(error) => return directory(Content::Unreadable(error.to_string())),
    };
    let mut files = Vec::new();
    for name in names {
        let shown = path.join(&name);
        let content = fs::read(base.join(&name)).map_err(|error| unread(&shown, &error))?;
        files.push(SourceFile { path: shown.display().to_string(), content });
    }
    directory(Content::Files(files))
}

/// The names of the files in `directory` that are read.
fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        // Followed, for a mounted ConfigMap is links; a pipe would block.
        if is_wanted(&path)
            && fs::metadata(&path)?.is_file()
            && let Some(name) = path.file_name()
        {
            names.push(PathBuf::from(name));
        }
    }
    names.sort();
    Ok(names)
}

fn is_wanted(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = path.extension().and_then(|extension| extension.to_str());
    !hidden && extension.is_some_and(|extension| EXTENSIONS.contains(&extension))
}

/// What differs between two looks if something was changed between them.
fn look(directory: &Path) -> Option<Listing> {
    let mut listing = Vec::new();
    let link = directory.join(CONFIG_MAP);
    for name in list(directory).ok()? {
        let metadata = fs::metadata(directory.join(&name)).ok()?;
        let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
        listing.push((name, metadata.ino(), metadata.size(), seconds, nanoseconds));
    }
    if let Ok(target) = fs::read_link(&link) {
        listing.push((target, 0, 0, 0, 0));
    }
    Some(listing)
}

/// How long it is until the last change of a listing is old enough, if it is not.
fn changed(listing: Option<&Listing>) -> Option<Duration> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let newest = listing.into_iter().flatten().map(|(.., seconds, nanoseconds)| {
        let seconds = u64::try_from(*seconds).unwrap_or(0);
        Duration::new(seconds, u32::try_from(*nanoseconds).unwrap_or(0))
    });
    // A time to come is a clock that was set, not a change.
    let age = now.checked_sub(newest.max()?)?;
    STILL.checked_sub(age).filter(|rest| !rest.is_zero())
}

/// Whether git is at work in `directory` or above it.
fn is_locked(directory: &Path) -> bool {
    directory.ancestors().any(|above| above.join(GIT_LOCK).exists())
}

fn unread(path: &Path, error: &io::Error) -> ConfigError {
    ConfigError::new(format!("cannot be read: {error}")).in_file(path.display().to_string())
}

fn first_path(directories: &[PathBuf]) -> String {
    directories.first().map(|path| path.display().to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(read: &[Directory]) -> Vec<String> {
        let Content::Files(files) = &read[0].content else { panic!("{read:?}") };
        files.iter().map(|file| String::from_utf8(file.content.clone()).unwrap()).collect()
    }

    #[test]
    fn a_directory_has_files_or_is_missing_or_cannot_be_listed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("b.json"), "b").unwrap();
        fs::write(path("a.hcl"), "a").unwrap();
        fs::write(path(".hidden.hcl"), "x").unwrap();
        fs::write(path("note.txt"), "x").unwrap();

        let read = read_each(&[directory.path().into(), path("none"), path("a.hcl")]).unwrap();

        assert_eq!(names(&read), ["a", "b"]);
        assert_eq!(read[1].content, Content::Missing);
        assert!(matches!(read[2].content, Content::Unreadable(_)), "{:?}", read[2]);
    }

    #[test]
    fn a_config_map_is_read_as_of_one_moment() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for (version, text) in [("..1", "old"), ("..2", "new")] {
            fs::create_dir(path(version)).unwrap();
            fs::write(path(version).join("a.hcl"), text).unwrap();
        }
        fs::write(path("..2").join("b.hcl"), "new").unwrap();
        symlink("..1", path("..data")).unwrap();
        symlink("..data/a.hcl", path("a.hcl")).unwrap();
        let mounted = [directory.path().to_owned()];

        let old = read_still(&mounted, STILL_WITHIN).unwrap();
        fs::remove_file(path("..data")).unwrap();
        symlink("..2", path("..data")).unwrap();
        let new = read_still(&mounted, STILL_WITHIN).unwrap();

        assert_eq!(names(&old), ["old"]);
        assert_eq!(names(&new), ["new", "new"]);
    }

    #[test]
    fn a_checkout_under_way_is_waited_for_and_then_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir_all(path("etc/.git")).unwrap();
        fs::create_dir(path("etc/canary")).unwrap();
        fs::write(path("etc/canary/a.hcl"), "a").unwrap();
        fs::write(path("etc/.git/index.lock"), "").unwrap();
        let directories = [path("etc/canary")];

        let error = read_still(&directories, Duration::ZERO).unwrap_err();
        assert!(error.to_string().contains("git is at work in it"), "{error}");

        let lock = path("etc/.git/index.lock");
        let read = std::thread::scope(|scope| {
            let reader = scope.spawn(|| read_still(&directories, Duration::from_secs(60)));
            fs::remove_file(lock).unwrap();
            reader.join().unwrap().unwrap()
        });
        assert_eq!(names(&read), ["a"]);
    }
}
