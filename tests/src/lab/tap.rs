//! A tap: an interface of the node whose frames come from the test and go to it.

use std::{
    fs::File,
    io::{self, ErrorKind, IoSlice, Read, Write},
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::OpenOptionsExt,
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{
    link::{interface_name, set_merging},
    namespace::Namespace,
};

/// Bytes of an Ethernet header.
const ETHERNET_LEN: usize = 14;

/// The most that one piece of a frame may have, a page.
const MAX_PIECE: usize = 4096;

/// The most pieces of a frame beside the first, `MAX_SKB_FRAGS` of the kernel.
const MAX_PIECES: usize = 17;

/// The longest frame.
const MAX_FRAME: usize = 65_535;

/// A tap that is up; gone when dropped.
#[derive(Debug)]
pub struct Tap {
    file: File,
}

impl Tap {
    /// Makes a tap in `namespace` that takes frames in pieces, with this hardware address.
    ///
    /// # Errors
    ///
    /// If the kernel has no taps or refuses frames in pieces.
    pub fn create(namespace: &Namespace, interface: &str, address: [u8; 6]) -> Result<Self> {
        // A tap belongs to the namespace of whoever opens the device.
        let file = namespace
            .enter(|| open(interface))?
            .with_context(|| format!("make tap {interface} in {namespace}"))?;
        // Merging would draw the headers into one piece to compare them.
        set_merging(namespace, interface, false)?;
        let address = address.map(|byte| format!("{byte:02x}")).join(":");
        namespace.ip(&[format!("link set {interface} address {address} mtu 9000 up")])?;
        Ok(Self { file })
    }

    /// Lets a frame come in: its Ethernet header in front, all else in up to `pieces` pieces
    /// elsewhere, or in more if these were too long.
    ///
    /// # Errors
    ///
    /// If the kernel refuses it.
    pub fn send(&self, frame: &[u8], pieces: usize) -> Result<()> {
        let (header, rest) = frame.split_at_checked(ETHERNET_LEN).context("no Ethernet header")?;
        let length = rest.len().div_ceil(pieces.clamp(1, MAX_PIECES)).clamp(1, MAX_PIECE);
        let scattered: Vec<IoSlice<'_>> =
            [header].into_iter().chain(rest.chunks(length)).map(IoSlice::new).collect();
        let sent = (&self.file).write_vectored(&scattered).context("write to the tap")?;
        ensure!(sent == frame.len(), "the tap took {sent} bytes of {}", frame.len());
        Ok(())
    }

    /// The next frame that leaves by the tap and that `wanted` knows.
    ///
    /// # Errors
    ///
    /// If none comes within `timeout`.
    pub fn receive(&self, timeout: Duration, wanted: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>> {
        let deadline = Instant::now().checked_add(timeout).context("no such time")?;
        let mut frame = vec![0; MAX_FRAME];
        loop {
            match (&self.file).read(&mut frame) {
                Ok(length) => {
                    let seen = frame.get(..length).context("longer than it can be")?;
                    if wanted(seen) {
                        return Ok(seen.to_vec());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait(deadline)?,
                Err(error) => return Err(error).context("read from the tap"),
            }
        }
    }

    /// Waits until there is something to read.
    fn wait(&self, deadline: Instant) -> Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut files = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
        if poll(&mut files, PollTimeout::try_from(left)?).context("wait for the tap")? == 0 {
            bail!("no such frame came out of the tap in time");
        }
        Ok(())
    }
}

fn open(interface: &str) -> Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")
        .context("open /dev/net/tun")?;
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_NAPI | libc::IFF_NAPI_FRAGS;
    let mut request = libc::ifreq {
        ifr_name: interface_name(interface)?,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags.try_into()? },
    };
    #[expect(unsafe_code, reason = "no safe wrapper of this request is among the dependencies")]
    // SAFETY: `request` names an interface with a closing zero, has its flags as this command
    // reads them, and outlives the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error()).context("make a tap that takes pieces");
    }
    Ok(file)
}
