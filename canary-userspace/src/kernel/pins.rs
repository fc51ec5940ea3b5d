//! What stays in bpffs across restarts, who owns it, and how it goes.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use aya::maps::loaded_maps;
use aya::programs::loaded_programs;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::pinned::{Kind, Object};

/// Where the locks are: bpffs itself holds no files.
const LOCK_DIR: &str = "/run/canary";
/// How long the kernel may take to free what nobody refers to: a grace period or two.
const FREE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the pins could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// An agent runs on them.
    #[error("an agent{} runs on the pins under {}", of_pid(*pid), bpffs.display())]
    Held {
        /// The directory of the pins.
        bpffs: PathBuf,
        /// The agent's process, as far as the lock tells.
        pid: Option<i32>,
    },
    /// The lock itself failed.
    #[error("lock {}: {source}", path.display())]
    Io {
        /// The lock's file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn of_pid(pid: Option<i32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

/// The right to change what is pinned; it ends with this value or the process.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Attachments.
    pub links: usize,
    /// Programs.
    pub programs: usize,
    /// Maps.
    pub maps: usize,
}

/// The pins under a directory of bpffs.
#[derive(Debug)]
pub struct Pins;

impl Pins {
    /// Takes the lock of the pins under `bpffs`, and writes this process into it.
    ///
    /// # Errors
    ///
    /// [`LockError::Held`] at once if an agent has it.
    pub fn lock(bpffs: &Path) -> Result<Lock, LockError> {
        lock_in(Path::new(LOCK_DIR), bpffs)
    }

    /// Ends the agent that has the lock, waits until it has let go, and takes the lock.
    ///
    /// # Errors
    ///
    /// [`LockError::Held`] if it has not let go after `limit`.
    pub fn stop_owner(bpffs: &Path, limit: Duration) -> Result<Lock, LockError> {
        stop_owner_in(Path::new(LOCK_DIR), bpffs, limit)
    }

    /// Removes every link, program and map pinned under `bpffs`, and the directory; returns once
    /// the kernel has freed them.
    ///
    /// Links go first, and among them those that forward before those that restore: no packet is
    /// forwarded whose answer would not be restored.
    ///
    /// # Errors
    ///
    /// What the kernel or the file system says, with the pin's path.
    pub fn remove_all(bpffs: &Path) -> anyhow::Result<Removed> {
        let (removed, ids) = remove_tree(bpffs)?;
        wait_until_freed(&ids);
        Ok(removed)
    }

    /// The same, but for the waiting.
    ///
    /// # Errors
    ///
    /// As [`Pins::remove_all`].
    pub fn remove(directory: &Path) -> anyhow::Result<Removed> {
        remove_tree(directory).map(|(removed, _)| removed)
    }

    /// Detaches the programs that forward and are pinned under `directory`, with their pins; those
    /// that restore stay.
    ///
    /// # Errors
    ///
    /// As [`Pins::remove_all`].
    pub fn stop_forwarding(directory: &Path) -> anyhow::Result<()> {
        detach_links(directory, |path| !restores(path))
    }

    /// Detaches all programs that are pinned under `directory`, with their pins.
    ///
    /// # Errors
    ///
    /// As [`Pins::remove_all`].
    pub fn stop(directory: &Path) -> anyhow::Result<()> {
        detach_links(directory, |_| true)
    }
}

fn detach_links(directory: &Path, which: fn(&Path) -> bool) -> anyhow::Result<()> {
    let mut tree = Tree::default();
    tree.read(directory)?;
    let mut pins = tree.pins.iter();
    pins.try_for_each(|pin| match pin.object.kind {
        Kind::Link if which(&pin.path) => pin.remove(),
        _ => Ok(()),
    })
}

/// Removes what is pinned under a directory, and the directory; what it was, and the numbers of all
/// that the kernel has to free.
fn remove_tree(bpffs: &Path) -> anyhow::Result<(Removed, BTreeSet<(Kind, u32)>)> {
    let mut tree = Tree::default();
    tree.read(bpffs)?;
    tree.pins.sort_by_key(|pin| removal_order(pin.object.kind, &pin.path));
    let mut removed = Removed::default();
    let mut ids = BTreeSet::new();
    for pin in tree.pins {
        pin.remove()?;
        // A map of maps, or a program behind several pins, counts once.
        if ids.insert((pin.object.kind, pin.object.id)) {
            match pin.object.kind {
                Kind::Link => removed.links += 1,
                Kind::Program => removed.programs += 1,
                Kind::Map => removed.maps += 1,
            }
        }
    }
    for directory in tree.directories.iter().rev() {
        match fs::remove_dir(directory) {
            // A bpffs mounted here is somebody's mount, not a pin.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && directory == bpffs => {}
            outcome => outcome.with_context(|| format!("remove {}", directory.display()))?,
        }
    }
    Ok((removed, ids))
}

struct Pin {
    path: PathBuf,
    object: Object,
}

impl Pin {
    /// Removes it; a link is detached at once.
    fn remove(&self) -> anyhow::Result<()> {
        let Self { path, object } = self;
        if object.kind == Kind::Link {
            detach(object).with_context(|| format!("detach {}", path.display()))?;
        }
        fs::remove_file(path).with_context(|| format!("remove {}", path.display()))
    }
}

/// A directory with all that is below it; parents come before their children.
#[derive(Default)]
struct Tree {
    directories: Vec<PathBuf>,
    pins: Vec<Pin>,
}

impl Tree {
    fn read(&mut self, directory: &Path) -> anyhow::Result<()> {
        let context = || format!("read {}", directory.display());
        let entries = match fs::read_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.with_context(context)?,
        };
        self.directories.push(directory.to_owned());
        for entry in entries {
            let entry = entry.with_context(context)?;
            let path = entry.path();
            if entry.file_type().with_context(context)?.is_dir() {
                self.read(&path)?;
            } else {
                let object =
                    Object::open(&path).with_context(|| format!("open pin {}", path.display()))?;
                self.pins.extend(object.map(|object| Pin { path, object }));
            }
        }
        Ok(())
    }
}

/// Links in the order above, then programs, then maps; by path among equals.
fn removal_order(kind: Kind, path: &Path) -> (Kind, bool, PathBuf) {
    (kind, restores(path), path.to_owned())
}

/// Whether a link's program sees to the way back.
fn restores(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let mut prefixes = [b"to_".as_slice(), b"recvmsg", b"getpeername"].into_iter();
    prefixes.any(|prefix| name.starts_with(prefix))
}

/// Detaches at once what the kernel would otherwise detach some time after the pin has gone.
fn detach(link: &Object) -> io::Result<()> {
    match link.detach() {
        // Its interface or cgroup is gone, or its kind knows no way but to end with its pin.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENOLINK | libc::EOPNOTSUPP | libc::EINVAL)
            ) =>
        {
            Ok(())
        }
        outcome => outcome,
    }
}

/// Waits for a condition that nobody announces; gives up if somebody else holds a reference.
fn wait_until_freed(ids: &BTreeSet<(Kind, u32)>) {
    let deadline = Instant::now() + FREE_TIMEOUT;
    let alive = || {
        let programs =
            loaded_programs().filter_map(Result::ok).map(|program| (Kind::Program, program.id()));
        let maps = loaded_maps().filter_map(Result::ok).map(|map| (Kind::Map, map.id()));
        programs.chain(maps).any(|id| ids.contains(&id))
    };
    while !ids.is_empty() && Instant::now() < deadline && alive() {
        thread::sleep(Duration::from_millis(2));
    }
}

fn lock_in(directory: &Path, bpffs: &Path) -> Result<Lock, LockError> {
    let (path, file) = open(directory, bpffs)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => own(file, path),
        Err((file, Errno::EWOULDBLOCK)) => {
            Err(LockError::Held { bpffs: bpffs.to_owned(), pid: owner(file) })
        }
        Err((_, errno)) => Err(LockError::Io { path, source: errno.into() }),
    }
}

fn stop_owner_in(directory: &Path, bpffs: &Path, limit: Duration) -> Result<Lock, LockError> {
    let held = match lock_in(directory, bpffs) {
        Err(LockError::Held { pid: Some(pid), .. }) => pid,
        outcome => return outcome,
    };
    let (path, file) = open(directory, bpffs)?;
    match kill(Pid::from_raw(held), Signal::SIGTERM) {
        // It ended in between.
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => return Err(LockError::Io { path, source: errno.into() }),
    }
    let (sender, receiver) = mpsc::channel();
    // Left to itself if the time is up: it holds nothing but the wait.
    thread::spawn(move || sender.send(Flock::lock(file, FlockArg::LockExclusive)));
    match receiver.recv_timeout(limit) {
        Ok(Ok(file)) => own(file, path),
        Ok(Err((_, errno))) => Err(LockError::Io { path, source: errno.into() }),
        Err(_) => Err(LockError::Held { bpffs: bpffs.to_owned(), pid: Some(held) }),
    }
}

fn open(directory: &Path, bpffs: &Path) -> Result<(PathBuf, File), LockError> {
    let path = directory.join(lock_name(bpffs));
    let file = fs::create_dir_all(directory).and_then(|()| {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)
    });
    match file {
        Ok(file) => Ok((path, file)),
        Err(source) => Err(LockError::Io { path, source }),
    }
}

/// Writes this process into the lock.
fn own(mut file: Flock<File>, path: PathBuf) -> Result<Lock, LockError> {
    let pid = std::process::id();
    let written =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{pid}"));
    match written {
        Ok(()) => Ok(Lock { _file: file }),
        Err(source) => Err(LockError::Io { path, source }),
    }
}

/// The process that wrote itself into the lock.
fn owner(mut file: File) -> Option<i32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok().filter(|pid| *pid > 0)
}

/// The lock's name: the directory's bytes, so that two directories never share one.
fn lock_name(bpffs: &Path) -> String {
    let path = resolved(bpffs);
    let mut name = String::from("pins");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' => name.push('-'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' => name.push(char::from(*byte)),
            // Writing to a string cannot fail.
            other => _ = write!(name, "%{other:02x}"),
        }
    }
    name + ".lock"
}

/// The path without links and dots, as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    if let Ok(whole) = path.canonicalize() {
        return whole;
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if parent != OsStr::new("") => resolved(parent).join(name),
        _ => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_second_owner_is_refused_and_told_the_first() {
        let locks = tempfile::tempdir().unwrap();
        let first = lock_in(locks.path(), Path::new("/sys/fs/bpf/a")).unwrap();

        let refused = lock_in(locks.path(), Path::new("/sys/fs/bpf/a")).unwrap_err();
        lock_in(locks.path(), Path::new("/sys/fs/bpf/b")).unwrap();

        let pid = std::process::id();
        assert_eq!(
            refused.to_string(),
            format!("an agent (pid {pid}) runs on the pins under /sys/fs/bpf/a")
        );
        drop(first);
        lock_in(locks.path(), Path::new("/sys/fs/bpf/a/")).unwrap();
    }

    #[test]
    fn stopping_waits_until_the_owner_has_let_go() {
        let locks = tempfile::tempdir().unwrap();
        let bpffs = Path::new("/sys/fs/bpf/stopped");
        let (path, _) = open(locks.path(), bpffs).unwrap();
        let mut owner = Command::new("flock")
            .arg(&path)
            .args(["sh", "-c", "echo $$ >\"$0\"; echo locked; exec sleep 60"])
            .arg(&path)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut locked = [0; 6];
        owner.stdout.take().unwrap().read_exact(&mut locked).unwrap();

        let started = Instant::now();
        let lock = stop_owner_in(locks.path(), bpffs, Duration::from_secs(20)).unwrap();

        assert!(started.elapsed() < Duration::from_secs(20));
        assert!(lock_in(locks.path(), bpffs).is_err());
        drop(lock);
        owner.wait().unwrap();
    }

    #[test]
    fn names_of_locks_are_as_different_as_their_directories() {
        assert_eq!(lock_name(Path::new("/sys/fs/bpf/no-such")), "pins-sys-fs-bpf-no%2dsuch.lock");
        assert_ne!(lock_name(Path::new("/nowhere/a-b")), lock_name(Path::new("/nowhere/a/b")));
    }

    #[test]
    fn forwarding_ends_before_restoring_and_maps_go_last() {
        let mut pins = [
            (Kind::Map, "/c/maps/FLOWS"),
            (Kind::Link, "/c/links/to_pod_veth1"),
            (Kind::Program, "/c/programs/from_pod"),
            (Kind::Link, "/c/links/getpeername4"),
            (Kind::Link, "/c/links/from_pod_veth1"),
            (Kind::Link, "/c/links/connect4"),
        ];

        pins.sort_by_key(|(kind, path)| removal_order(*kind, Path::new(path)));

        let order = pins.map(|(_, path)| path.rsplit('/').next().unwrap());
        assert_eq!(
            order,
            ["connect4", "from_pod_veth1", "getpeername4", "to_pod_veth1", "from_pod", "FLOWS"]
        );
    }

    #[test]
    fn nothing_to_remove_is_no_error() {
        let removed =
            Pins::remove_all(Path::new("/sys/fs/bpf/there-is-no-such-directory")).unwrap();

        assert_eq!(removed, Removed::default());
    }
}
