//! A BPF object behind a pin, of whatever kind.

#![expect(
    unsafe_code,
    reason = "the two bpf(2) commands that no library offers for a pin of unknown kind"
)]

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// `BPF_OBJ_GET` of `bpf_cmd`.
const OBJ_GET: libc::c_long = 7;
/// `BPF_LINK_DETACH` of `bpf_cmd`.
const LINK_DETACH: libc::c_long = 34;

/// What a pin holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    /// An attachment.
    Link,
    /// A program.
    Program,
    /// A map.
    Map,
}

/// An open object.
#[derive(Debug)]
pub(super) struct Object {
    fd: OwnedFd,
    /// What it is.
    pub(super) kind: Kind,
    /// The kernel's number for it, unique within its kind.
    pub(super) id: u32,
}

/// The union's member for `BPF_OBJ_GET`.
#[repr(C)]
struct ObjGet {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// The union's member for `BPF_LINK_DETACH`.
#[repr(C)]
struct LinkDetach {
    link_fd: u32,
}

impl Object {
    /// Opens the object pinned at `path`; `None` where there is none: it has just gone, or it is
    /// one of the files that the kernel itself puts into each bpffs.
    ///
    /// # Errors
    ///
    /// What the kernel says, or that it is no link, program or map.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let name = CString::new(path.as_os_str().as_bytes())?;
        let pathname = u64::try_from(name.as_ptr().addr()).map_err(io::Error::other)?;
        let attributes = ObjGet { pathname, bpf_fd: 0, file_flags: 0 };
        // SAFETY: `attributes` names a C string that outlives the call, which only reads both.
        let fd = match unsafe { bpf(OBJ_GET, &attributes) } {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            fd => fd?,
        };
        // SAFETY: the kernel has just made this descriptor, so nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
        let (kind, id) = identify(&info).ok_or_else(|| {
            io::Error::other(format!("{} is no link, program or map", path.display()))
        })?;
        Ok(Some(Self { fd, kind, id }))
    }

    /// Detaches a link from its hook before its last reference goes.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub(super) fn detach(&self) -> io::Result<()> {
        let link_fd = u32::try_from(self.fd.as_raw_fd()).map_err(io::Error::other)?;
        // SAFETY: the attributes hold a number and no pointer.
        unsafe { bpf(LINK_DETACH, &LinkDetach { link_fd }) }.map(drop)
    }
}

/// Calls bpf(2).
///
/// # Safety
///
/// `attributes` must be what `command` reads, and its pointers valid during the call.
unsafe fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<RawFd> {
    // SAFETY: the size is the attributes' own, so the kernel reads nothing behind them, and the
    // caller vouches for what they point to.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>())
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        RawFd::try_from(result).map_err(io::Error::other)
    }
}

/// Kind and id from a descriptor's `/proc` file. A link's names its program too, so links come first.
fn identify(info: &str) -> Option<(Kind, u32)> {
    [("link_id:", Kind::Link), ("prog_id:", Kind::Program), ("map_id:", Kind::Map)]
        .into_iter()
        .find_map(|(key, kind)| {
            let value = info.lines().find_map(|line| line.strip_prefix(key))?;
            value.trim().parse().ok().map(|id| (kind, id))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_told_from_its_program() {
        let link =
            "pos:\t0\nlink_type:\ttcx\nlink_id:\t9\nprog_tag:\tab\nprog_id:\t31\nifindex:\t3\n";
        let program = "pos:\t0\nprog_type:\t3\nprog_id:\t31\n";
        let map = "pos:\t0\nmap_type:\t9\nmap_id:\t17\n";

        assert_eq!(identify(link), Some((Kind::Link, 9)));
        assert_eq!(identify(program), Some((Kind::Program, 31)));
        assert_eq!(identify(map), Some((Kind::Map, 17)));
        assert_eq!(identify("pos:\t0\nflags:\t02\n"), None);
    }
}
